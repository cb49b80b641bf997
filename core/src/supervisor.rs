//! What is said to supervisord and what it answers: XML-RPC over HTTP/1.0, one call a connection.
//!
//! Requests as bytes, a call as a machine without I/O, and verdicts over complete responses. Which
//! program is started when, and what becomes of a verdict, is not known here.

mod call;
mod error;
mod fault;
mod process;
mod reply;
mod request;
mod xml;

pub use call::{Call, CallAction, Limits};
pub use error::{CallError, Flaw, Phase};
pub use fault::Fault;
pub use process::{ProcessInfo, ProcessState};
pub use request::{command_request, info_request};

use reply::body;
use xml::{MethodResponse, Value};

/// What a program can be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Command {
    /// Run it; supervisord answers when it is RUNNING, which takes its `startsecs`.
    Start,
    /// End it; supervisord answers when it has stopped.
    Stop,
}

/// How a command succeeded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Accepted {
    /// supervisord did it.
    Done,
    /// There was nothing to do: the program is already started, or not running.
    Already,
}

impl Command {
    /// The method of supervisord that does it.
    pub fn method(self) -> &'static str {
        match self {
            Command::Start => "supervisor.startProcess",
            Command::Stop => "supervisor.stopProcess",
        }
    }

    /// For the log: `could not <verb> "backend0"`.
    pub fn verb(self) -> &'static str {
        match self {
            Command::Start => "start",
            Command::Stop => "stop",
        }
    }

    /// The fault that says that there was nothing to do, which is a success.
    fn tolerated(self) -> i32 {
        match self {
            Command::Start => Fault::ALREADY_STARTED,
            Command::Stop => Fault::NOT_RUNNING,
        }
    }
}

/// Bytes of the largest response accepted of a call that names that many programs: 64 kB, and
/// 4 kB a program.
pub fn max_response(programs: usize) -> usize {
    const BASE: usize = 64 * 1024;
    const PER_PROGRAM: usize = 4 * 1024;

    BASE.saturating_add(programs.saturating_mul(PER_PROGRAM))
}

/// Judges the complete HTTP response to [`command_request`]: only the boolean 1 as the only value,
/// or the fault that says that there was nothing to do, is a success.
///
/// # Errors
/// What supervisord answered instead, or what is wrong with the response.
pub fn command_result(command: Command, response: &[u8]) -> Result<Accepted, CallError> {
    match MethodResponse::parse(body(response)?)? {
        MethodResponse::Value(Value::Boolean(true)) => Ok(Accepted::Done),
        MethodResponse::Value(_) => Err(Flaw::NotTrue.into()),
        MethodResponse::Fault(fault) if fault.code == command.tolerated() => Ok(Accepted::Already),
        MethodResponse::Fault(fault) => Err(CallError::Fault(fault)),
    }
}

/// Judges the complete HTTP response to [`info_request`] for that many programs: what supervisord
/// says of each, in the order in which they were named. A program that it does not know, and
/// each program while it shuts down, is a fault of its own.
///
/// # Errors
/// A fault of the whole call, or what is wrong with the response. One bad entry spoils all.
pub fn info_result(
    programs: usize,
    response: &[u8],
) -> Result<Vec<Result<ProcessInfo, Fault>>, CallError> {
    match MethodResponse::parse(body(response)?)? {
        MethodResponse::Value(Value::Array(entries)) if entries.len() == programs => {
            entries.iter().map(|entry| process::entry(entry).map_err(CallError::from)).collect()
        }
        MethodResponse::Value(_) => Err(Flaw::Entries.into()),
        MethodResponse::Fault(fault) => Err(CallError::Fault(fault)),
    }
}
