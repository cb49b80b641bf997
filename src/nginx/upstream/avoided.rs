//! Peers that nginx's balancers avoid after failed requests.

use nginx_sys::time_t;

use super::super::address::raw_address;
use super::Upstream;

impl Upstream {
    /// Visits every peer to which so many requests have failed that nginx's balancers avoid it, for
    /// `fail_timeout` and after that but for single requests: its position, its address, and when a
    /// request failed last, in seconds. `visit` must not allocate, log or panic.
    pub(crate) fn each_avoided(self, mut visit: impl FnMut(usize, &[u8], time_t)) {
        self.each_peer(|position, peer| {
            // SAFETY: `each_peer` visits live peers.
            unsafe {
                let (fails, max_fails) = (&raw const (*peer).fails, (*peer).max_fails);
                if max_fails != 0 && fails.read_volatile() >= max_fails {
                    let failed = (&raw const (*peer).accessed).read_volatile();
                    visit(position, raw_address((*peer).sockaddr, (*peer).socklen), failed);
                }
            }
            true
        });
    }
}
