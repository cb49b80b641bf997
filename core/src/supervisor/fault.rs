//! A fault: the number, supervisord's own name for it, and the text.

use std::fmt;

/// What supervisord answers when it refuses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// One of supervisord's numbers, or any other.
    pub code: i32,
    /// What it says, of at most 200 characters, control characters escaped.
    text: String,
}

/// What the table says of one fault.
struct Row {
    code: i32,
    name: &'static str,
    scope: Scope,
}

/// What a fault concerns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Scope {
    /// The one program that was named.
    Program,
    /// supervisord itself, or how it was asked.
    Supervisord,
}

/// `Faults` of supervisor's `xmlrpc.py` (4.2.5 and 4.3.0), all of it.
#[rustfmt::skip]
const TABLE: [Row; 18] = [
    row(1, "UNKNOWN_METHOD", Scope::Supervisord),
    row(2, "INCORRECT_PARAMETERS", Scope::Supervisord),
    row(3, "BAD_ARGUMENTS", Scope::Supervisord),
    row(4, "SIGNATURE_UNSUPPORTED", Scope::Supervisord),
    row(6, "SHUTDOWN_STATE", Scope::Supervisord),
    row(10, "BAD_NAME", Scope::Program),
    row(11, "BAD_SIGNAL", Scope::Program),
    row(20, "NO_FILE", Scope::Program),
    row(21, "NOT_EXECUTABLE", Scope::Program),
    row(30, "FAILED", Scope::Program),
    row(40, "ABNORMAL_TERMINATION", Scope::Program),
    row(50, "SPAWN_ERROR", Scope::Program),
    row(Fault::ALREADY_STARTED, "ALREADY_STARTED", Scope::Program),
    row(Fault::NOT_RUNNING, "NOT_RUNNING", Scope::Program),
    row(80, "SUCCESS", Scope::Supervisord),
    row(90, "ALREADY_ADDED", Scope::Program),
    row(91, "STILL_RUNNING", Scope::Program),
    row(92, "CANT_REREAD", Scope::Supervisord),
];

/// What supervisor calls a number that its table lacks.
const UNKNOWN: &str = "UNKNOWN";

const fn row(code: i32, name: &'static str, scope: Scope) -> Row {
    Row { code, name, scope }
}

impl Fault {
    /// A start of a program that is starting or running.
    pub const ALREADY_STARTED: i32 = 60;
    /// A stop of a program that is neither.
    pub const NOT_RUNNING: i32 = 70;

    /// A fault with that number and text, of which the first 200 characters are kept.
    pub fn new(code: i32, text: &str) -> Fault {
        Fault { code, text: loggable(text) }
    }

    /// supervisord's own name for the number, or `UNKNOWN`.
    pub fn name(&self) -> &'static str {
        Fault::name_of(self.code).unwrap_or(UNKNOWN)
    }

    /// supervisord's own name for a number; `None` if it has none.
    pub fn name_of(code: i32) -> Option<&'static str> {
        row_of(code).map(|row| row.name)
    }

    /// What supervisord says: at most 200 characters and an ellipsis, control characters escaped.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Whether it concerns the one program; otherwise supervisord itself, or how it was asked.
    pub fn is_of_program(&self) -> bool {
        row_of(self.code).is_some_and(|row| row.scope == Scope::Program)
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "fault {} {}", self.code, self.name())?;
        if !self.text.is_empty() {
            write!(f, ": {}", self.text)?;
        }
        Ok(())
    }
}

fn row_of(code: i32) -> Option<&'static Row> {
    TABLE.iter().find(|row| row.code == code)
}

/// The text as one short line without control characters.
fn loggable(text: &str) -> String {
    const MAX_CHARS: usize = 200;

    let mut loggable = String::new();
    for char in text.chars().take(MAX_CHARS) {
        if char.is_control() || matches!(char, '\u{2028}' | '\u{2029}') {
            loggable.extend(char.escape_default());
        } else {
            loggable.push(char);
        }
    }
    if text.chars().nth(MAX_CHARS).is_some() {
        loggable.push_str("...");
    }
    loggable
}
