//! Records found by key: an open-addressed table whose lookups take no lock.

use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use healthcheck_core::key::Key;

use crate::nginx::shm::ZoneLock;

/// First half of a key that marks a record as given back: lookups go on behind it.
const REMOVED: u64 = 1;

/// The head of every record. All zero means "never used".
#[repr(C)]
pub(crate) struct Entry {
    /// First half of the key: 0 never used, 1 given back, else a key. Written last.
    key_first: AtomicU64,
    /// Second half of the key.
    key_second: AtomicU64,
    /// The newest configuration that lists the record.
    epoch: AtomicU32,
    /// Keeps the head's size a multiple of eight.
    _reserved: AtomicU32,
}

impl Entry {
    /// Whether it is the head of `key`'s record.
    fn is(&self, key: Key) -> bool {
        self.key_first.load(Ordering::Acquire) == key.0
            && self.key_second.load(Ordering::Relaxed) == key.1
    }

    /// Whether the record is nobody's.
    fn is_vacant(&self) -> bool {
        self.key_first.load(Ordering::Acquire) < Key::FIRST
    }

    /// The key, unless the record is vacant.
    pub(crate) fn key(&self) -> Option<Key> {
        let first = self.key_first.load(Ordering::Acquire);
        (first >= Key::FIRST).then(|| Key(first, self.key_second.load(Ordering::Relaxed)))
    }

    /// The newest configuration that lists the record.
    pub(crate) fn epoch(&self) -> u32 {
        self.epoch.load(Ordering::Relaxed)
    }

    /// Notes that configuration `epoch` lists the record; an older one changes nothing.
    pub(crate) fn list(&self, epoch: u32) {
        if self.epoch() < epoch {
            self.epoch.fetch_max(epoch, Ordering::Relaxed);
        }
    }
}

/// What a table holds.
pub(crate) trait Record: 'static {
    /// The head.
    fn entry(&self) -> &Entry;
}

/// A table over a slice of shared records.
pub(crate) struct Table<R: Record>(pub(crate) &'static [R]);

impl<R: Record> Clone for Table<R> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<R: Record> Copy for Table<R> {}

impl<R: Record> Table<R> {
    /// The record of `key` and its place.
    pub(crate) fn find(self, key: Key) -> Option<(usize, &'static R)> {
        for (at, record) in self.from(key) {
            let entry = record.entry();
            if entry.is(key) {
                return Some((at, record));
            }
            if entry.key_first.load(Ordering::Acquire) == 0 {
                return None;
            }
        }
        None
    }

    /// The record of `key`, made if there is none: `fresh` prepares a vacant one before others can
    /// find it. `None` when the table is full.
    pub(crate) fn find_or_add(
        self,
        _lock: &ZoneLock,
        key: Key,
        epoch: u32,
        fresh: impl FnOnce(&R),
    ) -> Option<(usize, &'static R)> {
        if let Some(found) = self.find(key) {
            return Some(found);
        }
        let (at, record) = self.from(key).find(|(_, record)| record.entry().is_vacant())?;
        fresh(record);
        let entry = record.entry();
        entry.epoch.store(epoch, Ordering::Relaxed);
        entry.key_second.store(key.1, Ordering::Relaxed);
        entry.key_first.store(key.0, Ordering::Release);
        Some((at, record))
    }

    /// Gives back every record for which `is_unused` says so; returns how many.
    pub(crate) fn remove_if(self, _lock: &ZoneLock, is_unused: impl Fn(&R) -> bool) -> usize {
        let unused = |record: &&R| record.entry().key().is_some() && is_unused(record);
        let mut removed = 0;
        for record in self.0.iter().filter(unused) {
            record.entry().key_first.store(REMOVED, Ordering::Release);
            removed += 1;
        }
        removed
    }

    /// How many records are in use.
    pub(crate) fn used(self) -> usize {
        self.used_records().count()
    }

    /// Every record in use.
    pub(crate) fn used_records(self) -> impl Iterator<Item = &'static R> {
        self.0.iter().filter(|record| !record.entry().is_vacant())
    }

    /// Every record, beginning where `key` belongs.
    fn from(self, key: Key) -> impl Iterator<Item = (usize, &'static R)> {
        let len = self.0.len();
        let start = usize::try_from(key.0 % (len as u64).max(1)).unwrap_or(0);
        let (before, after) = self.0.split_at_checked(start).unwrap_or((&[], self.0));
        let wrapped = before.iter().enumerate();
        after.iter().enumerate().map(move |(at, record)| (at + start, record)).chain(wrapped)
    }
}
