//! Local trouble: it is no verdict on a peer, it is logged at most once a minute, and it makes the
//! worker pause.

use core::fmt;

use healthcheck_core::Msec;

use crate::nginx::log::{log, Level};

/// How long no probe begins after local trouble.
const PAUSE: Msec = 1_000;

/// A cause is logged once in this time.
const LOG_EVERY: Msec = 60_000;

/// What can be wrong with this machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cause {
    /// nginx has no free connection.
    Connections,
    /// The operating system refused a socket.
    Socket,
    /// No local port is left for connections to a peer.
    Ports,
    /// No room for one more peer in shared memory.
    ZoneFull,
    /// The event loop did not run for a while.
    Stall,
    /// A supervisord does not say how its programs are.
    Supervisord,
}

/// How many causes there are.
const CAUSES: usize = 6;

/// Memory of local trouble.
#[derive(Default)]
pub(crate) struct Trouble {
    /// When each cause was logged last.
    logged: [Option<Msec>; CAUSES],
    /// No probe begins before.
    until: Msec,
}

impl Trouble {
    /// Whether probes have to wait at `now`, and until when.
    pub(crate) fn pause(&self, now: Msec) -> Option<Msec> {
        (now < self.until).then_some(self.until)
    }

    /// Notes trouble that keeps probes from beginning; returns when to try again.
    pub(crate) fn hold(&mut self, cause: Cause, now: Msec, what: fmt::Arguments<'_>) -> Msec {
        self.note(cause, now, what);
        self.until = now.saturating_add(PAUSE);
        self.until
    }

    /// Notes trouble that concerns one peer alone; returns when to try that again.
    pub(crate) fn pass_over(&mut self, cause: Cause, now: Msec, what: fmt::Arguments<'_>) -> Msec {
        self.note(cause, now, what);
        now.saturating_add(PAUSE)
    }

    /// Logs trouble unless its cause was logged within the last minute.
    pub(crate) fn note(&mut self, cause: Cause, now: Msec, what: fmt::Arguments<'_>) {
        let Some(last) = self.logged.get_mut(cause as usize) else { return };
        if last.is_none_or(|last| now.saturating_sub(last) >= LOG_EVERY) {
            *last = Some(now);
            let about = if cause == Cause::Supervisord { "supervisord" } else { "healthcheck" };
            log!(Level::Error, "{about}: {what}");
        }
    }
}
