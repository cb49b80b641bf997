//! The bytes that are sent, which are those of the original module where it sent any.

use healthcheck_core::supervisor::{command_request, info_request, Command};

/// The text of an XML-RPC string parameter as a parser reads it.
fn strings(request: &[u8]) -> Vec<String> {
    let request = std::str::from_utf8(request).unwrap();
    let (head, body) = request.split_once("\r\n\r\n").unwrap();
    let length = format!("\r\nContent-Length: {}", body.len());
    assert!(head.contains(&length), "{request}");

    let document = roxmltree::Document::parse(body).unwrap();
    let strings = document.descendants().filter(|node| node.has_tag_name("string"));
    strings.map(|node| node.text().unwrap_or_default().to_owned()).collect()
}

#[test]
fn a_command_is_exactly_these_bytes() {
    assert_eq!(
        command_request(Command::Start, b"backend0", None).escape_ascii().to_string(),
        b"POST /RPC2 HTTP/1.0\r\n\
          Accept: text/xml\r\n\
          Content-Type: text/xml\r\n\
          User-Agent: ngx_supervisord\r\n\
          Content-Length: 175\r\n\
          \r\n\
          <?xml version='1.0'?>\n\
          <methodCall>\n\
          <methodName>supervisor.startProcess</methodName>\n\
          <params>\n\
          <param>\n\
          <value><string>backend0</string></value>\n\
          </param>\n\
          </params>\n\
          </methodCall>\n"
            .escape_ascii()
            .to_string()
    );
}

#[test]
fn credentials_are_the_last_header_line() {
    assert_eq!(
        command_request(Command::Stop, b"app:12", Some(b"user:pass")).escape_ascii().to_string(),
        b"POST /RPC2 HTTP/1.0\r\n\
          Accept: text/xml\r\n\
          Content-Type: text/xml\r\n\
          User-Agent: ngx_supervisord\r\n\
          Content-Length: 172\r\n\
          Authorization: Basic dXNlcjpwYXNz\r\n\
          \r\n\
          <?xml version='1.0'?>\n\
          <methodCall>\n\
          <methodName>supervisor.stopProcess</methodName>\n\
          <params>\n\
          <param>\n\
          <value><string>app:12</string></value>\n\
          </param>\n\
          </params>\n\
          </methodCall>\n"
            .escape_ascii()
            .to_string()
    );
}

#[test]
fn a_question_for_states_is_exactly_these_bytes() {
    let body = "<?xml version='1.0'?>\n\
                <methodCall>\n\
                <methodName>system.multicall</methodName>\n\
                <params>\n\
                <param>\n\
                <value><array><data>\n\
                <value><struct>\n\
                <member><name>methodName</name>\
                <value><string>supervisor.getProcessInfo</string></value></member>\n\
                <member><name>params</name>\
                <value><array><data><value><string>app0</string></value></data></array></value>\
                </member>\n\
                </struct></value>\n\
                <value><struct>\n\
                <member><name>methodName</name>\
                <value><string>supervisor.getProcessInfo</string></value></member>\n\
                <member><name>params</name>\
                <value><array><data><value><string>app1</string></value></data></array></value>\
                </member>\n\
                </struct></value>\n\
                </data></array></value>\n\
                </param>\n\
                </params>\n\
                </methodCall>\n";
    let head = format!(
        "POST /RPC2 HTTP/1.0\r\nAccept: text/xml\r\nContent-Type: text/xml\r\n\
         User-Agent: ngx_supervisord\r\nContent-Length: {}\r\n\
         Authorization: Basic Og==\r\n\r\n",
        body.len()
    );

    let request = info_request(&["app0", "app1"], Some(b":"));
    assert_eq!(String::from_utf8(request).unwrap(), head + body);
}

#[test]
fn the_state_of_no_program_can_be_asked_for() {
    let nobody: [&[u8]; 0] = [];
    assert_eq!(strings(&info_request(&nobody, None)), Vec::<String>::new());
}

#[test]
fn a_name_arrives_as_it_is_or_with_replacements_where_xml_cannot_hold_it() {
    let names: [(&[u8], &str); 12] = [
        (b"backend0", "backend0"),
        (b"", ""),
        (b"<&'\">0", "<&'\">0"),
        (b"</string></value><value>0", "</string></value><value>0"),
        (b"]]>&amp;&#0;0", "]]>&amp;&#0;0"),
        (b" a\tb\nc\rd\r\n0 ", " a\tb\nc\rd\r\n0 "),
        ("bäckend☃0".as_bytes(), "bäckend☃0"),
        (b"a\0b\x01c\x1fd\x0b\x0c0", "a\u{fffd}b\u{fffd}c\u{fffd}d\u{fffd}\u{fffd}0"),
        (b"a\x7f0", "a\u{7f}0"),
        (b"\xff\xc3(\xed\xa0\x800", "\u{fffd}\u{fffd}(\u{fffd}\u{fffd}\u{fffd}0"),
        ("\u{85}\u{2028}0".as_bytes(), "\u{85}\u{2028}0"),
        ("\u{fffe}\u{ffff}\u{10ffff}".as_bytes(), "\u{fffd}\u{fffd}\u{10ffff}"),
    ];

    for (name, read) in names {
        for command in [Command::Start, Command::Stop] {
            let request = command_request(command, name, None);
            assert_eq!(strings(&request), [read], "{name:?}");
        }
        let request = info_request(&[name, b"other"], None);
        let method = "supervisor.getProcessInfo";
        assert_eq!(strings(&request), [method, read, method, "other"], "{name:?}");
    }
}

#[test]
fn credentials_of_any_bytes_stay_in_their_line() {
    for (credentials, encoded) in [
        (&b"user:p\xc3\xa4ss\r\nX: y"[..], "dXNlcjpww6Rzcw0KWDogeQ=="),
        (b"", ""),
        (b"\xff\xfe\xfd", "//79"),
    ] {
        let request = command_request(Command::Start, b"a", Some(credentials));
        let request = String::from_utf8(request).unwrap();
        assert!(request.contains(&format!("\r\nAuthorization: Basic {encoded}\r\n\r\n<?xml")));
    }
    let long = command_request(Command::Start, b"a", Some(&[b'x'; 10_000]));
    assert_eq!(long.iter().filter(|byte| **byte == b'\r').count(), 7);
}

proptest::proptest! {
    #[test]
    fn no_name_breaks_a_request(name in proptest::prelude::any::<Vec<u8>>()) {
        let read = strings(&command_request(Command::Start, &name, None));
        let sent = String::from_utf8_lossy(&name);

        assert_eq!(read.len(), 1);
        assert_eq!(read[0].chars().count(), sent.chars().count());
        let same = |(read, sent)| read == sent || read == '\u{fffd}';
        assert!(read[0].chars().zip(sent.chars()).all(same), "{read:?} for {sent:?}");
        assert_eq!(strings(&info_request(&[&name], None)), ["supervisor.getProcessInfo", &read[0]]);
    }
}
