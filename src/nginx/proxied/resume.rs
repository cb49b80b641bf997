//! The end of waiting: with a peer, or with a status.

use core::ptr::{null_mut, NonNull};

#[cfg(ngx_upstream_resolve)]
use nginx_sys::ngx_str_t;
use nginx_sys::{
    ngx_add_timer, ngx_connection_t,
    ngx_connection_tcp_nopush_e_NGX_TCP_NOPUSH_DISABLED as NOPUSH_DISABLED, ngx_create_pool,
    ngx_current_msec, ngx_event_connect_peer, ngx_http_finalize_request, ngx_http_log_ctx_t,
    ngx_http_request_t, ngx_http_run_posted_requests, ngx_http_upstream_create,
    ngx_http_upstream_t, ngx_int_t, ngx_log_t, ngx_peer_connection_t, ngx_uint_t, NGX_DECLINED,
    NGX_HTTP_INTERNAL_SERVER_ERROR, NGX_LOG_ERR, NGX_PEER_FAILED,
};

use super::kept;
use super::placeholder::Placeholder;
use super::queue::Attempt;
use super::vector::{wrap, Vector};
use super::{leave, put_aside, Proxied, AGAIN, BUSY, ERROR, OK};

/// `NGX_DECLINED` as callbacks return it: the peer cannot be connected to.
const DECLINED: ngx_int_t = NGX_DECLINED as ngx_int_t;

/// Asks nginx's balancer for a peer for a request that waits, and lets nginx go on with it.
///
/// # Safety
/// `place` is the record of a request that waits; it may be gone afterwards.
pub(super) unsafe fn resume(place: NonNull<Proxied>) -> Attempt {
    let place = place.as_ptr();
    // SAFETY: passed on; `r->upstream` is the one that the record was made for as long as the
    // request waits.
    unsafe {
        if Placeholder::handler((*place).placeholder).is_none() {
            return Attempt::Early;
        }
        let r = (*place).request;
        let u = (*r).upstream;
        let pc = &raw mut (*u).peer;
        note_request(r);
        if !renew(place, pc) {
            return Attempt::Failed;
        }
        if (*place).kept {
            return kept::resume(place);
        }
        (*place).held = false;
        (*place).resuming = true;
        let rc = connect(pc);
        (*place).resuming = false;
        if rc == BUSY || rc == ERROR || rc == DECLINED {
            put_aside(place, pc);
            return if rc == BUSY { Attempt::Busy } else { Attempt::Failed };
        }
        go_on(place, u, rc);
        Attempt::Resumed
    }
}

/// Has nginx pick a peer and connect to it. Where that cannot be connected to, the next one is
/// tried; with `BUSY`, `DECLINED` and `ERROR` the request has no peer afterwards.
///
/// # Safety
/// `pc` belongs to a request as `resume` wants it.
unsafe fn connect(pc: *mut ngx_peer_connection_t) -> ngx_int_t {
    // SAFETY: passed on. nginx's function is what its own `ngx_http_upstream_connect` calls.
    unsafe {
        loop {
            (*pc).connection = null_mut();
            (*pc).sockaddr = null_mut();
            let rc = ngx_event_connect_peer(pc);
            match rc {
                DECLINED => give_back(pc, NGX_PEER_FAILED as ngx_uint_t),
                ERROR => give_back(pc, 0),
                _ => {}
            }
            if rc != DECLINED || (*pc).tries == 0 {
                return rc;
            }
        }
    }
}

/// Gives a peer back that was picked and not connected to.
///
/// # Safety
/// `pc` is the wrapped peer connection of a live request.
unsafe fn give_back(pc: *mut ngx_peer_connection_t, state: ngx_uint_t) {
    // SAFETY: passed on.
    unsafe {
        if let (Some(free), false) = ((*pc).free, (*pc).sockaddr.is_null()) {
            free(pc, (*pc).data, state);
            (*pc).sockaddr = null_mut();
        }
    }
}

/// M5: has nginx's balancer begin anew with a request. It has counted the peers that could be used
/// when the request came; and where it had none, it stays with the backup peers and remembers those
/// that it tried, so that a primary that comes back would never be picked. `false` when it cannot.
///
/// # Safety
/// `place` is the record of the live request that `pc` belongs to.
unsafe fn renew(place: *mut Proxied, pc: *mut ngx_peer_connection_t) -> bool {
    // SAFETY: passed on; the arguments of `init` are those that nginx called it with.
    unsafe {
        let this = &mut *place;
        let (init, r, us) = (this.init, this.request, this.upstream);
        #[cfg(ngx_peer_sid)]
        this.headers.retract();
        let rc = Vector::renew(pc, || init.map_or(ERROR, |init| init(r, us)));
        if rc == OK {
            this.inner = Vector::of(pc);
            // `peer.init` has counted all peers; those that the request has had are gone.
            let most = (*(*(*r).upstream).conf).next_upstream_tries;
            let tries = if most > 0 { (*pc).tries.min(most) } else { (*pc).tries };
            (*pc).tries = tries.saturating_sub(this.attempts).max(1);
        }
        wrap(pc, place);
        rc == OK
    }
}

/// Does what nginx's `ngx_http_upstream_connect` does with a connection that has been begun, as far
/// as it was not done for the placeholder, and leaves the rest to nginx.
///
/// # Safety
/// As `resume`; `rc` is what nginx's connecting returned: `OK`, `DONE` or `AGAIN`.
unsafe fn go_on(place: *mut Proxied, u: *mut ngx_http_upstream_t, rc: ngx_int_t) {
    // SAFETY: passed on; nginx has just given the upstream a live connection. Nothing of the
    // request is touched once nginx's handler was called, which may end it.
    unsafe {
        let r = (*place).request;
        let handler = Placeholder::handler((*place).placeholder);
        leave(place);
        let c = (*u).peer.connection;
        let client = (*r).connection;
        if !name_peer(r, u) || !has_pool(c, client) {
            fail(r, u, NGX_HTTP_INTERNAL_SERVER_ERROR as ngx_uint_t);
            return;
        }
        (*c).requests = (*c).requests.wrapping_add(1);
        (*c).data = r.cast();
        (*(*c).read).handler = handler;
        (*(*c).write).handler = handler;
        (*c).set_sendfile((*c).sendfile() & (*client).sendfile());
        (*u).output.set_sendfile((*c).sendfile());
        if (*client).tcp_nopush() == NOPUSH_DISABLED {
            (*c).set_tcp_nopush(NOPUSH_DISABLED);
        }
        let log = (*client).log;
        (*c).log = log;
        (*(*c).pool).log = log;
        (*(*c).read).log = log;
        (*(*c).write).log = log;
        (*u).writer.connection = c;
        // What nginx measures is the peer's time, not the waiting.
        (*u).start_time = ngx_current_msec;
        (*u).peer.start_time = ngx_current_msec;
        (*log).action = c"connecting to upstream".as_ptr().cast_mut();

        let write = (*c).write;
        if rc == AGAIN {
            ngx_add_timer(write, (*(*u).conf).connect_timeout);
        } else if let Some(handler) = handler {
            handler(write);
        }
    }
}

/// Notes the peer for nginx's variables. `false` when nginx is out of memory.
///
/// # Safety
/// `u` is the upstream of `r`, with a peer.
unsafe fn name_peer(r: *mut ngx_http_request_t, u: *mut ngx_http_upstream_t) -> bool {
    // SAFETY: passed on; a request that waited has a state.
    unsafe {
        let state = (*u).state;
        (*state).peer = (*u).peer.name;
        #[cfg(ngx_upstream_resolve)]
        {
            use nginx_sys::{ngx_palloc, NGX_HTTP_UPSTREAM_MODIFY};

            // The peer may be freed while the request goes on.
            let modify = NGX_HTTP_UPSTREAM_MODIFY as ngx_uint_t;
            let can_go = (*u)
                .upstream
                .as_ref()
                .is_some_and(|us| !us.shm_zone.is_null() && us.flags & modify != 0);
            if can_go {
                let name = &*(*u).peer.name;
                let copy = ngx_palloc((*r).pool, size_of::<ngx_str_t>() + name.len);
                if copy.is_null() {
                    return false;
                }
                let (copy, text) = (copy.cast::<ngx_str_t>(), copy.cast::<ngx_str_t>().add(1));
                text.cast::<u8>().copy_from_nonoverlapping(name.data, name.len);
                copy.write(ngx_str_t { len: name.len, data: text.cast() });
                (*state).peer = copy;
                (*u).peer.name = copy;
            }
        }
        #[cfg(not(ngx_upstream_resolve))]
        let _ = r;
        true
    }
}

/// Gives a new connection the pool that nginx wants it to have; a kept one has it already. `false`
/// when nginx is out of memory.
///
/// # Safety
/// Both are live connections.
unsafe fn has_pool(c: *mut ngx_connection_t, client: *mut ngx_connection_t) -> bool {
    // SAFETY: passed on.
    unsafe {
        if (*c).pool.is_null() {
            (*c).pool = ngx_create_pool(128, (*client).log);
        }
        !(*c).pool.is_null()
    }
}

/// Ends a request that waits with an HTTP status; `false` when nginx is not done with putting it
/// aside.
///
/// # Safety
/// `place` is the record of a request that waits; it may be gone afterwards.
pub(super) unsafe fn end(place: NonNull<Proxied>, status: u16) -> bool {
    // SAFETY: passed on.
    unsafe {
        let place = place.as_ptr();
        if Placeholder::handler((*place).placeholder).is_none() {
            return false;
        }
        let r = (*place).request;
        note_request(r);
        log_end((*(*r).connection).log);
        fail(r, (*r).upstream, ngx_uint_t::from(status));
        true
    }
}

/// Ends a request with an HTTP status as nginx itself would.
///
/// # Safety
/// `u` is the upstream of the live request `r`; both may be gone afterwards.
pub(super) unsafe fn fail(
    r: *mut ngx_http_request_t,
    u: *mut ngx_http_upstream_t,
    status: ngx_uint_t,
) {
    // SAFETY: passed on. Making a new upstream ends the old one, which calls `peer.free`, and counts
    // the request's users as it must be: the counter is a bit field that the bindings misplace. An
    // nginx connection's record stays where it is when the connection ends.
    unsafe {
        let c = (*r).connection;
        if let Some(state) = (*u).state.as_mut() {
            state.status = status;
        }
        // Out of memory, it has ended the old one all the same.
        let _ = ngx_http_upstream_create(r);
        ngx_http_finalize_request(r, ngx_int_t::try_from(status).unwrap_or(ERROR));
        ngx_http_run_posted_requests(c);
    }
}

/// Has log lines of the client's connection name this request, as nginx does before it works on one.
///
/// # Safety
/// `r` is a live request.
pub(super) unsafe fn note_request(r: *mut ngx_http_request_t) {
    // SAFETY: passed on; the log of an http connection has nginx's http context.
    unsafe {
        let log = (*(*r).connection).log;
        if let Some(context) = (*log).data.cast::<ngx_http_log_ctx_t>().as_mut() {
            context.current_request = r;
        }
    }
}

/// Writes nginx's own line for a request that gets no peer.
///
/// # Safety
/// `log` is the log of a live connection.
unsafe fn log_end(log: *mut ngx_log_t) {
    // SAFETY: passed on.
    unsafe {
        if NGX_LOG_ERR as ngx_uint_t <= (*log).log_level {
            ngx::log::log_error(NGX_LOG_ERR as ngx_uint_t, log, 0, b"no live upstreams");
        }
    }
}
