//! The connection of a request that waits: one that is none, with a timer for the request's
//! patience. It costs neither a descriptor nor one of `worker_connections`.

use core::mem::zeroed;

use nginx_sys::{
    ngx_add_timer, ngx_connection_t, ngx_del_timer, ngx_delete_posted_event, ngx_event_handler_pt,
    ngx_event_t, ngx_http_request_t, ngx_io, ngx_msec_t, ngx_palloc, ngx_post_event,
    ngx_posted_events, sockaddr, socklen_t,
};

use super::super::guard::guard;
use super::super::process::now;
use super::{kept, Proxied};

/// What nginx's error log says that a request is doing while it waits.
const ACTION: &core::ffi::CStr = c"waiting for a live upstream";

/// The parts of a connection that nginx writes to, and an event of our own.
#[repr(C)]
pub(super) struct Placeholder {
    /// First: the events' `data` is the connection, and leads here.
    connection: ngx_connection_t,
    /// Never used.
    read: ngx_event_t,
    /// Its timer is the end of the request's patience.
    write: ngx_event_t,
    /// Posted when the request is put aside; see `on_arm`.
    arm: ngx_event_t,
    /// Whose connection it is.
    owner: *mut Proxied,
    /// nginx's own handler of upstream events, which only nginx knows: it is found here after
    /// nginx has set up the connection. Unset until then, and the request must not be touched.
    handler: ngx_event_handler_pt,
}

// At most 1 kB a held request is promised, the record of the request included.
const _: () = assert!(size_of::<Placeholder>() + size_of::<Proxied>() <= 896);

/// The address of a request that waits: it must be there, and nobody may connect to it.
pub(super) fn no_address() -> (*mut sockaddr, socklen_t) {
    /// A `sockaddr` of no family.
    static NOWHERE: [u64; 16] = [0; 16];
    ((&raw const NOWHERE).cast_mut().cast(), 2)
}

impl Placeholder {
    /// Makes the placeholder of a request that is to wait, or makes it new again, and posts its
    /// arming. `false` when nginx is out of memory.
    ///
    /// # Safety
    /// `owner` is the record of a request that does not wait.
    pub(super) unsafe fn prepare(owner: *mut Proxied) -> bool {
        // SAFETY: the pool lives as long as the request. All parts are C structs of numbers,
        // pointers and nullable functions, which nginx itself makes by zeroing. Nothing links to
        // an older one's events: the request has left the queue since.
        unsafe {
            let r = (*owner).request;
            if (*owner).placeholder.is_null() {
                (*owner).placeholder = ngx_palloc((*r).pool, size_of::<Placeholder>()).cast();
            }
            let Some(this) = (*owner).placeholder.as_mut() else { return false };
            core::ptr::write(this, zeroed());
            this.owner = owner;

            let c = &raw mut this.connection;
            this.connection.fd = -1;
            this.connection.type_ = libc::SOCK_STREAM;
            this.connection.read = &raw mut this.read;
            this.connection.write = &raw mut this.write;
            this.connection.recv = ngx_io.recv;
            this.connection.send = ngx_io.send;
            this.connection.recv_chain = ngx_io.recv_chain;
            this.connection.send_chain = ngx_io.send_chain;
            this.connection.log = (*(*r).connection).log;
            // Without a pool nginx would make one, which nobody would destroy.
            this.connection.pool = (*r).pool;
            for event in [&raw mut this.read, &raw mut this.write, &raw mut this.arm] {
                (*event).data = c.cast();
                (*event).log = this.connection.log;
            }
            this.write.set_write(1);
            this.arm.handler = Some(on_arm);
            ngx_post_event(&raw mut this.arm, &raw mut ngx_posted_events);
            true
        }
    }

    /// What nginx is given.
    pub(super) fn connection(this: *mut Placeholder) -> *mut ngx_connection_t {
        this.cast()
    }

    /// Whose connection it is.
    ///
    /// # Safety
    /// `this` is a live placeholder.
    pub(super) unsafe fn owner(this: *mut Placeholder) -> *mut Proxied {
        // SAFETY: passed on.
        unsafe { (*this).owner }
    }

    /// nginx's own handler of upstream events, once nginx has set up the connection.
    ///
    /// # Safety
    /// `this` is a live placeholder.
    pub(super) unsafe fn handler(this: *mut Placeholder) -> ngx_event_handler_pt {
        // SAFETY: passed on.
        unsafe { (*this).handler }
    }

    /// Takes its events out of nginx's queue and timers.
    ///
    /// # Safety
    /// `this` is a live placeholder.
    pub(super) unsafe fn disarm(this: *mut Placeholder) {
        // SAFETY: passed on; the event is posted, the timer set, where their flags say so.
        unsafe {
            if (*this).arm.posted() != 0 {
                ngx_delete_posted_event(&raw mut (*this).arm);
            }
            if (*this).write.timer_set() != 0 {
                ngx_del_timer(&raw mut (*this).write);
            }
        }
    }
}

/// Notes in the log's context what the request is doing.
///
/// # Safety
/// `r` is a live request.
unsafe fn note_action(r: *mut ngx_http_request_t) {
    // SAFETY: passed on; a request's connection has a log.
    unsafe { (*(*(*r).connection).log).action = ACTION.as_ptr().cast_mut() };
}

/// nginx has set up the connection that it takes the placeholder for: takes its handler, and
/// replaces the limit for connecting by that for waiting. Runs in the same turn of the event loop.
unsafe extern "C" fn on_arm(event: *mut ngx_event_t) {
    guard("hold", (), || {
        // SAFETY: the event's `data` is the placeholder's first part; a request that leaves the
        // queue takes the event back, so the request waits.
        unsafe {
            let this = (*event).data.cast::<Placeholder>();
            let write = &raw mut (*this).write;
            // Where nginx keeps the request itself, it has set up nothing.
            let is_kept = (*(*this).owner).kept;
            (*this).handler = if is_kept { Some(kept::on_expiry) } else { (*write).handler };
            (*write).handler = Some(on_expiry);
            // nginx leaves a timer as it is where the new time differs little.
            if (*write).timer_set() != 0 {
                ngx_del_timer(write);
            }
            let owner = &*(*this).owner;
            let wait = owner.deadline.saturating_sub(now());
            ngx_add_timer(write, ngx_msec_t::try_from(wait).unwrap_or(ngx_msec_t::MAX / 2));
            note_action(owner.request);
        }
    });
}

/// The patience of a request has ended: nginx is told that the connection it takes the placeholder
/// for timed out, which it answers with 504.
unsafe extern "C" fn on_expiry(event: *mut ngx_event_t) {
    guard("hold expiry", (), || {
        // SAFETY: as in `on_arm`; the timer is set only while the request waits. nginx's handler
        // ends the request, and with it perhaps the placeholder: nothing is touched after it.
        unsafe {
            let this = (*event).data.cast::<Placeholder>();
            note_action((*(*this).owner).request);
            if let Some(handler) = (*this).handler {
                handler(event);
            }
        }
    });
}
