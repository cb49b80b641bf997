//! One probe as a machine without I/O: events in, the next action out.
//!
//! It opens no connection, reads no clock and sets no timer; whoever drives it does, and tells it
//! what happened. What the bytes mean is known to the kinds below (`probe/<kind>.rs`) alone.

mod http;

use std::ops::{Deref, DerefMut};
use std::sync::Arc;

use crate::check::Check;
use crate::outcome::Outcome;
use crate::Msec;

use http::Http;

/// What happened on the probe's connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event<'a> {
    /// The transport is connected, or writable again. Need not come where bytes were sent before.
    Connected,
    /// This many bytes of [`Probe::to_send`] were taken by the transport.
    Sent(usize),
    /// These bytes came from the peer, in any segmentation. None at all is no event.
    Received(&'a [u8]),
    /// The peer ended its side in good order.
    Closed,
    /// Refused, reset, or an error of sending or receiving.
    Failed,
    /// [`Probe::deadline`] passed and nothing more is readable.
    Deadline,
}

/// What the driver of the probe does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Write [`Probe::to_send`] when possible; bytes that arrive meanwhile are welcome.
    Send,
    /// Wait for bytes.
    Receive,
    /// The probe is over: close the connection and publish the outcome.
    Finish(Outcome),
}

/// One peer's probe, used again for every probe of that peer.
#[derive(Debug)]
pub struct Probe {
    check: Arc<Check>,
    kind: Kind,
    phase: Phase,
    started: Msec,
    decided: Msec,
    sent: usize,
}

/// Where a probe stands.
#[derive(Clone, Copy, Debug)]
enum Phase {
    /// Not started.
    Idle,
    /// No verdict yet.
    Open,
    /// This is the outcome unless more bytes come.
    Held(Outcome),
    /// Over.
    Done(Outcome),
}

impl Probe {
    /// A probe of `check`, not started. Allocates the header buffer of [`Check::buffer`] bytes, and
    /// nothing after that ever does.
    pub fn new(check: Arc<Check>) -> Probe {
        let kind = Kind::Http(Http::new(Arc::clone(&check)));

        Probe { check, kind, phase: Phase::Idle, started: 0, decided: 0, sent: 0 }
    }

    /// Begins a new probe at `now` and forgets the one before, finished or not.
    pub fn start(&mut self, now: Msec) {
        self.kind.restart();
        self.phase = Phase::Open;
        self.started = now;
        self.decided = now;
        self.sent = 0;
    }

    /// Takes in what happened at `now` and says what to do next.
    ///
    /// Once it has answered [`Action::Finish`], every later event gets the same answer. An event
    /// before the first [`start`](Probe::start), or more bytes sent than there were, is
    /// [`Outcome::Internal`].
    pub fn on_event(&mut self, event: Event<'_>, now: Msec) -> Action {
        let held = match self.phase {
            Phase::Idle => return Action::Finish(Outcome::Internal),
            Phase::Done(outcome) => return Action::Finish(outcome),
            Phase::Open => None,
            Phase::Held(outcome) => Some(outcome),
        };

        let step = match (event, held) {
            // The end of the wait decides nothing: the latency stays that of the last byte.
            (Event::Closed | Event::Failed | Event::Deadline, Some(outcome)) => {
                self.phase = Phase::Done(outcome);
                return Action::Finish(outcome);
            }
            (Event::Connected, None) => self.kind.on_connect(),
            (Event::Connected, Some(_)) | (Event::Received([]), _) => Step::NeedMore,
            (Event::Sent(bytes), _) => self.on_sent(bytes),
            (Event::Received(bytes), _) => self.kind.on_bytes(bytes),
            (Event::Closed, None) => Step::Settled(self.kind.on_close()),
            (Event::Failed, None) => Step::Settled(Outcome::BadConnection),
            (Event::Deadline, None) => Step::Settled(self.kind.on_deadline()),
        };

        match step {
            Step::NeedMore => {}
            Step::Held(outcome) => {
                self.phase = Phase::Held(outcome);
                self.decided = now;
            }
            Step::Settled(outcome) => {
                self.phase = Phase::Done(outcome);
                self.decided = now;
                return Action::Finish(outcome);
            }
        }

        if self.to_send().is_empty() {
            Action::Receive
        } else {
            Action::Send
        }
    }

    /// Whether only more bytes can still change the verdict. After a while, the driver should end
    /// its side of the connection, so that a peer which keeps it open ends its own.
    pub fn awaits_end(&self) -> bool {
        matches!(self.phase, Phase::Held(_)) && self.to_send().is_empty()
    }

    /// What of the request is still to be sent; empty once all of it is out.
    pub fn to_send(&self) -> &[u8] {
        self.kind.request().get(self.sent..).unwrap_or_default()
    }

    /// When the driver gives [`Event::Deadline`]: the start plus [`Check::timeout`], at most the
    /// end of the clock.
    pub fn deadline(&self) -> Msec {
        self.started.saturating_add(self.check.timeout)
    }

    /// Milliseconds from the start to the byte or event that decided. While a complete response
    /// waits for the connection's end, that wait does not count. 0 before any decision.
    pub fn latency(&self) -> Msec {
        self.decided.saturating_sub(self.started)
    }

    fn on_sent(&mut self, bytes: usize) -> Step {
        if bytes > self.to_send().len() {
            return Step::Settled(Outcome::Internal);
        }

        self.sent = self.sent.saturating_add(bytes);
        Step::NeedMore
    }
}

/// What a kind makes of the bytes so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// No verdict yet.
    NeedMore,
    /// This outcome, unless more bytes come before the connection or the time ends.
    Held(Outcome),
    /// This outcome, whatever comes.
    Settled(Outcome),
}

/// The protocol that a probe speaks: what to send, and what the answer is worth. It learns nothing
/// of connections; a method that returns a verdict is not called again before
/// [`restart`](ProbeKind::restart), while after [`Step::Held`] only bytes come.
trait ProbeKind {
    /// All the bytes to send; the same from restart to restart.
    fn request(&self) -> &[u8];

    /// Forgets the probe before.
    fn restart(&mut self);

    /// The transport is connected or writable again; may come any number of times.
    fn on_connect(&mut self) -> Step {
        Step::NeedMore
    }

    /// These bytes follow those before; never empty.
    fn on_bytes(&mut self, bytes: &[u8]) -> Step;

    /// The peer closed before a verdict.
    fn on_close(&mut self) -> Outcome;

    /// The time is over without a verdict.
    fn on_deadline(&self) -> Outcome {
        Outcome::TimedOut
    }
}

/// Makes the registry out of one line a kind: the name and the machine, which is made in
/// [`Probe::new`].
macro_rules! probe_kinds {
    ($($name:ident($machine:ty),)+) => {
        /// The machine of one probe; an enum, so that it lies in the probe without a box.
        #[derive(Debug)]
        enum Kind {
            $($name($machine),)+
        }

        impl Deref for Kind {
            type Target = dyn ProbeKind;

            fn deref(&self) -> &Self::Target {
                match self {
                    $(Kind::$name(machine) => machine,)+
                }
            }
        }

        impl DerefMut for Kind {
            fn deref_mut(&mut self) -> &mut Self::Target {
                match self {
                    $(Kind::$name(machine) => machine,)+
                }
            }
        }
    };
}

probe_kinds! {
    Http(Http),
}
