//! Tables of several files of the module in one process: a reload loads a file that was put in the place
//! of an older one while that is still in use, and lookups by name find the older one's table.

use core::ffi::CStr;
use core::ptr::null_mut;

use super::bound::{ngx_http_healthcheck_api_t, ngx_supervisord_api_t};

/// A table that the headers look up.
pub(crate) trait Table {
    /// By this name.
    const NAME: &CStr;

    /// Where the table keeps that of the newer file.
    ///
    /// # Safety
    /// `table` is a live table.
    unsafe fn newer(table: *mut Self) -> *mut *const Self;
}

impl Table for ngx_http_healthcheck_api_t {
    const NAME: &CStr = c"ngx_http_healthcheck_api";

    unsafe fn newer(table: *mut Self) -> *mut *const Self {
        // SAFETY: passed on.
        unsafe { &raw mut (*table).newer }
    }
}

impl Table for ngx_supervisord_api_t {
    const NAME: &CStr = c"ngx_supervisord_api";

    unsafe fn newer(table: *mut Self) -> *mut *const Self {
        // SAFETY: passed on.
        unsafe { &raw mut (*table).newer }
    }
}

/// The table that the process shows; NULL without one. As the headers do it: in a way that keeps no file
/// in memory.
fn shown<T: Table>() -> *mut T {
    // SAFETY: asks for what is loaded, and gives the handle back.
    unsafe {
        let process = libc::dlopen(core::ptr::null(), libc::RTLD_NOW);
        if process.is_null() {
            return null_mut();
        }
        let table = libc::dlsym(process, T::NAME.as_ptr()).cast();
        libc::dlclose(process);
        table
    }
}

/// Makes `own` the last of the tables that begin with the one the process shows.
///
/// # Safety
/// `own` is the table of this file, and every table in the chain is that of a loaded file: each takes
/// itself out by [`remove`] before it is unloaded.
pub(crate) unsafe fn append<T: Table>(own: *mut T) {
    let mut table = shown::<T>();
    // SAFETY: passed on; nginx's only thread follows and changes the chain.
    unsafe {
        while !table.is_null() && table != own {
            let newer = T::newer(table);
            if (*newer).is_null() {
                *newer = own;
            }
            table = (*newer).cast_mut();
        }
    }
}

/// Takes `own` out of the tables that begin with the one the process shows.
///
/// # Safety
/// As for [`append`].
pub(crate) unsafe fn remove<T: Table>(own: *mut T) {
    let mut table = shown::<T>();
    // SAFETY: passed on.
    unsafe {
        while !table.is_null() && table != own {
            let newer = T::newer(table);
            if *newer == own.cast_const() {
                *newer = *T::newer(own);
            }
            table = (*newer).cast_mut();
        }
    }
}
