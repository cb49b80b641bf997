//! The bytes of a request.

use std::borrow::Cow;

use base64::engine::general_purpose::STANDARD;
use base64::Engine;

use super::xml::is_no_xml;
use super::Command;

/// The request that gives `command` to `program`, with `credentials` (`user:password`, as they
/// are) if supervisord wants some.
///
/// The name is sent as a string of XML 1.0: what markup it has is escaped, and what XML cannot
/// hold (bytes that are not UTF-8, most control characters) becomes U+FFFD, so that supervisord
/// does not know such a name instead of refusing the whole request.
pub fn command_request(command: Command, program: &[u8], credentials: Option<&[u8]>) -> Vec<u8> {
    let value = format!("<string>{}</string>", text(program));

    post(&call(command.method(), &value), credentials)
}

/// The request for the state of each of `programs`, in one call. Names and credentials are as in
/// [`command_request`].
pub fn info_request(programs: &[impl AsRef<[u8]>], credentials: Option<&[u8]>) -> Vec<u8> {
    let mut value = String::from("<array><data>\n");

    for program in programs {
        value.push_str("<value><struct>\n");
        value.push_str("<member><name>methodName</name>");
        value.push_str("<value><string>supervisor.getProcessInfo</string></value></member>\n");
        value.push_str("<member><name>params</name><value><array><data><value><string>");
        value.push_str(&text(program.as_ref()));
        value.push_str("</string></value></data></array></value></member>\n");
        value.push_str("</struct></value>\n");
    }
    value.push_str("</data></array>");

    post(&call("system.multicall", &value), credentials)
}

/// A call with one parameter.
fn call(method: &str, value: &str) -> String {
    format!(
        "<?xml version='1.0'?>\n\
         <methodCall>\n\
         <methodName>{method}</methodName>\n\
         <params>\n\
         <param>\n\
         <value>{value}</value>\n\
         </param>\n\
         </params>\n\
         </methodCall>\n"
    )
}

/// HTTP/1.0, so that supervisord closes when it has answered and never answers in chunks.
fn post(body: &str, credentials: Option<&[u8]>) -> Vec<u8> {
    let length = body.len();
    let mut request = format!(
        "POST /RPC2 HTTP/1.0\r\n\
         Accept: text/xml\r\n\
         Content-Type: text/xml\r\n\
         User-Agent: ngx_supervisord\r\n\
         Content-Length: {length}\r\n"
    );

    if let Some(credentials) = credentials {
        request.push_str("Authorization: Basic ");
        STANDARD.encode_string(credentials, &mut request);
        request.push_str("\r\n");
    }
    request.push_str("\r\n");
    request.push_str(body);
    request.into_bytes()
}

/// The text of an element.
fn text(bytes: &[u8]) -> String {
    let mut text = String::from_utf8_lossy(bytes);

    if text.contains(is_no_xml) {
        text = Cow::Owned(text.replace(is_no_xml, "\u{fffd}"));
    }
    // A parser reads a bare carriage return as a line feed.
    html_escape::encode_text(&text).replace('\r', "&#13;")
}
