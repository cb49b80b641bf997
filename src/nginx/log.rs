//! nginx's error log: levels, and lines formatted without the heap.

use core::fmt;
use core::mem::MaybeUninit;

use nginx_sys::{
    ngx_conf_log_error, ngx_conf_t, ngx_cycle, ngx_log_t, ngx_uint_t, NGX_LOG_DEBUG_HTTP,
};
use ngx::log::{log_debug, log_error, write_fmt, DEBUG, LOG_BUFFER_SIZE};

/// Severity, as in nginx's `error_log`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Level {
    /// The configuration or the process cannot be used.
    Emerg = 1,
    /// A fault of this module.
    Alert = 2,
    /// A wrong call by another module.
    Crit = 3,
    /// Local trouble: out of descriptors, connections or shared memory.
    Error = 4,
    /// A peer went down; a setting without effect.
    Warn = 5,
    /// A peer came back.
    Notice = 6,
}

/// Writes one line to the running configuration's error log: `log!(Level::Warn, "...", ...)`.
macro_rules! log {
    ($level:expr, $($arg:tt)+) => {
        $crate::nginx::log::write($level, format_args!($($arg)+))
    };
}

/// Writes one line at `debug` (`debug_http`); costs one test where debugging is off.
macro_rules! debug {
    ($($arg:tt)+) => {
        if $crate::nginx::log::is_debug() {
            $crate::nginx::log::write_debug(format_args!($($arg)+))
        }
    };
}

pub(crate) use debug;
pub(crate) use log;

/// The log of the running configuration; NULL before nginx has one.
fn cycle_log() -> *mut ngx_log_t {
    // SAFETY: `ngx_cycle` is set by nginx's main() before any module is called, and always points
    // to a live cycle; its `log` pointer is read on nginx's only thread.
    unsafe { ngx_cycle.as_ref().map_or(core::ptr::null_mut(), |cycle| cycle.log) }
}

/// Writes one line; use [`log!`].
pub(crate) fn write(level: Level, args: fmt::Arguments<'_>) {
    // SAFETY: a cycle's log is NULL or lives as long as the cycle.
    unsafe { write_to(cycle_log(), level, args) };
}

/// Writes one line to another log than the running configuration's.
///
/// # Safety
/// `log` is NULL, which takes no line, or a live log.
pub(crate) unsafe fn write_to(log: *mut ngx_log_t, level: Level, args: fmt::Arguments<'_>) {
    let level = level as ngx_uint_t;
    // SAFETY: the caller vouches for the log.
    let enabled = unsafe { log.as_ref() }.is_some_and(|log| level <= log.log_level);
    if enabled {
        let mut buffer = [const { MaybeUninit::<u8>::uninit() }; LOG_BUFFER_SIZE];
        let message = write_fmt(&mut buffer, args);
        // SAFETY: the log was tested above; nginx copies the message before it returns.
        unsafe { log_error(level, log, 0, message) };
    }
}

/// Whether nginx was built with debugging and the log asks for `debug_http`.
pub(crate) fn is_debug() -> bool {
    // SAFETY: as in `write`.
    DEBUG
        && unsafe { cycle_log().as_ref() }
            .is_some_and(|log| log.log_level & NGX_LOG_DEBUG_HTTP as ngx_uint_t != 0)
}

/// Writes one debug line; use [`debug!`].
pub(crate) fn write_debug(args: fmt::Arguments<'_>) {
    let log = cycle_log();
    if log.is_null() {
        return;
    }
    let mut buffer = [const { MaybeUninit::<u8>::uninit() }; LOG_BUFFER_SIZE];
    let message = write_fmt(&mut buffer, args);
    // SAFETY: the log is the live cycle's; nginx copies the message before it returns.
    unsafe { log_debug(log, 0, message) };
}

/// Writes one line about the configuration; nginx adds file and line.
///
/// # Safety
/// `cf` is the `ngx_conf_t` of a configuration callback that is running.
pub(crate) unsafe fn write_conf(cf: *mut ngx_conf_t, level: Level, args: fmt::Arguments<'_>) {
    let mut buffer = [const { MaybeUninit::<u8>::uninit() }; LOG_BUFFER_SIZE];
    let message = write_fmt(&mut buffer, args);
    // SAFETY: the caller vouches for `cf`; the format takes a length and a pointer, both of which
    // live through the call.
    unsafe {
        ngx_conf_log_error(
            level as ngx_uint_t,
            cf,
            0,
            c"%*s".as_ptr(),
            message.len(),
            message.as_ptr(),
        );
    }
}
