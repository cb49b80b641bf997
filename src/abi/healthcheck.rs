//! The functions of `ngx_http_healthcheck_module.h`.

use nginx_sys::{
    ngx_addr_t, ngx_http_upstream_srv_conf_t, ngx_int_t, ngx_log_t, ngx_pool_t, ngx_uint_t,
};

use super::bound::NGX_HTTP_HEALTHCHECK_NO_PEER;
use super::{block, ERROR};
use crate::conf::registered;
use crate::nginx::address::Address;
use crate::nginx::conf::text;
use crate::nginx::guard::guard;
use crate::nginx::log::{write_to, Level};
use crate::nginx::upstream::Upstream;
use crate::worker::references;
use crate::worker::registered::{forget, register, Outcome};

/// The index of a peer that is never down.
const NO_PEER: ngx_uint_t = NGX_HTTP_HEALTHCHECK_NO_PEER as ngx_uint_t;

/// Registers a peer while the configuration is read.
pub(crate) unsafe extern "C" fn add_peer(
    uscf: *mut ngx_http_upstream_srv_conf_t,
    peer: *mut ngx_addr_t,
    _pool: *mut ngx_pool_t,
) -> ngx_int_t {
    guard("add_peer", ERROR, || {
        // SAFETY: the caller's arguments, live for the call.
        let Some((_, address, name)) = (unsafe { arguments(uscf, peer) }) else { return ERROR };
        // SAFETY: the caller's block is of the configuration that is being read, if there is one.
        match unsafe { block(uscf) } {
            Some(block) if block.is_watched() => {
                as_result(block.health.registration.add(address, name))
            }
            _ => as_result(NO_PEER),
        }
    })
}

/// Tells whether a peer is down.
pub(crate) unsafe extern "C" fn is_down(index: ngx_uint_t, log: *mut ngx_log_t) -> ngx_int_t {
    if index == NO_PEER {
        return 0;
    }
    match guard("is_down", Some(false), || references::is_down(index)) {
        Some(is_down) => ngx_int_t::from(is_down),
        None => {
            // SAFETY: the caller's log.
            unsafe { report(index, log) };
            0
        }
    }
}

/// Reports an index that was never given out. One of an earlier configuration, or of a peer that was
/// forgotten, is no mistake.
///
/// # Safety
/// `log` is NULL or a live log.
#[cold]
unsafe fn report(index: ngx_uint_t, log: *mut ngx_log_t) {
    guard("is_down", (), || {
        if registered::was_given(index) || references::was_found(index) {
            return;
        }
        let line = format_args!("healthcheck: Invalid index to is_down: {index}");
        // SAFETY: passed on.
        unsafe { write_to(log, Level::Crit, line) };
    });
}

/// Registers a peer while nginx runs.
pub(crate) unsafe extern "C" fn register_peer(
    uscf: *mut ngx_http_upstream_srv_conf_t,
    peer: *mut ngx_addr_t,
) -> ngx_int_t {
    guard("register_peer", ERROR, || {
        // SAFETY: the caller's arguments, live for the call; the block is of the configuration that
        // runs, whose worker compares its address.
        let arguments = unsafe { arguments(uscf, peer) };
        let Some((upstream, address, name)) = arguments else { return ERROR };
        match register(upstream, address, name) {
            Outcome::Index(index) => as_result(index),
            Outcome::Unwatched => as_result(NO_PEER),
            Outcome::Unregistered | Outcome::Full => ERROR,
        }
    })
}

/// Takes a registration at run time back.
pub(crate) unsafe extern "C" fn forget_peer(index: ngx_uint_t) {
    guard("forget_peer", (), || forget(index));
}

/// An upstream, and a peer's address and its text; `None` where one of them is not usable.
///
/// # Safety
/// Both are NULL, or live for the call and the upstream as long as its cycle.
unsafe fn arguments(
    uscf: *mut ngx_http_upstream_srv_conf_t,
    peer: *mut ngx_addr_t,
) -> Option<(Upstream, Address, Box<[u8]>)> {
    // SAFETY: passed on; a peer's address is as long as it says.
    unsafe {
        let (upstream, peer) = (Upstream::new(uscf)?, peer.as_ref()?);
        let address = Address::copy(peer.sockaddr, peer.socklen)?;
        let name = text(&peer.name);
        Some((upstream, address, if name.is_empty() { address.text() } else { name.into() }))
    }
}

/// An index as the header returns it. None is so large that it would be negative.
fn as_result(index: usize) -> ngx_int_t {
    ngx_int_t::try_from(index).unwrap_or(ERROR)
}
