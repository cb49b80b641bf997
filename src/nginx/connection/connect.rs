//! The beginning of a connection: a socket in nginx's event loop that connects.

use core::cell::UnsafeCell;
use core::ffi::c_int;
use core::mem::zeroed;
use core::ptr::{null_mut, NonNull};
use std::io;

use nginx_sys::{
    ngx_close_connection, ngx_connection_t, ngx_current_msec, ngx_event_actions,
    ngx_event_connect_peer, ngx_event_get_peer, ngx_get_connection, ngx_io, ngx_log_t,
    ngx_peer_connection_t, ngx_str_t, NGX_AGAIN, NGX_DECLINED, NGX_OK,
};

use super::OpenError;
use crate::nginx::address::Address;

/// A log that takes nothing: nginx would log each refused probe at error level.
struct QuietLog(UnsafeCell<Option<ngx_log_t>>);

// SAFETY: touched on nginx's only thread.
unsafe impl Sync for QuietLog {}

/// The one log of this kind.
static QUIET_LOG: QuietLog = QuietLog(UnsafeCell::new(None));

/// The quiet log; nginx keeps the pointer in its connection, hence the static.
fn quiet_log() -> *mut ngx_log_t {
    // SAFETY: on nginx's only thread, and no reference outlives this function. A log is a C
    // struct for which zero means level "stderr", below everything that nginx logs.
    unsafe { (*QUIET_LOG.0.get()).get_or_insert_with(|| zeroed()) }
}

/// Begins a connection; the flag says whether it stands already.
///
/// With epoll this is what `ngx_event_connect_peer` does, but for three things that spare each probe a
/// system call, an event and, where `delays_ack`, a packet: the socket does not block from its birth on,
/// nginx watches the connection only when it is asked to, and the handshake's acknowledgement goes with
/// the first bytes.
pub(super) fn connect(
    address: &Address,
    delays_ack: bool,
) -> Result<(NonNull<ngx_connection_t>, bool), OpenError> {
    // SAFETY: nginx sets its table of event functions before any process works.
    if (unsafe { ngx_event_actions.add_conn }).is_none() {
        return connect_by_nginx(address);
    }
    let (sockaddr, socklen) = address.as_sockaddr();
    let kind = libc::SOCK_STREAM | libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;
    // SAFETY: an address has a family; no other pointers.
    let fd = unsafe { libc::socket(i32::from((*sockaddr).sa_family), kind, 0) };
    if fd < 0 {
        return Err(refusal(io::Error::last_os_error(), None));
    }
    // SAFETY: the descriptor is open; nginx's connection takes it over, or it is closed here. The log
    // is static.
    let Some(connection) = NonNull::new(unsafe { ngx_get_connection(fd, quiet_log()) }) else {
        // SAFETY: nobody else has the descriptor.
        unsafe { libc::close(fd) };
        return Err(no_connection());
    };
    let c = connection.as_ptr();
    // SAFETY: nginx just made the connection and its two events, zeroed but for what it needs; its
    // functions are those of any stream. `connect` reads the address during the call only.
    unsafe {
        (*c).type_ = libc::SOCK_STREAM;
        (*c).recv = ngx_io.recv;
        (*c).send = ngx_io.send;
        (*c).recv_chain = ngx_io.recv_chain;
        (*c).send_chain = ngx_io.send_chain;
        (*c).start_time = ngx_current_msec;
        (*(*c).read).log = quiet_log();
        (*(*c).write).log = quiet_log();

        if delays_ack && i32::from((*sockaddr).sa_family) != libc::AF_UNIX {
            delay_acknowledgements(fd);
        }
        if libc::connect(fd, sockaddr.cast(), socklen) == 0 {
            (*(*c).write).set_ready(1);
            return Ok((connection, true));
        }
        let error = io::Error::last_os_error();
        if error.raw_os_error() == Some(libc::EINPROGRESS) {
            return Ok((connection, false));
        }
        ngx_close_connection(c);
        Err(refusal(error, Some(address)))
    }
}

/// Has acknowledgements wait for bytes to go with, that which ends the handshake too (tcp(7),
/// `TCP_QUICKACK`).
fn delay_acknowledgements(fd: c_int) {
    const LENGTH: libc::socklen_t = c_int::BITS / 8;
    let off: c_int = 0;
    // SAFETY: the value lives through the call, and the length is its. Where the system refuses,
    // nothing is lost.
    unsafe {
        let value = (&raw const off).cast();
        libc::setsockopt(fd, libc::IPPROTO_TCP, libc::TCP_QUICKACK, value, LENGTH);
    }
}

/// As `connect`, with any of nginx's ways to wait for events.
fn connect_by_nginx(address: &Address) -> Result<(NonNull<ngx_connection_t>, bool), OpenError> {
    let (sockaddr, socklen) = address.as_sockaddr();
    let mut name = ngx_str_t { len: 0, data: null_mut() };
    // SAFETY: the record is a C struct of numbers, pointers and nullable functions; nginx reads
    // address and name during the call only; the log is static.
    let (rc, connection) = unsafe {
        let mut pc = zeroed::<ngx_peer_connection_t>();
        pc.sockaddr = sockaddr.cast_mut();
        pc.socklen = socklen;
        pc.name = &raw mut name;
        pc.get = Some(ngx_event_get_peer);
        pc.log = quiet_log();
        // Where nginx itself refuses, the system's last error is another call's.
        *libc::__errno_location() = 0;
        (ngx_event_connect_peer(&raw mut pc), pc.connection)
    };
    let status = i32::try_from(rc).unwrap_or(0);
    if status != NGX_OK as i32 && status != NGX_AGAIN {
        let declined = Some(address).filter(|_| status == NGX_DECLINED);
        return Err(refusal(io::Error::last_os_error(), declined));
    }
    let connection = NonNull::new(connection).ok_or_else(no_connection)?;
    Ok((connection, status == NGX_OK as i32))
}

/// Why there is no connection; `declined`: it is the system's answer to `connect` with that address.
fn refusal(error: io::Error, declined: Option<&Address>) -> OpenError {
    // SAFETY: an address has a family.
    let family = declined.map(|address| unsafe { (*address.as_sockaddr().0).sa_family });
    match error.raw_os_error() {
        Some(libc::EMFILE | libc::ENFILE | libc::ENOBUFS | libc::ENOMEM) => OpenError::Local(error),
        // With IPv6 it also means that this machine has no address of that kind.
        Some(libc::EADDRNOTAVAIL) if family.map(i32::from) == Some(libc::AF_INET) => {
            OpenError::Port(error)
        }
        Some(libc::EAFNOSUPPORT) => OpenError::Peer(error),
        _ if declined.is_some() => OpenError::Peer(error),
        _ => OpenError::Local(error),
    }
}

/// nginx has no place for one more.
fn no_connection() -> OpenError {
    OpenError::Local(io::Error::other("no connection"))
}
