//! nginx's view of the supervisord module: its tables and the callbacks in them. No logic lives here.

use core::ffi::{c_char, c_void};
use core::ptr::null_mut;

use healthcheck_core::supervisor::Command;
use nginx_sys::{
    ngx_command_t, ngx_conf_t, ngx_http_core_loc_conf_t, ngx_http_module_t, ngx_http_request_t,
    ngx_int_t, ngx_module_t, ngx_uint_t, NGINX_VERSION, NGX_CONF_NOARGS, NGX_CONF_TAKE1,
    NGX_CONF_TAKE12, NGX_HTTP_INTERNAL_SERVER_ERROR, NGX_HTTP_LOC_CONF, NGX_HTTP_LOC_CONF_OFFSET,
    NGX_HTTP_MODULE,
};

use super::{core_module, create_conf, name, readers, upstream_command, Reader, ERROR};
use crate::conf::command::{CommandConf, CommandPages};
use crate::conf::supervisord::{self, Setting, SupervisordConf, SupervisordError};
use crate::http::command;
use crate::nginx::conf::{conf_error, conf_ok, loc_conf, main_conf, Directive};
use crate::nginx::guard::guard;
use crate::nginx::request::Request;
use crate::worker;

/// The module's record, which `load_module` and nginx's own build look for.
#[no_mangle]
#[cfg_attr(not(test), used)]
#[allow(non_upper_case_globals, reason = "nginx's build derives the name from the module's")]
pub(crate) static mut ngx_http_supervisord_module: ngx_module_t = ngx_module_t {
    ctx: (&raw const CONTEXT).cast_mut().cast(),
    commands: (&raw mut COMMANDS).cast(),
    type_: NGX_HTTP_MODULE as ngx_uint_t,
    ..ngx_module_t::default()
};

/// The http part of the module's record. The healthcheck module completes the configuration of both.
static CONTEXT: ngx_http_module_t = ngx_http_module_t {
    preconfiguration: None,
    postconfiguration: None,
    create_main_conf: Some(create_conf::<CommandPages>),
    init_main_conf: None,
    create_srv_conf: Some(create_conf::<SupervisordConf>),
    merge_srv_conf: None,
    create_loc_conf: Some(create_conf::<CommandConf>),
    merge_loc_conf: None,
};

/// The directives, ended by an empty row.
static mut COMMANDS: [ngx_command_t; 16] = [
    upstream_command(c"supervisord", NGX_CONF_TAKE12, set_place),
    upstream_command(c"supervisord_name", NGX_CONF_TAKE1, set::<Name>),
    upstream_command(c"supervisord_inherit_backend_status", NGX_CONF_NOARGS, set::<Inherit>),
    upstream_command(c"supervisord_connect_timeout", NGX_CONF_TAKE1, set::<ConnectTimeout>),
    upstream_command(c"supervisord_send_timeout", NGX_CONF_TAKE1, set::<SendTimeout>),
    upstream_command(c"supervisord_read_timeout", NGX_CONF_TAKE1, set::<ReadTimeout>),
    upstream_command(c"supervisord_poll", NGX_CONF_TAKE1, set::<PollEvery>),
    upstream_command(c"supervisord_drain", NGX_CONF_TAKE1, set::<Drain>),
    upstream_command(c"supervisord_cooldown", NGX_CONF_TAKE1, set::<Cooldown>),
    upstream_command(c"supervisord_on_failure", NGX_CONF_TAKE1, set::<OnFailure>),
    upstream_command(c"supervisord_load_threshold", NGX_CONF_TAKE1, set::<LoadThreshold>),
    upstream_command(c"supervisord_min_servers", NGX_CONF_TAKE1, set::<MinServers>),
    upstream_command(c"supervisord_load_interval", NGX_CONF_TAKE1, set::<LoadInterval>),
    location_command(c"supervisord_start", set_start),
    location_command(c"supervisord_stop", set_stop),
    ngx_command_t::empty(),
];

/// The row of a directive of locations.
const fn location_command(
    directive: &'static core::ffi::CStr,
    set: super::SetCommand,
) -> ngx_command_t {
    ngx_command_t {
        name: name(directive),
        type_: (NGX_HTTP_LOC_CONF | NGX_CONF_TAKE1) as ngx_uint_t,
        set: Some(set),
        conf: NGX_HTTP_LOC_CONF_OFFSET,
        offset: 0,
        post: null_mut(),
    }
}

readers! {
    supervisord;
    Name => set_name,
    Inherit => set_inherit,
    ConnectTimeout => set_connect_timeout,
    SendTimeout => set_send_timeout,
    ReadTimeout => set_read_timeout,
    PollEvery => set_poll,
    Drain => set_drain,
    Cooldown => set_cooldown,
    OnFailure => set_on_failure,
    LoadThreshold => set_load_threshold,
    MinServers => set_min_servers,
    LoadInterval => set_load_interval,
}

/// The module's record, for looking things up.
pub(super) fn this() -> &'static ngx_module_t {
    let module = &raw const ngx_http_supervisord_module;
    // SAFETY: nginx writes to the record while it loads modules, before any callback of ours runs.
    unsafe { &*module }
}

/// Ends a `set` callback as a reader's result says.
fn end(directive: &Directive<'_>, result: Result<(), SupervisordError>) -> *mut c_char {
    match result {
        Ok(()) => conf_ok(),
        Err(SupervisordError::Duplicate) => directive.duplicate(),
        Err(SupervisordError::Whole(message)) => directive.fail(&message),
        Err(SupervisordError::Value(error)) => directive.refuse(&*error),
    }
}

/// Reads a directive of an upstream block.
unsafe extern "C" fn set<R: Reader<Setting>>(
    cf: *mut ngx_conf_t,
    cmd: *mut ngx_command_t,
    conf: *mut c_void,
) -> *mut c_char {
    guard("upstream directive", conf_error(), || {
        // SAFETY: nginx passes its parser, the directive's row and what `create_conf` made.
        let (directive, conf) =
            unsafe { (Directive::new(cf, cmd), conf.cast::<SupervisordConf>().as_ref()) };
        conf.map_or(conf_error(), |conf| end(&directive, conf.set(R::READ, directive.args())))
    })
}

/// Reads `supervisord`.
unsafe extern "C" fn set_place(
    cf: *mut ngx_conf_t,
    cmd: *mut ngx_command_t,
    conf: *mut c_void,
) -> *mut c_char {
    guard("supervisord", conf_error(), || {
        // SAFETY: as in `set`.
        let (directive, conf) =
            unsafe { (Directive::new(cf, cmd), conf.cast::<SupervisordConf>().as_ref()) };
        let Some(conf) = conf else { return conf_error() };
        let resolve = |address: &[u8]| directive.resolve(address);
        end(&directive, conf.set_place(directive.args(), resolve))
    })
}

/// Reads `supervisord_start`.
unsafe extern "C" fn set_start(
    cf: *mut ngx_conf_t,
    cmd: *mut ngx_command_t,
    conf: *mut c_void,
) -> *mut c_char {
    // SAFETY: this callback's arguments.
    unsafe { set_command(cf, cmd, conf, Command::Start) }
}

/// Reads `supervisord_stop`.
unsafe extern "C" fn set_stop(
    cf: *mut ngx_conf_t,
    cmd: *mut ngx_command_t,
    conf: *mut c_void,
) -> *mut c_char {
    // SAFETY: this callback's arguments.
    unsafe { set_command(cf, cmd, conf, Command::Stop) }
}

/// Makes a command the content of the location that is being read.
///
/// # Safety
/// The arguments of the `set` callback that is running.
unsafe fn set_command(
    cf: *mut ngx_conf_t,
    cmd: *mut ngx_command_t,
    conf: *mut c_void,
    command: Command,
) -> *mut c_char {
    guard("location directive", conf_error(), || {
        // SAFETY: nginx passes its parser, the directive's row and what `create_conf` made, which
        // lives as long as the cycle; so does what it keeps for the core module.
        let (directive, page, pages, core) = unsafe {
            let page: Option<&'static CommandConf> = conf.cast::<CommandConf>().as_ref();
            let pages = main_conf::<CommandPages>(cf, this());
            let core = loc_conf::<ngx_http_core_loc_conf_t>(cf, core_module()).as_mut();
            (Directive::new(cf, cmd), page, pages, core)
        };
        let (Some(page), Some(pages), Some(core)) = (page, pages, core) else {
            return conf_error();
        };
        if let Err(error) = page.set(command, directive.args()) {
            return directive.fail(&error);
        }
        pages.add(page);
        core.handler = Some(serve_command);
        conf_ok()
    })
}

/// Answers a request for a start or stop.
unsafe extern "C" fn serve_command(r: *mut ngx_http_request_t) -> ngx_int_t {
    guard("command page", NGX_HTTP_INTERNAL_SERVER_ERROR as ngx_int_t, || {
        // SAFETY: nginx passes the request of the content handler that is running.
        let Some(mut request) = (unsafe { Request::new(r) }) else { return ERROR };
        // SAFETY: `create_conf` made the record.
        let target = unsafe { request.loc_conf::<CommandConf>(this()) };
        let Some((command, upstream)) = target.and_then(CommandConf::command) else {
            return ERROR;
        };
        let version = NGINX_VERSION.to_str().unwrap_or_default();
        command::serve(&mut request, command, upstream, version, |command, target| {
            worker::programs::command(upstream, command, target)
        })
    })
}
