//! Names of programs and credentials in requests to supervisord: whatever they hold, the request has its
//! own header lines and no more, and supervisord reads the same names.

use base64::engine::general_purpose::STANDARD;
use base64::Engine;
use healthcheck_core::supervisor::{command_request, info_request, Command};
use roxmltree::Document;

use crate::Target;

/// The input is the credentials and the names, with `|` between them.
pub static TARGET: Target = Target {
    name: "xmlrpc_request",
    inputs: 40_000,
    words: &[
        b"|",
        b"user:password",
        b"backend0",
        b"group:program",
        b"<",
        b">",
        b"&",
        b"&amp;",
        b"]]>",
        b"</string>",
        b"<![CDATA[",
        b"\r\n",
        b"\r",
        b"\n",
        b"\0",
        b"\xef\xbf\xbe",
        b"\xff",
    ],
    check: run,
};

fn run(input: &[u8]) {
    let mut parts = input.split(|byte| *byte == b'|');
    let credentials = parts.next().filter(|credentials| !credentials.is_empty());
    let names: Vec<&[u8]> = parts.collect();

    let request = info_request(&names, credentials);
    let asked = names.iter().flat_map(|name| ["supervisor.getProcessInfo".to_owned(), text(name)]);
    assert_eq!(strings(body(&request, credentials)), asked.collect::<Vec<_>>());
    if let Some(name) = names.first() {
        for command in [Command::Start, Command::Stop] {
            let request = command_request(command, name, credentials);
            assert_eq!(strings(body(&request, credentials)), [text(name)]);
        }
    }
}

/// The body of a request whose header is as it must be.
fn body<'a>(request: &'a [u8], credentials: Option<&[u8]>) -> &'a str {
    let request = std::str::from_utf8(request).expect("a request is UTF-8");
    let (header, body) = request.split_once("\r\n\r\n").expect("a header");
    let lines: Vec<&str> = header.split("\r\n").skip(1).collect();
    let length = format!("Content-Length: {}", body.len());
    let authorization = credentials
        .map(|credentials| format!("Authorization: Basic {}", STANDARD.encode(credentials)));

    assert!(!lines.concat().contains(char::is_control), "{header:?}");
    assert_eq!(lines.len(), 4 + usize::from(credentials.is_some()));
    assert_eq!((lines[3], lines.get(4).copied()), (&*length, authorization.as_deref()));
    body
}

/// Every string of the XML, in order.
fn strings(body: &str) -> Vec<String> {
    let document = Document::parse(body).expect("well-formed XML");
    let strings = document.descendants().filter(|node| node.has_tag_name("string"));

    strings
        .map(|node| {
            assert!(node.children().all(|child| child.is_text()));
            node.text().unwrap_or_default().to_owned()
        })
        .collect()
}

/// A name as XML can have it.
fn text(name: &[u8]) -> String {
    let odd = |char: char| matches!(char, '\0'..='\x08' | '\x0b' | '\x0c' | '\x0e'..='\x1f' | '\u{fffe}' | '\u{ffff}');

    String::from_utf8_lossy(name)
        .chars()
        .map(|char| if odd(char) { '\u{fffd}' } else { char })
        .collect()
}
