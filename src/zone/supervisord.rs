//! The record of one supervisord: who asks it for the states of our programs, and when.

use core::sync::atomic::{AtomicU64, Ordering};

use healthcheck_core::lease::Lease;
use healthcheck_core::Msec;

use super::table::{Entry, Record};

/// What the machine knows of one supervisord.
#[repr(C, align(64))]
pub(crate) struct SupervisordCell {
    /// Key: address and credentials.
    entry: Entry,
    /// [`Lease`]: who asks now, until when.
    asker: AtomicU64,
    /// When to ask next, monotonic ms.
    next_due: AtomicU64,
    /// When it was last asked, monotonic ms; 0 = never.
    asked: AtomicU64,
    /// When it last gave a whole answer or failed to, monotonic ms; 0 = never.
    answered: AtomicU64,
}

impl Record for SupervisordCell {
    fn entry(&self) -> &Entry {
        &self.entry
    }
}

impl SupervisordCell {
    /// Prepares a vacant record.
    pub(crate) fn reset(&self) {
        for word in [&self.asker, &self.next_due, &self.asked, &self.answered] {
            word.store(0, Ordering::Relaxed);
        }
    }

    /// Who asks now.
    pub(crate) fn asker(&self) -> Lease {
        Lease::from_bits(self.asker.load(Ordering::Acquire))
    }

    /// Replaces the asker `from` by `to`; `false` when it is no longer `from`.
    pub(crate) fn swap_asker(&self, from: Lease, to: Lease) -> bool {
        let (from, to) = (from.bits(), to.bits());
        self.asker.compare_exchange(from, to, Ordering::AcqRel, Ordering::Relaxed).is_ok()
    }

    /// When to ask next.
    pub(crate) fn next_due(&self) -> Msec {
        self.next_due.load(Ordering::Relaxed)
    }

    /// Sets when to ask next.
    pub(crate) fn set_next_due(&self, due: Msec) {
        self.next_due.store(due, Ordering::Relaxed);
    }

    /// Asks for a look not later than `due`.
    pub(crate) fn hurry(&self, due: Msec) {
        self.next_due.fetch_min(due, Ordering::Relaxed);
    }

    /// When it was last asked; 0 = never.
    pub(crate) fn asked(&self) -> Msec {
        self.asked.load(Ordering::Relaxed)
    }

    /// Notes that it is asked.
    pub(crate) fn set_asked(&self, now: Msec) {
        self.asked.store(now, Ordering::Relaxed);
    }

    /// Whether any asking has ended.
    pub(crate) fn has_answered(&self) -> bool {
        self.answered.load(Ordering::Relaxed) != 0
    }

    /// Notes that an asking has ended, whether well or not.
    pub(crate) fn set_answered(&self, now: Msec) {
        self.answered.store(now.max(1), Ordering::Relaxed);
    }
}
