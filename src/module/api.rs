//! The tables of the C interface, which balancers look up by name.

use core::mem::size_of;
use core::ptr::null;
use core::sync::atomic::{AtomicUsize, Ordering};

use nginx_sys::ngx_uint_t;

use super::healthcheck::ngx_http_healthcheck_module;
use super::supervisord::ngx_http_supervisord_module;
use crate::abi::bound::{
    ngx_http_healthcheck_api_t, ngx_supervisord_api_t, NGX_HTTP_HEALTHCHECK_API_VERSION,
    NGX_SUPERVISORD_TABLE_VERSION,
};
use crate::abi::{chain, healthcheck, supervisord};

/// What `ngx_http_healthcheck_module.h` looks up.
#[no_mangle]
#[cfg_attr(not(test), used)]
#[allow(non_upper_case_globals, reason = "the header looks this name up")]
pub(crate) static mut ngx_http_healthcheck_api: ngx_http_healthcheck_api_t =
    ngx_http_healthcheck_api_t {
        version: NGX_HTTP_HEALTHCHECK_API_VERSION as ngx_uint_t,
        size: size_of::<ngx_http_healthcheck_api_t>(),
        module: &raw mut ngx_http_healthcheck_module,
        newer: null(),
        add_peer: Some(healthcheck::add_peer),
        is_down: Some(healthcheck::is_down),
        register_peer: Some(healthcheck::register_peer),
        forget_peer: Some(healthcheck::forget_peer),
    };

/// What `ngx_supervisord.h` looks up.
#[no_mangle]
#[cfg_attr(not(test), used)]
#[allow(non_upper_case_globals, reason = "the header looks this name up")]
pub(crate) static mut ngx_supervisord_api: ngx_supervisord_api_t = ngx_supervisord_api_t {
    version: NGX_SUPERVISORD_TABLE_VERSION as ngx_uint_t,
    size: size_of::<ngx_supervisord_api_t>(),
    module: &raw mut ngx_http_supervisord_module,
    newer: null(),
    check_servers: Some(supervisord::check_servers),
    execute: Some(supervisord::execute),
    add_backend_monitor: Some(supervisord::add_backend_monitor),
    add_load_monitor: Some(supervisord::add_load_monitor),
    is_managed: Some(supervisord::is_managed),
};

/// How many configurations of this file there are.
static CONFIGURATIONS: AtomicUsize = AtomicUsize::new(0);

/// A configuration begins to be read. With the first one of a file that was put in the place of another,
/// that one's tables lead to ours.
pub(super) fn begin() {
    if CONFIGURATIONS.fetch_add(1, Ordering::Relaxed) == 0 {
        // SAFETY: the tables of this file; every file takes its own out in `end`, before nginx unloads
        // it, since a configuration goes before the files that it has loaded.
        unsafe {
            chain::append(&raw mut ngx_http_healthcheck_api);
            chain::append(&raw mut ngx_supervisord_api);
        }
    }
}

/// A configuration is gone.
pub(super) fn end() {
    if CONFIGURATIONS.fetch_sub(1, Ordering::Relaxed) == 1 {
        // SAFETY: as in `begin`.
        unsafe {
            chain::remove(&raw mut ngx_http_healthcheck_api);
            chain::remove(&raw mut ngx_supervisord_api);
        }
    }
}
