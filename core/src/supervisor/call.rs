//! One call on one connection, without I/O: events in, the next action out.
//!
//! It opens no connection, reads no clock and sets no timer; it does not look at what the response
//! says beyond its HTTP header.

use super::reply::Reply;
use super::{CallError, Flaw, Phase};
use crate::probe::Event;
use crate::Msec;

/// How long a call may stand still, each in milliseconds.
///
/// Sending and reading wait anew after each progress, as nginx's own time limits do; but either
/// takes twice its limit at most, so that a supervisord that dribbles ends a call as well.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// From the start to the connection; default 5000.
    pub connect: Msec,
    /// Between two successful writes; default 30000.
    pub send: Msec,
    /// Between two reads; default 30000. A program's `startsecs` or `stopwaitsecs` must fit in.
    pub read: Msec,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits { connect: 5_000, send: 30_000, read: 30_000 }
    }
}

impl Limits {
    /// Milliseconds that a call on one connection takes at most.
    pub fn total(&self) -> Msec {
        let progress = self.send.saturating_add(self.read).saturating_mul(MAX_WAITS);

        self.connect.saturating_add(progress)
    }
}

/// How many times the limit of its phase sending or reading takes at most.
const MAX_WAITS: Msec = 2;

/// What the driver of a call does next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CallAction {
    /// Write [`Call::to_send`] when possible; bytes that arrive meanwhile are welcome.
    Send,
    /// Wait for bytes.
    Receive,
    /// The call is over: close the connection. Without an error, [`Call::response`] is complete.
    Finish(Result<(), CallError>),
}

/// One call, used again for each address that is tried.
#[derive(Debug)]
pub struct Call {
    request: Vec<u8>,
    limits: Limits,
    state: State,
    sent: usize,
    reply: Reply,
    /// When the phase began.
    since: Msec,
    /// When the phase last saw progress.
    progress: Msec,
}

/// How far a call is.
#[derive(Clone, Debug)]
enum State {
    /// Not started.
    Idle,
    /// On its way.
    Open(Phase),
    /// Over.
    Done(Result<(), CallError>),
}

impl Call {
    /// A call that sends `request`, not started. Its response may have `max_response` bytes,
    /// header included ([`max_response`](super::max_response)); no more are ever kept.
    pub fn new(request: Vec<u8>, max_response: usize, limits: Limits) -> Call {
        let reply = Reply::new(max_response);

        Call { request, limits, state: State::Idle, sent: 0, reply, since: 0, progress: 0 }
    }

    /// Begins at `now`, again for the next address, and forgets what was sent and received.
    pub fn start(&mut self, now: Msec) {
        self.sent = 0;
        self.reply.restart();
        self.enter(Phase::Connecting, now);
    }

    /// When the driver gives [`Event::Deadline`], at most the end of the clock. It moves with each
    /// event; 0 before the start and after the end.
    pub fn deadline(&self) -> Msec {
        let State::Open(phase) = self.state else {
            return 0;
        };
        let limit = match phase {
            Phase::Connecting => self.limits.connect,
            Phase::Sending => self.limits.send,
            Phase::Reading => self.limits.read,
        };
        let last = self.since.saturating_add(limit.saturating_mul(MAX_WAITS));

        self.progress.saturating_add(limit).min(last)
    }

    /// What of the request is still to be sent; empty once all of it is out.
    pub fn to_send(&self) -> &[u8] {
        self.request.get(self.sent..).unwrap_or_default()
    }

    /// The HTTP response so far: the whole of it after [`CallAction::Finish`] without an error.
    pub fn response(&self) -> &[u8] {
        self.reply.bytes()
    }

    /// Takes in what happened at `now` and says what to do next.
    ///
    /// Once it has answered [`CallAction::Finish`], every later event gets the same answer. An
    /// event before the first [`start`](Call::start), or more bytes sent than there were, is
    /// [`CallError::Internal`].
    pub fn on_event(&mut self, event: Event<'_>, now: Msec) -> CallAction {
        let phase = match &self.state {
            State::Idle => return CallAction::Finish(Err(CallError::Internal)),
            State::Done(result) => return CallAction::Finish(result.clone()),
            State::Open(phase) => *phase,
        };

        let step = match event {
            Event::Connected => Ok(self.on_connected(phase, now)),
            Event::Sent(bytes) => self.on_sent(bytes, phase, now),
            Event::Received(bytes) => self.on_received(bytes, now),
            Event::Closed if self.reply.ends_with_connection() => Ok(Step::Complete),
            Event::Closed | Event::Failed => Err(self.cut_off(phase)),
            Event::Deadline => Err(CallError::TimedOut(phase)),
        };
        let result = match step {
            Ok(Step::NeedMore) if self.to_send().is_empty() => return CallAction::Receive,
            Ok(Step::NeedMore) => return CallAction::Send,
            Ok(Step::Complete) => Ok(()),
            Err(error) => Err(error),
        };

        self.state = State::Done(result.clone());
        CallAction::Finish(result)
    }

    fn on_connected(&mut self, phase: Phase, now: Msec) -> Step {
        if phase == Phase::Connecting {
            self.enter(Phase::Sending, now);
        }
        Step::NeedMore
    }

    fn on_sent(&mut self, bytes: usize, phase: Phase, now: Msec) -> Result<Step, CallError> {
        if bytes > self.to_send().len() {
            return Err(CallError::Internal);
        }

        self.on_connected(phase, now);
        if bytes > 0 {
            self.sent = self.sent.saturating_add(bytes);
            self.progress = now;
            if self.to_send().is_empty() {
                self.enter(Phase::Reading, now);
            }
        }
        Ok(Step::NeedMore)
    }

    fn on_received(&mut self, bytes: &[u8], now: Msec) -> Result<Step, CallError> {
        if bytes.is_empty() {
            return Ok(Step::NeedMore);
        }
        // Bytes that come before all of the request is out are no progress of sending it.
        if matches!(self.state, State::Open(Phase::Reading)) {
            self.progress = now;
        }
        Ok(if self.reply.take(bytes)? { Step::Complete } else { Step::NeedMore })
    }

    /// What the end of the connection means while the response is not complete.
    fn cut_off(&self, phase: Phase) -> CallError {
        match (self.reply.bytes().is_empty(), phase) {
            (false, _) => Flaw::Truncated.into(),
            (true, Phase::Connecting | Phase::Sending) => CallError::Connect,
            (true, Phase::Reading) => CallError::NoReply,
        }
    }

    fn enter(&mut self, phase: Phase, now: Msec) {
        self.state = State::Open(phase);
        self.since = now;
        self.progress = now;
    }
}

/// What an event made of a call that is on its way.
#[derive(Clone, Copy, Debug)]
enum Step {
    NeedMore,
    Complete,
}
