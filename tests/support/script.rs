//! What a scripted peer does on a connection.

use std::time::Duration;

/// One thing a peer does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Sends bytes.
    Send(Vec<u8>),
    /// Does nothing for a while.
    Pause(Duration),
    /// Sends the same bytes again and again until the other side is gone.
    Repeat(Vec<u8>, Duration),
    /// Ends its own sending direction and goes on.
    HalfClose,
    /// Closes by a reset instead of a FIN.
    Reset,
    /// Keeps the connection open, silent, until the other side closes.
    Hang,
    /// Closes.
    Close,
}

/// All that a peer does with one request, or from the start of a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Script(pub Vec<Step>);

impl Script {
    /// 200 with a body of known length.
    pub fn ok(body: &str) -> Script {
        Script::status(200, body)
    }

    /// Any status with a body of known length; the connection stays open if the client wants that.
    pub fn status(status: u16, body: &str) -> Script {
        let length = body.len();
        Script::send(format!(
            "HTTP/1.1 {status} Scripted\r\nContent-Type: text/plain\r\n\
             Content-Length: {length}\r\n\r\n{body}"
        ))
    }

    /// These bytes, then a close.
    pub fn raw(bytes: impl Into<Vec<u8>>) -> Script {
        Script::send(bytes).then(Step::Close)
    }

    /// These bytes in pieces with a pause between two, then a close.
    pub fn pieces(pieces: &[&str], pause: Duration) -> Script {
        let mut steps = Vec::new();
        for piece in pieces {
            if !steps.is_empty() {
                steps.push(Step::Pause(pause));
            }
            steps.push(Step::Send(piece.as_bytes().to_vec()));
        }
        steps.push(Step::Close);
        Script(steps)
    }

    /// These bytes, and then nothing more on the open connection.
    pub fn send_and_hang(bytes: impl Into<Vec<u8>>) -> Script {
        Script::send(bytes).then(Step::Hang)
    }

    /// Never a byte.
    pub fn silent() -> Script {
        Script(vec![Step::Hang])
    }

    /// A close without a byte.
    pub fn close() -> Script {
        Script(vec![Step::Close])
    }

    /// A reset without a byte.
    pub fn reset() -> Script {
        Script(vec![Step::Reset])
    }

    /// `start`, then `again` for ever, with a pause after each.
    pub fn endless(start: &str, again: &str, pause: Duration) -> Script {
        Script::send(start).then(Step::Repeat(again.as_bytes().to_vec(), pause))
    }

    /// One more step.
    pub fn then(mut self, step: Step) -> Script {
        self.0.push(step);
        self
    }

    fn send(bytes: impl Into<Vec<u8>>) -> Script {
        Script(vec![Step::Send(bytes.into())])
    }
}
