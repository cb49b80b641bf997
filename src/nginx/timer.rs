//! A timer that keeps a worker from ending only where it is told to.

use core::mem::zeroed;

use healthcheck_core::Msec;
use nginx_sys::{
    ngx_add_timer, ngx_connection_t, ngx_cycle, ngx_del_timer, ngx_event_t, ngx_msec_t,
};

use super::guard::guard;
use super::process::now;

/// nginx's event, and the connection record without a socket that its debug log reads.
#[repr(C)]
struct Parts {
    /// First, so that `event.data` is also the connection that nginx's debug log takes it for; only
    /// its `fd` (-1) is read.
    connection: ngx_connection_t,
    /// What nginx's timer tree links.
    event: ngx_event_t,
    /// What to call when the time has come.
    handler: fn(),
}

/// A timer of this process. Valid from `init_process` until it is dropped, which must happen
/// before nginx's process ends or unloads the module.
pub(crate) struct Timer {
    /// On the heap: nginx's tree holds its address while it is set.
    parts: Box<Parts>,
    /// When it fires; `None` while it is not set.
    due: Option<Msec>,
}

impl Timer {
    /// A timer that calls `handler`, not yet set.
    pub(crate) fn new(handler: fn()) -> Timer {
        // SAFETY: both are C structs of numbers, pointers and nullable functions; nginx itself
        // makes them by zeroing.
        let (event, connection) =
            unsafe { (zeroed::<ngx_event_t>(), zeroed::<ngx_connection_t>()) };
        let mut parts = Box::new(Parts { event, connection, handler });
        parts.connection.fd = -1;
        // SAFETY: the running cycle's log outlives the process's timers.
        parts.event.log = unsafe { ngx_cycle.as_ref() }.map_or(core::ptr::null_mut(), |c| c.log);
        parts.event.handler = Some(on_timer);
        parts.event.set_cancelable(1);
        Timer { parts, due: None }
    }

    /// Sets the timer to `at`, a time of the monotonic clock; a past time fires in the next turn
    /// of the event loop.
    pub(crate) fn set(&mut self, at: Msec) {
        if self.due == Some(at) {
            return;
        }
        // nginx ignores a re-arm that is within 300 ms of a set timer.
        self.clear();
        let parts = &raw mut *self.parts;
        // nginx runs expired timers until there is none, at a clock that stands still meanwhile: one
        // that is set without a wait by its own handler would never let nginx go on.
        let wait = at.saturating_sub(now()).max(1);
        let wait = ngx_msec_t::try_from(wait).unwrap_or(ngx_msec_t::MAX / 2);
        // SAFETY: the parts live on the heap until `Drop` took the event out of nginx's tree; the
        // `data` points to the parts, which begin with a connection.
        unsafe {
            (*parts).event.data = parts.cast();
            ngx_add_timer(&raw mut (*parts).event, wait);
        }
        self.due = Some(at);
    }

    /// Whether the worker may end before the timer has fired; it may unless this is called.
    pub(crate) fn set_cancelable(&mut self, cancelable: bool) {
        self.parts.event.set_cancelable(u32::from(cancelable));
    }

    /// Takes the timer out of nginx's tree, if it is set.
    pub(crate) fn clear(&mut self) {
        self.due = None;
        if self.parts.event.timer_set() != 0 {
            // SAFETY: the event is in the tree.
            unsafe { ngx_del_timer(&raw mut self.parts.event) };
        }
    }

    /// To be called first in the handler: the time the timer had been set to.
    pub(crate) fn fired(&mut self) -> Option<Msec> {
        self.due.take()
    }
}

impl Drop for Timer {
    fn drop(&mut self) {
        self.clear();
    }
}

/// nginx's call when the time has come.
unsafe extern "C" fn on_timer(event: *mut ngx_event_t) {
    guard("timer", (), || {
        // SAFETY: `event.data` was set to the parts this event is in, which are alive: dropping
        // the timer takes the event out of the tree.
        let handler = unsafe { (*(*event).data.cast::<Parts>()).handler };
        handler();
    });
}
