//! A client for supervisord's XML-RPC, for what tests ask of a real one.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::Duration;

use crate::http::Response;

/// Why a call failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Supervisord's number and words.
    Fault(i32, String),
    /// There was no proper answer.
    Other(String),
}

/// A client of one supervisord.
pub(crate) struct Client {
    place: Place,
    account: Option<String>,
}

enum Place {
    Tcp(SocketAddr),
    Unix(PathBuf),
}

impl Client {
    pub(crate) fn tcp(address: SocketAddr, account: Option<String>) -> Client {
        Client { place: Place::Tcp(address), account }
    }

    pub(crate) fn unix(path: PathBuf, account: Option<String>) -> Client {
        Client { place: Place::Unix(path), account }
    }

    /// The text of the answer to a call with string parameters.
    pub(crate) fn call(&self, method: &str, parameters: &[&str]) -> Result<String, Fault> {
        let params: String = parameters
            .iter()
            .map(|text| format!("<param><value><string>{text}</string></value></param>"))
            .collect();
        let body = format!(
            "<?xml version='1.0'?><methodCall><methodName>{method}</methodName>\
             <params>{params}</params></methodCall>"
        );
        let answer = self.send(&body).map_err(|error| Fault::Other(error.to_string()))?;
        let response = Response::parse(&answer);
        let response = response.ok_or_else(|| Fault::Other("no response".to_owned()))?;
        let text = response.text();

        if response.status != 200 {
            return Err(Fault::Other(format!("status {}", response.status)));
        }
        if text.contains("<fault>") {
            let code = member(&text, "faultCode").parse().expect("a number");
            return Err(Fault::Fault(code, member(&text, "faultString")));
        }
        Ok(text)
    }

    fn send(&self, body: &str) -> io::Result<Vec<u8>> {
        let account = self
            .account
            .as_deref()
            .map(|account| format!("Authorization: Basic {}\r\n", base64(account.as_bytes())));
        let request = format!(
            "POST /RPC2 HTTP/1.0\r\nContent-Type: text/xml\r\nContent-Length: {}\r\n{}\r\n{body}",
            body.len(),
            account.unwrap_or_default(),
        );

        match &self.place {
            Place::Tcp(address) => {
                let stream = TcpStream::connect_timeout(address, crate::LIMIT)?;
                stream.set_read_timeout(Some(READ_LIMIT))?;
                exchange(stream, &request)
            }
            Place::Unix(path) => {
                let stream = UnixStream::connect(path)?;
                stream.set_read_timeout(Some(READ_LIMIT))?;
                exchange(stream, &request)
            }
        }
    }
}

/// Longer than any program of a test takes to start.
const READ_LIMIT: Duration = Duration::from_secs(30);

fn exchange(mut stream: impl Read + Write, request: &str) -> io::Result<Vec<u8>> {
    let mut answer = Vec::new();

    stream.write_all(request.as_bytes())?;
    stream.read_to_end(&mut answer)?;
    Ok(answer)
}

/// The value of the first member of that name in an answer.
///
/// # Panics
/// If there is none.
pub(crate) fn member(xml: &str, name: &str) -> String {
    let value = xml.split(&format!("<name>{name}</name>")).nth(1);
    let value = value.and_then(|rest| rest.split("<value>").nth(1)?.split('>').nth(1));
    let value = value.and_then(|rest| rest.split('<').next());
    value.unwrap_or_else(|| panic!("no {name} in {xml}")).to_owned()
}

/// Text in base64, as the Authorization header wants it.
pub(crate) fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

    bytes
        .chunks(3)
        .flat_map(|chunk| {
            let byte = |index: usize| u32::from(chunk.get(index).copied().unwrap_or(0));
            let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
            (0..4).map(move |digit| {
                let value = (bits >> (18 - 6 * digit)) & 63;
                if digit > chunk.len() {
                    '='
                } else {
                    char::from(DIGITS[value as usize])
                }
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_is_that_of_the_standard() {
        let encoded = ["", "f", "fo", "foo", "user:pass"].map(|text| base64(text.as_bytes()));
        assert_eq!(encoded, ["", "Zg==", "Zm8=", "Zm9v", "dXNlcjpwYXNz"]);
    }

    #[test]
    fn a_member_is_found_by_its_name() {
        let xml = "<member>\n<name>pid</name>\n<value><int>17</int></value>\n</member>";
        assert_eq!(member(xml, "pid"), "17");
    }
}
