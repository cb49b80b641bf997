//! Copies health into nginx's own `peer->down`, so that every stock balancer skips sick peers.

use core::sync::atomic::{AtomicU64, Ordering};

use super::{Gate, UNHEALTHY};
use crate::nginx::address::{canonical, Address};
use crate::nginx::upstream::Upstream;
use crate::zone::Slot;

/// One peer as the mirror knows it.
struct Image {
    /// Where the peer is.
    address: Address,
    /// Its slot; `None` for a peer that is not probed.
    slot: Option<&'static Slot>,
}

/// The mirror of one upstream in this process.
pub(crate) struct Mirror {
    /// nginx's block.
    upstream: Upstream,
    /// The upstream's generation in shared memory.
    generation: &'static AtomicU64,
    /// The peers in the order of nginx's lists.
    images: Vec<Image>,
    /// Places in `images`, ordered by address, for lists whose order has changed.
    by_address: Vec<usize>,
    /// The list version that `images` was made from.
    version: usize,
}

impl Mirror {
    /// A mirror without peers.
    pub(crate) fn new(upstream: Upstream, generation: &'static AtomicU64) -> Mirror {
        Mirror { upstream, generation, images: Vec::new(), by_address: Vec::new(), version: 0 }
    }

    /// Replaces the peers: `peers` in the order of nginx's lists at `version`.
    pub(crate) fn set_peers(
        &mut self,
        version: usize,
        peers: impl Iterator<Item = (Address, Option<&'static Slot>)>,
    ) {
        self.images = peers.map(|(address, slot)| Image { address, slot }).collect();
        self.by_address = (0..self.images.len()).collect();
        let images = &self.images;
        self.by_address.sort_by_key(|at| images.get(*at).map(|image| image.address.canonical()));
        self.version = version;
    }

    /// Mirrors the health of every peer, and tells the gate.
    pub(crate) fn run(&mut self, gate: &Gate) {
        // The generation is read first: a flip after it makes the gate stale again.
        let generation = self.generation.load(Ordering::Acquire);
        let (images, by_address) = (&self.images, &self.by_address);
        // Under nginx's lock: no allocation, no log, no panic. Health is read there and not before:
        // in a zone, a worker that was held up on its way to the lock would undo another's flip.
        self.upstream.mark(UNHEALTHY, |position, raw| {
            let address = canonical(raw);
            let hit = images.get(position).filter(|image| image.address.canonical() == address);
            let image = hit.or_else(|| find(images, by_address, address))?;
            Some(image.slot.is_some_and(|slot| slot.health().is_down()))
        });
        gate.mirrored(generation, self.version);
    }
}

/// The image of a peer that is not where it was when the mirror was made.
fn find<'a>(images: &'a [Image], by_address: &[usize], address: &[u8]) -> Option<&'a Image> {
    let key = |at: &usize| images.get(*at).map(|image| image.address.canonical());
    let found = by_address.binary_search_by(|at| key(at).cmp(&Some(address))).ok()?;
    by_address.get(found).and_then(|at| images.get(*at))
}
