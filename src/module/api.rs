//! The tables of the C interface, which balancers look up by name.

use core::mem::size_of;
use core::ptr::null;

use nginx_sys::ngx_uint_t;

use super::healthcheck::ngx_http_healthcheck_module;
use super::supervisord::ngx_http_supervisord_module;
use crate::abi::bound::{
    ngx_http_healthcheck_api_t, ngx_supervisord_api_t, NGX_HTTP_HEALTHCHECK_API_VERSION,
    NGX_SUPERVISORD_TABLE_VERSION,
};
use crate::abi::{healthcheck, supervisord};

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
