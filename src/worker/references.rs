//! What balancers ask for by index: which slot and which program a registered peer has. Read in the
//! middle of nginx's work on a request: without a search, an allocation or a lock.

use crate::nginx::process::{CycleId, ProcessLocal};
use crate::zone::program::ProgramCell;
use crate::zone::Slot;

/// The bit that tells the index of a peer that was found while nginx runs.
const FOUND: usize = 1 << (usize::BITS - 2);

/// Bits of such an index that say where the peer's reference is; those between count the indices.
const PLACE_BITS: u32 = (usize::BITS - 2) / 2;

/// The largest place.
const PLACE_MASK: usize = (1 << PLACE_BITS) - 1;

/// How many indices there can be for peers that are found while nginx runs.
const MAX_COUNT: usize = FOUND >> PLACE_BITS;

/// Where the state of a peer is.
#[derive(Clone, Copy, Default)]
pub(crate) struct Reference {
    /// Its slot; `None` for a peer that is not probed.
    pub(crate) slot: Option<&'static Slot>,
    /// Its program, if that is managed.
    pub(crate) program: Option<&'static ProgramCell>,
}

impl Reference {
    /// Whether requests must keep off.
    fn is_down(self) -> bool {
        self.slot.is_some_and(|slot| slot.health().is_down())
            || self.program.is_some_and(|cell| !cell.program().is_usable())
    }
}

/// A peer that was found while nginx runs.
#[derive(Clone, Copy)]
struct Found {
    /// Its index; 0 = the place is free.
    index: usize,
    /// Where its state is.
    reference: Reference,
}

/// All references of this process.
struct Table {
    /// The configuration that they are of; `None`: of none.
    cycle: Option<CycleId>,
    /// The first index of that configuration.
    first: usize,
    /// Peers that were registered while the configuration was read.
    configured: Vec<Reference>,
    /// Peers that were found since.
    found: Vec<Found>,
    /// Free places in `found`.
    vacant: Vec<usize>,
    /// How many indices were given to peers that were found, ever.
    given: usize,
}

/// The references of this process; empty in one that does not probe.
static TABLE: ProcessLocal<Table> = ProcessLocal::new(Table::EMPTY);

/// Makes room for the `count` peers that the configuration of `cycle` has registered, from index `first`
/// on.
pub(super) fn open(cycle: CycleId, first: usize, count: usize) {
    TABLE.with(|table| {
        table.clear();
        table.cycle = Some(cycle);
        table.first = first;
        table.configured.resize(count, Reference::default());
    });
}

/// Drops every reference: the shared memory may go away.
pub(super) fn close() {
    TABLE.with(Table::clear);
}

/// Whether requests must keep off the peer with this index; `None` for an index that this table knows
/// nothing of.
pub(crate) fn is_down(index: usize) -> Option<bool> {
    TABLE.with(|table| table.get(index).map(Reference::is_down)).flatten()
}

/// Whether an index was given to a peer that was found while nginx runs.
pub(crate) fn was_found(index: usize) -> bool {
    let count = (index & !FOUND) >> PLACE_BITS;
    index & FOUND != 0 && TABLE.with(|table| (1..=table.given).contains(&count)) == Some(true)
}

/// Notes where the state of a peer is.
pub(super) fn set(index: usize, reference: Reference) {
    TABLE.with(|table| {
        if let Some(place) = table.place(index) {
            *place = reference;
        }
    });
}

/// An index for a peer that was found while nginx runs; `None` when there are no more.
pub(super) fn give() -> Option<usize> {
    TABLE.with(Table::give).flatten()
}

/// Takes the index of a peer back that was found while nginx runs; it is nobody's from now on.
pub(super) fn take_back(index: usize) {
    TABLE.with(|table| table.take_back(index));
}

impl Table {
    /// Of no configuration.
    const EMPTY: Table = Table {
        cycle: None,
        first: 0,
        configured: Vec::new(),
        found: Vec::new(),
        vacant: Vec::new(),
        given: 0,
    };

    /// Where the state of a peer is.
    fn get(&self, index: usize) -> Option<Reference> {
        // A reload without a master may have dropped the module, and the shared memory with it.
        if self.cycle != Some(CycleId::running()) {
            return None;
        }
        if let Some(reference) = self.configured.get(index.wrapping_sub(self.first)) {
            return Some(*reference);
        }
        let found = self.found.get(index & PLACE_MASK)?;
        (found.index == index && index & FOUND != 0).then_some(found.reference)
    }

    /// The reference of a peer, to be changed.
    fn place(&mut self, index: usize) -> Option<&mut Reference> {
        if index & FOUND != 0 {
            return self.found(index).map(|found| &mut found.reference);
        }
        self.configured.get_mut(index.wrapping_sub(self.first))
    }

    /// A peer that was found while nginx runs.
    fn found(&mut self, index: usize) -> Option<&mut Found> {
        let found = self.found.get_mut(index & PLACE_MASK)?;
        (found.index == index && index & FOUND != 0).then_some(found)
    }

    /// Gives out an index. The place of a forgotten peer is used again, its index is not.
    fn give(&mut self) -> Option<usize> {
        let place = self.vacant.pop().unwrap_or(self.found.len());
        let count = self.given + 1;
        if place > PLACE_MASK || count >= MAX_COUNT {
            return None;
        }
        self.given = count;
        let index = FOUND | (count << PLACE_BITS) | place;
        let found = Found { index, reference: Reference::default() };
        match self.found.get_mut(place) {
            Some(vacant) => *vacant = found,
            None => self.found.push(found),
        }
        Some(index)
    }

    /// Takes an index back.
    fn take_back(&mut self, index: usize) {
        if let Some(found) = self.found(index) {
            found.index = 0;
            self.vacant.push(index & PLACE_MASK);
        }
    }

    /// Drops every reference, and the memory for them: the module may be unloaded after this.
    fn clear(&mut self) {
        *self = Table { given: self.given, ..Table::EMPTY };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> Table {
        Table { first: 5, configured: vec![Reference::default(); 2], ..Table::EMPTY }
    }

    #[test]
    fn the_place_of_a_forgotten_peer_is_used_again_and_its_index_is_not() {
        let mut table = table();
        let (one, two) = (table.give().expect("an index"), table.give().expect("an index"));
        table.take_back(one);
        let three = table.give().expect("an index");
        assert_eq!(one & PLACE_MASK, three & PLACE_MASK);
        assert!(one != three && table.found(one).is_none());
        assert!(table.found(two).is_some() && table.found(three).is_some());
    }

    #[test]
    fn indices_of_one_kind_are_none_of_the_other() {
        let mut table = table();
        let found = table.give().expect("an index");
        for index in [5, 6, found] {
            assert!(table.place(index).is_some(), "{index}");
        }
        for index in [0, 4, 7, found & !FOUND, found + 1, FOUND, usize::MAX] {
            assert!(table.place(index).is_none(), "{index}");
        }
    }

    #[test]
    fn no_index_is_negative_for_a_balancer_that_keeps_it_in_a_signed_number() {
        let mut table = table();
        table.given = MAX_COUNT - 2;
        let last = table.give().expect("the last one");
        assert!(isize::try_from(last).is_ok());
        assert!(table.give().is_none());
    }
}
