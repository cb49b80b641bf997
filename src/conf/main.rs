//! What the module keeps for an `http` block: the upstreams with checks or managed programs, and their shared memory
//! through the steps of a reload.

use core::cell::{Cell, OnceCell};

use super::complete::listing;
use super::registered::next_index;
use super::upstream::Watched;
use crate::nginx::process::now;
use crate::nginx::shm::{zone_size, OldZone, SharedZone};
use crate::zone::layout::Capacity;
use crate::zone::plan::{carry_over, FillError, Listing, Plan};
use crate::zone::Zone;

/// One configuration of the module.
#[derive(Default)]
pub(crate) struct MainConf {
    /// Every upstream with checks; set once, when the configuration was read.
    watched: OnceCell<Vec<Watched>>,
    /// What the shared memory has to hold; set together with `watched`.
    listing: OnceCell<Listing>,
    /// How large a new zone is to be; unset where the running configuration's is kept.
    capacity: Cell<Option<Capacity>>,
    /// The shared memory; set when nginx has mapped it.
    zone: Cell<Option<Zone>>,
    /// The smaller zone that `zone` replaces; its workers are told when the reload is certain.
    /// Mapped until nginx has called `init_module`.
    replaced: Cell<Option<Zone>>,
    /// This configuration's epoch in the zone.
    epoch: Cell<u32>,
    /// The index that its first registered peer has, if there is one.
    first_index: Cell<usize>,
    /// How many peers are registered; set together with `watched`.
    registered: Cell<usize>,
}

impl MainConf {
    /// Sets the upstreams with checks or managed programs; once.
    pub(crate) fn set_watched(&self, watched: Vec<Watched>) {
        let listing = listing(&watched);
        self.registered.set(next_index().saturating_sub(self.first_index.get()));
        // A second call, which does not happen, would change nothing.
        let _ = self.watched.set(watched);
        let _ = self.listing.set(listing);
    }

    /// Sets the index that the first registered peer gets.
    pub(crate) fn set_first_index(&self, index: usize) {
        self.first_index.set(index);
    }

    /// The index of the first registered peer, and how many there are.
    pub(crate) fn indices(&self) -> (usize, usize) {
        (self.first_index.get(), self.registered.get())
    }

    /// Every upstream with checks or managed programs.
    pub(crate) fn watched(&self) -> &[Watched] {
        self.watched.get().map_or(&[], Vec::as_slice)
    }

    /// The shared memory; `None` without checks, and before nginx has mapped it.
    pub(crate) fn zone(&self) -> Option<Zone> {
        self.zone.get()
    }

    /// This configuration's epoch; above those of all configurations before it.
    pub(crate) fn epoch(&self) -> u32 {
        self.epoch.get()
    }

    /// Decides on the zone: its size in bytes, and whether nginx must not keep the running
    /// configuration's zone even if that has the same size.
    pub(crate) fn plan_zone(&self, old: Option<OldZone>) -> (usize, bool) {
        let known = old.as_ref().and_then(|old| Zone::open(old.memory));
        let plan = self.listing.get().map(|listing| match (listing.plan(known), known, &old) {
            // nginx gives each file of the module a zone of its own.
            (Plan::Keep, Some(known), Some(OldZone { is_own: false, .. })) => {
                Plan::Make(known.capacity())
            }
            (plan, ..) => plan,
        });
        match (plan, old) {
            (Some(Plan::Make(capacity)), old) => {
                self.capacity.set(Some(capacity));
                // Only from 1.27.3 on does nginx hand a replaced zone's data to the new one.
                self.replaced.set(known);
                (zone_size(capacity.bytes()), old.is_some())
            }
            (_, Some(old)) => (old.size, false),
            (_, None) => (0, false),
        }
    }

    /// Fills the zone that nginx has mapped: a new one if the plan was to make one, else the
    /// running configuration's.
    pub(crate) fn init_zone(&self, memory: SharedZone) -> Result<(), FillError> {
        let now = now();
        let zone = match self.capacity.get() {
            Some(capacity) => Zone::create(memory, capacity),
            None => Zone::open(memory),
        };
        let zone = zone.ok_or(FillError::TooSmall)?;
        if let Some(old) = self.replaced.get() {
            carry_over(old, zone, now)?;
        }
        let epoch = zone.next_epoch();
        if let Some(listing) = self.listing.get() {
            listing.fill(zone, epoch, now)?;
        }
        self.zone.set(Some(zone));
        self.epoch.set(epoch);
        Ok(())
    }

    /// The configuration can no longer fail: from here on its workers probe, those of older ones
    /// stop.
    pub(crate) fn commit(&self) {
        let (Some(zone), Some(listing)) = (self.zone.get(), self.listing.get()) else { return };
        listing.list(zone, self.epoch.get());
        zone.commit(self.epoch.get());
        if let Some(old) = self.replaced.take() {
            old.supersede();
        }
    }
}
