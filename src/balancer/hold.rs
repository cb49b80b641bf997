//! Requests that wait until a peer is usable: who may wait, and when who goes on.

use core::cell::Cell;

use healthcheck_core::queue::{parse_queue, Queue as Settings, QueueError};
use healthcheck_core::Msec;

use crate::nginx::proxied::{Admission, Attempt, Queue};
use crate::nginx::upstream::Upstream;

/// While a request waits, a process looks this often whether it still has to. Nobody tells it: the
/// peer's health is known to all through shared memory, and a look costs an atomic load.
pub(crate) const LOOK_EVERY: Msec = 20;

/// How soon the next batch goes on, and how soon a request is looked at again that nginx was not
/// done with.
const SOON: Msec = 1;

/// So many requests go on at a time, so that other work of the process gets its turn.
const BATCH: usize = 64;

/// How long a queue rests after no connection to a usable peer could be begun: each attempt is a
/// line in nginx's error log. Also after a balancer with a list of its own had no peer: each attempt
/// takes memory that a request keeps to its end.
const REST: Msec = 200;

/// The status of a request for which no program could be started, or nobody watches peers any more.
const BAD_GATEWAY: u16 = 502;

/// The requests to one upstream that wait in this process. Lives in the upstream's configuration.
#[derive(Default)]
pub(crate) struct Hold {
    /// What the configuration says; unset where no request waits.
    settings: Cell<Option<Settings>>,
    /// nginx's block, if it has one of nginx's balancers; set when the whole configuration was read.
    upstream: Cell<Option<Upstream>>,
    /// Who waits.
    queue: Queue,
    /// Whether nobody keeps the peers' health up to date any more: no further request waits.
    closed: Cell<bool>,
    /// The requests up to this ticket are to end.
    failed: Cell<Option<u64>>,
    /// When nginx's balancer may be asked again.
    rest_until: Cell<Msec>,
}

/// Why a `queue` directive is refused.
pub(crate) enum HoldError {
    /// It stands twice in one block.
    Duplicate,
    /// Its arguments are not accepted.
    Value(QueueError),
}

impl Hold {
    /// Reads the directive's arguments.
    pub(crate) fn set(&self, args: &[&[u8]]) -> Result<(), HoldError> {
        if self.settings.get().is_some() {
            return Err(HoldError::Duplicate);
        }
        self.settings.set(Some(parse_queue(args).map_err(HoldError::Value)?));
        Ok(())
    }

    /// Notes whose requests wait here.
    pub(crate) fn attach(&self, upstream: Upstream) {
        self.upstream.set(Some(upstream));
    }

    /// Lets requests wait where no directive says how many and how long.
    pub(crate) fn set_default(&self) {
        if self.settings.get().is_none() {
            self.settings.set(Some(Settings::default()));
        }
    }

    /// How many requests may wait in each worker; `None`: none do.
    pub(crate) fn limit(&self) -> Option<u32> {
        self.settings.get().map(|settings| settings.requests)
    }

    /// Whether requests wait here at all.
    pub(crate) fn is_on(&self) -> bool {
        self.settings.get().is_some()
    }

    /// How long a request may wait in all.
    pub(crate) fn patience(&self) -> Msec {
        self.settings.get().map_or(0, |settings| settings.timeout)
    }

    /// Who waits.
    pub(crate) fn queue(&self) -> &Queue {
        &self.queue
    }

    /// How many requests wait in this process.
    pub(crate) fn held(&self) -> usize {
        self.queue.len()
    }

    /// What becomes of a request that wants a peer, where `usable` says whether any peer is. Who has
    /// waited is not sent behind those who came later.
    pub(crate) fn admit(&self, usable: bool, is_retry: bool) -> Admission {
        // Where nobody waits, it is nginx's balancer that says no.
        let may_wait = self.is_on() && !self.closed.get();
        if !may_wait || (usable && (is_retry || self.queue.is_empty())) {
            Admission::Pass
        } else {
            self.room()
        }
    }

    /// What becomes of a request for which nginx's balancer has no peer.
    pub(crate) fn admit_busy(&self) -> Admission {
        if self.closed.get() {
            Admission::Refuse
        } else {
            self.room()
        }
    }

    /// Has the requests that wait up to this ticket end with 502, when the process next looks: it
    /// must be woken for that.
    pub(crate) fn fail_until(&self, last: u64) {
        let before = self.failed.get().unwrap_or(0);
        self.failed.set(Some(last.max(before)).filter(|last| *last > 0));
    }

    /// Whether all that wait are to end.
    pub(crate) fn is_condemned(&self) -> bool {
        self.failed.get().is_some_and(|last| last >= self.queue.last_ticket())
    }

    /// Lets no further request wait: nobody keeps the peers' health up to date any more. Who waits
    /// is settled when the process next looks.
    pub(crate) fn close(&self) {
        self.closed.set(true);
    }

    /// Lets requests go on, oldest first, as long as `usable` says that any peer is. Returns when to
    /// look again; `None` when nobody waits. Runs nginx's work on requests: nothing of the process
    /// may be borrowed.
    pub(crate) fn look(&self, usable: impl Fn() -> bool, now: Msec) -> Option<Msec> {
        if let Some(last) = self.failed.take() {
            if self.end(last) {
                self.failed.set(Some(last));
                return Some(now + SOON);
            }
        }
        let mut stuck = now < self.rest_until.get();
        for _ in 0..BATCH {
            // Asking nginx's balancer in vain takes memory that a request keeps to its end.
            if stuck || !usable() || !self.has_free_peer() {
                stuck = true;
                break;
            }
            match self.queue.resume_first()? {
                Attempt::Resumed => {}
                Attempt::Busy => {
                    stuck = true;
                    // Nobody but this balancer knows whether it has a peer.
                    if self.upstream.get().is_none() {
                        self.rest_until.set(now + REST);
                    }
                }
                Attempt::Failed => {
                    self.rest_until.set(now + REST);
                    stuck = true;
                }
                Attempt::Early => break,
            }
        }
        if stuck && self.closed.get() {
            stuck = !self.end(self.queue.last_ticket());
        }
        (!self.queue.is_empty()).then_some(now + if stuck { LOOK_EVERY } else { SOON })
    }

    /// Whether nginx's balancer has a peer for a request.
    fn has_free_peer(&self) -> bool {
        self.upstream.get().is_none_or(Upstream::has_free_peer)
    }

    /// Whether one more request may wait.
    fn room(&self) -> Admission {
        let limit = self.settings.get().map_or(0, |settings| settings.requests);
        if self.queue.len() < usize::try_from(limit).unwrap_or(usize::MAX) {
            Admission::Hold
        } else {
            Admission::Refuse
        }
    }

    /// Ends a batch of the requests up to a ticket; whether there are more.
    fn end(&self, last: u64) -> bool {
        for _ in 0..BATCH {
            match self.queue.end_first(BAD_GATEWAY, last) {
                Some(true) => {}
                Some(false) => return true,
                None => return false,
            }
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hold(args: &[&[u8]]) -> Hold {
        let hold = Hold::default();
        assert!(hold.set(args).is_ok());
        hold
    }

    #[test]
    fn a_request_waits_where_no_peer_is_usable() {
        let hold = hold(&[b"1"]);
        assert_eq!(hold.admit(true, false), Admission::Pass);
        assert_eq!(hold.admit(false, false), Admission::Hold);
        assert_eq!(hold.admit(false, true), Admission::Hold);
        assert_eq!(hold.admit_busy(), Admission::Hold);
    }

    #[test]
    fn nobody_waits_without_a_queue_or_where_nobody_would_wake_them() {
        let (off, closed) = (Hold::default(), hold(&[b"1"]));
        closed.close();
        for hold in [off, closed] {
            assert_eq!(hold.admit(false, false), Admission::Pass);
            assert_eq!(hold.admit_busy(), Admission::Refuse);
        }
    }

    #[test]
    fn a_directive_that_stands_twice_is_told_from_a_bad_one() {
        let hold = hold(&[b"5", b"timeout=1s"]);
        assert_eq!(hold.patience(), 1_000);
        assert!(matches!(hold.set(&[b"5"]), Err(HoldError::Duplicate)));
        assert!(matches!(Hold::default().set(&[b"none"]), Err(HoldError::Value(_))));
    }
}
