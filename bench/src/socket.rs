//! Connections that nobody waits for.

use std::io;
use std::net::{SocketAddr, SocketAddrV4, TcpStream};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

/// Begins a connection, from a loopback address of choice or any: it is there, or has failed, once the
/// socket becomes writable.
///
/// # Errors
/// Those of `socket`, `bind` and `connect`, except that it takes a while.
pub fn connect(to: SocketAddr, from: Option<SocketAddrV4>) -> io::Result<TcpStream> {
    let kind = libc::SOCK_STREAM | libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;
    // SAFETY: no pointers; the result is checked before it becomes a descriptor of ours.
    let fd = unsafe { libc::socket(libc::AF_INET, kind, 0) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: `fd` was opened above and belongs to nobody else.
    let socket = unsafe { OwnedFd::from_raw_fd(fd) };
    let SocketAddr::V4(to) = to else {
        return Err(io::ErrorKind::Unsupported.into());
    };
    if let Some(from) = from {
        bind(&socket, from)?;
    }

    let address = raw(to);
    // SAFETY: the socket is open; the address lives until the call returns, and the length is its.
    let code = unsafe { libc::connect(fd, (&raw const address).cast(), length_of(&address)) };
    let error = io::Error::last_os_error();
    if code == 0 || error.raw_os_error() == Some(libc::EINPROGRESS) {
        Ok(TcpStream::from(socket))
    } else {
        Err(error)
    }
}

/// Binds to an address, and leaves the choice of the port to the connection.
fn bind(socket: &OwnedFd, from: SocketAddrV4) -> io::Result<()> {
    let one: libc::c_int = 1;
    let address = raw(from);
    // SAFETY: the socket is open; the value and the address live until the calls return, and the
    // lengths are theirs.
    let code = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::IPPROTO_IP,
            libc::IP_BIND_ADDRESS_NO_PORT,
            (&raw const one).cast(),
            length_of(&one),
        );
        libc::bind(socket.as_raw_fd(), (&raw const address).cast(), length_of(&address))
    };
    if code == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

fn raw(address: SocketAddrV4) -> libc::sockaddr_in {
    libc::sockaddr_in {
        sin_family: libc::sa_family_t::try_from(libc::AF_INET).expect("a small constant"),
        sin_port: address.port().to_be(),
        sin_addr: libc::in_addr { s_addr: u32::from(*address.ip()).to_be() },
        sin_zero: [0; 8],
    }
}

fn length_of<T>(value: &T) -> libc::socklen_t {
    libc::socklen_t::try_from(size_of_val(value)).expect("a small structure")
}
