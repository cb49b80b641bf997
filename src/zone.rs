//! The shared memory of the module: one slot a peer; one cell an upstream, a program, a supervisord, a
//! process; one row of counts a process.
//!
//! Everything in it is an atomic, zero is valid everywhere, and nobody holds a lock to read or
//! write a record. Only adding and removing records takes nginx's own mutex of the zone, which
//! nginx frees when its holder is killed.

pub(crate) mod counters;
pub(crate) mod layout;
pub(crate) mod plan;
pub(crate) mod program;
pub(crate) mod slot;
pub(crate) mod supervisord;
pub(crate) mod table;
pub(crate) mod upstream;

pub(crate) use layout::Zone;
pub(crate) use slot::Slot;
