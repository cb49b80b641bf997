//! What requests see: the gate in front of `peer.init`, and the mirror of health into nginx's own
//! `peer->down`.

pub(crate) mod gate;
pub(crate) mod mirror;

pub(crate) use gate::Gate;
pub(crate) use mirror::Mirror;

/// The bit in `peer->down` that means "unhealthy". nginx only tests the word for zero; its own
/// values are 1 (`down`) and, from 1.29.6, 8 (`drain`).
pub(crate) const UNHEALTHY: usize = 0x100;
