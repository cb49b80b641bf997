//! nginx's view of the two modules: their tables, and the callbacks in them. No logic lives here.

use core::ffi::{c_char, c_void};
use core::ptr::null_mut;

use nginx_sys::{
    ngx_command_t, ngx_conf_t, ngx_http_core_module, ngx_http_upstream_module, ngx_int_t,
    ngx_module_t, ngx_str_t, ngx_uint_t, NGX_ERROR, NGX_HTTP_SRV_CONF_OFFSET, NGX_HTTP_UPS_CONF,
    NGX_OK,
};

use crate::nginx::guard::guard;
use crate::nginx::pool::keep;

mod api;
mod cycle;
mod healthcheck;
mod supervisord;

/// `NGX_OK` as callbacks return it.
const OK: ngx_int_t = NGX_OK as ngx_int_t;
/// `NGX_ERROR` as callbacks return it.
const ERROR: ngx_int_t = NGX_ERROR as ngx_int_t;

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
trait Reader<Setting> {
    /// The reader.
    const READ: Setting;
}

/// One `Reader` a directive: `readers! { module; Name => function, ... }`.
macro_rules! readers {
    ($module:ident; $($name:ident => $read:ident),+ $(,)?) => {$(
        #[doc = concat!("[`", stringify!($module), "::", stringify!($read), "`]")]
        struct $name;
        impl $crate::module::Reader<Setting> for $name {
            const READ: Setting = $module::$read;
        }
    )+};
}

use readers;

/// Makes an empty configuration record that lives as long as the cycle.
unsafe extern "C" fn create_conf<T: Default>(cf: *mut ngx_conf_t) -> *mut c_void {
    guard("create_conf", null_mut(), || {
        // SAFETY: nginx passes a live parser with the cycle's pool.
        unsafe { keep((*cf).pool, T::default()) }.map_or(null_mut(), |conf| conf.as_ptr().cast())
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

/// The tables that `load_module` reads. The macro of the crate `ngx` counts to one only.
#[cfg(all(feature = "export-modules", not(test)))]
mod tables {
    #![allow(non_upper_case_globals, reason = "nginx looks these names up")]

    use core::ffi::c_char;
    use core::ptr::null;

    use nginx_sys::ngx_module_t;

    use super::healthcheck::ngx_http_healthcheck_module;
    use super::supervisord::ngx_http_supervisord_module;

    /// The modules, ended by NULL.
    #[no_mangle]
    pub(crate) static mut ngx_modules: [*const ngx_module_t; 3] =
        [&raw const ngx_http_healthcheck_module, &raw const ngx_http_supervisord_module, null()];

    /// Their names, ended by NULL.
    #[no_mangle]
    pub(crate) static mut ngx_module_names: [*const c_char; 3] =
        [c"ngx_http_healthcheck_module".as_ptr(), c"ngx_http_supervisord_module".as_ptr(), null()];

    /// No place among nginx's modules is asked for.
    #[no_mangle]
    pub(crate) static mut ngx_module_order: [*const c_char; 1] = [null()];
}
