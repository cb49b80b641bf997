//! A directive being read: its name, arguments, and errors in nginx's form.

use core::ffi::{c_char, c_void, CStr};
use core::fmt;

use nginx_sys::{
    ngx_addr_t, ngx_command_t, ngx_conf_t, ngx_cycle_t, ngx_http_conf_ctx_t, ngx_http_module,
    ngx_module_t, ngx_parse_url, ngx_str_t, ngx_uint_t, ngx_url_t, NGX_OK,
};

use super::address::Address;
use super::log::{write_conf, Level};

/// The text of an nginx string.
///
/// # Safety
/// `text` is a string of nginx's that stays unchanged for `'a`.
pub(crate) unsafe fn text<'a>(text: &ngx_str_t) -> &'a [u8] {
    if text.data.is_null() || text.len == 0 {
        return &[];
    }
    // SAFETY: a non-empty nginx string points to `len` bytes.
    unsafe { core::slice::from_raw_parts(text.data, text.len) }
}

/// The directive that nginx is reading; valid during its `set` callback.
pub(crate) struct Directive<'a> {
    /// nginx's parser.
    cf: *mut ngx_conf_t,
    /// The directive's name.
    name: &'a [u8],
    /// Its arguments, the name left out.
    args: Vec<&'a [u8]>,
}

/// Ends a `set` callback with an error that was already logged (`NGX_CONF_ERROR`).
pub(crate) fn conf_error() -> *mut c_char {
    core::ptr::without_provenance_mut(usize::MAX)
}

/// Ends a `set` callback well (`NGX_CONF_OK`).
pub(crate) fn conf_ok() -> *mut c_char {
    core::ptr::null_mut()
}

impl<'a> Directive<'a> {
    /// # Safety
    /// Both are the arguments of the `set` callback that is running; `'a` ends with it.
    pub(crate) unsafe fn new(cf: *mut ngx_conf_t, cmd: *mut ngx_command_t) -> Directive<'a> {
        // SAFETY: nginx fills `args` with at least the name, from its configuration pool.
        let (name, args) = unsafe {
            let words: &[ngx_str_t] = (*(*cf).args).as_slice();
            let args = words.iter().skip(1).map(|word| text(word)).collect();
            (text(&(*cmd).name), args)
        };
        Directive { cf, name, args }
    }

    /// The arguments, the name left out.
    pub(crate) fn args(&self) -> &[&'a [u8]] {
        &self.args
    }

    /// Logs `"name" directive: problem` at emerg and ends the callback.
    pub(crate) fn refuse(&self, problem: &dyn fmt::Display) -> *mut c_char {
        let name = self.name.escape_ascii();
        // SAFETY: `new` was given the running callback's `cf`.
        unsafe {
            write_conf(self.cf, Level::Emerg, format_args!("\"{name}\" directive: {problem}"));
        }
        conf_error()
    }

    /// Logs a message at emerg and ends the callback.
    pub(crate) fn fail(&self, message: &dyn fmt::Display) -> *mut c_char {
        // SAFETY: `new` was given the running callback's `cf`.
        unsafe { write_conf(self.cf, Level::Emerg, format_args!("{message}")) };
        conf_error()
    }

    /// The addresses that a text names, `host:port` or `unix:/path`: names are resolved at once, as
    /// nginx does it for `server` lines.
    ///
    /// # Errors
    /// nginx's reason; `no port` where there is none.
    pub(crate) fn resolve(&self, address: &[u8]) -> Result<Vec<Address>, &'static str> {
        // SAFETY: the record is a C struct of numbers and pointers; nginx reads the text during the
        // call and allocates from the configuration's pool, which outlives it; its reasons are
        // static texts.
        unsafe {
            let mut url = core::mem::zeroed::<ngx_url_t>();
            url.url = ngx_str_t { len: address.len(), data: address.as_ptr().cast_mut() };
            if ngx_parse_url((*self.cf).pool, &raw mut url) != NGX_OK as isize {
                let reason = core::ptr::NonNull::new(url.err);
                let reason = reason.and_then(|text| CStr::from_ptr(text.as_ptr()).to_str().ok());
                return Err(reason.unwrap_or("invalid address"));
            }
            if url.no_port() != 0 {
                return Err("no port");
            }
            if url.addrs.is_null() {
                return Err("no address");
            }
            let found: &[ngx_addr_t] = core::slice::from_raw_parts(url.addrs, url.naddrs);
            Ok(found.iter().filter_map(|one| Address::copy(one.sockaddr, one.socklen)).collect())
        }
    }

    /// nginx's own words for a setting that stands twice.
    pub(crate) fn duplicate(&self) -> *mut c_char {
        c"is duplicate".as_ptr().cast_mut()
    }
}

/// Logs a line about the configuration as a whole.
///
/// # Safety
/// `cf` is the argument of the configuration callback that is running.
pub(crate) unsafe fn conf_log(cf: *mut ngx_conf_t, level: Level, message: &dyn fmt::Display) {
    // SAFETY: passed on.
    unsafe { write_conf(cf, level, format_args!("{message}")) };
}

/// Whether nginx runs another configuration while this one is read.
///
/// # Safety
/// `cf` is the argument of the configuration callback that is running.
pub(crate) unsafe fn is_reload(cf: *mut ngx_conf_t) -> bool {
    // SAFETY: the old cycle is live, or main()'s first one, which has no configuration.
    unsafe { (*(*cf).cycle).old_cycle.as_ref().is_some_and(|old| !old.conf_ctx.is_null()) }
}

/// The main configuration of `module` while the `http` block is being read; `None` before it was
/// created.
///
/// # Safety
/// `cf` is the argument of an http configuration callback; `T` is what the module's
/// `create_main_conf` made.
pub(crate) unsafe fn main_conf<'a, T>(cf: *mut ngx_conf_t, module: &ngx_module_t) -> Option<&'a T> {
    // SAFETY: in http callbacks `cf->ctx` is the http configuration context.
    unsafe {
        let ctx = (*cf).ctx.cast::<ngx_http_conf_ctx_t>().as_ref()?;
        record(ctx.main_conf, module.ctx_index)
    }
}

/// The location configuration of `module` where the directive stands that is being read; NULL
/// before it was created.
///
/// # Safety
/// `cf` is the argument of an http configuration callback; `T` is what the module's
/// `create_loc_conf` made.
pub(crate) unsafe fn loc_conf<T>(cf: *mut ngx_conf_t, module: &ngx_module_t) -> *mut T {
    // SAFETY: in http callbacks `cf->ctx` is the http configuration context.
    unsafe {
        match (*cf).ctx.cast::<ngx_http_conf_ctx_t>().as_ref() {
            Some(ctx) if !ctx.loc_conf.is_null() => (*ctx.loc_conf.add(module.ctx_index)).cast(),
            _ => core::ptr::null_mut(),
        }
    }
}

/// The main configuration of the http `module` in a complete cycle; `None` without an `http` block.
///
/// # Safety
/// `cycle` is a live cycle; `T` is what the module's `create_main_conf` made; the result is not
/// used after the cycle ended.
pub(crate) unsafe fn cycle_main_conf<'a, T>(
    cycle: *mut ngx_cycle_t,
    module: &ngx_module_t,
) -> Option<&'a T> {
    // SAFETY: nginx's array of core records has a place for each module; the http module's record
    // is the context of the `http` block, or NULL.
    unsafe {
        let records = (*cycle).conf_ctx.cast::<*mut c_void>();
        let http = &raw const ngx_http_module;
        let ctx = record::<ngx_http_conf_ctx_t>(records, (*http).index)?;
        record(ctx.main_conf, module.ctx_index)
    }
}

/// The names of the modules other than `module` that have a directive of this name in blocks of this
/// kind.
///
/// # Safety
/// `cf` is the argument of a configuration callback.
pub(crate) unsafe fn rivals<'a>(
    cf: *mut ngx_conf_t,
    module: &ngx_module_t,
    directive: &CStr,
    block: ngx_uint_t,
) -> Vec<&'a [u8]> {
    let mut rivals = Vec::new();
    // SAFETY: the cycle's list of modules ends with NULL, a module's list of directives with an
    // empty name or is NULL; a loaded module's name lives as long as the cycle.
    unsafe {
        let mut next = (*(*cf).cycle).modules;
        while let Some(other) = (*next).as_ref() {
            next = next.add(1);
            let mut command = other.commands;
            let mut has_it = false;
            while let Some(row) = command.as_ref().filter(|row| row.name.len > 0) {
                has_it |= text(&row.name) == directive.to_bytes() && row.type_ & block != 0;
                command = command.add(1);
            }
            if has_it && !core::ptr::eq(other, module) && !other.name.is_null() {
                rivals.push(CStr::from_ptr(other.name).to_bytes());
            }
        }
    }
    rivals
}

/// One module's record in an array of configuration records.
///
/// # Safety
/// `records` is NULL or nginx's array with a place for `index`; the record is NULL or a `T` that
/// lives for `'a`.
pub(crate) unsafe fn record<'a, T>(records: *mut *mut c_void, index: ngx_uint_t) -> Option<&'a T> {
    if records.is_null() {
        return None;
    }
    // SAFETY: the caller vouches for the array and the type.
    unsafe { (*records.add(index)).cast::<T>().as_ref() }
}
