//! What each process counts for itself: requests begun, held, running. No process writes another's
//! row, so that counting costs no shared cache line; who wants a sum adds the rows up.

use core::mem::size_of;
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};

/// One process's counts of one upstream.
#[repr(C)]
pub(crate) struct UpstreamCount {
    /// Requests that were given a peer.
    requests: AtomicU64,
    /// Requests held now.
    held: AtomicU32,
    /// Keeps the size a multiple of eight.
    _reserved: AtomicU32,
}

/// One process's count of one program: requests running now.
#[repr(transparent)]
pub(crate) struct ProgramCount(AtomicU32);

/// One process's counts. Written by that process alone.
#[derive(Clone, Copy)]
pub(crate) struct Row {
    /// By place in the table of upstreams.
    pub(crate) upstreams: &'static [UpstreamCount],
    /// By place in the table of programs.
    pub(crate) programs: &'static [ProgramCount],
}

/// Bytes of a row; a multiple of a cache line.
pub(super) fn row_bytes(upstreams: usize, programs: usize) -> usize {
    let bytes = upstreams * size_of::<UpstreamCount>() + programs * size_of::<ProgramCount>();
    bytes.next_multiple_of(64)
}

impl UpstreamCount {
    /// Counts a request that was given a peer.
    pub(crate) fn begin(&self) {
        // Only this process writes: no atomic addition is needed.
        self.requests.store(self.requests().wrapping_add(1), Ordering::Relaxed);
    }

    /// Requests that were given a peer.
    pub(crate) fn requests(&self) -> u64 {
        self.requests.load(Ordering::Relaxed)
    }

    /// Sets how many requests are held.
    pub(crate) fn set_held(&self, held: u32) {
        self.held.store(held, Ordering::Relaxed);
    }

    /// How many requests are held.
    pub(crate) fn held(&self) -> u32 {
        self.held.load(Ordering::Relaxed)
    }

    /// Empties the row of a process that is gone; returns its requests.
    pub(super) fn clear(&self) -> u64 {
        self.set_held(0);
        self.requests.swap(0, Ordering::Relaxed)
    }
}

impl ProgramCount {
    /// Counts a request that begins.
    pub(crate) fn begin(&self) {
        self.0.store(self.running().saturating_add(1), Ordering::Relaxed);
    }

    /// Counts a request that ends.
    pub(crate) fn end(&self) {
        self.0.store(self.running().saturating_sub(1), Ordering::Relaxed);
    }

    /// Requests running now.
    pub(crate) fn running(&self) -> u32 {
        self.0.load(Ordering::Relaxed)
    }

    /// Empties the row of a process that is gone.
    pub(super) fn clear(&self) {
        self.0.store(0, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_is_a_whole_number_of_cache_lines() {
        assert_eq!((row_bytes(16, 0), row_bytes(16, 1), row_bytes(16, 17)), (256, 320, 384));
    }

    #[test]
    fn a_program_never_has_less_than_no_requests() {
        let count = ProgramCount(AtomicU32::new(0));
        count.end();
        count.begin();
        count.begin();
        count.end();
        assert_eq!(count.running(), 1);
    }
}
