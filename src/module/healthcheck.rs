//! nginx's view of the healthcheck module: its tables, and the callbacks of directives and requests.

use core::ffi::{c_char, c_void};
use core::ptr::null_mut;

use nginx_sys::{
    ngx_command_t, ngx_conf_t, ngx_http_core_loc_conf_t, ngx_http_module_t, ngx_http_request_t,
    ngx_http_upstream_srv_conf_t, ngx_int_t, ngx_module_t, ngx_uint_t, NGINX_VERSION,
    NGX_CONF_1MORE, NGX_CONF_NOARGS, NGX_CONF_TAKE1, NGX_CONF_TAKE12, NGX_HTTP_BAD_REQUEST,
    NGX_HTTP_INTERNAL_SERVER_ERROR, NGX_HTTP_LOC_CONF, NGX_HTTP_LOC_CONF_OFFSET, NGX_HTTP_MODULE,
    NGX_HTTP_NOT_ALLOWED, NGX_HTTP_SRV_CONF, NGX_HTTP_UPS_CONF,
};

use super::cycle::{
    create_main_conf, exit_process, init_module, init_process, postconfiguration, Main,
};
use super::{
    core_module, create_conf, name, readers, upstream_command, upstream_module, Reader, ERROR, OK,
};
use crate::balancer::gate::PeerInit;
use crate::balancer::hold::HoldError;
use crate::conf::complete::RivalQueue;
use crate::conf::page::PageError;
use crate::conf::upstream::{self, Setting, SettingError};
use crate::conf::{PageConf, UpstreamConf};
use crate::http::status;
use crate::nginx::address::Address;
use crate::nginx::conf::{conf_error, conf_log, conf_ok, loc_conf, rivals, Directive};
use crate::nginx::failures::{self, BalancerFree};
use crate::nginx::guard::guard;
use crate::nginx::log::Level;
use crate::nginx::proxied;
use crate::nginx::request::Request;
use crate::nginx::upstream::Upstream;
use crate::worker;

/// The module's record, which `load_module` and nginx's own build look for.
#[no_mangle]
#[cfg_attr(not(test), used)]
#[allow(non_upper_case_globals, reason = "nginx's build derives the name from the module's")]
pub(crate) static mut ngx_http_healthcheck_module: ngx_module_t = ngx_module_t {
    ctx: (&raw const CONTEXT).cast_mut().cast(),
    commands: (&raw mut COMMANDS).cast(),
    type_: NGX_HTTP_MODULE as ngx_uint_t,
    init_module: Some(init_module),
    init_process: Some(init_process),
    exit_process: Some(exit_process),
    ..ngx_module_t::default()
};

/// The directive of upstream blocks whose name another module may have as well.
const QUEUE: &core::ffi::CStr = c"queue";

/// The http part of the module's record.
static CONTEXT: ngx_http_module_t = ngx_http_module_t {
    preconfiguration: Some(preconfiguration),
    postconfiguration: Some(postconfiguration),
    create_main_conf: Some(create_main_conf),
    init_main_conf: None,
    create_srv_conf: Some(create_conf::<UpstreamConf>),
    merge_srv_conf: None,
    create_loc_conf: Some(create_conf::<PageConf>),
    merge_loc_conf: None,
};

/// The directives, ended by an empty row.
static mut COMMANDS: [ngx_command_t; 12] = [
    upstream_command(c"healthcheck_enabled", NGX_CONF_NOARGS, set_upstream::<Enabled>),
    upstream_command(c"healthcheck_delay", NGX_CONF_TAKE1, set_upstream::<Delay>),
    upstream_command(c"healthcheck_fast_delay", NGX_CONF_TAKE1, set_upstream::<FastDelay>),
    upstream_command(c"healthcheck_timeout", NGX_CONF_TAKE1, set_upstream::<Timeout>),
    upstream_command(c"healthcheck_failcount", NGX_CONF_TAKE12, set_upstream::<Failcount>),
    upstream_command(c"healthcheck_send", NGX_CONF_1MORE, set_upstream::<Send>),
    upstream_command(c"healthcheck_expected", NGX_CONF_TAKE1, set_upstream::<Expected>),
    upstream_command(c"healthcheck_buffer", NGX_CONF_TAKE1, set_upstream::<Buffer>),
    upstream_command(QUEUE, NGX_CONF_TAKE12, set_queue),
    upstream_command(c"supervisord_queue", NGX_CONF_TAKE12, set_queue),
    ngx_command_t {
        name: name(c"healthcheck_status"),
        type_: (NGX_HTTP_SRV_CONF | NGX_HTTP_LOC_CONF | NGX_CONF_NOARGS | NGX_CONF_TAKE1)
            as ngx_uint_t,
        set: Some(set_status),
        conf: NGX_HTTP_LOC_CONF_OFFSET,
        offset: 0,
        post: null_mut(),
    },
    ngx_command_t::empty(),
];

readers! {
    upstream;
    Enabled => set_enabled,
    Delay => set_delay,
    FastDelay => set_fast_delay,
    Timeout => set_timeout,
    Failcount => set_failcount,
    Send => set_send,
    Expected => set_expected,
    Buffer => set_buffer,
}

/// The module's record, for looking things up.
pub(super) fn this() -> &'static ngx_module_t {
    let module = &raw const ngx_http_healthcheck_module;
    // SAFETY: nginx writes to the record while it loads modules, before any callback of ours runs.
    unsafe { &*module }
}

/// Reads a directive of an upstream block.
unsafe extern "C" fn set_upstream<R: Reader<Setting>>(
    cf: *mut ngx_conf_t,
    cmd: *mut ngx_command_t,
    conf: *mut c_void,
) -> *mut c_char {
    guard("upstream directive", conf_error(), || {
        // SAFETY: nginx passes its parser, the directive's row and what `create_conf` made.
        let (directive, conf) =
            unsafe { (Directive::new(cf, cmd), conf.cast::<UpstreamConf>().as_ref()) };
        match conf.map(|conf| conf.set(R::READ, directive.args())) {
            Some(Ok(())) => conf_ok(),
            Some(Err(SettingError::Duplicate)) => directive.duplicate(),
            Some(Err(SettingError::Value(error))) => directive.refuse(&error),
            None => conf_error(),
        }
    })
}

/// Reads `queue`.
unsafe extern "C" fn set_queue(
    cf: *mut ngx_conf_t,
    cmd: *mut ngx_command_t,
    conf: *mut c_void,
) -> *mut c_char {
    guard("queue", conf_error(), || {
        // SAFETY: nginx passes its parser, the directive's row and what `create_conf` made.
        let (directive, conf) =
            unsafe { (Directive::new(cf, cmd), conf.cast::<UpstreamConf>().as_ref()) };
        match conf.map(|conf| conf.hold.set(directive.args())) {
            Some(Ok(())) => conf_ok(),
            Some(Err(HoldError::Duplicate)) => directive.duplicate(),
            Some(Err(HoldError::Value(error))) => directive.refuse(&error),
            None => conf_error(),
        }
    })
}

/// The `http` block begins.
unsafe extern "C" fn preconfiguration(cf: *mut ngx_conf_t) -> ngx_int_t {
    guard("preconfiguration", ERROR, || {
        // SAFETY: nginx passes its parser, in a cycle whose modules are all loaded.
        unsafe {
            let rivals = rivals(cf, this(), QUEUE, NGX_HTTP_UPS_CONF as ngx_uint_t);
            for rival in rivals {
                conf_log(cf, Level::Warn, &RivalQueue(rival));
            }
        }
        OK
    })
}

/// Reads `healthcheck_status` and makes the page the content of its location.
unsafe extern "C" fn set_status(
    cf: *mut ngx_conf_t,
    cmd: *mut ngx_command_t,
    conf: *mut c_void,
) -> *mut c_char {
    guard("healthcheck_status", conf_error(), || {
        // SAFETY: nginx passes its parser, the directive's row and what `create_conf` made.
        let (directive, page) =
            unsafe { (Directive::new(cf, cmd), conf.cast::<PageConf>().as_ref()) };
        let Some(page) = page else { return conf_error() };
        match page.set(directive.args()) {
            Ok(()) => {}
            Err(PageError::Duplicate) => return directive.duplicate(),
            Err(PageError::Format(error)) => return directive.refuse(&error),
        }
        // SAFETY: the core module's record of the location that is being read.
        let core = unsafe { loc_conf::<ngx_http_core_loc_conf_t>(cf, core_module()).as_mut() };
        core.map_or(conf_error(), |core| {
            core.handler = Some(serve_status);
            conf_ok()
        })
    })
}

/// A request to an upstream with checks or a queue begins: mirrors what changed, then lets nginx
/// choose a peer. Most requests find nothing to mirror, and take a way on which nothing can panic.
pub(super) unsafe extern "C" fn init_peer(
    r: *mut ngx_http_request_t,
    us: *mut ngx_http_upstream_srv_conf_t,
) -> ngx_int_t {
    // SAFETY: nginx passes the upstream whose `peer.init` this is, so `create_conf` made its record
    // and `postconfiguration` set the gate.
    let upstream = unsafe { Upstream::new(us) };
    let direct = upstream.and_then(|upstream| {
        let conf = conf_of(upstream)?;
        Some((conf, conf.gate.direct(conf.list_version(upstream))?))
    });
    match direct {
        // SAFETY: this callback's own arguments, and what the gate is before.
        Some((conf, begin)) if conf.watches_failures.get() => unsafe {
            choose_peer(r, us, conf, begin)
        },
        // SAFETY: what begins a request to this upstream, with nginx's own arguments.
        Some((_, begin)) => unsafe { begin(r, us) },
        // SAFETY: this callback's own arguments.
        None => unsafe { init_peer_guarded(r, us) },
    }
}

/// Begins a request, and has the listener for failed requests where one is wanted. Cannot panic.
///
/// # Safety
/// `r` and `us` are the arguments of the `init_peer` that is running, `conf` is what was kept for that
/// upstream, and `begin` what its gate begins a request with.
#[inline(never)]
unsafe fn choose_peer(
    r: *mut ngx_http_request_t,
    us: *mut ngx_http_upstream_srv_conf_t,
    conf: &UpstreamConf,
    begin: PeerInit,
) -> ngx_int_t {
    // SAFETY: passed on; the record lives as long as the configuration.
    unsafe {
        let rc = begin(r, us);
        if rc == OK && conf.watches_failures.get() {
            failures::listen::<Failures>(r, us, &conf.balancer_free);
        }
        rc
    }
}

/// As `init_peer`, where there is something to mirror, to tell, or to wrap.
///
/// # Safety
/// The arguments are those of the `init_peer` that is running.
#[inline(never)]
unsafe fn init_peer_guarded(
    r: *mut ngx_http_request_t,
    us: *mut ngx_http_upstream_srv_conf_t,
) -> ngx_int_t {
    let conf = guard("peer.init", None, || {
        // SAFETY: passed on.
        let upstream = unsafe { Upstream::new(us)? };
        let conf = conf_of(upstream)?;
        if let Some(number) = conf.gate.stale(conf.list_version(upstream)) {
            worker::life::sync(number);
        }
        worker::monitors::tell(conf);
        Some(conf)
    });
    let Some((conf, begin)) = conf.and_then(|conf| Some((conf, conf.gate.begin()?))) else {
        return ERROR;
    };
    if conf.is_wrapped() {
        // SAFETY: this callback's own arguments; the record lives as long as the configuration.
        guard("peer.init", ERROR, || unsafe { proxied::init_peer(r, us, Some(begin), conf) })
    } else {
        // SAFETY: passed on, with what the gate is before.
        unsafe { choose_peer(r, us, conf, begin) }
    }
}

/// nginx's own `peer.init` of an upstream whose peers the resolver adds and removes. It may have waited
/// for that, and would then choose among peers that came after the gate: these are mirrored before it
/// does. What comes later still it refuses itself.
pub(super) unsafe extern "C" fn init_and_follow(
    r: *mut ngx_http_request_t,
    us: *mut ngx_http_upstream_srv_conf_t,
) -> ngx_int_t {
    guard("peer.init", ERROR, || {
        // SAFETY: as in `init_peer`.
        let upstream = unsafe { Upstream::new(us) };
        let found = upstream.and_then(|upstream| Some((upstream, conf_of(upstream)?)));
        let Some((upstream, conf)) = found else { return ERROR };
        let Some(inner) = conf.gate.inner() else { return ERROR };
        // SAFETY: nginx's own `peer.init` of this upstream, with its own arguments.
        let rc = unsafe { inner(r, us) };
        if rc == OK {
            if let Some(number) = conf.gate.stale(conf.list_version(upstream)) {
                worker::life::sync(number);
            }
        }
        rc
    })
}

/// Hands failed requests to the worker.
struct Failures;

impl failures::Listener for Failures {
    fn balancer_free(upstream: Upstream) -> Option<&'static BalancerFree> {
        conf_of(upstream).map(|conf| &conf.balancer_free)
    }

    fn failed(upstream: Upstream, address: &Address) {
        if let Some(conf) = conf_of(upstream) {
            worker::requests::failed(conf, address);
        }
    }
}

/// What the block of an upstream says.
fn conf_of(upstream: Upstream) -> Option<&'static UpstreamConf> {
    // SAFETY: `create_conf` made the record, which lives as long as the requests of its cycle.
    unsafe { upstream.srv_conf::<UpstreamConf>(this().ctx_index) }
}

/// Answers a request for the status page.
unsafe extern "C" fn serve_status(r: *mut ngx_http_request_t) -> ngx_int_t {
    guard("status page", NGX_HTTP_INTERNAL_SERVER_ERROR as ngx_int_t, || {
        // SAFETY: nginx passes the request of the content handler that is running.
        let Some(mut request) = (unsafe { Request::new(r) }) else { return ERROR };
        if !request.is_get_or_head() {
            return NGX_HTTP_NOT_ALLOWED as ngx_int_t;
        }
        if let Err(status) = request.discard_body() {
            return status;
        }
        // SAFETY: `create_conf` made both records.
        let (main, page) =
            unsafe { (request.main_conf::<Main>(this()), request.loc_conf::<PageConf>(this())) };
        let upstreams = request.upstreams(upstream_module());
        let version = NGINX_VERSION.to_str().unwrap_or_default();
        let Some(page) = page else { return ERROR };
        match status::page(
            request.query(),
            page.format(),
            main.map(|Main(main)| main),
            &upstreams,
            version,
        ) {
            Ok((content_type, body)) => request.respond(content_type, body),
            Err(status::UnknownFormat) => NGX_HTTP_BAD_REQUEST as ngx_int_t,
        }
    })
}
