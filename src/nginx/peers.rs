//! The lists of peers of nginx's own balancers: their lock, and copies made under it.

use core::ptr::NonNull;
use std::borrow::Cow;

use nginx_sys::{
    ngx_atomic_t, ngx_http_upstream_rr_peer_t, ngx_http_upstream_rr_peers_t, ngx_rwlock_rlock,
    ngx_rwlock_unlock, ngx_rwlock_wlock, ngx_slab_pool_t, ngx_uint_t,
};

use super::address::Address;
use super::conf::text;

/// nginx's own bit of `peer->down` for a server line that says `drain` (from 1.29.6): it serves the
/// requests of its sessions, and so is not down.
pub(super) const DRAINING: ngx_uint_t = 8;

/// One peer of an upstream: as the configuration names it, or copied.
pub(crate) struct Member<'a> {
    /// Where it is.
    pub(crate) address: Address,
    /// Its address as text.
    pub(crate) name: Cow<'a, [u8]>,
    /// The text of its `server` line.
    pub(crate) server: Cow<'a, [u8]>,
    /// 0-based position of its server line in the block.
    pub(crate) line: Option<u32>,
    /// Its weight.
    pub(crate) weight: u32,
    /// Whether it is a backup.
    pub(crate) backup: bool,
    /// `down` in the configuration.
    pub(crate) down: bool,
}

/// Peers copied out under the lock, into memory reserved before.
pub(crate) struct PeersCopy {
    /// Fixed-size parts.
    peers: Vec<PeerCopy>,
    /// Names and server texts, one after the other.
    text: Vec<u8>,
}

/// One peer's fixed-size part.
struct PeerCopy {
    /// Where it is.
    address: Address,
    /// Length of its name.
    name: usize,
    /// Length of its server line's text.
    server: usize,
    /// Its weight.
    weight: ngx_uint_t,
    /// `peer->down`, whoever set which bit.
    down: ngx_uint_t,
    /// Whether it stands in the second list.
    backup: bool,
}

impl PeersCopy {
    /// A copy of nothing, with room for so many peers and bytes of text.
    pub(crate) fn with_room(peers: usize, bytes: usize) -> PeersCopy {
        PeersCopy { peers: Vec::with_capacity(peers), text: Vec::with_capacity(bytes) }
    }

    /// Copies one peer if the reserved memory has room for it.
    pub(crate) fn push(&mut self, peer: &ngx_http_upstream_rr_peer_t, backup: bool) {
        // SAFETY: called under the lock, while name and address stay unchanged.
        let (address, name, server) = unsafe {
            (Address::copy(peer.sockaddr, peer.socklen), text(&peer.name), text(&peer.server))
        };
        let Some(address) = address else { return };
        let room = self.text.capacity() - self.text.len();
        if self.peers.len() == self.peers.capacity() || name.len() + server.len() > room {
            return;
        }
        self.text.extend_from_slice(name);
        self.text.extend_from_slice(server);
        self.peers.push(PeerCopy {
            address,
            name: name.len(),
            server: server.len(),
            weight: usize::try_from(peer.weight).unwrap_or(0),
            down: peer.down,
            backup,
        });
    }

    /// The copies as members, after the lock was given back.
    /// `own_bits` of `peer->down` are not the configuration's; `line_of` finds a server line's
    /// position by its text and whether it is a backup.
    pub(crate) fn members<'a>(
        self,
        own_bits: ngx_uint_t,
        line_of: impl Fn(&[u8], bool) -> Option<u32>,
    ) -> Vec<Member<'a>> {
        let mut text = self.text.as_slice();
        let mut take = |len| {
            let (taken, rest) = text.split_at_checked(len).unwrap_or_default();
            text = rest;
            taken
        };
        let member = |peer: PeerCopy| {
            let name = Cow::Owned(take(peer.name).to_vec());
            let server = Cow::Owned(take(peer.server).to_vec());
            Member {
                address: peer.address,
                name,
                line: line_of(&server, peer.backup),
                server,
                weight: u32::try_from(peer.weight).unwrap_or(u32::MAX),
                backup: peer.backup,
                down: peer.down & !own_bits & !DRAINING != 0,
            }
        };
        self.peers.into_iter().map(member).collect()
    }
}

/// nginx's lock of an upstream's peers, held; dropping it, also by an unwind, gives it back.
/// A list outside a shared zone has no lock, as in nginx's own macros.
pub(crate) struct PeersLock(Option<NonNull<ngx_http_upstream_rr_peers_t>>);

impl PeersLock {
    /// For looking.
    pub(crate) fn read(peers: NonNull<ngx_http_upstream_rr_peers_t>) -> PeersLock {
        Self::take(peers, ngx_rwlock_rlock)
    }

    /// For changing.
    pub(crate) fn write(peers: NonNull<ngx_http_upstream_rr_peers_t>) -> PeersLock {
        Self::take(peers, ngx_rwlock_wlock)
    }

    /// Takes the lock, if the list has one.
    fn take(
        peers: NonNull<ngx_http_upstream_rr_peers_t>,
        lock: unsafe extern "C" fn(*mut ngx_atomic_t),
    ) -> PeersLock {
        // SAFETY: the lists live as long as the upstream; `shpool` never changes once a worker
        // runs.
        let pool: *mut ngx_slab_pool_t = unsafe { (*peers.as_ptr()).shpool };
        if pool.is_null() {
            return PeersLock(None);
        }
        // SAFETY: nginx's own lock of this list.
        unsafe { lock(&raw mut (*peers.as_ptr()).rwlock) };
        PeersLock(Some(peers))
    }
}

impl Drop for PeersLock {
    fn drop(&mut self) {
        if let Some(peers) = self.0 {
            // SAFETY: taken in `take`, by this process.
            unsafe { ngx_rwlock_unlock(&raw mut (*peers.as_ptr()).rwlock) };
        }
    }
}
