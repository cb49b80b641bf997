//! Functions of other modules that this one calls about an upstream's programs.

use nginx_sys::{ngx_http_upstream_srv_conf_t, ngx_int_t, ngx_msec_t, ngx_uint_t, NGX_OK};

use super::upstream::Upstream;

/// Says whether a command may be carried out by now.
pub(crate) type CheckerFn =
    unsafe extern "C" fn(*mut ngx_http_upstream_srv_conf_t, ngx_uint_t) -> ngx_int_t;

/// Is told a program's new state.
pub(crate) type BackendFn =
    unsafe extern "C" fn(*mut ngx_http_upstream_srv_conf_t, ngx_uint_t, ngx_uint_t);

/// Is told an upstream's load.
pub(crate) type LoadFn = unsafe extern "C" fn(*mut ngx_http_upstream_srv_conf_t, Load);

/// What an upstream had to do in an interval, as C takes it: by value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub(crate) struct Load {
    /// Hundredths of a request per second and active program.
    pub(crate) load: ngx_uint_t,
    /// Requests of all workers.
    pub(crate) reqs: ngx_uint_t,
    /// The interval's length, ms.
    pub(crate) interval: ngx_msec_t,
    /// Programs that are up.
    pub(crate) aservers: ngx_uint_t,
    /// All programs.
    pub(crate) nservers: ngx_uint_t,
}

/// What has to say yes before a command is carried out. Valid, as the other two, while the cycle of
/// its upstream lives.
#[derive(Clone, Copy)]
pub(crate) struct Checker(CheckerFn);

/// Whom to tell of the states of an upstream's programs.
#[derive(Clone, Copy)]
pub(crate) struct BackendMonitor(BackendFn);

/// Whom to tell of an upstream's load.
#[derive(Clone, Copy)]
pub(crate) struct LoadMonitor(LoadFn);

// They run other code of nginx's, which calls back into this module: nothing of a process may be
// borrowed meanwhile.

impl Checker {
    /// # Safety
    /// The function may be called for an upstream as long as the upstream's cycle lives.
    pub(crate) unsafe fn new(function: CheckerFn) -> Checker {
        Checker(function)
    }

    /// Whether a command on a program may be carried out.
    pub(crate) fn allows(self, upstream: Upstream, number: usize) -> bool {
        // SAFETY: `new`'s caller vouches for the function.
        unsafe { (self.0)(upstream.as_ptr(), number) == NGX_OK as ngx_int_t }
    }
}

impl BackendMonitor {
    /// # Safety
    /// As [`Checker::new`].
    pub(crate) unsafe fn new(function: BackendFn) -> BackendMonitor {
        BackendMonitor(function)
    }

    /// Whether it is the same function.
    pub(crate) fn is(self, other: BackendMonitor) -> bool {
        core::ptr::fn_addr_eq(self.0, other.0)
    }

    /// Tells a program's new state, in the numbers of the C interface.
    pub(crate) fn tell(self, upstream: Upstream, number: usize, status: u8) {
        // SAFETY: `new`'s caller vouches for the function.
        unsafe { (self.0)(upstream.as_ptr(), number, ngx_uint_t::from(status)) };
    }
}

impl LoadMonitor {
    /// # Safety
    /// As [`Checker::new`].
    pub(crate) unsafe fn new(function: LoadFn) -> LoadMonitor {
        LoadMonitor(function)
    }

    /// Tells the load of an upstream.
    pub(crate) fn tell(self, upstream: Upstream, load: Load) {
        // SAFETY: `new`'s caller vouches for the function.
        unsafe { (self.0)(upstream.as_ptr(), load) };
    }
}
