//! The shared memory of the module: one slot a peer, one cell an upstream, one cell a process.
//!
//! Everything in it is an atomic, zero is valid everywhere, and nobody holds a lock to read or
//! write a record. Only adding and removing records takes nginx's own mutex of the zone, which
//! nginx frees when its holder is killed.

pub(crate) mod layout;
pub(crate) mod plan;
pub(crate) mod slot;
pub(crate) mod table;

pub(crate) use layout::Zone;
pub(crate) use slot::Slot;
