//! Ports from the OS that stay reserved for as long as a test wants them.

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::mem;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::sync::{Mutex, Once, PoisonError};
use std::time::{Duration, Instant};

/// A reserved TCP port: a socket that is bound and does not listen.
///
/// With `SO_REUSEADDR` on both sides Linux lets a listener share the port (nginx and std set it),
/// but gives it to nobody who asks for any port, not even for the source of a connection. While
/// no one listens, connections to it are refused: it is a closed port too.
#[derive(Debug)]
pub struct Port {
    address: SocketAddr,
    /// `None` once it is dropped.
    socket: Option<OwnedFd>,
}

/// How long a port stays reserved when its test wants it no longer: that test's nginx may go on for a
/// moment, and shall not probe the peer of another test.
const REST: Duration = Duration::from_secs(20);

/// So many ports rest at most.
const RESTING: usize = 300;

impl Drop for Port {
    fn drop(&mut self) {
        static RESTS: Mutex<VecDeque<(Instant, OwnedFd)>> = Mutex::new(VecDeque::new());

        let (Some(socket), now) = (self.socket.take(), Instant::now()) else { return };
        let mut rests = RESTS.lock().unwrap_or_else(PoisonError::into_inner);
        rests.push_back((now, socket));
        while rests.len() > RESTING || rests.front().is_some_and(|(at, _)| now - *at > REST) {
            rests.pop_front();
        }
    }
}

impl Port {
    /// A port of 127.0.0.1.
    ///
    /// # Panics
    /// If the OS has none.
    pub fn reserve() -> Port {
        Port::reserve_at(IpAddr::V4(Ipv4Addr::LOCALHOST)).expect("a free port of 127.0.0.1")
    }

    /// A port of another loopback address.
    ///
    /// # Errors
    /// Those of `bind`, for instance without IPv6.
    pub fn reserve_at(ip: IpAddr) -> io::Result<Port> {
        Port::reserve_exactly(SocketAddr::new(ip, 0))
    }

    /// That very port, or any if it is 0.
    ///
    /// # Errors
    /// Those of `bind`.
    pub fn reserve_exactly(address: SocketAddr) -> io::Result<Port> {
        static RAISED: Once = Once::new();

        // Those that rest are many.
        RAISED.call_once(raise_open_files);
        let socket = stream_socket(&address)?;
        bind(&socket, &address)?;

        Ok(Port { address: local_address(&socket)?, socket: Some(socket) })
    }

    /// Listens with room for a single connection that nobody has accepted: further ones wait until
    /// their next attempt, about a second later.
    ///
    /// # Errors
    /// Those of `bind` and `listen`.
    pub fn listen_for_one(&self) -> io::Result<TcpListener> {
        let socket = stream_socket(&self.address)?;
        bind(&socket, &self.address)?;
        // SAFETY: no pointers; the socket is open.
        if unsafe { libc::listen(socket.as_raw_fd(), 0) } == 0 {
            Ok(TcpListener::from(socket))
        } else {
            Err(io::Error::last_os_error())
        }
    }

    /// Listens with a longer queue than std's: who accepts may stand still for a while.
    ///
    /// # Errors
    /// Those of `bind` and `listen`.
    pub(crate) fn listen(&self) -> io::Result<TcpListener> {
        listen(self.address)
    }

    /// Address and port.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl fmt::Display for Port {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.address.fmt(f)
    }
}

/// A listener with a longer queue than std's.
///
/// # Errors
/// Those of `bind` and `listen`.
pub(crate) fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let listener = TcpListener::bind(address)?;
    // SAFETY: no pointers; the socket is open.
    if unsafe { libc::listen(listener.as_raw_fd(), 4096) } == 0 {
        Ok(listener)
    } else {
        Err(io::Error::last_os_error())
    }
}

/// Connects from a loopback address of choice, so that ip_hash sees several clients.
///
/// # Errors
/// Those of `socket`, `bind` and `connect`.
pub fn connect_from(source: Ipv4Addr, to: SocketAddr, limit: Duration) -> io::Result<TcpStream> {
    connect_known(SocketAddr::new(IpAddr::V4(source), 0), to, limit, |_| {})
}

/// Connects from an address, and says which it is before the other side can know.
///
/// # Errors
/// Those of `socket`, `bind` and `connect`.
pub(crate) fn connect_known(
    source: SocketAddr,
    to: SocketAddr,
    limit: Duration,
    known: impl FnOnce(SocketAddr),
) -> io::Result<TcpStream> {
    let socket = stream_socket(&to)?;
    bind(&socket, &source)?;
    known(local_address(&socket)?);

    let (to, length) = raw_address(&to);
    let stream = TcpStream::from(socket);
    // On loopback `connect` blocks only while the listener's backlog is full; the send timeout
    // bounds that as well.
    stream.set_write_timeout(Some(limit))?;
    // SAFETY: `to` is a whole `sockaddr_storage`, of which `length` bytes are its address; both
    // live until the call returns.
    let code = unsafe { libc::connect(stream.as_raw_fd(), (&raw const to).cast(), length) };
    let error = io::Error::last_os_error();
    match code {
        0 => Ok(stream),
        // A process that was stopped, or frozen, and goes on has its calls interrupted.
        _ if error.kind() == io::ErrorKind::Interrupted => await_connection(stream, limit),
        _ => Err(error),
    }
}

/// A connection that is being made, once that has ended.
fn await_connection(stream: TcpStream, limit: Duration) -> io::Result<TcpStream> {
    let start = Instant::now();

    while start.elapsed() < limit {
        let mut entry = libc::pollfd { fd: stream.as_raw_fd(), events: libc::POLLOUT, revents: 0 };
        // SAFETY: `entry` is one entry that lives until the call returns.
        if unsafe { libc::poll(&raw mut entry, 1, 100) } > 0 {
            return stream.take_error()?.map_or(Ok(stream), Err);
        }
    }
    Err(io::ErrorKind::TimedOut.into())
}

/// Raises the soft limit of open files to the hard one, for this process and its children.
pub fn raise_open_files() {
    // SAFETY: `rlimit` is plain data; both calls get a pointer that lives until they return.
    unsafe {
        let mut limit: libc::rlimit = mem::zeroed();
        if libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) == 0 {
            limit.rlim_cur = limit.rlim_max;
            libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit);
        }
    }
}

fn stream_socket(for_address: &SocketAddr) -> io::Result<OwnedFd> {
    let family = if for_address.is_ipv4() { libc::AF_INET } else { libc::AF_INET6 };
    // SAFETY: no pointers; the result is checked before it becomes a descriptor of ours.
    let socket = unsafe { libc::socket(family, libc::SOCK_STREAM | libc::SOCK_CLOEXEC, 0) };
    if socket < 0 {
        return Err(io::Error::last_os_error());
    }

    // SAFETY: `socket` was opened above and belongs to nobody else.
    Ok(unsafe { OwnedFd::from_raw_fd(socket) })
}

fn bind(socket: &OwnedFd, address: &SocketAddr) -> io::Result<()> {
    let one: libc::c_int = 1;
    let (address, length) = raw_address(address);

    // SAFETY: `socket` is open; the option's value and the address live until the calls return,
    // and the lengths are theirs.
    let code = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_REUSEADDR,
            (&raw const one).cast(),
            size_of_socklen::<libc::c_int>(),
        );
        libc::bind(socket.as_raw_fd(), (&raw const address).cast(), length)
    };
    if code == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

fn local_address(socket: &OwnedFd) -> io::Result<SocketAddr> {
    // std reads it from any socket of these families, listening or not.
    let socket = TcpListener::from(socket.try_clone()?);
    socket.local_addr()
}

fn raw_address(address: &SocketAddr) -> (libc::sockaddr_storage, libc::socklen_t) {
    // SAFETY: `sockaddr_storage` is plain data, for which zeros are valid.
    let mut storage: libc::sockaddr_storage = unsafe { mem::zeroed() };

    let length = match address {
        SocketAddr::V4(address) => {
            let raw = libc::sockaddr_in {
                sin_family: family(libc::AF_INET),
                sin_port: address.port().to_be(),
                sin_addr: libc::in_addr { s_addr: u32::from(*address.ip()).to_be() },
                sin_zero: [0; 8],
            };
            // SAFETY: the storage is large enough and aligned for every family's address.
            unsafe { (&raw mut storage).cast::<libc::sockaddr_in>().write(raw) };
            size_of_socklen::<libc::sockaddr_in>()
        }
        SocketAddr::V6(address) => {
            let raw = libc::sockaddr_in6 {
                sin6_family: family(libc::AF_INET6),
                sin6_port: address.port().to_be(),
                sin6_flowinfo: 0,
                sin6_addr: libc::in6_addr { s6_addr: Ipv6Addr::octets(address.ip()) },
                sin6_scope_id: 0,
            };
            // SAFETY: as above.
            unsafe { (&raw mut storage).cast::<libc::sockaddr_in6>().write(raw) };
            size_of_socklen::<libc::sockaddr_in6>()
        }
    };

    (storage, length)
}

fn family(family: libc::c_int) -> libc::sa_family_t {
    libc::sa_family_t::try_from(family).expect("a small constant")
}

fn size_of_socklen<T>() -> libc::socklen_t {
    libc::socklen_t::try_from(size_of::<T>()).expect("a small constant")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reserved_port_refuses_until_somebody_listens() {
        let port = Port::reserve();

        assert!(TcpStream::connect(port.address()).is_err());
        let _listener = TcpListener::bind(port.address()).expect("the port is shared");
        assert!(TcpStream::connect(port.address()).is_ok());
    }

    #[test]
    fn a_port_that_is_wanted_no_longer_is_given_to_nobody_for_a_while() {
        let dropped = Port::reserve().address();
        let others: Vec<Port> = (0..100).map(|_| Port::reserve()).collect();

        assert!(others.iter().all(|other| other.address() != dropped));
        assert!(TcpStream::connect(dropped).is_err());
        assert!(Port::reserve_exactly(dropped).is_ok());
    }

    #[test]
    fn a_client_chooses_its_address() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let source = Ipv4Addr::new(127, 0, 9, 1);
        let address = listener.local_addr().expect("an address");
        let _client = connect_from(source, address, Duration::from_secs(5)).expect("a connection");

        assert_eq!(listener.accept().expect("a client").1.ip(), IpAddr::V4(source));
    }
}
