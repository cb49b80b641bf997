//! What requests see: the gate in front of `peer.init`, the mirror of health into nginx's own
//! `peer->down`, and the hold where they wait for a peer.

pub(crate) mod gate;
pub(crate) mod hold;
pub(crate) mod mirror;
pub(crate) mod penalty;

pub(crate) use gate::Gate;
pub(crate) use hold::Hold;
pub(crate) use mirror::Mirror;

/// The bit in `peer->down` that means "unhealthy". nginx only tests the word for zero; its own
/// values are 1 (`down`) and, from 1.29.6, 8 (`drain`).
pub(crate) const UNHEALTHY: usize = 0x100;

/// The bit in `peer->down` that means "its program is not to be used".
pub(crate) const NOT_UP: usize = 0x200;

/// nginx's own bit for a server line that is marked `down`. In an upstream with managed programs
/// that is only the program's first admin state, and the bit is ours.
pub(crate) const CONFIGURED_DOWN: usize = 0x1;
