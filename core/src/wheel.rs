//! A timing wheel over numbered entries: what is due on a shared 10 ms tick.
//!
//! Setting, clearing and taking an entry cost the same for any number of entries, and nothing is
//! allocated once an entry's number has been seen. The wheel owns no timer: its user arms one for
//! [`Wheel::next_wake`].

use crate::schedule::TICK;
use crate::Msec;

/// Buckets of one tick each: the wheel's horizon is 40.96 s. An entry further away is met once a
/// turn and left where it is.
const BUCKETS: usize = 4096;
const WORD: usize = u64::BITS as usize;
const NONE: u32 = u32::MAX;

#[derive(Clone, Copy)]
struct Entry {
    tick: u64,
    previous: u32,
    next: u32,
    set: bool,
}

const UNSET: Entry = Entry { tick: 0, previous: NONE, next: NONE, set: false };

/// Entries by number, each with at most one time.
pub struct Wheel {
    /// First entry of each bucket.
    heads: Box<[u32]>,
    /// One bit a bucket: not empty.
    occupied: [u64; BUCKETS / WORD],
    entries: Vec<Entry>,
    /// The first tick that was not looked at yet.
    cursor: u64,
}

impl Wheel {
    /// An empty wheel whose time starts at `now`.
    pub fn new(now: Msec) -> Wheel {
        Wheel {
            heads: vec![NONE; BUCKETS].into_boxed_slice(),
            occupied: [0; BUCKETS / WORD],
            entries: Vec::new(),
            cursor: now / TICK,
        }
    }

    /// Makes room for entries `0..count`, so that [`Wheel::set`] does not allocate for them.
    pub fn reserve(&mut self, count: usize) {
        if count > self.entries.len() {
            self.entries.resize(count, UNSET);
        }
    }

    /// Sets the time of an entry, replacing the one it had. It becomes due on the first tick at or
    /// after `at` that [`Wheel::pop_due`] was not yet called for.
    pub fn set(&mut self, id: u32, at: Msec) {
        self.clear(id);
        let index = usize::try_from(id).unwrap_or(usize::MAX);
        if id == NONE {
            return;
        }
        self.reserve(index + 1);
        let tick = at.div_ceil(TICK).max(self.cursor);
        let bucket = bucket_of(tick);
        let head = self.heads.get(bucket).copied().unwrap_or(NONE);
        if let Some(first) = self.entry(head) {
            first.previous = id;
        }
        if let Some(entry) = self.entries.get_mut(index) {
            *entry = Entry { tick, previous: NONE, next: head, set: true };
        }
        self.set_head(bucket, id);
    }

    /// Takes away the time of an entry, if it has one.
    pub fn clear(&mut self, id: u32) {
        let Some(entry) = self.entry(id) else { return };
        if !entry.set {
            return;
        }
        let Entry { tick, previous, next, .. } = *entry;
        *entry = UNSET;
        if let Some(after) = self.entry(next) {
            after.previous = previous;
        }
        match self.entry(previous) {
            Some(before) => before.next = next,
            None => self.set_head(bucket_of(tick), next),
        }
    }

    /// Takes one entry that is due at `now`; `None` when no more is. Its time is cleared.
    pub fn pop_due(&mut self, now: Msec) -> Option<u32> {
        let end = now / TICK;
        // A clock that jumped further than one turn needs one turn only.
        self.cursor = self.cursor.max((end + 1).saturating_sub(BUCKETS as u64));
        while self.cursor <= end {
            let mut id = self.heads.get(bucket_of(self.cursor)).copied().unwrap_or(NONE);
            while let Some(entry) = self.entry(id) {
                if entry.tick <= end {
                    self.clear(id);
                    return Some(id);
                }
                id = entry.next;
            }
            self.cursor = self.next_occupied(self.cursor + 1).unwrap_or(end + 1).min(end + 1);
        }
        None
    }

    /// When to look again: no entry is due before, and with an entry within the horizon one is due
    /// then. `None` for an empty wheel.
    pub fn next_wake(&self) -> Option<Msec> {
        self.next_occupied(self.cursor).map(|tick| tick * TICK)
    }

    /// The first tick at or after `from`, within one turn, whose bucket is not empty.
    fn next_occupied(&self, from: u64) -> Option<u64> {
        let start = bucket_of(from);
        let (word, bit) = (start / WORD, start % WORD);
        for step in 0..=self.occupied.len() {
            let index = (word + step) % self.occupied.len();
            let mut bits = self.occupied.get(index).copied().unwrap_or(0);
            if step == 0 {
                bits &= u64::MAX << bit;
            } else if step == self.occupied.len() {
                bits &= !(u64::MAX << bit);
            }
            if bits != 0 {
                let bucket = index * WORD + bits.trailing_zeros() as usize;
                let distance = (bucket + BUCKETS - start) % BUCKETS;
                return Some(from + distance as u64);
            }
        }
        None
    }

    fn entry(&mut self, id: u32) -> Option<&mut Entry> {
        self.entries.get_mut(usize::try_from(id).ok()?)
    }

    fn set_head(&mut self, bucket: usize, id: u32) {
        if let Some(head) = self.heads.get_mut(bucket) {
            *head = id;
        }
        if let Some(word) = self.occupied.get_mut(bucket / WORD) {
            let bit = 1 << (bucket % WORD);
            *word = if id == NONE { *word & !bit } else { *word | bit };
        }
    }
}

fn bucket_of(tick: u64) -> usize {
    usize::try_from(tick % BUCKETS as u64).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    fn all_due(wheel: &mut Wheel, now: Msec) -> Vec<u32> {
        let mut due: Vec<u32> = std::iter::from_fn(|| wheel.pop_due(now)).collect();
        due.sort_unstable();
        due
    }

    #[test]
    fn an_entry_is_due_on_the_tick_at_or_after_its_time() {
        let mut wheel = Wheel::new(1_000);
        wheel.set(3, 1_234);
        assert_eq!(wheel.next_wake(), Some(1_240));
        assert_eq!(wheel.pop_due(1_239), None);
        assert_eq!(wheel.pop_due(1_240), Some(3));
        assert_eq!(wheel.next_wake(), None);
    }

    #[test]
    fn entries_of_one_tick_share_a_wake_up() {
        let mut wheel = Wheel::new(0);
        for id in 0..5 {
            wheel.set(id, 41 + u64::from(id));
        }
        assert_eq!(wheel.next_wake(), Some(50));
        assert_eq!(all_due(&mut wheel, 50), [0, 1, 2, 3, 4]);
    }

    #[test]
    fn an_entry_beyond_the_horizon_waits_its_turns() {
        let mut wheel = Wheel::new(0);
        wheel.set(1, 100_000);
        let mut now = 0;
        while let Some(at) = wheel.next_wake() {
            now = at;
            if wheel.pop_due(now).is_some() {
                break;
            }
            assert!(wheel.next_wake() > Some(now), "a wake-up must move the clock");
        }
        assert_eq!(now, 100_000);
    }

    #[test]
    fn a_past_time_is_due_at_once() {
        let mut wheel = Wheel::new(50_000);
        wheel.set(1, 7);
        assert_eq!(wheel.pop_due(50_000), Some(1));
    }

    proptest! {
        #[test]
        fn it_agrees_with_a_sorted_map(
            steps in prop::collection::vec((0_u32..20, 0_u64..120_000, 0_u64..60_000, 0_u8..4), 1..200)
        ) {
            let mut wheel = Wheel::new(0);
            let mut map: BTreeMap<u32, u64> = BTreeMap::new();
            let (mut now, mut first_tick) = (0, 0);
            for (id, ahead, pass, what) in steps {
                match what {
                    0 => { wheel.clear(id); map.remove(&id); }
                    1 => {
                        now += pass;
                        let end = now / TICK;
                        let expected: Vec<u32> =
                            map.iter().filter(|(_, tick)| **tick <= end).map(|(id, _)| *id).collect();
                        map.retain(|_, tick| *tick > end);
                        prop_assert_eq!(all_due(&mut wheel, now), expected);
                        first_tick = end + 1;
                    }
                    _ => {
                        wheel.set(id, now + ahead);
                        map.insert(id, (now + ahead).div_ceil(TICK).max(first_tick));
                    }
                }
                match (wheel.next_wake(), map.values().min()) {
                    (None, None) => {}
                    (Some(wake), Some(tick)) => prop_assert!(wake <= tick * TICK),
                    other => prop_assert!(false, "{other:?}"),
                }
            }
        }
    }
}
