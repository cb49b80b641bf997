//! The requests to one upstream that wait in this process, in the order of their arrival.

use core::cell::{Cell, RefCell};
use core::ptr::NonNull;
use std::collections::BTreeMap;

use super::{resume, Proxied};

/// A queue of requests. Lives in the upstream's configuration.
///
/// What resumes or ends a request runs nginx's work on it, and on others: it calls back into this
/// module, so it must not be called while anything of a process is borrowed.
#[derive(Default)]
pub(crate) struct Queue {
    /// Requests by ticket. Each takes itself out (`leave`) before its pool is destroyed.
    waiting: RefCell<BTreeMap<u64, NonNull<Proxied>>>,
    /// The last ticket that was given out.
    last: Cell<u64>,
}

/// What asking nginx's balancer again on behalf of a request brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Attempt {
    /// The request has a peer and has left the queue.
    Resumed,
    /// No peer may be used.
    Busy,
    /// There is a peer, but no connection to it can be begun.
    Failed,
    /// nginx is not done with putting the request aside; in the next turn of its event loop it is.
    Early,
}

impl Queue {
    /// How many requests wait.
    pub(crate) fn len(&self) -> usize {
        self.waiting.borrow().len()
    }

    /// Whether no request waits.
    pub(crate) fn is_empty(&self) -> bool {
        self.waiting.borrow().is_empty()
    }

    /// The last ticket that was given out: the requests up to it are older than those to come.
    pub(crate) fn last_ticket(&self) -> u64 {
        self.last.get()
    }

    /// Asks nginx's balancer for a peer for the request that waits longest; `None` when none waits.
    pub(crate) fn resume_first(&self) -> Option<Attempt> {
        let (_, first) = self.first()?;
        // SAFETY: a request in the queue is alive and waits.
        Some(unsafe { resume::resume(first) })
    }

    /// Ends the request that waits longest with an HTTP status, if its ticket is `last` or older.
    /// `None` when there is none such, else whether the request was ended: it is not while nginx is
    /// not done with putting it aside.
    pub(crate) fn end_first(&self, status: u16, last: u64) -> Option<bool> {
        let (ticket, first) = self.first()?;
        if ticket > last {
            return None;
        }
        // SAFETY: a request in the queue is alive and waits.
        Some(unsafe { resume::end(first, status) })
    }

    /// Whether the request with this ticket waits.
    pub(super) fn has(&self, ticket: u64) -> bool {
        self.waiting.borrow().contains_key(&ticket)
    }

    /// A new ticket.
    pub(super) fn next_ticket(&self) -> u64 {
        let next = self.last.get().wrapping_add(1);
        self.last.set(next);
        next
    }

    /// Adds a request.
    pub(super) fn push(&self, ticket: u64, request: NonNull<Proxied>) {
        self.waiting.borrow_mut().insert(ticket, request);
    }

    /// Removes a request.
    pub(super) fn remove(&self, ticket: u64) {
        self.waiting.borrow_mut().remove(&ticket);
    }

    /// The request that waits longest.
    fn first(&self) -> Option<(u64, NonNull<Proxied>)> {
        self.waiting.borrow().first_key_value().map(|(ticket, request)| (*ticket, *request))
    }
}
