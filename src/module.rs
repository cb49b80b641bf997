//! nginx's view of the module: its tables and the callbacks in them. No logic lives here.

use core::ffi::{c_char, c_void};
use core::ptr::null_mut;

use nginx_sys::{
    ngx_command_t, ngx_conf_t, ngx_cycle_t, ngx_http_core_loc_conf_t, ngx_http_core_module,
    ngx_http_module_t, ngx_http_request_t, ngx_http_upstream_main_conf_t, ngx_http_upstream_module,
    ngx_http_upstream_srv_conf_t, ngx_int_t, ngx_module_t, ngx_shm_zone_t, ngx_str_t, ngx_uint_t,
    NGINX_VERSION, NGX_CONF_1MORE, NGX_CONF_NOARGS, NGX_CONF_TAKE1, NGX_CONF_TAKE12, NGX_ERROR,
    NGX_HTTP_BAD_REQUEST, NGX_HTTP_INTERNAL_SERVER_ERROR, NGX_HTTP_LOC_CONF,
    NGX_HTTP_LOC_CONF_OFFSET, NGX_HTTP_MODULE, NGX_HTTP_NOT_ALLOWED, NGX_HTTP_SRV_CONF,
    NGX_HTTP_SRV_CONF_OFFSET, NGX_HTTP_UPS_CONF, NGX_OK,
};

use crate::conf::page::PageError;
use crate::conf::upstream::{self, Setting, SettingError};
use crate::conf::{complete, MainConf, PageConf, UpstreamConf};
use crate::http::status;
use crate::nginx::conf::{
    conf_error, conf_log, conf_ok, cycle_main_conf, loc_conf, main_conf, Directive,
};
use crate::nginx::guard::guard;
use crate::nginx::log::{log, Level};
use crate::nginx::pool::keep;
use crate::nginx::process::{is_config_test, role, worker_processes, CycleId, ProcessLocal, Role};
use crate::nginx::request::{upstreams_of, Request};
use crate::nginx::shm::{self, SharedZone};
use crate::nginx::upstream::Upstream;
use crate::worker;

/// The name of the zone; longer than what anybody would call a zone of their own.
const ZONE_NAME: &[u8] = b"ngx_http_healthcheck_module";

/// `NGX_OK` as callbacks return it.
const OK: ngx_int_t = NGX_OK as ngx_int_t;
/// `NGX_ERROR` as callbacks return it.
const ERROR: ngx_int_t = NGX_ERROR as ngx_int_t;

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

/// The http part of the module's record.
static CONTEXT: ngx_http_module_t = ngx_http_module_t {
    preconfiguration: None,
    postconfiguration: Some(postconfiguration),
    create_main_conf: Some(create_conf::<Main>),
    init_main_conf: None,
    create_srv_conf: Some(create_conf::<UpstreamConf>),
    merge_srv_conf: None,
    create_loc_conf: Some(create_conf::<PageConf>),
    merge_loc_conf: None,
};

/// The directives, ended by an empty row.
static mut COMMANDS: [ngx_command_t; 9] = [
    upstream_command(c"healthcheck_enabled", NGX_CONF_NOARGS, set_upstream::<Enabled>),
    upstream_command(c"healthcheck_delay", NGX_CONF_TAKE1, set_upstream::<Delay>),
    upstream_command(c"healthcheck_timeout", NGX_CONF_TAKE1, set_upstream::<Timeout>),
    upstream_command(c"healthcheck_failcount", NGX_CONF_TAKE12, set_upstream::<Failcount>),
    upstream_command(c"healthcheck_send", NGX_CONF_1MORE, set_upstream::<Send>),
    upstream_command(c"healthcheck_expected", NGX_CONF_TAKE1, set_upstream::<Expected>),
    upstream_command(c"healthcheck_buffer", NGX_CONF_TAKE1, set_upstream::<Buffer>),
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

/// What a `set` callback looks like.
type SetCommand =
    unsafe extern "C" fn(*mut ngx_conf_t, *mut ngx_command_t, *mut c_void) -> *mut c_char;

/// An nginx string over a directive's name.
const fn name(text: &'static core::ffi::CStr) -> ngx_str_t {
    ngx_str_t { len: text.count_bytes(), data: text.as_ptr().cast_mut().cast() }
}

/// The row of a directive of upstream blocks.
const fn upstream_command(
    directive: &'static core::ffi::CStr,
    arguments: u32,
    set: SetCommand,
) -> ngx_command_t {
    ngx_command_t {
        name: name(directive),
        type_: (NGX_HTTP_UPS_CONF | arguments) as ngx_uint_t,
        set: Some(set),
        conf: NGX_HTTP_SRV_CONF_OFFSET,
        offset: 0,
        post: null_mut(),
    }
}

/// Gives each directive's reader a type, and so a callback of its own.
trait Reader {
    /// The reader.
    const READ: Setting;
}

/// One `Reader` a directive.
macro_rules! readers {
    ($($name:ident => $read:ident),+ $(,)?) => {$(
        #[doc = concat!("[`upstream::", stringify!($read), "`]")]
        struct $name;
        impl Reader for $name {
            const READ: Setting = upstream::$read;
        }
    )+};
}

readers! {
    Enabled => set_enabled,
    Delay => set_delay,
    Timeout => set_timeout,
    Failcount => set_failcount,
    Send => set_send,
    Expected => set_expected,
    Buffer => set_buffer,
}

/// The main configuration as nginx keeps it: when it goes, a worker that still uses it ends.
#[derive(Default)]
pub(crate) struct Main(MainConf);

impl Drop for Main {
    fn drop(&mut self) {
        worker::life::stop_under(&self.0);
    }
}

/// The module's record, for looking things up.
pub(crate) fn this() -> &'static ngx_module_t {
    let module = &raw const ngx_http_healthcheck_module;
    // SAFETY: nginx writes to the record while it loads modules, before any callback of ours runs.
    unsafe { &*module }
}

/// Makes an empty configuration record that lives as long as the cycle.
unsafe extern "C" fn create_conf<T: Default>(cf: *mut ngx_conf_t) -> *mut c_void {
    guard("create_conf", null_mut(), || {
        // SAFETY: nginx passes a live parser with the cycle's pool.
        unsafe { keep((*cf).pool, T::default()) }.map_or(null_mut(), |conf| conf.as_ptr().cast())
    })
}

/// Reads a directive of an upstream block.
unsafe extern "C" fn set_upstream<R: Reader>(
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

/// nginx's core http module.
fn core_module() -> &'static ngx_module_t {
    let module = &raw const ngx_http_core_module;
    // SAFETY: a static of nginx's that is complete before modules are called.
    unsafe { &*module }
}

/// nginx's http upstream module.
fn upstream_module() -> &'static ngx_module_t {
    let module = &raw const ngx_http_upstream_module;
    // SAFETY: as in `core_module`.
    unsafe { &*module }
}

/// Completes the configuration: every directive was read, every balancer is set up.
unsafe extern "C" fn postconfiguration(cf: *mut ngx_conf_t) -> ngx_int_t {
    guard("postconfiguration", ERROR, || {
        // SAFETY: nginx passes its parser inside the `http` block; both modules made their records.
        let (main, upstreams) = unsafe {
            let conf = main_conf::<ngx_http_upstream_main_conf_t>(cf, upstream_module());
            (main_conf::<Main>(cf, this()), conf.map_or_else(Vec::new, |conf| upstreams_of(conf)))
        };
        let Some(Main(main)) = main else { return ERROR };
        // SAFETY: `create_conf` made the records, which live as long as the cycle.
        let confs = upstreams.iter().filter_map(|upstream| unsafe {
            Some((*upstream, upstream.srv_conf::<UpstreamConf>(this().ctx_index)?))
        });
        // SAFETY: `cf` is this callback's.
        let warn = |idle| unsafe { conf_log(cf, Level::Warn, &idle) };
        let watched = match complete::watched(confs, warn) {
            Ok(watched) => watched,
            Err(foreign) => {
                // SAFETY: `cf` is this callback's.
                unsafe { conf_log(cf, Level::Emerg, &foreign) };
                return ERROR;
            }
        };
        for one in &watched {
            let uscf = one.upstream.as_ptr();
            // SAFETY: a live upstream whose balancer has set its `peer.init`.
            unsafe {
                one.conf.gate.inner.set((*uscf).peer.init);
                (*uscf).peer.init = Some(init_peer);
            }
        }
        if watched.is_empty() {
            return OK;
        }
        main.set_watched(watched);
        // SAFETY: `cf` is this callback's; the configuration lives as long as the cycle.
        if unsafe { request_zone(cf, main) } {
            OK
        } else {
            ERROR
        }
    })
}

/// Asks nginx for the module's zone.
///
/// # Safety
/// `cf` is the argument of the configuration callback that is running.
unsafe fn request_zone(cf: *mut ngx_conf_t, main: &MainConf) -> bool {
    // SAFETY: passed on; `main` lives in the cycle's pool.
    unsafe {
        let (size, replace) = main.plan_zone(shm::old_zone(cf, ZONE_NAME, this()));
        let data = (&raw const *main).cast_mut().cast();
        shm::request_zone(cf, ZONE_NAME, size, this(), replace, init_zone, data)
    }
}

/// Fills the zone, which nginx has just mapped or kept.
unsafe extern "C" fn init_zone(zone: *mut ngx_shm_zone_t, _: *mut c_void) -> ngx_int_t {
    guard("zone init", ERROR, || {
        // SAFETY: nginx passes the zone that `request_zone` asked for.
        let (main, memory) = unsafe { (shm::requested::<MainConf>(zone), SharedZone::new(zone)) };
        let (Some(main), Some(memory)) = (main, memory) else { return ERROR };
        if let Err(error) = main.init_zone(memory) {
            log!(Level::Emerg, "healthcheck: {error}");
            return ERROR;
        }
        // SAFETY: `zone` is this callback's.
        unsafe { shm::settle_zone(zone) };
        OK
    })
}

/// The module's configuration in a cycle; `None` without an `http` block.
///
/// # Safety
/// `cycle` is a live cycle; the result is not used after it ended.
unsafe fn cycle_main<'a>(cycle: *mut ngx_cycle_t) -> Option<&'a MainConf> {
    // SAFETY: `create_conf` made the record.
    unsafe { cycle_main_conf::<Main>(cycle, this()) }.map(|Main(main)| main)
}

/// The new configuration is complete and can no longer fail.
unsafe extern "C" fn init_module(cycle: *mut ngx_cycle_t) -> ngx_int_t {
    guard("init_module", ERROR, || {
        if is_config_test() {
            return OK;
        }
        // SAFETY: nginx passes the new cycle; the worker that gets its configuration is ended
        // before the cycle is (`Main::drop`).
        let main = unsafe { cycle_main(cycle) };
        if let Some(main) = main {
            main.commit();
        }
        // Without a master, `init_process` is not called again on a reload.
        if SINGLE.with(|is_running| *is_running) == Some(true) {
            // SAFETY: nginx passes the new cycle.
            unsafe { start_worker(cycle) };
        }
        OK
    })
}

/// A process begins its work.
unsafe extern "C" fn init_process(cycle: *mut ngx_cycle_t) -> ngx_int_t {
    guard("init_process", OK, || {
        match role() {
            Role::Other => return OK,
            Role::Single => {
                SINGLE.with(|is_running| *is_running = true);
            }
            Role::Worker => {}
        }
        // SAFETY: nginx passes the process's cycle.
        unsafe { start_worker(cycle) };
        OK
    })
}

/// Starts this process's worker under the configuration of `cycle`.
///
/// # Safety
/// `cycle` is a live cycle.
unsafe fn start_worker(cycle: *mut ngx_cycle_t) {
    // SAFETY: the worker is ended before the cycle's pool is (`Main::drop`).
    match unsafe { (cycle_main(cycle), worker_processes(cycle)) } {
        (Some(main), workers) => worker::life::start(main, CycleId::of(cycle), workers),
        (None, _) => worker::life::stop(),
    }
}

/// A process ends.
unsafe extern "C" fn exit_process(_: *mut ngx_cycle_t) {
    guard("exit_process", (), worker::life::stop);
}

/// A request to a checked upstream begins: mirrors what changed, then lets nginx choose a peer.
unsafe extern "C" fn init_peer(
    r: *mut ngx_http_request_t,
    us: *mut ngx_http_upstream_srv_conf_t,
) -> ngx_int_t {
    let inner = guard("peer.init", None, || {
        // SAFETY: nginx passes the upstream whose `peer.init` this is, so `create_conf` made its
        // record and `postconfiguration` set the gate.
        let (upstream, conf) = unsafe {
            let upstream = Upstream::new(us)?;
            (upstream, upstream.srv_conf::<UpstreamConf>(this().ctx_index)?)
        };
        if let Some(number) = conf.gate.stale(upstream.version()) {
            worker::life::sync(number);
        }
        conf.gate.inner.get()
    });
    // SAFETY: nginx's own `peer.init` of this upstream, with its own arguments.
    inner.map_or(ERROR, |inner| unsafe { inner(r, us) })
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

/// Whether this process is nginx's only one and has begun its work.
static SINGLE: ProcessLocal<bool> = ProcessLocal::new(false);

// The tables that `load_module` reads.
#[cfg(all(feature = "export-modules", not(test)))]
ngx::ngx_modules!(ngx_http_healthcheck_module);
