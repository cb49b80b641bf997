//! Which peers there are: from the configuration, and from nginx's resolver while it runs.

use std::sync::Arc;

use core::cell::Cell;
use core::sync::atomic::AtomicU64;

use healthcheck_core::check::Check;
use healthcheck_core::key::Key;
use healthcheck_core::Msec;

use super::peer::{Peer, Phase};
use super::programs::Programs;
use super::references::{self, Reference};
use super::trouble::Cause;
use super::Worker;
use crate::balancer::mirror::Image;
use crate::balancer::penalty::Penalty;
use crate::balancer::Mirror;
use crate::conf::UpstreamConf;
use crate::nginx::address::Address;
use crate::nginx::peers::Member;
use crate::nginx::process::now;
use crate::nginx::upstream::Upstream;
use crate::zone::table::Record;
use crate::zone::upstream::UpstreamCell;
use crate::zone::Slot;

/// How long nobody must have held the lease of a slot before another peer may take its room: a
/// listed peer has a holder, one that the resolver dropped has none.
const KEEP_UNLISTED: Msec = 10_000;

/// No place.
pub(crate) const NOWHERE: u32 = u32::MAX;

/// One upstream with checks or managed programs.
pub(crate) struct Watch {
    /// nginx's block.
    pub(crate) upstream: Upstream,
    /// What its requests pass; configuration memory, which outlives the worker.
    pub(crate) conf: &'static UpstreamConf,
    /// How its peers are probed; `None`: they are not.
    pub(crate) check: Option<Arc<Check>>,
    /// Its programs; `None`: they are not managed.
    pub(crate) programs: Option<Programs>,
    /// Its place in the zone's table of upstreams.
    pub(crate) place: usize,
    /// Its record in the zone.
    pub(crate) cell: &'static UpstreamCell,
    /// Grows with every flip.
    pub(crate) generation: &'static AtomicU64,
    /// The load that its balancer was told last, or that was computed before this process began.
    pub(crate) load_seen: u64,
    /// Health, as nginx sees it.
    pub(crate) mirror: Mirror,
    /// Whether a peer is probed although its server line is marked `down`.
    pub(crate) probes_marked_peers: bool,
    /// Whether every peer has a slot.
    pub(crate) complete: bool,
}

impl Watch {
    /// The version of nginx's list of its peers; 0 where that list is none of ours.
    fn list_version(&self) -> usize {
        self.conf.list_version(self.upstream)
    }

    /// Whether a peer is probed whose server line is marked `down` or not.
    fn is_probed(&self, configured_down: bool) -> bool {
        self.check.is_some() && (!configured_down || self.probes_marked_peers)
    }

    /// Notes for its balancer where the states of its peers are.
    fn refer(&self) {
        self.conf.registration.each(|index, address| {
            references::set(index, self.reference(address));
        });
    }

    /// Where the state of the peer at an address is.
    pub(super) fn reference(&self, address: &Address) -> Reference {
        self.mirror.image(address.bytes()).map_or_else(Reference::default, |image| Reference {
            slot: image.slot,
            program: image.program,
        })
    }
}

impl Worker {
    /// Lists the peers of a watch anew and mirrors them.
    pub(crate) fn refresh(&mut self, number: usize) {
        for peer in self.peers.iter_mut().filter(|peer| peer.watch == number) {
            peer.listed = false;
        }
        self.enlist_all(number);
        self.release_unlisted(number);
        self.rank_peers();
    }

    /// Mirrors a watch, after listing its peers anew if nginx's resolver changed them.
    pub(crate) fn sync(&mut self, number: usize) {
        let Some(watch) = self.watches.get_mut(number) else { return };
        if watch.list_version() != watch.conf.gate.version() {
            self.refresh(number);
        } else {
            watch.mirror.run(&watch.conf.gate);
        }
        self.note_news(number);
    }

    /// As `sync`, where there is something new.
    pub(crate) fn sync_if_stale(&mut self, number: usize) {
        let Some(watch) = self.watches.get(number) else { return };
        if watch.conf.gate.stale(watch.list_version()).is_some() {
            self.sync(number);
        }
    }

    /// Lists the peers that a watch has now, and mirrors them.
    pub(crate) fn enlist_all(&mut self, number: usize) {
        let Some(watch) = self.watches.get(number) else { return };
        let upstream = watch.upstream;
        // Read before the list: a change in between is met by the next look.
        let version = watch.list_version();
        let members: Vec<_> = watch.conf.members(upstream, watch.mirror.mask()).collect();

        let mut complete = true;
        let mut images = Vec::with_capacity(members.len());
        for member in members.iter() {
            let (image, is_complete) = self.image_of(number, upstream, member);
            complete &= is_complete;
            images.push(image);
        }
        if let Some(watch) = self.watches.get_mut(number) {
            watch.complete = complete;
            watch.mirror.set_peers(version, images);
            watch.mirror.run(&watch.conf.gate);
            watch.refer();
        }
    }

    /// Lists one peer as the mirror keeps it; `false` when it has no slot and should have one.
    pub(super) fn image_of(
        &mut self,
        number: usize,
        upstream: Upstream,
        member: &Member<'_>,
    ) -> (Image, bool) {
        let watch = self.watches.get(number);
        let is_managed = watch.is_some_and(|watch| watch.programs.is_some());
        let is_probed = watch.is_some_and(|watch| watch.is_probed(member.down));
        let slot = if is_probed { self.enlist(number, upstream, member) } else { None };
        let is_complete = !is_probed || slot.is_some();
        let slot: Option<&Slot> = slot.and_then(|at| self.zone.slots.0.get(at));
        let image = Image {
            address: member.address,
            slot,
            program: self.program_of(number, member.line),
            line: member.line,
            admin_down: member.down && !is_managed,
            up_since: Cell::new(0),
            penalty: Penalty::default(),
        };
        (image, is_complete)
    }

    /// Lists one peer; `None` when it cannot be probed for now.
    fn enlist(&mut self, watch: usize, upstream: Upstream, member: &Member<'_>) -> Option<usize> {
        let key = Key::of_peer(upstream.name(), member.address.canonical());
        let slot = self.slot_of(key)?;
        let place = self.by_slot.get(slot).copied().unwrap_or(NOWHERE);
        if let Some(peer) = usize::try_from(place).ok().and_then(|at| self.peers.get_mut(at)) {
            peer.listed = true;
            return Some(slot);
        }
        let peer = Peer::new(slot, key, watch, member.address, (*member.name).into());
        let vacant = self.peers.iter().position(|peer| matches!(peer.phase, Phase::Gone));
        let at = vacant.unwrap_or(self.peers.len());
        match self.peers.get_mut(at) {
            Some(place) => *place = peer,
            None => self.peers.push(peer),
        }
        self.wheel.reserve(self.peers.len());
        self.due.reserve(self.peers.len());
        if let (Some(place), Ok(at)) = (self.by_slot.get_mut(slot), u32::try_from(at)) {
            *place = at;
        }
        Some(slot)
    }

    /// The slot of a peer, made if there is none.
    fn slot_of(&mut self, key: Key) -> Option<usize> {
        let slots = self.zone.slots;
        if let Some((at, slot)) = slots.find(key) {
            slot.entry().list(self.epoch);
            return Some(at);
        }
        let (now, epoch) = (now(), self.epoch);
        // Busy: the next scan tries again.
        let lock = self.zone.try_lock()?;
        let add = || slots.find_or_add(&lock, key, epoch, |slot| slot.reset(now, now));
        let added = add().or_else(|| {
            slots.remove_if(&lock, |slot| {
                let lease = slot.lease();
                lease.pid() == 0 && now.saturating_sub(lease.time()) > KEEP_UNLISTED
            });
            add()
        });
        drop(lock);
        if added.is_none() {
            self.trouble.note(
                Cause::ZoneFull,
                now,
                format_args!(
                    "no room in shared memory for one more peer, all {} slots are taken: it is \
                     not probed and counts as up",
                    slots.0.len()
                ),
            );
        }
        added.map(|(at, _)| at)
    }

    /// Gives back the leases of a watch's peers that are no longer listed, and forgets the peers.
    fn release_unlisted(&mut self, watch: usize) {
        for at in 0..self.peers.len() {
            let gone = |peer: &Peer| peer.watch == watch && !peer.listed;
            if !self.peers.get(at).is_some_and(gone) {
                continue;
            }
            self.give_back(at);
            if let Some(peer) = self.peers.get_mut(at) {
                peer.phase = Phase::Gone;
                if let Some(place) = self.by_slot.get_mut(peer.slot) {
                    *place = NOWHERE;
                }
            }
        }
    }

    /// Numbers the listed peers, in the order that every worker of the configuration has.
    pub(crate) fn rank_peers(&mut self) {
        self.unranked = false;
        let mut order: Vec<_> = self.peers.iter_mut().filter(|peer| peer.listed).collect();
        order.sort_by_key(|peer| (peer.watch, peer.slot));
        for (rank, peer) in order.into_iter().enumerate() {
            peer.rank = rank;
        }
    }
}
