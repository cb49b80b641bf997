//! The functions of `ngx_supervisord.h`.

use core::mem::{offset_of, size_of, transmute};

use healthcheck_core::supervisor::Command;
use nginx_sys::{
    ngx_http_request_t, ngx_http_upstream_srv_conf_t, ngx_int_t, ngx_uint_t, NGX_BUSY, NGX_DECLINED,
};

use super::bound::{
    ngx_supervisord_backend_pt, ngx_supervisord_checker_pt, ngx_supervisord_load_pt,
    ngx_supervisord_load_t, NGX_SUPERVISORD_ANY, NGX_SUPERVISORD_CMD_START,
    NGX_SUPERVISORD_CMD_STOP, NGX_SUPERVISORD_SRV_DOWN, NGX_SUPERVISORD_SRV_SHUTTING_DOWN,
    NGX_SUPERVISORD_SRV_STARTING_UP, NGX_SUPERVISORD_SRV_UP,
};
use super::{block, ERROR, OK};
use crate::conf::monitors::Status;
use crate::nginx::callbacks::{BackendMonitor, Checker, Load, LoadFn, LoadMonitor};
use crate::nginx::guard::guard;
use crate::nginx::log::{log, Level};
use crate::nginx::proxied::keep;
use crate::nginx::upstream::Upstream;
use crate::worker::calls::{self, Executed};
use crate::worker::monitors;

/// `NGX_DECLINED` as functions of the header return it.
const DECLINED: ngx_int_t = NGX_DECLINED as ngx_int_t;
/// `NGX_BUSY` as functions of the header return it.
const BUSY: ngx_int_t = NGX_BUSY as ngx_int_t;

// What the lower layers have of the header's own.
const _: () = {
    assert!(size_of::<Load>() == size_of::<ngx_supervisord_load_t>());
    assert!(offset_of!(Load, load) == offset_of!(ngx_supervisord_load_t, load));
    assert!(offset_of!(Load, reqs) == offset_of!(ngx_supervisord_load_t, reqs));
    assert!(offset_of!(Load, interval) == offset_of!(ngx_supervisord_load_t, interval));
    assert!(offset_of!(Load, aservers) == offset_of!(ngx_supervisord_load_t, aservers));
    assert!(offset_of!(Load, nservers) == offset_of!(ngx_supervisord_load_t, nservers));
    assert!(Status::Up as u32 == NGX_SUPERVISORD_SRV_UP);
    assert!(Status::Down as u32 == NGX_SUPERVISORD_SRV_DOWN);
    assert!(Status::Starting as u32 == NGX_SUPERVISORD_SRV_STARTING_UP);
    assert!(Status::Stopping as u32 == NGX_SUPERVISORD_SRV_SHUTTING_DOWN);
};

/// Notes that another module has called a function with something that it cannot work with.
macro_rules! wrong_call {
    ($function:literal, $($what:tt)+) => {
        log!(
            Level::Crit,
            concat!("supervisord: wrong call of ngx_supervisord_", $function, "(): {}"),
            format_args!($($what)+)
        )
    };
}

/// Counts a request, and makes it wait where no program is usable: the upstream's wrappers do both,
/// after its balancer has begun. Where nginx can keep it, its balancer is told.
pub(crate) unsafe extern "C" fn check_servers(r: *mut ngx_http_request_t) -> ngx_int_t {
    guard("check_servers", ERROR, || {
        // SAFETY: the caller's request, NULL or live.
        let has_upstream = unsafe { r.as_ref() }.is_some_and(|r| !r.upstream.is_null());
        if !has_upstream {
            wrong_call!("check_servers", "the request has no upstream");
            return DECLINED;
        }
        // SAFETY: the request has an upstream.
        if unsafe { keep(r) } {
            BUSY
        } else {
            OK
        }
    })
}

/// Starts or stops a program.
pub(crate) unsafe extern "C" fn execute(
    uscf: *mut ngx_http_upstream_srv_conf_t,
    command: ngx_uint_t,
    program: ngx_int_t,
    checker: ngx_supervisord_checker_pt,
) -> ngx_int_t {
    guard("execute", ERROR, || {
        // SAFETY: the caller's upstream, NULL or live while its functions are called.
        let Some(upstream) = (unsafe { Upstream::new(uscf) }) else {
            wrong_call!("execute", "no upstream");
            return DECLINED;
        };
        let command = match u32::try_from(command) {
            Ok(NGX_SUPERVISORD_CMD_START) => Command::Start,
            Ok(NGX_SUPERVISORD_CMD_STOP) => Command::Stop,
            _ => {
                wrong_call!("execute", "no such command: {command}");
                return DECLINED;
            }
        };
        let number = usize::try_from(program).ok();
        if number.is_none() && program != NGX_SUPERVISORD_ANY as ngx_int_t {
            wrong_call!("execute", "no such program: {program}");
            return DECLINED;
        }
        // SAFETY: the checker is a function of the module whose upstream it is.
        let checker = checker.map(|function| unsafe { Checker::new(function) });
        match calls::execute(upstream, command, number, checker) {
            Executed::Yes => OK,
            Executed::NotManaged => DECLINED,
            Executed::NoSuchProgram => {
                wrong_call!("execute", "no such program: {program}");
                DECLINED
            }
            Executed::Unable => ERROR,
        }
    })
}

/// Asks to be told of the states of an upstream's programs.
pub(crate) unsafe extern "C" fn add_backend_monitor(
    uscf: *mut ngx_http_upstream_srv_conf_t,
    monitor: ngx_supervisord_backend_pt,
) -> ngx_int_t {
    guard("add_backend_monitor", ERROR, || {
        // SAFETY: the caller's upstream, NULL or live while its functions are called.
        let (Some(upstream), Some(monitor)) = (unsafe { Upstream::new(uscf) }, monitor) else {
            wrong_call!("add_backend_monitor", "no upstream or no monitor");
            return ERROR;
        };
        // SAFETY: the monitor is a function of the module whose upstream it is.
        let monitor = unsafe { BackendMonitor::new(monitor) };
        // SAFETY: the caller's block is of the configuration that is being read, if one is.
        match unsafe { block(uscf) } {
            Some(block) if block.programs.is_managed() => {
                block.health.registration.set_monitored();
                block.health.monitors.set_backend(monitor);
            }
            // It is never called.
            Some(_) => {}
            None => monitors::set_backend(upstream, monitor),
        }
        OK
    })
}

/// Asks for the load of an upstream.
pub(crate) unsafe extern "C" fn add_load_monitor(
    uscf: *mut ngx_http_upstream_srv_conf_t,
    monitor: ngx_supervisord_load_pt,
) -> ngx_int_t {
    guard("add_load_monitor", ERROR, || {
        // SAFETY: the caller's upstream, NULL or live while its functions are called.
        let (Some(upstream), Some(monitor)) = (unsafe { Upstream::new(uscf) }, monitor) else {
            wrong_call!("add_load_monitor", "no upstream or no monitor");
            return ERROR;
        };
        // SAFETY: the monitor is a function of the module whose upstream it is, and what it takes is
        // laid out alike, see above.
        let monitor = unsafe {
            LoadMonitor::new(transmute::<
                unsafe extern "C" fn(*mut ngx_http_upstream_srv_conf_t, ngx_supervisord_load_t),
                LoadFn,
            >(monitor))
        };
        // SAFETY: the caller's block is of the configuration that is being read, if one is.
        match unsafe { block(uscf) } {
            Some(block) => block.health.monitors.set_load(monitor),
            None => monitors::set_load(upstream, monitor),
        }
        OK
    })
}

/// Tells whether the programs of an upstream are managed.
pub(crate) unsafe extern "C" fn is_managed(uscf: *mut ngx_http_upstream_srv_conf_t) -> ngx_int_t {
    guard("is_managed", 0, || {
        // SAFETY: the caller's block is of the configuration that is being read, if one is.
        let block = unsafe { block(uscf) };
        ngx_int_t::from(block.is_some_and(|block| block.programs.is_managed()))
    })
}
