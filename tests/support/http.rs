//! A client that speaks just enough HTTP/1.0: one request a connection, read to its end.

use std::fmt;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::Duration;

use crate::port::connect_from;
use crate::wait::patient;

/// One request.
#[derive(Clone, Debug)]
pub struct Request<'a> {
    method: &'a str,
    path: &'a str,
    body: &'a [u8],
    headers: Vec<(&'a str, &'a str)>,
    source: Option<Ipv4Addr>,
    limit: Duration,
}

impl<'a> Request<'a> {
    /// A GET.
    pub fn get(path: &'a str) -> Request<'a> {
        Request {
            method: "GET",
            path,
            body: b"",
            headers: Vec::new(),
            source: None,
            limit: Duration::from_secs(10),
        }
    }

    /// Another method.
    pub fn method(mut self, method: &'a str) -> Request<'a> {
        self.method = method;
        self
    }

    /// With a header line more; `Host: test` is there already.
    pub fn header(mut self, name: &'a str, value: &'a str) -> Request<'a> {
        self.headers.push((name, value));
        self
    }

    /// With a body.
    pub fn body(mut self, body: &'a [u8]) -> Request<'a> {
        self.body = body;
        self
    }

    /// From another loopback address.
    pub fn from(mut self, source: Ipv4Addr) -> Request<'a> {
        self.source = Some(source);
        self
    }

    /// With another limit for each of connecting, sending and every read; 10 s otherwise.
    pub fn limit(mut self, limit: Duration) -> Request<'a> {
        self.limit = limit;
        self
    }

    /// Sends it and reads the answer.
    ///
    /// # Errors
    /// Those of the socket, and `InvalidData` for what is no response.
    pub fn send(&self, to: SocketAddr) -> io::Result<Response> {
        let limit = patient(self.limit);
        let mut stream = match self.source {
            Some(source) => connect_from(source, to, limit)?,
            None => TcpStream::connect_timeout(&to, limit)?,
        };
        stream.set_read_timeout(Some(limit))?;
        stream.set_write_timeout(Some(limit))?;

        let mut head = format!("{} {} HTTP/1.0\r\nHost: test\r\n", self.method, self.path);
        for (name, value) in &self.headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        if !self.body.is_empty() {
            head.push_str(&format!("Content-Length: {}\r\n", self.body.len()));
        }
        head.push_str("\r\n");
        stream.write_all(&[head.as_bytes(), self.body].concat())?;

        let mut answer = Vec::new();
        stream.read_to_end(&mut answer)?;
        Response::parse(&answer).ok_or_else(|| {
            let text = String::from_utf8_lossy(&answer).into_owned();
            io::Error::new(io::ErrorKind::InvalidData, format!("no response: {text:?}"))
        })
    }
}

/// One response.
#[derive(Clone, Debug)]
pub struct Response {
    /// Its status code.
    pub status: u16,
    /// Its header lines in order.
    pub headers: Vec<(String, String)>,
    /// All after the header.
    pub body: Vec<u8>,
}

impl Response {
    /// `None` for what is no complete header.
    pub fn parse(bytes: &[u8]) -> Option<Response> {
        let end = bytes.windows(4).position(|window| window == b"\r\n\r\n")?;
        let (head, body) = bytes.split_at(end);
        let mut lines = std::str::from_utf8(head).ok()?.split("\r\n");
        let status = lines.next()?.strip_prefix("HTTP/1.")?.split(' ').nth(1)?.parse().ok()?;
        let headers = lines
            .map(|line| line.split_once(": ").map(|(name, value)| (name.into(), value.into())))
            .collect::<Option<Vec<_>>>()?;

        Some(Response { status, headers, body: body[4..].to_vec() })
    }

    /// The first header line of that name.
    pub fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(own, _)| own.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_str())
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The upstream address that nginx sent the request to, the upstream's name if to none.
    pub fn peer(&self) -> &str {
        self.header("X-Peer").unwrap_or("")
    }

    /// The process that served it, 0 if unknown.
    pub fn worker(&self) -> u32 {
        self.header("X-Worker").and_then(|pid| pid.parse().ok()).unwrap_or(0)
    }
}

impl fmt::Display for Response {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {:?} {}", self.status, self.headers, self.text())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_response_has_status_header_and_body() {
        let response = Response::parse(b"HTTP/1.1 502 Bad\r\nX-Peer: a\r\nB: c: d\r\n\r\nbody")
            .expect("a response");

        assert_eq!((response.status, response.peer()), (502, "a"));
        assert_eq!(response.header("b"), Some("c: d"));
        assert_eq!(response.text(), "body");
        assert!(Response::parse(b"HTTP/1.1 200 OK\r\nA: b\r\n").is_none());
    }
}
