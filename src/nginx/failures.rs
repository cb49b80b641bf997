//! Requests that fail at a peer, where nobody needs to know more of a request than that: nginx's own
//! `peer.free`, with a listener in front. It keeps nothing per request.

use core::cell::Cell;
use core::ffi::c_void;
use core::mem::offset_of;
use core::ptr::fn_addr_eq;

use nginx_sys::{
    ngx_event_free_peer_pt, ngx_http_request_t, ngx_http_upstream_srv_conf_t, ngx_http_upstream_t,
    ngx_peer_connection_t, ngx_uint_t, NGX_PEER_FAILED,
};

use super::address::Address;
use super::guard::guard;
use super::upstream::Upstream;

/// The `peer.free` that the balancer of one upstream gives each of its requests. Lives in the upstream's
/// configuration.
#[derive(Default)]
pub(crate) struct BalancerFree(Cell<ngx_event_free_peer_pt>);

/// Who is told of failed requests. Must not touch any request itself.
pub(crate) trait Listener {
    /// What was kept for an upstream to whose requests [`listen`] was applied.
    fn balancer_free(upstream: Upstream) -> Option<&'static BalancerFree>;

    /// nginx calls a request to the peer at this address failed, and has counted that.
    fn failed(upstream: Upstream, address: &Address);
}

/// Puts the listener in front of a request's `peer.free`. Leaves a request alone whose `peer.free` is
/// another one than that of the requests before, so that `kept` is right for all.
///
/// # Safety
/// `r` and `us` are the arguments of the `peer.init` that is running, after nginx's own has succeeded;
/// `kept` is what `L` returns for that upstream, and lives as long as its configuration.
pub(crate) unsafe fn listen<L: Listener>(
    r: *mut ngx_http_request_t,
    us: *mut ngx_http_upstream_srv_conf_t,
    kept: &BalancerFree,
) {
    // SAFETY: `r->upstream` is set before `peer.init` is called.
    let Some(u) = (unsafe { (*r).upstream.as_mut() }) else { return };
    let listener: Free = free::<L>;
    let Some(own) = u.peer.free else { return };
    // Another module's upstream may pass its requests on to this one.
    if u.upstream != us || fn_addr_eq(own, listener) {
        return;
    }
    match kept.0.get() {
        Some(known) if fn_addr_eq(known, own) => {}
        Some(_) => return,
        None => kept.0.set(Some(own)),
    }
    u.peer.free = Some(listener);
}

/// A balancer's `peer.free`.
type Free = unsafe extern "C" fn(*mut ngx_peer_connection_t, *mut c_void, ngx_uint_t);

/// nginx is done with the peer of a request. Nothing in here can panic.
unsafe extern "C" fn free<L: Listener>(
    pc: *mut ngx_peer_connection_t,
    data: *mut c_void,
    state: ngx_uint_t,
) {
    // SAFETY: the peer connection that `listen` has changed is a request's `u->peer`.
    let upstream = unsafe {
        let u = pc.byte_sub(offset_of!(ngx_http_upstream_t, peer)).cast::<ngx_http_upstream_t>();
        Upstream::new((*u).upstream)
    };
    let Some(upstream) = upstream else { return };
    let Some(own) = L::balancer_free(upstream).and_then(|kept| kept.0.get()) else { return };
    // SAFETY: nginx's own arguments, for the balancer that this request has.
    unsafe {
        if state & NGX_PEER_FAILED as ngx_uint_t == 0 {
            own(pc, data, state);
        } else {
            fail::<L>(upstream, own, pc, data, state);
        }
    }
}

/// As `free`, for a request that has failed: apart, so that others do not pay for its room.
///
/// # Safety
/// The last three are nginx's arguments of `free`, and `own` is the balancer's function for them.
#[cold]
#[inline(never)]
unsafe fn fail<L: Listener>(
    upstream: Upstream,
    own: Free,
    pc: *mut ngx_peer_connection_t,
    data: *mut c_void,
    state: ngx_uint_t,
) {
    // SAFETY: passed on. A peer that the resolver has dropped goes with its last request, and its
    // address with it.
    let address = unsafe {
        let address = Address::copy((*pc).sockaddr, (*pc).socklen);
        own(pc, data, state);
        address
    };
    if let Some(address) = address {
        guard("peer.free", (), || L::failed(upstream, &address));
    }
}
