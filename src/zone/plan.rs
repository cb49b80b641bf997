//! How large the zone has to be, and what is in it before the workers start.

use core::sync::atomic::Ordering;
use core::time::Duration;
use std::thread::sleep;

use healthcheck_core::key::Key;
use healthcheck_core::program::Program;
use healthcheck_core::Msec;

use super::layout::{Capacity, Zone};
use super::supervisord::SupervisordCell;
use super::table::{Record, Table};
use super::upstream::UpstreamCell;
use crate::nginx::shm::ZoneLock;

/// Slots for each server line that is resolved at run time.
const SLOTS_PER_RESOLVED_LINE: usize = 64;

/// The smallest first table.
const MIN_SLOTS: usize = 64;

/// The smallest first table of upstreams; a multiple of four, which keeps a process's counts of
/// upstreams a whole number of cache lines.
const MIN_UPSTREAMS: usize = 16;

/// The smallest first table of programs, where there are any.
const MIN_PROGRAMS: usize = 16;

/// The smallest first table of supervisords, where there are any.
const MIN_SUPERVISORDS: usize = 4;

/// How long a reload waits for a mutex that an old worker holds while it adds a peer.
const LOCK_TRIES: u32 = 1_000;

/// A peer that the configuration lists.
pub(crate) struct Listed {
    /// Upstream and address.
    pub(crate) key: Key,
    /// When its first probe is due, ms after the zone was filled.
    pub(crate) first_due: Msec,
}

/// A program that the configuration lists.
pub(crate) struct ListedProgram {
    /// Upstream and number.
    pub(crate) key: Key,
    /// Its upstream.
    pub(crate) upstream: Key,
    /// Whether its line is marked `down`.
    pub(crate) configured_down: bool,
    /// Whether one that is not marked starts as up.
    pub(crate) inherit: bool,
}

/// What a configuration needs room for.
#[derive(Default)]
pub(crate) struct Listing {
    /// Every upstream with checks.
    pub(crate) upstreams: Vec<Key>,
    /// Every peer that is probed.
    pub(crate) peers: Vec<Listed>,
    /// Server lines that are resolved at run time.
    pub(crate) resolved_lines: usize,
    /// Every managed program.
    pub(crate) programs: Vec<ListedProgram>,
    /// Every supervisord, each once.
    pub(crate) supervisords: Vec<Key>,
    /// Whether requests are counted.
    pub(crate) counted: bool,
}

/// The zone that a configuration asks nginx for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Plan {
    /// The running configuration's zone has room enough.
    Keep,
    /// A new zone, whether it replaces a smaller one or is the first.
    Make(Capacity),
}

/// Why a zone cannot be filled.
#[derive(Debug)]
pub(crate) enum FillError {
    /// It is smaller than what it was planned for.
    TooSmall,
    /// A process held its mutex all the time.
    Locked,
}

impl core::fmt::Display for FillError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(match self {
            FillError::TooSmall => "the shared memory is too small for its peers",
            FillError::Locked => "a worker does not let go of the shared memory's mutex",
        })
    }
}

impl Listing {
    /// The zone this listing needs, given the running configuration's.
    pub(crate) fn plan(&self, old: Option<Zone>) -> Plan {
        let reserved = self.resolved_lines.saturating_mul(SLOTS_PER_RESOLVED_LINE);
        let slots = (self.peers.len() * 2).max(MIN_SLOTS).next_power_of_two() + reserved;
        let upstreams = (self.upstreams.len() * 2).max(MIN_UPSTREAMS).next_power_of_two();
        let first = Capacity {
            slots: to_u32(slots),
            upstreams: to_u32(upstreams),
            reserved: to_u32(reserved),
            programs: room(self.programs.len(), MIN_PROGRAMS),
            supervisords: room(self.supervisords.len(), MIN_SUPERVISORDS),
            counted: self.counted,
        };
        let Some(old) = old else { return Plan::Make(first) };

        // What the old workers still use stays until they are gone.
        let has = old.capacity();
        let more_reserved = to_u32(reserved).saturating_sub(has.reserved);
        let peers = self.peers.iter().map(|peer| peer.key);
        let slots = needed(old.slots, peers).saturating_add(more_reserved);
        let upstreams = needed(old.upstreams, self.upstreams.iter().copied());
        let programs = needed(old.programs, self.programs.iter().map(|program| program.key));
        let supervisords = needed(old.supervisords, self.supervisords.iter().copied());
        let is_enough = slots <= has.slots
            && upstreams <= has.upstreams
            && programs <= has.programs
            && supervisords <= has.supervisords
            && (has.counted || !self.counted);
        if is_enough {
            return Plan::Keep;
        }
        Plan::Make(Capacity {
            slots: first.slots.max(has.slots.saturating_mul(2)),
            upstreams: first.upstreams.max(has.upstreams.saturating_mul(2)),
            reserved: first.reserved.max(has.reserved),
            programs: first.programs.max(has.programs.saturating_mul(2)),
            supervisords: first.supervisords.max(has.supervisords.saturating_mul(2)),
            counted: first.counted || has.counted,
        })
    }

    /// Adds what is missing to the zone for configuration `epoch`. Nothing that is there is
    /// changed: the reload can still fail, and the old workers go on with it.
    pub(crate) fn fill(&self, zone: Zone, epoch: u32, now: Msec) -> Result<(), FillError> {
        let lock = lock(zone)?;
        for key in &self.upstreams {
            let cell = zone.upstreams.find_or_add(&lock, *key, epoch, UpstreamCell::reset);
            cell.ok_or(FillError::TooSmall)?;
        }
        for peer in &self.peers {
            let first_due = now.saturating_add(peer.first_due);
            let slot =
                zone.slots.find_or_add(&lock, peer.key, epoch, |slot| slot.reset(now, first_due));
            slot.ok_or(FillError::TooSmall)?;
        }
        for program in &self.programs {
            let first = Program::initial(program.configured_down, program.inherit);
            let cell =
                zone.programs.find_or_add(&lock, program.key, epoch, |cell| cell.reset(first));
            cell.ok_or(FillError::TooSmall)?;
        }
        for key in &self.supervisords {
            let cell = zone.supervisords.find_or_add(&lock, *key, epoch, SupervisordCell::reset);
            cell.ok_or(FillError::TooSmall)?;
        }
        Ok(())
    }

    /// Notes that configuration `epoch` lists its records: the reload can no longer fail.
    pub(crate) fn list(&self, zone: Zone, epoch: u32) {
        for key in &self.upstreams {
            list(zone.upstreams, *key, epoch);
        }
        for peer in &self.peers {
            list(zone.slots, peer.key, epoch);
        }
        for key in &self.supervisords {
            list(zone.supervisords, *key, epoch);
            // The new configuration may name other programs.
            if let Some((_, cell)) = zone.supervisords.find(*key) {
                cell.hurry(0);
            }
        }
        for program in &self.programs {
            list(zone.programs, program.key, epoch);
            program.configure(zone);
        }
    }
}

impl ListedProgram {
    /// Applies the configuration to the kept state: a changed `down` flag wins.
    fn configure(&self, zone: Zone) {
        let Some((_, cell)) = zone.programs.find(self.key) else { return };
        loop {
            let old = cell.program();
            let new = old.reconfigured(self.configured_down, self.inherit);
            if new == old {
                return;
            }
            if cell.swap(old, new) {
                break;
            }
        }
        if let Some((_, upstream)) = zone.upstreams.find(self.upstream) {
            upstream.generation().fetch_add(1, Ordering::Release);
        }
    }
}

/// Copies what the zone `old` knows into the new, larger `zone`.
pub(crate) fn carry_over(old: Zone, zone: Zone, now: Msec) -> Result<(), FillError> {
    zone.continue_epochs(old);
    zone.adopt_processes(old);
    let lock = lock(zone)?;
    for from in old.slots.used_records() {
        let (Some(key), epoch) = (from.entry().key(), from.entry().epoch()) else { continue };
        let added = zone.slots.find_or_add(&lock, key, epoch, |slot| slot.copy_from(from, now));
        added.ok_or(FillError::TooSmall)?;
    }
    for (at, from) in old.upstreams.0.iter().enumerate() {
        let (Some(key), epoch) = (from.entry().key(), from.entry().epoch()) else { continue };
        let requests = old.requests(at);
        let copy = |cell: &UpstreamCell| cell.copy_from(from, requests);
        zone.upstreams.find_or_add(&lock, key, epoch, copy).ok_or(FillError::TooSmall)?;
    }
    for from in old.programs.used_records() {
        let (Some(key), epoch) = (from.entry().key(), from.entry().epoch()) else { continue };
        let added = zone.programs.find_or_add(&lock, key, epoch, |cell| cell.copy_from(from));
        added.ok_or(FillError::TooSmall)?;
    }
    Ok(())
}

/// Room for twice as many records as there are now; none where there are none.
fn room(count: usize, min: usize) -> u32 {
    if count == 0 {
        return 0;
    }
    to_u32((count * 2).max(min).next_power_of_two())
}

/// Takes the zone's mutex, waiting a second at most.
fn lock(zone: Zone) -> Result<ZoneLock, FillError> {
    for _ in 0..LOCK_TRIES {
        if let Some(lock) = zone.try_lock() {
            return Ok(lock);
        }
        sleep(Duration::from_millis(1));
    }
    Err(FillError::Locked)
}

/// Records in use once `keys` were added.
fn needed<R: Record>(table: Table<R>, keys: impl Iterator<Item = Key>) -> u32 {
    to_u32(table.used() + keys.filter(|key| table.find(*key).is_none()).count())
}

/// Lists the record of `key`.
fn list<R: Record>(table: Table<R>, key: Key, epoch: u32) {
    if let Some((_, record)) = table.find(key) {
        record.entry().list(epoch);
    }
}

/// Counts of records are bounded by the memory they would take, far below 2^32.
fn to_u32(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listing(peers: usize, resolved_lines: usize) -> Listing {
        let peer = |at: usize| Listed { key: Key::of_peer(b"u", &at.to_le_bytes()), first_due: 0 };
        Listing {
            upstreams: vec![Key::of_upstream(b"u")],
            peers: (0..peers).map(peer).collect(),
            resolved_lines,
            ..Listing::default()
        }
    }

    fn slots(peers: usize, resolved_lines: usize) -> u32 {
        match listing(peers, resolved_lines).plan(None) {
            Plan::Make(capacity) => capacity.slots,
            Plan::Keep => 0,
        }
    }

    #[test]
    fn a_first_zone_has_room_for_twice_the_peers() {
        assert_eq!((slots(0, 0), slots(32, 0), slots(33, 0), slots(1_000, 0)), (64, 64, 128, 2048));
    }

    #[test]
    fn each_line_that_is_resolved_at_run_time_has_64_slots() {
        assert_eq!((slots(0, 1), slots(1_000, 3)), (128, 2048 + 192));
    }
}
