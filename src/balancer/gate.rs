//! What a request to a checked upstream passes before nginx picks a peer: one atomic load.

use core::cell::Cell;
use core::sync::atomic::{AtomicU64, Ordering};

use nginx_sys::{
    ngx_http_request_t, ngx_http_upstream_init_peer_pt, ngx_http_upstream_srv_conf_t, ngx_int_t,
};

/// A `peer.init` that is there.
pub(crate) type PeerInit =
    unsafe extern "C" fn(*mut ngx_http_request_t, *mut ngx_http_upstream_srv_conf_t) -> ngx_int_t;

/// Tells whether this process mirrors the newest health of one upstream. Lives in the upstream's
/// configuration, one copy a process.
#[derive(Default)]
pub(crate) struct Gate {
    /// nginx's own `peer.init`, which runs behind the gate.
    inner: Cell<ngx_http_upstream_init_peer_pt>,
    /// The same, and then another look at nginx's list of peers.
    following: Cell<ngx_http_upstream_init_peer_pt>,
    /// What begins a request: `following` where the list changes while nginx runs, else `inner`.
    begin: Cell<ngx_http_upstream_init_peer_pt>,
    /// Whether each request is wrapped.
    is_wrapped: Cell<bool>,
    /// What begins a request, unless each is wrapped.
    direct: Cell<ngx_http_upstream_init_peer_pt>,
    /// The upstream's generation in shared memory; unset where nothing is mirrored.
    generation: Cell<Option<&'static AtomicU64>>,
    /// The generation that is mirrored.
    seen: Cell<u64>,
    /// The version of nginx's peer list that is mirrored.
    version: Cell<usize>,
    /// Which of the worker's upstreams this is.
    number: Cell<usize>,
    /// Whether any peer is usable, as far as is mirrored.
    usable: Cell<bool>,
    /// Whether something was mirrored here, and is no longer.
    closed: Cell<bool>,
}

impl Gate {
    /// Puts the gate before nginx's own `peer.init`; `following` runs that and then mirrors what is
    /// stale, `is_wrapped` says whether each request is.
    pub(crate) fn set_inner(
        &self,
        inner: ngx_http_upstream_init_peer_pt,
        following: PeerInit,
        is_wrapped: bool,
    ) {
        self.inner.set(inner);
        self.following.set(inner.and(Some(following)));
        self.is_wrapped.set(is_wrapped);
        self.set_begin(inner);
    }

    /// Sets what begins a request.
    fn set_begin(&self, begin: ngx_http_upstream_init_peer_pt) {
        self.begin.set(begin);
        self.direct.set(begin.filter(|_| !self.is_wrapped.get()));
    }

    /// Begins to watch `generation` for upstream `number`; `is_listed_anew` says whether nginx's list of
    /// peers changes while nginx runs.
    pub(crate) fn open(&self, number: usize, generation: &'static AtomicU64, is_listed_anew: bool) {
        self.set_begin(if is_listed_anew { self.following.get() } else { self.inner.get() });
        self.number.set(number);
        self.generation.set(Some(generation));
        self.closed.set(false);
    }

    /// Stops watching: the shared memory may go away.
    pub(crate) fn close(&self) {
        self.closed.set(self.is_open());
        self.generation.set(None);
    }

    /// Notes what was mirrored: generation and list version as they were read before the peers, and
    /// whether any peer is usable.
    pub(crate) fn mirrored(&self, seen: u64, version: usize, usable: bool) {
        self.seen.set(seen);
        self.version.set(version);
        self.usable.set(usable);
    }

    /// Notes that one more peer is there, and is usable.
    pub(crate) fn open_for_one(&self) {
        self.usable.set(true);
    }

    /// Whether any peer is usable, as far as is mirrored.
    pub(crate) fn is_usable(&self) -> bool {
        self.usable.get()
    }

    /// The worker's number for the upstream.
    pub(crate) fn number(&self) -> usize {
        self.number.get()
    }

    /// Whether a flip has happened that is not mirrored yet.
    pub(crate) fn is_behind(&self) -> bool {
        self.generation.get().is_some_and(|word| word.load(Ordering::Acquire) != self.seen.get())
    }

    /// Whether anything is mirrored here.
    pub(crate) fn is_open(&self) -> bool {
        self.generation.get().is_some()
    }

    /// Whether something was mirrored here, and is no longer.
    pub(crate) fn is_closed(&self) -> bool {
        self.closed.get()
    }

    /// The version of nginx's peer list that is mirrored.
    pub(crate) fn version(&self) -> usize {
        self.version.get()
    }

    /// nginx's own `peer.init`, which runs behind the gate.
    pub(crate) fn inner(&self) -> ngx_http_upstream_init_peer_pt {
        self.inner.get()
    }

    /// What begins a request behind the gate: nginx's own `peer.init`, with another look at the list of
    /// peers where that changes.
    pub(crate) fn begin(&self) -> ngx_http_upstream_init_peer_pt {
        self.begin.get()
    }

    /// What begins a request, if that is all there is to do for it; see `stale`. Cannot panic.
    #[inline]
    pub(crate) fn direct(&self, version: usize) -> ngx_http_upstream_init_peer_pt {
        if self.stale(version).is_some() {
            return None;
        }
        self.direct.get()
    }

    /// The number of the upstream if it must be mirrored anew before a request may pass; `version`
    /// is that of nginx's peer list now. Cannot panic.
    #[inline]
    pub(crate) fn stale(&self, version: usize) -> Option<usize> {
        let generation = self.generation.get()?;
        // Acquire: the slots that were written before this generation are seen by who mirrors.
        let fresh =
            generation.load(Ordering::Acquire) == self.seen.get() && version == self.version.get();
        (!fresh).then(|| self.number.get())
    }
}
