//! The functions of `ngx_http_healthcheck_module.h`.

use nginx_sys::{
    ngx_addr_t, ngx_http_upstream_srv_conf_t, ngx_int_t, ngx_log_t, ngx_pool_t, ngx_uint_t,
};

use super::bound::NGX_HTTP_HEALTHCHECK_NO_PEER;
use super::ERROR;
use crate::nginx::guard::guard;
use crate::nginx::log::{write_to, Level};

/// The index of a peer that is never down.
const NO_PEER: ngx_int_t = NGX_HTTP_HEALTHCHECK_NO_PEER as ngx_int_t;

/// Registers a peer.
pub(crate) unsafe extern "C" fn add_peer(
    uscf: *mut ngx_http_upstream_srv_conf_t,
    peer: *mut ngx_addr_t,
    _pool: *mut ngx_pool_t,
) -> ngx_int_t {
    guard("add_peer", ERROR, || if uscf.is_null() || peer.is_null() { ERROR } else { NO_PEER })
}

/// Tells whether a peer is down.
pub(crate) unsafe extern "C" fn is_down(index: ngx_uint_t, log: *mut ngx_log_t) -> ngx_int_t {
    guard("is_down", 0, || {
        if index != NGX_HTTP_HEALTHCHECK_NO_PEER as ngx_uint_t {
            // SAFETY: the caller's log, NULL or live.
            unsafe {
                write_to(
                    log,
                    Level::Crit,
                    format_args!("healthcheck: Invalid index to is_down: {index}"),
                );
            }
        }
        0
    })
}

/// Registers a peer while nginx runs.
pub(crate) unsafe extern "C" fn register_peer(
    uscf: *mut ngx_http_upstream_srv_conf_t,
    peer: *mut ngx_addr_t,
) -> ngx_int_t {
    guard("register_peer", ERROR, || if uscf.is_null() || peer.is_null() { ERROR } else { NO_PEER })
}

/// Takes a registration back.
pub(crate) unsafe extern "C" fn forget_peer(_index: ngx_uint_t) {
    guard("forget_peer", (), || {});
}
