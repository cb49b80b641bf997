//! Copies "usable" into nginx's own `peer->down`, so that every stock balancer skips peers that are
//! sick or whose program is not up.

use core::cell::Cell;
use core::sync::atomic::{AtomicU64, Ordering};

use healthcheck_core::Msec;

use super::penalty::{Penalty, Rule};
use super::{Gate, NOT_UP, UNHEALTHY};
use crate::nginx::address::{canonical, Address};
use crate::nginx::upstream::{Mark, Upstream};
use crate::zone::program::ProgramCell;
use crate::zone::Slot;

/// One peer as the mirror knows it.
pub(crate) struct Image {
    /// Where the peer is.
    pub(crate) address: Address,
    /// Its slot; `None` for a peer that is not probed.
    pub(crate) slot: Option<&'static Slot>,
    /// Its program, if that is managed.
    pub(crate) program: Option<&'static ProgramCell>,
    /// 0-based position of its server line, where known.
    pub(crate) line: Option<u32>,
    /// Whether nginx itself avoids it: its line is marked `down`, and no program is managed.
    pub(crate) admin_down: bool,
    /// Since when its program had been up when it was mirrored last; 0 = not yet.
    pub(crate) up_since: Cell<Msec>,
    /// Whether nginx avoids it for `max_fails`.
    pub(crate) penalty: Penalty,
}

impl Image {
    /// Our bits of `peer->down`: the one place that combines health, program and admin state.
    fn bits(&self) -> usize {
        let is_sick = self.slot.is_some_and(|slot| slot.health().is_down());
        let is_not_up = self.program.is_some_and(|cell| !cell.program().is_usable());
        (if is_sick { UNHEALTHY } else { 0 }) | (if is_not_up { NOT_UP } else { 0 })
    }

    /// What nginx is to make of it. Failures of a program that has been started anew since were those
    /// of another process.
    fn mark(&self) -> Mark {
        let is_new = |cell: &ProgramCell| cell.up_since() != self.up_since.get();
        Mark { bits: self.bits(), forgives: self.program.is_some_and(is_new) }
    }

    /// Whether nginx need not avoid it any longer for failures before its last probes.
    fn has_lost_penalty(&self, now: Msec, rule: Rule) -> bool {
        self.slot.is_some_and(|slot| self.penalty.is_over(slot, now, rule))
    }

    /// Whether requests may go to it.
    pub(crate) fn is_usable(&self) -> bool {
        !self.admin_down && self.bits() == 0
    }
}

/// The mirror of one upstream in this process.
pub(crate) struct Mirror {
    /// nginx's block.
    upstream: Upstream,
    /// The upstream's generation in shared memory.
    generation: &'static AtomicU64,
    /// Which bits of `peer->down` are ours; 0: nothing is written into nginx's list.
    mask: usize,
    /// The peers in the order of nginx's lists.
    images: Vec<Image>,
    /// Places in `images`, ordered by address, for lists whose order has changed.
    by_address: Vec<usize>,
    /// The list version that `images` was made from.
    version: usize,
}

impl Mirror {
    /// A mirror without peers; `mask` says which bits of `peer->down` are ours, 0 that nothing is written
    /// into nginx's list.
    pub(crate) fn new(upstream: Upstream, generation: &'static AtomicU64, mask: usize) -> Mirror {
        let (images, by_address) = (Vec::new(), Vec::new());
        Mirror { upstream, generation, mask, images, by_address, version: 0 }
    }

    /// Which bits of `peer->down` are ours.
    pub(crate) fn mask(&self) -> usize {
        self.mask
    }

    /// Replaces the peers: `images` in the order of nginx's lists at `version`.
    pub(crate) fn set_peers(&mut self, version: usize, images: Vec<Image>) {
        self.by_address = (0..images.len()).collect();
        self.by_address.sort_by_key(|at| images.get(*at).map(|image| image.address.canonical()));
        self.images = images;
        self.version = version;
    }

    /// Adds a peer, and tells the gate.
    pub(crate) fn add(&mut self, image: Image, gate: &Gate) {
        let key = image.address.canonical();
        let at = |at: &usize| self.images.get(*at).map(|other| other.address.canonical());
        let place = self.by_address.partition_point(|other| at(other) < Some(key));
        self.by_address.insert(place, self.images.len());
        if image.is_usable() {
            gate.open_for_one();
        }
        self.images.push(image);
    }

    /// The peers.
    pub(crate) fn images(&self) -> &[Image] {
        &self.images
    }

    /// The peer with this address.
    pub(crate) fn image(&self, address: &[u8]) -> Option<&Image> {
        find(&self.images, &self.by_address, canonical(address))
    }

    /// Mirrors every peer, and tells the gate.
    pub(crate) fn run(&mut self, gate: &Gate) {
        // The generation is read first: a flip after it makes the gate stale again.
        let generation = self.generation.load(Ordering::Acquire);
        if self.mask != 0 {
            self.write();
        }
        for image in &self.images {
            image.up_since.set(image.program.map_or(0, ProgramCell::up_since));
        }
        let usable = self.images.iter().any(Image::is_usable);
        gate.mirrored(generation, self.version, usable);
    }

    /// Notes at `now` that a request has failed at the peer with this address; whether that is of interest.
    pub(crate) fn note_failure(&self, address: &Address, now: Msec) -> bool {
        let image = self.image(address.bytes()).filter(|_| self.mask != 0);
        let Some((image, slot)) = image.and_then(|image| Some((image, image.slot?))) else {
            return false;
        };
        image.penalty.notice(slot, now);
        true
    }

    /// Whether a peer that requests have failed at has passed enough probes since.
    pub(crate) fn has_passed_since(&self, now: Msec, rule: Rule) -> bool {
        let has_passed = |image: &Image| {
            image.slot.is_some_and(|slot| image.penalty.has_passed(slot, now, rule))
        };
        self.images.iter().any(has_passed)
    }

    /// When a peer that is known to be avoided may lose its penalty at the earliest; `None` where none
    /// is. One that is down loses it when it comes back.
    pub(crate) fn next_pardon(&self, rule: Rule) -> Option<Msec> {
        let is_up = |image: &&Image| image.slot.is_some_and(|slot| !slot.health().is_down());
        let ends = self.images.iter().filter(is_up);
        ends.filter_map(|image| image.penalty.earliest_end(rule)).min()
    }

    /// Finds the peers that nginx avoids for `max_fails`. Those that have passed enough probes since
    /// lose that penalty.
    pub(crate) fn review_penalties(&self, now: Msec, rule: Rule) {
        if self.mask == 0 {
            return;
        }
        // May run under nginx's lock: no allocation, no log, no panic.
        self.upstream.each_avoided(|position, raw, failed| {
            let image = self.image_at(position, canonical(raw));
            if let Some((image, slot)) = image.and_then(|image| Some((image, image.slot?))) {
                image.penalty.notice_listed(slot, now, failed);
            }
        });
        for image in &self.images {
            image.penalty.forget_unlisted();
        }
        if !self.images.iter().any(|image| image.has_lost_penalty(now, rule)) {
            return;
        }
        self.mark(|image| {
            let mark = image.mark();
            Mark { forgives: mark.forgives || image.has_lost_penalty(now, rule), ..mark }
        });
        for image in self.images.iter().filter(|image| image.has_lost_penalty(now, rule)) {
            image.penalty.forget();
        }
    }

    /// Writes what is known into nginx's list.
    fn write(&self) {
        self.mark(Image::mark);
    }

    /// Writes what `mark` makes of each peer into nginx's list.
    fn mark(&self, mark: impl Fn(&Image) -> Mark) {
        let mask = self.mask;
        // Under nginx's lock: no allocation, no log, no panic. What is mirrored is read there and not
        // before: in a zone, a worker that was held up on its way to the lock would undo another's
        // flip.
        self.upstream.mark(mask, UNHEALTHY, |position, raw| {
            let mark = mark(self.image_at(position, canonical(raw))?);
            Some(Mark { bits: mark.bits & mask, ..mark })
        });
    }

    /// The peer with this canonical address, which is likely to be at this position.
    fn image_at(&self, position: usize, address: &[u8]) -> Option<&Image> {
        let hit = self.images.get(position).filter(|image| image.address.canonical() == address);
        hit.or_else(|| find(&self.images, &self.by_address, address))
    }
}

/// The image of a peer that is not where it was when the mirror was made.
fn find<'a>(images: &'a [Image], by_address: &[usize], address: &[u8]) -> Option<&'a Image> {
    let key = |at: &usize| images.get(*at).map(|image| image.address.canonical());
    let found = by_address.binary_search_by(|at| key(at).cmp(&Some(address))).ok()?;
    by_address.get(found).and_then(|at| images.get(*at))
}
