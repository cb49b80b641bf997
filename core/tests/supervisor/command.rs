//! What a response to a command is worth, rule by rule.

use healthcheck_core::supervisor::{
    command_result, Accepted, CallError, Command, Fault, Flaw, Phase,
};

use crate::support::{fault, fault_struct, response, started, value};

#[test]
fn commands_name_supervisords_methods() {
    assert_eq!(Command::Start.method(), "supervisor.startProcess");
    assert_eq!(Command::Stop.method(), "supervisor.stopProcess");
    assert_eq!((Command::Start.verb(), Command::Stop.verb()), ("start", "stop"));
}

#[test]
fn only_the_boolean_1_is_a_success() {
    assert_eq!(started(&value("<boolean>1</boolean>")), Ok(Accepted::Done));
    assert_eq!(started(&value("\n <boolean> 1\t</boolean>\r\n")), Ok(Accepted::Done));
    assert_eq!(started(&value("<!-- x --><boolean>&#49;</boolean>")), Ok(Accepted::Done));

    for other in [
        "<boolean>0</boolean>",
        "<int>1</int>",
        "<string>1</string>",
        "1",
        "",
        "<nil/>",
        "<double>1</double>",
        "<array><data><value><boolean>1</boolean></value></data></array>",
        "<struct></struct>",
    ] {
        assert_eq!(started(&value(other)), Err(Flaw::NotTrue.into()), "{other}");
    }
}

#[test]
fn anything_else_than_one_value_is_no_response() {
    let one = "<param><value><boolean>1</boolean></value></param>";
    for body in [
        String::new(),
        " \n".to_owned(),
        "ok".to_owned(),
        "<html><body>ok</body></html>".to_owned(),
        "<methodCall><params></params></methodCall>".to_owned(),
        "<methodResponse></methodResponse>".to_owned(),
        "<methodResponse/>".to_owned(),
        "<methodResponse><params></params></methodResponse>".to_owned(),
        "<methodResponse><params/></methodResponse>".to_owned(),
        "<methodResponse><params><param/></params></methodResponse>".to_owned(),
        format!("<methodResponse><params>{one}{one}</params></methodResponse>"),
        format!("<methodResponse><params>{one}</params><params>{one}</params></methodResponse>"),
        format!("<methodResponse><params>{one}x</params></methodResponse>"),
        format!("<methodResponse><params>{one}</params></methodResponse>x"),
        format!("<methodResponse><params>{one}</params></methodResponse><x/>"),
        format!("<methodResponse><params>{one}</params>"),
        format!("<methodResponse><fault>{one}</fault></methodResponse>"),
        format!("<methodResponse a='b'><params>{one}</params></methodResponse>"),
        format!("<x:methodResponse><params>{one}</params></x:methodResponse>"),
        value("<boolean>1</boolean><boolean>1</boolean>"),
        value("x<boolean>1</boolean>"),
        value("<?x?><boolean>1</boolean>"),
        value("<boolean>1</boolean>x"),
        value("<boolean>true</boolean>"),
        value("<boolean></boolean>"),
        value("<boolean/>"),
        value("<boolean><int>1</int></boolean>"),
        value("<BOOLEAN>1</BOOLEAN>"),
        value("<unknown>1</unknown>"),
        value("<int>x</int>"),
        value("<int></int>"),
        value("<int>99999999999999999999</int>"),
        value("<array></array>"),
        value("<array><value>1</value></array>"),
        value("<struct><member><name>a</name></member></struct>"),
        value("<struct><member><value>a</value><name>a</name></member></struct>"),
    ] {
        assert_eq!(started(&body), Err(Flaw::Shape.into()), "{body}");
    }
}

#[test]
fn what_is_not_well_formed_is_no_response() {
    for body in [
        value("<boolean>1</int>"),
        value("<boolean>1"),
        value("<boolean>1&lt</boolean>"),
        value("<string>&unknown;</string>"),
        value("<string>&#0;</string>"),
        value("<string>&#xd800;</string>"),
        value("<string>&#27;</string>"),
        value("<string>]]></string>"),
        value("<!-- -- --><boolean>1</boolean>"),
        value("<string><![CDATA[x</string>"),
        value("<string><!-- x</string>"),
        format!(" {}", value("<boolean>1</boolean>")),
        "<methodResponse><?xml version='1.0'?></methodResponse>".to_owned(),
        "</methodResponse>".to_owned(),
        "<".to_owned(),
    ] {
        let error = started(&body).unwrap_err();
        assert!(matches!(error, CallError::Malformed(Flaw::Xml)), "{error} for {body}");
    }

    let bytes =
        [&b"HTTP/1.0 200 OK\r\n\r\n"[..], b"<methodResponse>\xff</methodResponse>"].concat();
    assert_eq!(command_result(Command::Start, &bytes), Err(Flaw::NotUtf8.into()));
}

#[test]
fn a_document_type_is_refused_whatever_it_declares() {
    for doctype in [
        "<!DOCTYPE methodResponse>",
        "<!DOCTYPE a [<!ENTITY a \"1\">]>",
        "<!DOCTYPE a [<!ENTITY a \"aaaa\"><!ENTITY b \"&a;&a;\">]>",
        "<!DOCTYPE a SYSTEM \"file:///etc/passwd\">",
    ] {
        let body = format!("{doctype}{}", "<methodResponse>&a;</methodResponse>");
        assert_eq!(started(&body), Err(Flaw::Doctype.into()), "{doctype}");
    }
}

#[test]
fn a_byte_order_mark_is_no_harm() {
    assert_eq!(started(&format!("\u{feff}{}", value("<boolean>1</boolean>"))), Ok(Accepted::Done));
}

#[test]
fn a_faults_number_is_an_int_of_any_name_and_its_text_may_have_no_type() {
    for code in ["<int>60</int>", "<i4>60</i4>", "<i8>60</i8>", "<int>+60</int>", "<int> 60 </int>"]
    {
        for text in ["<string>x</string>", "x", "", "<string/>"] {
            assert_eq!(started(&fault(code, text)), Ok(Accepted::Already), "{code} {text}");
        }
    }
}

#[test]
fn a_fault_without_a_number_is_no_success() {
    for code in ["60", "<string>60</string>", "<double>60</double>", "<nil/>", ""] {
        assert_eq!(started(&fault(code, "x")), Err(Flaw::Fault.into()), "{code}");
    }
    for code in ["<int>4294967356</int>", "<i8>-2147483649</i8>"] {
        assert_eq!(started(&fault(code, "x")), Err(Flaw::Fault.into()), "{code}");
    }

    let whole = fault("<int>60</int>", "x");
    for (from, to) in [
        ("<name>faultCode</name>", "<name>code</name>"),
        ("<name>faultString</name>", "<name>faultCode</name>"),
        ("<value>x</value>", "<value><int>1</int></value>"),
    ] {
        assert_eq!(started(&whole.replace(from, to)), Err(Flaw::Fault.into()), "{to}");
    }
}

#[test]
fn a_struct_like_a_fault_is_no_fault_where_a_value_belongs() {
    let body = value(&fault_struct("<int>60</int>", "x"));

    assert_eq!(started(&body), Err(Flaw::NotTrue.into()));
}

#[test]
fn every_other_number_is_a_failure_that_says_so() {
    for (code, name) in [
        (0, "UNKNOWN"),
        (1, "UNKNOWN_METHOD"),
        (2, "INCORRECT_PARAMETERS"),
        (3, "BAD_ARGUMENTS"),
        (4, "SIGNATURE_UNSUPPORTED"),
        (5, "UNKNOWN"),
        (6, "SHUTDOWN_STATE"),
        (10, "BAD_NAME"),
        (11, "BAD_SIGNAL"),
        (20, "NO_FILE"),
        (21, "NOT_EXECUTABLE"),
        (30, "FAILED"),
        (40, "ABNORMAL_TERMINATION"),
        (50, "SPAWN_ERROR"),
        (70, "NOT_RUNNING"),
        (80, "SUCCESS"),
        (90, "ALREADY_ADDED"),
        (91, "STILL_RUNNING"),
        (92, "CANT_REREAD"),
        (-1, "UNKNOWN"),
        (i32::MAX, "UNKNOWN"),
        (i32::MIN, "UNKNOWN"),
    ] {
        let error = started(&fault(&format!("<int>{code}</int>"), "why")).unwrap_err();

        assert_eq!(error, CallError::Fault(Fault::new(code, "why")));
        assert_eq!(error.to_string(), format!("fault {code} {name}: why"));
        let of_program = [10, 11, 20, 21, 30, 40, 50, 70, 90, 91].contains(&code);
        assert_eq!(error.is_of_program(), of_program, "{code}");
        assert!(!error.is_connect());
    }
    assert_eq!(Fault::new(60, "").to_string(), "fault 60 ALREADY_STARTED");
}

#[test]
fn a_faults_text_is_one_short_line() {
    let text = |text: &str| match started(&fault("<int>50</int>", text)).unwrap_err() {
        CallError::Fault(fault) => fault.text().to_owned(),
        other => panic!("{other}"),
    };

    assert_eq!(text("a&lt;b&gt;&amp;&quot;&apos;&#x41;"), "a<b>&\"'A");
    assert_eq!(text("<string><![CDATA[<a>]]> b</string>"), "<a> b");
    assert_eq!(text("a\nb\r\nc&#13;d\te"), "a\\nb\\nc\\rd\\te");
    assert_eq!(
        text("\u{1b}[31m\u{7f}\0\u{85}\u{2028}"),
        "\\u{1b}[31m\\u{7f}\\u{0}\\u{85}\\u{2028}"
    );
    assert_eq!(text("ä☃"), "ä☃");
    assert_eq!(text(&"x".repeat(200)), "x".repeat(200));
    assert_eq!(text(&"ä".repeat(201)), "ä".repeat(200) + "...");
    assert!(text(&"\n".repeat(60_000)).len() < 1_000);
}

#[test]
fn values_may_lie_in_values_to_a_limit() {
    let nested = |depth: usize| {
        let open = "<value><array><data>".repeat(depth);
        let close = "</data></array></value>".repeat(depth);
        started(&value("X").replace("<value>X</value>", &format!("{open}{close}")))
    };

    assert_eq!(nested(8), Err(Flaw::NotTrue.into()));
    assert_eq!(nested(9), Err(Flaw::Depth.into()));
    assert_eq!(nested(100_000), Err(Flaw::Depth.into()));
}

#[test]
fn only_what_cannot_have_reached_a_supervisord_is_worth_another_address() {
    let errors = [
        (CallError::Connect, "couldn't connect to supervisord", true),
        (CallError::TimedOut(Phase::Connecting), "timed out while connecting to supervisord", true),
        (CallError::TimedOut(Phase::Sending), "timed out while sending to supervisord", false),
        (
            CallError::TimedOut(Phase::Reading),
            "timed out while waiting for supervisord's reply",
            false,
        ),
        (CallError::NoReply, "supervisord closed the connection without a reply", false),
        (CallError::Unauthorized, "unauthorized connection", false),
        (CallError::Status(503), "HTTP status 503", false),
        (CallError::TooLarge(69_632), "reply of more than 69632 bytes", false),
        (
            CallError::Malformed(Flaw::Truncated),
            "malformed reply: connection closed in the middle of it",
            false,
        ),
        (CallError::Internal, "internal error", false),
    ];

    for (error, text, is_connect) in errors {
        assert_eq!(error.to_string(), text);
        assert_eq!(error.is_connect(), is_connect, "{error}");
        assert!(!error.is_of_program(), "{error}");
    }
}

#[test]
fn an_http_error_is_a_failure_whatever_its_body_says() {
    for (status, error) in [
        ("HTTP/1.0 401 Unauthorized", CallError::Unauthorized),
        ("HTTP/1.1 401", CallError::Unauthorized),
        ("HTTP/1.0 400 Bad Request", CallError::Status(400)),
        ("HTTP/1.0 500 Internal Server Error", CallError::Status(500)),
        ("HTTP/1.1 100 Continue", CallError::Status(100)),
        ("HTTP/1.0 204 No Content", CallError::Status(204)),
        ("HTTP/1.0 302 Found", CallError::Status(302)),
    ] {
        let success = String::from_utf8(response(&value("<boolean>1</boolean>"))).unwrap();
        let response = success.replace("HTTP/1.0 200 OK", status);
        assert_eq!(command_result(Command::Start, response.as_bytes()), Err(error), "{status}");
    }
}
