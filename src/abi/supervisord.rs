//! The functions of `ngx_supervisord.h`.

use nginx_sys::{
    ngx_http_request_t, ngx_http_upstream_srv_conf_t, ngx_int_t, ngx_uint_t, NGX_DECLINED,
};

use super::bound::{
    ngx_supervisord_backend_pt, ngx_supervisord_checker_pt, ngx_supervisord_load_pt,
};
use super::{block, ERROR, OK};
use crate::nginx::guard::guard;

/// `NGX_DECLINED` as functions of the header return it.
const DECLINED: ngx_int_t = NGX_DECLINED as ngx_int_t;

/// Counts a request, and makes it wait where no program is usable.
pub(crate) unsafe extern "C" fn check_servers(r: *mut ngx_http_request_t) -> ngx_int_t {
    guard("check_servers", ERROR, || if r.is_null() { DECLINED } else { OK })
}

/// Starts or stops a program.
pub(crate) unsafe extern "C" fn execute(
    _uscf: *mut ngx_http_upstream_srv_conf_t,
    _command: ngx_uint_t,
    _program: ngx_int_t,
    _checker: ngx_supervisord_checker_pt,
) -> ngx_int_t {
    guard("execute", ERROR, || DECLINED)
}

/// Asks to be told of the states of an upstream's programs.
pub(crate) unsafe extern "C" fn add_backend_monitor(
    uscf: *mut ngx_http_upstream_srv_conf_t,
    monitor: ngx_supervisord_backend_pt,
) -> ngx_int_t {
    guard("add_backend_monitor", ERROR, || {
        if uscf.is_null() || monitor.is_none() {
            return ERROR;
        }
        // SAFETY: as in `is_managed`.
        if let Some(block) = unsafe { block(uscf) }.filter(|block| block.programs.is_managed()) {
            block.health.registration.set_monitored();
        }
        OK
    })
}

/// Asks for the load of an upstream.
pub(crate) unsafe extern "C" fn add_load_monitor(
    uscf: *mut ngx_http_upstream_srv_conf_t,
    monitor: ngx_supervisord_load_pt,
) -> ngx_int_t {
    guard(
        "add_load_monitor",
        ERROR,
        || {
            if uscf.is_null() || monitor.is_none() {
                ERROR
            } else {
                OK
            }
        },
    )
}

/// Tells whether the programs of an upstream are managed.
pub(crate) unsafe extern "C" fn is_managed(uscf: *mut ngx_http_upstream_srv_conf_t) -> ngx_int_t {
    guard("is_managed", 0, || {
        // SAFETY: the caller's block is of the configuration that is being read, if there is one.
        let block = unsafe { block(uscf) };
        ngx_int_t::from(block.is_some_and(|block| block.programs.is_managed()))
    })
}
