//! A proxied request that may have to wait for a peer: nginx's own choice of a peer, wrapped.
//!
//! A request that must wait gets a connection that is none (`placeholder`), which nginx takes for
//! one that is being made; it stands in a queue until nginx's balancer is asked again (`resume`) or
//! its patience ends. nginx's source calls what stands in `r->upstream->peer` the peer connection,
//! `pc` for short. The rules named M1 to M7 are those that nginx crashes or hangs without.

use core::ffi::c_void;
use core::num::NonZeroU32;
use core::ptr::{null_mut, NonNull};

use healthcheck_core::Msec;
use nginx_sys::{
    ngx_http_request_t, ngx_http_upstream_init_peer_pt, ngx_http_upstream_srv_conf_t, ngx_int_t,
    ngx_pcalloc, ngx_peer_connection_t, ngx_uint_t, NGX_AGAIN, NGX_BUSY, NGX_DONE, NGX_ERROR,
    NGX_OK, NGX_PEER_FAILED,
};

use super::address::{raw_address, Address};
use super::guard::guard;
use super::process::now;
use placeholder::Placeholder;
use vector::Vector;

mod cache;
#[cfg(ngx_peer_sid)]
mod headers;
mod kept;
mod placeholder;
mod queue;
mod resume;
mod vector;

pub(crate) use kept::keep;
pub(crate) use queue::{Attempt, Queue};

/// `NGX_OK` as callbacks return it.
const OK: ngx_int_t = NGX_OK as ngx_int_t;
/// `NGX_AGAIN` as callbacks return it.
const AGAIN: ngx_int_t = NGX_AGAIN as ngx_int_t;
/// `NGX_BUSY` as callbacks return it: no peer may be used.
const BUSY: ngx_int_t = NGX_BUSY as ngx_int_t;
/// `NGX_DONE` as callbacks return it: here is a connection that stands already.
const DONE: ngx_int_t = NGX_DONE as ngx_int_t;
/// `NGX_ERROR` as callbacks return it.
const ERROR: ngx_int_t = NGX_ERROR as ngx_int_t;

/// What becomes of a request that wants a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Admission {
    /// nginx's balancer is asked.
    Pass,
    /// It waits.
    Hold,
    /// It fails as if nginx's balancer had no peer: 502.
    Refuse,
}

/// Who decides on the requests to one upstream. Lives as long as the upstream's configuration; is
/// called in the middle of nginx's work on a request, so it must not touch any request itself.
pub(crate) trait Balancer {
    /// Where its requests wait.
    fn queue(&self) -> &Queue;

    /// Before nginx's balancer is asked. A retry has had a peer already, or has waited.
    fn admit(&self, is_retry: bool) -> Admission;

    /// nginx's balancer has no peer.
    fn admit_busy(&self) -> Admission;

    /// How long a request may wait in all.
    fn patience(&self) -> Msec;

    /// A request has begun to wait, as the last one of the queue.
    fn parked(&'static self);

    /// A request has left the queue, for whatever reason.
    fn left(&'static self);

    /// nginx's balancer has picked the peer at this `sockaddr`. What is returned is kept with the
    /// request.
    fn picked(&'static self, address: &[u8]) -> Option<NonZeroU32>;

    /// nginx calls the request to the peer at this address failed; before `released`.
    fn failed(&'static self, address: &Address);

    /// The request is done with the peer that was picked last: `token` is what `picked` returned,
    /// `failed` nginx's own verdict, `resuming` says that a queue is being worked off.
    fn released(&'static self, token: Option<NonZeroU32>, failed: bool, resuming: bool);
}

/// One request's state, in the request's pool, in the place of its balancer's data.
pub(super) struct Proxied {
    /// The request, which lives longer than this.
    request: *mut ngx_http_request_t,
    /// Its upstream.
    upstream: *mut ngx_http_upstream_srv_conf_t,
    /// nginx's `peer.init`, to begin anew with.
    init: ngx_http_upstream_init_peer_pt,
    /// Who decides.
    balancer: &'static dyn Balancer,
    /// nginx's balancer of this request.
    inner: Vector,
    /// The connection that is none; NULL before the request first waits.
    placeholder: *mut Placeholder,
    /// Place in the queue: it is kept when a request has to wait again. 0 = has never waited.
    ticket: u64,
    /// Until when the request may wait; set together with `ticket`.
    deadline: Msec,
    /// Peers that the request has had.
    attempts: ngx_uint_t,
    /// What `picked` returned for the peer that the request has.
    token: Option<NonZeroU32>,
    /// The request waits: `pc->connection` is the placeholder.
    held: bool,
    /// It waits in `peer.init`, and nginx itself keeps it.
    kept: bool,
    /// nginx's balancer is being asked on behalf of a request that waits.
    resuming: bool,
    /// The request's patience has ended.
    expired: bool,
    /// Where the response headers ended before nginx's balancer saw the request.
    #[cfg(ngx_peer_sid)]
    headers: headers::HeadersEnd,
}

/// `peer.init` of an upstream whose requests may wait: runs nginx's own, then takes its place.
///
/// # Safety
/// `r` and `us` are the arguments of the `peer.init` that is running, `init` is nginx's own of that
/// upstream, and `balancer` lives as long as the upstream's configuration.
pub(crate) unsafe fn init_peer(
    r: *mut ngx_http_request_t,
    us: *mut ngx_http_upstream_srv_conf_t,
    init: ngx_http_upstream_init_peer_pt,
    balancer: &'static dyn Balancer,
) -> ngx_int_t {
    // SAFETY: nginx's own arguments; `r->upstream` is set before `peer.init` is called, and the
    // pool lives as long as the request. The record is written before it is read.
    unsafe {
        #[cfg(ngx_peer_sid)]
        let headers = headers::HeadersEnd::of(r);
        let pc = &raw mut (*(*r).upstream).peer;
        let run = || init.map_or(ERROR, |init| init(r, us));
        let (mut rc, is_kept) = kept::begin(r, balancer, run);
        if is_kept && rc != BUSY {
            // What nginx wraps balancers with, such as `keepalive`, takes `BUSY` for a failure.
            rc = Vector::renew(pc, run);
        }
        // Another module may keep it as well.
        if rc != OK && rc != BUSY {
            return rc;
        }
        let place = ngx_pcalloc((*r).pool, size_of::<Proxied>()).cast::<Proxied>();
        if place.is_null() {
            return ERROR;
        }
        place.write(Proxied {
            request: r,
            upstream: us,
            init,
            balancer,
            inner: Vector::of(pc),
            placeholder: null_mut(),
            ticket: 0,
            deadline: 0,
            attempts: 0,
            token: None,
            held: false,
            kept: false,
            resuming: false,
            expired: false,
            #[cfg(ngx_peer_sid)]
            headers,
        });
        vector::wrap(pc, place);
        if rc == BUSY && is_kept {
            (*place).kept = true;
            if hold(place, pc, Admission::Hold) != AGAIN {
                return ERROR;
            }
        }
        rc
    }
}

// nginx's pools align to eight bytes.
const _: () = assert!(align_of::<Proxied>() <= 8 && align_of::<Placeholder>() <= 8);

/// nginx wants a peer for a request.
unsafe extern "C" fn get(pc: *mut ngx_peer_connection_t, data: *mut c_void) -> ngx_int_t {
    guard("peer.get", ERROR, || {
        let place = data.cast::<Proxied>();
        // SAFETY: `data` is what `init_peer` made for the request that `pc` belongs to.
        unsafe {
            let balancer = (*place).balancer;
            if !(*place).resuming {
                let is_retry = (*place).attempts > 0 || (*place).ticket > 0;
                match balancer.admit(is_retry) {
                    Admission::Pass => {}
                    admission => return hold(place, pc, admission),
                }
            }
            let rc = (*place).inner.get(pc);
            if rc == OK || rc == DONE {
                let address = raw_address((*pc).sockaddr, (*pc).socklen);
                (*place).token = balancer.picked(address);
            }
            if rc != BUSY || (*place).resuming {
                return rc;
            }
            hold(place, pc, balancer.admit_busy())
        }
    })
}

/// Lets a request wait; refuses where `admission` does, where its patience has ended, and where
/// nginx may serve it from its cache.
///
/// # Safety
/// `place` is the record of the request that `pc` belongs to, in its `peer.get`.
unsafe fn hold(
    place: *mut Proxied,
    pc: *mut ngx_peer_connection_t,
    admission: Admission,
) -> ngx_int_t {
    // SAFETY: passed on; `place` is not NULL.
    unsafe {
        let is_over = (*place).ticket > 0 && now() >= (*place).deadline;
        if admission != Admission::Hold
            || is_over
            || (*place).expired
            || cache::may_serve_stale((*place).request)
            || !Placeholder::prepare(place)
        {
            // What nginx's balancers leave behind when they have no peer; the name is for the log.
            (*pc).connection = null_mut();
            (*pc).name = &raw mut (*(*place).upstream).host;
            (*pc).set_cached(0);
            return BUSY;
        }
        let balancer = (*place).balancer;
        if (*place).ticket == 0 {
            (*place).ticket = balancer.queue().next_ticket();
            (*place).deadline = now().saturating_add(balancer.patience());
        }
        put_aside(place, pc);
        balancer.queue().push((*place).ticket, NonNull::new_unchecked(place));
        balancer.parked();
        AGAIN
    }
}

/// Makes `pc` what it is while its request waits.
///
/// # Safety
/// `place` is the record of the request that `pc` belongs to, with a placeholder.
unsafe fn put_aside(place: *mut Proxied, pc: *mut ngx_peer_connection_t) {
    // SAFETY: passed on.
    unsafe {
        (*place).held = true;
        (*pc).connection = Placeholder::connection((*place).placeholder);
        // M3: nginx calls `peer.free`, by which a request leaves the queue, only where an address
        // is set.
        let (sockaddr, socklen) = placeholder::no_address();
        (*pc).sockaddr = sockaddr;
        (*pc).socklen = socklen;
        // M7: nginx reads the name's length where peers come and go with the resolver.
        (*pc).name = &raw mut (*(*place).upstream).host;
        (*pc).set_cached(0);
        #[cfg(ngx_peer_sid)]
        {
            // That of a peer that was given back.
            (*pc).sid = null_mut();
        }
    }
}

/// nginx is done with the peer of a request, or with waiting for one.
unsafe extern "C" fn free(pc: *mut ngx_peer_connection_t, data: *mut c_void, state: ngx_uint_t) {
    guard("peer.free", (), || {
        let place = data.cast::<Proxied>();
        // SAFETY: `data` is what `init_peer` made for the request that `pc` belongs to.
        unsafe {
            let failed = state & NGX_PEER_FAILED as ngx_uint_t != 0;
            if (*place).held {
                // M2: nginx's balancer has not picked anything, and must not be asked to free it.
                leave(place);
                (*place).held = false;
                // M1: the placeholder is not nginx's to close.
                (*pc).connection = null_mut();
                if failed {
                    // M6: with a try left, nginx would ask for a peer again, for ever.
                    (*place).expired = true;
                    (*pc).tries = 0;
                }
                return;
            }
            (*place).attempts = (*place).attempts.saturating_add(1);
            // A peer that the resolver has dropped goes with its last request.
            let address = if failed { Address::copy((*pc).sockaddr, (*pc).socklen) } else { None };
            (*place).inner.free(pc, state);
            if let Some(address) = address {
                (*place).balancer.failed(&address);
            }
            (*place).balancer.released((*place).token.take(), failed, (*place).resuming);
        }
    });
}

/// Takes a request out of its queue.
///
/// # Safety
/// `place` is the record of a request that waits, or that has just been given a connection.
unsafe fn leave(place: *mut Proxied) {
    // SAFETY: passed on.
    unsafe {
        Placeholder::disarm((*place).placeholder);
        (*place).balancer.queue().remove((*place).ticket);
        (*place).balancer.left();
    }
}
