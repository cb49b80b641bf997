//! nginx's balancer of one request: the functions and the data in its peer connection.

use core::ffi::c_void;
use core::ptr::null_mut;

use nginx_sys::{
    ngx_event_free_peer_pt, ngx_event_get_peer_pt, ngx_event_notify_peer_pt, ngx_int_t,
    ngx_peer_connection_t, ngx_uint_t,
};
#[cfg(ngx_peer_session)]
use nginx_sys::{ngx_event_save_peer_session_pt, ngx_event_set_peer_session_pt};

use super::super::guard::guard;
use super::{free, get, Proxied, ERROR};

/// A balancer's part of a peer connection, copied.
#[derive(Clone, Copy)]
pub(super) struct Vector {
    /// Picks a peer.
    get: ngx_event_get_peer_pt,
    /// Gives it back.
    free: ngx_event_free_peer_pt,
    /// Is told of events; most balancers have none.
    notify: ngx_event_notify_peer_pt,
    /// Finds the TLS session of the peer.
    #[cfg(ngx_peer_session)]
    set_session: ngx_event_set_peer_session_pt,
    /// Keeps the TLS session of the peer.
    #[cfg(ngx_peer_session)]
    save_session: ngx_event_save_peer_session_pt,
    /// What all of them are called with.
    data: *mut c_void,
}

impl Vector {
    /// The balancer that `pc` has.
    ///
    /// # Safety
    /// `pc` is a live peer connection.
    pub(super) unsafe fn of(pc: *mut ngx_peer_connection_t) -> Vector {
        // SAFETY: passed on.
        let pc = unsafe { &*pc };
        Vector {
            get: pc.get,
            free: pc.free,
            notify: pc.notify,
            #[cfg(ngx_peer_session)]
            set_session: pc.set_session,
            #[cfg(ngx_peer_session)]
            save_session: pc.save_session,
            data: pc.data,
        }
    }

    /// Gives `pc` this balancer's functions, with `data`.
    ///
    /// # Safety
    /// `pc` is a live peer connection that no other code uses now.
    pub(super) unsafe fn put(self, pc: *mut ngx_peer_connection_t, data: *mut c_void) {
        // SAFETY: passed on.
        let pc = unsafe { &mut *pc };
        pc.get = self.get;
        pc.free = self.free;
        pc.notify = self.notify;
        #[cfg(ngx_peer_session)]
        {
            pc.set_session = self.set_session;
            pc.save_session = self.save_session;
        }
        pc.data = data;
    }

    /// Gives `pc` a balancer anew, with `begin`.
    ///
    /// # Safety
    /// As `put`; `begin` is the upstream's own `peer.init` for the request of `pc`.
    pub(super) unsafe fn renew(
        pc: *mut ngx_peer_connection_t,
        begin: impl FnOnce() -> ngx_int_t,
    ) -> ngx_int_t {
        // M4: as nginx leaves it to a first `peer.init`. Where that finds data, round robin takes it
        // for its own and writes into it; where it finds `notify`, nginx's wrappers take that for
        // the function of the balancer they wrap, and call it with the data of that one.
        let nothing = Vector {
            get: None,
            free: None,
            notify: None,
            #[cfg(ngx_peer_session)]
            set_session: None,
            #[cfg(ngx_peer_session)]
            save_session: None,
            data: null_mut(),
        };
        // SAFETY: passed on.
        unsafe { nothing.put(pc, null_mut()) };
        begin()
    }

    /// Asks for a peer.
    ///
    /// # Safety
    /// `pc` is the peer connection that this balancer was taken from.
    pub(super) unsafe fn get(&self, pc: *mut ngx_peer_connection_t) -> ngx_int_t {
        // SAFETY: passed on.
        self.get.map_or(ERROR, |get| unsafe { get(pc, self.data) })
    }

    /// Gives the peer back.
    ///
    /// # Safety
    /// As `get`, which has picked a peer.
    pub(super) unsafe fn free(&self, pc: *mut ngx_peer_connection_t, state: ngx_uint_t) {
        if let Some(free) = self.free {
            // SAFETY: passed on.
            unsafe { free(pc, self.data, state) };
        }
    }
}

/// Puts the wrappers in place of `pc`'s balancer; those of its functions that are not there stay
/// away.
///
/// # Safety
/// `place` is the record of the request of `pc`, and has the balancer that `pc` has now.
pub(super) unsafe fn wrap(pc: *mut ngx_peer_connection_t, place: *mut Proxied) {
    // SAFETY: passed on.
    unsafe {
        let inner = (*place).inner;
        let outer = Vector {
            get: Some(get),
            free: Some(free),
            notify: inner.notify.and(Some(notify)),
            #[cfg(ngx_peer_session)]
            set_session: inner.set_session.and(Some(set_session)),
            #[cfg(ngx_peer_session)]
            save_session: inner.save_session.and(Some(save_session)),
            data: null_mut(),
        };
        outer.put(pc, place.cast());
    }
}

/// Something happened to a connection that the balancer wants to know.
unsafe extern "C" fn notify(pc: *mut ngx_peer_connection_t, data: *mut c_void, kind: ngx_uint_t) {
    guard("peer.notify", (), || {
        // SAFETY: `data` is the record of the request of `pc`.
        unsafe {
            let inner = (*data.cast::<Proxied>()).inner;
            if let Some(notify) = inner.notify {
                notify(pc, inner.data, kind);
            }
        }
    });
}

/// A TLS connection begins: the peer's session is wanted.
#[cfg(ngx_peer_session)]
unsafe extern "C" fn set_session(pc: *mut ngx_peer_connection_t, data: *mut c_void) -> ngx_int_t {
    guard("peer.set_session", ERROR, || {
        // SAFETY: `data` is the record of the request of `pc`.
        unsafe {
            let inner = (*data.cast::<Proxied>()).inner;
            inner.set_session.map_or(super::OK, |set_session| set_session(pc, inner.data))
        }
    })
}

/// A TLS session was made.
#[cfg(ngx_peer_session)]
unsafe extern "C" fn save_session(pc: *mut ngx_peer_connection_t, data: *mut c_void) {
    guard("peer.save_session", (), || {
        // SAFETY: `data` is the record of the request of `pc`.
        unsafe {
            let inner = (*data.cast::<Proxied>()).inner;
            if let Some(save_session) = inner.save_session {
                save_session(pc, inner.data);
            }
        }
    });
}
