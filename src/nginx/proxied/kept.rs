//! Requests that nginx itself keeps: where it has the patch "init_busy", `peer.init` may return `BUSY`, and
//! whoever keeps the request resumes it by a function that the patch adds.

use core::ffi::c_void;
use core::ptr::null_mut;
use std::sync::OnceLock;

use nginx_sys::{
    ngx_event_t, ngx_http_request_t, ngx_http_run_posted_requests, ngx_int_t,
    NGX_HTTP_GATEWAY_TIME_OUT, NGX_LOG_ERR,
};

use super::super::process::ProcessLocal;
use super::placeholder::Placeholder;
use super::queue::Attempt;
use super::resume::{fail, note_request};
use super::{cache, leave, Admission, Balancer, Proxied};

/// The patch's function.
type Resume = unsafe extern "C" fn(*mut ngx_http_request_t);

/// A request whose `peer.init` runs.
#[derive(Clone, Copy)]
struct Beginning {
    /// The request; only compared.
    request: *mut ngx_http_request_t,
    /// Who decides.
    balancer: &'static dyn Balancer,
    /// Whether its balancer was told that it waits.
    is_kept: bool,
}

/// The request whose `peer.init` runs, if it may be kept.
static BEGINNING: ProcessLocal<Option<Beginning>> = ProcessLocal::new(None);

/// The patch's function; `None` where nginx has no such patch.
fn resume_function() -> Option<Resume> {
    static FUNCTION: OnceLock<Option<Resume>> = OnceLock::new();

    *FUNCTION.get_or_init(|| {
        // SAFETY: looks a name up, which nginx itself has or nobody.
        let found =
            unsafe { libc::dlsym(libc::RTLD_DEFAULT, c"ngx_http_upstream_resume".as_ptr()) };
        // SAFETY: NULL is `None`, and the patch's header declares the function like this.
        unsafe { core::mem::transmute::<*mut c_void, Option<Resume>>(found) }
    })
}

/// Runs a balancer's `peer.init`, in which it may be told that its request waits. Returns its result, and
/// whether it was told so.
pub(super) fn begin(
    request: *mut ngx_http_request_t,
    balancer: &'static dyn Balancer,
    init: impl FnOnce() -> ngx_int_t,
) -> (ngx_int_t, bool) {
    if resume_function().is_none() {
        return (init(), false);
    }
    let beginning = Beginning { request, balancer, is_kept: false };
    BEGINNING.with(|place| *place = Some(beginning));
    let rc = init();
    let ended = BEGINNING.with(Option::take).flatten();
    (rc, ended.is_some_and(|ended| ended.is_kept))
}

/// Whether a request waits in `peer.init` already, for its balancer to return `BUSY`.
///
/// # Safety
/// `r` is a live request with an upstream, which calls this in its `peer.init` if anywhere.
pub(crate) unsafe fn keep(r: *mut ngx_http_request_t) -> bool {
    let beginning = BEGINNING.with(|beginning| *beginning).flatten();
    let Some(beginning) = beginning.filter(|one| core::ptr::eq(one.request, r)) else {
        return false;
    };
    // SAFETY: passed on.
    let has_stale = unsafe { cache::may_serve_stale(r) };
    let is_kept = beginning.balancer.admit(false) == Admission::Hold && !has_stale;
    BEGINNING.with(|place| *place = Some(Beginning { is_kept, ..beginning }));
    is_kept
}

/// Lets nginx go on with a request that it keeps. It may have to wait again, in `peer.get`.
///
/// # Safety
/// `place` is the record of a request that nginx keeps, whose balancer has begun anew; it may be gone
/// afterwards.
pub(super) unsafe fn resume(place: *mut Proxied) -> Attempt {
    let Some(resume) = resume_function() else { return Attempt::Failed };
    // SAFETY: passed on. An nginx connection's record stays where it is when the connection ends.
    unsafe {
        let (r, ticket, balancer) = ((*place).request, (*place).ticket, (*place).balancer);
        let c = (*r).connection;
        leave(place);
        (*place).held = false;
        (*place).kept = false;
        let pc = &raw mut (*(*r).upstream).peer;
        (*pc).connection = null_mut();
        (*pc).sockaddr = null_mut();
        resume(r);
        ngx_http_run_posted_requests(c);
        if balancer.queue().has(ticket) {
            Attempt::Busy
        } else {
            Attempt::Resumed
        }
    }
}

/// The patience of a request that nginx keeps has ended: stands in the place of nginx's own handler.
///
/// # Safety
/// `event` is that of the placeholder of such a request.
pub(super) unsafe extern "C" fn on_expiry(event: *mut ngx_event_t) {
    // SAFETY: passed on; the event's `data` is the placeholder's first part. The request may be gone
    // once it was failed.
    unsafe {
        let r = (*Placeholder::owner((*event).data.cast())).request;
        note_request(r);
        let log = (*(*r).connection).log;
        ngx::log::log_error(NGX_LOG_ERR as usize, log, libc::ETIMEDOUT, b"upstream timed out");
        fail(r, (*r).upstream, NGX_HTTP_GATEWAY_TIME_OUT as usize);
    }
}
