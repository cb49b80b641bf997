//! The XML of supervisord's reply: it means to the module what it means to the naive judge, which has
//! another parser and the whole tree.

use healthcheck_core::supervisor::{command_result, info_result, CallError, Command, Flaw};

use crate::naive_xmlrpc as naive;
use crate::Target;

/// The input is what follows the header.
pub static TARGET: Target = Target {
    name: "xmlrpc_response",
    inputs: 15_000,
    words: &[
        b"<",
        b">",
        b"/",
        b"&",
        b";",
        b"'",
        b"=",
        b"-",
        b"<!--",
        b"-->",
        b"<![CDATA[",
        b"]]>",
        b"&#49;",
        b"&amp;",
        b"<?",
        b"?>",
        b"<!DOCTYPE a>",
        b"<value>",
        b"</value>",
        b"<value/>",
        b"<int>",
        b"</int>",
        b"<i4>1</i4>",
        b"<boolean>1</boolean>",
        b"<string>",
        b"</string>",
        b"<nil/>",
        b"<member><name>state</name><value><int>20</int></value></member>",
        b"<member><name>pid</name><value><int>7</int></value></member>",
        b"<array><data>",
        b"</data></array>",
        b"<struct>",
        b"</struct>",
        b"xmlns='x'",
    ],
    check: run,
};

fn run(body: &[u8]) {
    let body = naive::comparable(body);
    let response = [&b"HTTP/1.0 200 OK\r\n\r\n"[..], &body].concat();

    for command in [Command::Start, Command::Stop] {
        let ours = one_flaw(command_result(command, &response));
        assert_eq!(ours, naive::command(command, &body), "{}", body.escape_ascii());
    }
    for programs in [0, 1, 2, 4] {
        let ours = one_flaw(info_result(programs, &response));
        assert_eq!(ours, naive::info(programs, &body), "{}", body.escape_ascii());
    }
}

/// Which flaw a response has is not the naive judge's business.
fn one_flaw<T>(result: Result<T, CallError>) -> Result<T, CallError> {
    result.map_err(|error| match error {
        CallError::Malformed(_) => CallError::Malformed(Flaw::Shape),
        error => error,
    })
}
