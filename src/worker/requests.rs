//! Requests to upstreams with managed programs or a queue: they are counted, and their failures are
//! the program's. Failures where probes on demand are wanted.

use core::num::NonZeroU32;

use super::{with_worker, Worker};
use crate::conf::UpstreamConf;
use crate::nginx::address::Address;
use crate::zone::counters::ProgramCount;

/// Runs `body` with this process's worker and the upstream's number there; `None` where nothing is
/// mirrored any more.
fn with_watch<R>(
    upstream: &UpstreamConf,
    body: impl FnOnce(&mut Worker, usize) -> Option<R>,
) -> Option<R> {
    if !upstream.gate.is_open() {
        return None;
    }
    with_worker(|worker| body(worker, upstream.gate.number())).flatten()
}

/// nginx has picked the peer at `address` for a request. Returns what identifies its program: the
/// number plus 1; `None` where it is not managed.
pub(super) fn begins(upstream: &UpstreamConf, address: &[u8]) -> Option<NonZeroU32> {
    with_watch(upstream, |worker, watch| worker.request_begins(watch, address))
}

/// A request is done with the peer that it was given, well or not.
pub(super) fn ends(upstream: &UpstreamConf, program: Option<NonZeroU32>, failed: bool) {
    let Some(program) = program.and_then(|number| number.get().checked_sub(1)) else { return };
    with_watch(upstream, |worker, watch| {
        worker.request_ends(watch, program as usize, failed);
        Some(())
    });
}

/// nginx calls a request to the peer at an address failed.
pub(crate) fn failed(upstream: &UpstreamConf, address: &Address) {
    with_watch(upstream, |worker, watch| {
        worker.on_failed_request(watch, address);
        worker.arm();
        Some(())
    });
}

/// So many requests of an upstream are held in this process.
pub(super) fn held(upstream: &UpstreamConf, count: usize) {
    with_watch(upstream, |worker, watch| {
        worker.set_held(watch, count);
        Some(())
    });
}

/// The round of starts that goes on in an upstream; `None` where nothing is mirrored any more.
pub(super) fn round(upstream: &UpstreamConf) -> Option<u64> {
    with_watch(upstream, |worker, watch| worker.round(watch))
}

/// Has a program of an upstream started for requests that found none usable, unless one is on its way.
/// Returns the round of starts that goes on then: a new one means that none can be started.
pub(super) fn want_program(upstream: &UpstreamConf) -> Option<u64> {
    with_watch(upstream, |worker, watch| {
        worker.start_for_requests(watch);
        worker.arm();
        worker.round(watch)
    })
}

impl Worker {
    /// This process's count of a program's requests.
    fn count_of(&self, watch: usize, number: usize) -> Option<&'static ProgramCount> {
        self.row?.programs.get(self.programs(watch)?.place(number)?)
    }

    /// Counts a request that was given a peer.
    fn request_begins(&self, watch: usize, address: &[u8]) -> Option<NonZeroU32> {
        let one = self.watches.get(watch)?;
        if let Some(count) = self.row.and_then(|row| row.upstreams.get(one.place)) {
            count.begin();
        }
        let line = one.mirror.image(address)?.line?;
        self.count_of(watch, line as usize)?.begin();
        NonZeroU32::new(line.checked_add(1)?)
    }

    /// Counts a request off, and its failure against the program.
    fn request_ends(&mut self, watch: usize, number: usize, failed: bool) {
        if let Some(count) = self.count_of(watch, number) {
            count.end();
        }
        if failed {
            self.count_failure(watch, number);
            self.arm();
        }
    }

    /// Notes how many requests this process holds.
    fn set_held(&self, watch: usize, count: usize) {
        let place = self.watches.get(watch).map(|one| one.place);
        let counts = self.row.zip(place).and_then(|(row, place)| row.upstreams.get(place));
        if let Some(counts) = counts {
            counts.set_held(u32::try_from(count).unwrap_or(u32::MAX));
        }
    }
}
