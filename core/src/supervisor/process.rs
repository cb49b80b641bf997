//! A program as supervisord sees it: the state and the pid.

use super::xml::Value;
use super::{Fault, Flaw};

/// What supervisord says of one program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProcessInfo {
    /// Its state.
    pub state: ProcessState,
    /// Its process; 0 = none.
    pub pid: u32,
}

/// `ProcessStates` of supervisor's `states.py`, with its numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u16)]
pub enum ProcessState {
    /// Stopped by request, or never started.
    Stopped = 0,
    /// Running for less than its `startsecs`.
    Starting = 10,
    /// Running.
    Running = 20,
    /// Ended while it was starting; supervisord will try again.
    Backoff = 30,
    /// Told to stop and not yet ended.
    Stopping = 40,
    /// Ended of its own accord.
    Exited = 100,
    /// Could not be started, and supervisord gave up.
    Fatal = 200,
    /// supervisord does not know, or gives a number that is none of the above.
    Unknown = 1000,
}

/// Every state with supervisord's name for it.
#[rustfmt::skip]
const TABLE: [(ProcessState, &str); 8] = [
    (ProcessState::Stopped, "STOPPED"),
    (ProcessState::Starting, "STARTING"),
    (ProcessState::Running, "RUNNING"),
    (ProcessState::Backoff, "BACKOFF"),
    (ProcessState::Stopping, "STOPPING"),
    (ProcessState::Exited, "EXITED"),
    (ProcessState::Fatal, "FATAL"),
    (ProcessState::Unknown, "UNKNOWN"),
];

impl ProcessState {
    /// Every state, in the order of the numbers.
    pub fn all() -> impl Iterator<Item = ProcessState> {
        TABLE.iter().map(|(state, _)| *state)
    }

    /// supervisord's number, for a word in shared memory.
    pub fn to_bits(self) -> u16 {
        self as u16
    }

    /// The state with that number; `None` for a number that no state has.
    pub fn from_bits(bits: u16) -> Option<ProcessState> {
        ProcessState::all().find(|state| state.to_bits() == bits)
    }

    /// supervisord's name for it.
    pub fn name(self) -> &'static str {
        TABLE.iter().find(|(state, _)| *state == self).map_or("UNKNOWN", |(_, name)| name)
    }

    fn from_number(number: i64) -> ProcessState {
        u16::try_from(number)
            .ok()
            .and_then(ProcessState::from_bits)
            .unwrap_or(ProcessState::Unknown)
    }
}

/// One entry of `system.multicall` over `supervisor.getProcessInfo`. supervisord gives the struct
/// itself, against the description of multicall, which wraps it into an array of one; both do.
pub(super) fn entry(value: &Value) -> Result<Result<ProcessInfo, Fault>, Flaw> {
    if let Some(fault) = value.as_fault() {
        return Ok(Err(fault));
    }
    let value = match value {
        Value::Array(values) => match values.as_slice() {
            [value] => value,
            _ => return Err(Flaw::Entry),
        },
        value => value,
    };

    match (value.member("state"), value.member("pid")) {
        (Some(Value::Integer(state)), Some(Value::Integer(pid))) => Ok(Ok(ProcessInfo {
            state: ProcessState::from_number(*state),
            pid: u32::try_from(*pid).map_err(|_| Flaw::Entry)?,
        })),
        _ => Err(Flaw::Entry),
    }
}
