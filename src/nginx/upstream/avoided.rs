//! Peers that nginx's balancers avoid after failed requests.

use nginx_sys::time_t;

use super::super::address::raw_address;
use super::super::peers::PeersLock;
use super::Upstream;

impl Upstream {
    /// Visits every peer to which so many requests have failed that nginx's balancers avoid it, for
    /// `fail_timeout` and after that but for single requests: its position, its address, and when a
    /// request failed last, in seconds. `visit` must not allocate, log or panic.
    pub(crate) fn each_avoided(self, mut visit: impl FnMut(usize, &[u8], time_t)) {
        let Some(peers) = self.peers() else { return };
        // As in `mark`: a list without peers that are resolved at run time keeps its peers.
        let _lock = (self.resolved_lines() > 0).then(|| PeersLock::read(peers));
        let mut position = 0_usize;
        let mut list = peers.as_ptr();
        // SAFETY: the peers stay while this looks; their words are plain numbers that another
        // process may change in between.
        unsafe {
            while !list.is_null() {
                let mut peer = (*list).peer;
                while !peer.is_null() {
                    let (fails, max_fails) = (&raw const (*peer).fails, (*peer).max_fails);
                    if max_fails != 0 && fails.read_volatile() >= max_fails {
                        let failed = (&raw const (*peer).accessed).read_volatile();
                        visit(position, raw_address((*peer).sockaddr, (*peer).socklen), failed);
                    }
                    position = position.wrapping_add(1);
                    peer = (*peer).next;
                }
                list = (*list).next;
            }
        }
    }
}
