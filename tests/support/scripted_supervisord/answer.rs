//! Answers in the words of a real supervisord.

use std::thread;
use std::time::{Duration, Instant};

use super::{Call, Shared, INFO, START, STOP};
use crate::wire::{Wire, SLICE};

/// Numbers and names of supervisord's faults.
const FAULTS: [(i32, &str); 11] = [
    (1, "UNKNOWN_METHOD"),
    (6, "SHUTDOWN_STATE"),
    (10, "BAD_NAME"),
    (20, "NO_FILE"),
    (21, "NOT_EXECUTABLE"),
    (30, "FAILED"),
    (40, "ABNORMAL_TERMINATION"),
    (50, "SPAWN_ERROR"),
    (60, "ALREADY_STARTED"),
    (70, "NOT_RUNNING"),
    (90, "ALREADY_ADDED"),
];

const STATES: [(&str, u32); 8] = [
    ("STOPPED", 0),
    ("STARTING", 10),
    ("RUNNING", 20),
    ("BACKOFF", 30),
    ("STOPPING", 40),
    ("EXITED", 100),
    ("FATAL", 200),
    ("UNKNOWN", 1000),
];

/// With status and header.
pub(super) fn whole(body: &str) -> Vec<u8> {
    let length = body.len();
    format!(
        "HTTP/1.0 200 OK\r\nServer: Medusa/1.12\r\nConnection: close\r\nContent-Type: text/xml\r\n\
         Content-Length: {length}\r\n\r\n{body}"
    )
    .into_bytes()
}

/// A fault about the program of the call.
pub(super) fn fault(code: i32, call: &Call) -> String {
    let program = call.programs.first().map_or("", String::as_str);
    let value = fault_value(code, program);

    if call.method == "system.multicall" {
        return response(&array(&vec![value; call.methods.len()]));
    }
    format!(
        "<?xml version='1.0'?>\n<methodResponse>\n<fault>\n{value}\n</fault>\n</methodResponse>\n"
    )
}

/// What a supervisord would say; a start or stop takes the program's time.
pub(super) fn fitting(call: &Call, shared: &Shared, wire: &Wire) -> String {
    if call.method == "system.multicall" {
        let one = |(method, program): (&String, &String)| match method.as_str() {
            INFO => array(&[info(program, shared)]),
            _ => fault_value(1, method),
        };
        let all: Vec<String> = call.methods.iter().zip(&call.programs).map(one).collect();
        return response(&array(&all));
    }

    let program = call.programs.first().map_or("", String::as_str);
    let now = shared.state().program(program).0;
    match call.method.as_str() {
        START if matches!(now, "STARTING" | "RUNNING" | "BACKOFF") => fault(60, call),
        START => passing(program, shared, wire, "STARTING", "RUNNING"),
        STOP if !matches!(now, "STARTING" | "RUNNING" | "BACKOFF") => fault(70, call),
        STOP => passing(program, shared, wire, "STOPPING", "STOPPED"),
        INFO => response(&info(program, shared)),
        _ => fault(1, call),
    }
}

/// Through one state to another, which is reached even if nobody waits for the answer.
fn passing(
    program: &str,
    shared: &Shared,
    wire: &Wire,
    through: &'static str,
    to: &'static str,
) -> String {
    let time = {
        let mut state = shared.state();
        state.change(program, through);
        state.delays.get(program).copied().unwrap_or(Duration::ZERO)
    };
    let end = Instant::now() + time;

    while let Some(rest) = end.checked_duration_since(Instant::now()) {
        if !wire.is_alive() {
            break;
        }
        thread::sleep(rest.min(SLICE));
    }
    shared.state().change(program, to);
    response("<value><boolean>1</boolean></value>")
}

fn info(program: &str, shared: &Shared) -> String {
    let (state, pid) = shared.state().program(program);
    let code = STATES.iter().find(|(name, _)| *name == state).map_or(1000, |(_, code)| *code);
    let program = escape(program);
    let text = |value: &str| format!("<value><string>{value}</string></value>");
    let number = |value: u32| format!("<value><int>{value}</int></value>");
    let members: String = [
        ("name", text(&program)),
        ("group", text(&program)),
        ("start", number(1_700_000_000)),
        ("stop", number(0)),
        ("now", number(1_700_000_100)),
        ("state", number(code)),
        ("statename", text(state)),
        ("spawnerr", text("")),
        ("exitstatus", number(0)),
        ("logfile", text("")),
        ("stdout_logfile", text("")),
        ("stderr_logfile", text("")),
        ("pid", number(pid)),
        ("description", text("pid 1, uptime 0:01:40")),
    ]
    .iter()
    .map(|(name, value)| format!("<member>\n<name>{name}</name>\n{value}\n</member>\n"))
    .collect();

    format!("<value><struct>\n{members}</struct></value>")
}

fn response(value: &str) -> String {
    format!(
        "<?xml version='1.0'?>\n<methodResponse>\n<params>\n<param>\n{value}\n</param>\n</params>\n\
         </methodResponse>\n"
    )
}

fn array(values: &[String]) -> String {
    format!("<value><array><data>\n{}\n</data></array></value>", values.join("\n"))
}

fn fault_value(code: i32, about: &str) -> String {
    let name = FAULTS.iter().find(|(own, _)| *own == code).map_or("UNKNOWN", |(_, name)| *name);
    let about = escape(about);

    format!(
        "<value><struct>\n<member>\n<name>faultCode</name>\n<value><int>{code}</int></value>\n\
         </member>\n<member>\n<name>faultString</name>\n<value><string>{name}: {about}</string>\
         </value>\n</member>\n</struct></value>"
    )
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}
