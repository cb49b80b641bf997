//! When something came, by the OS's own record.

use std::mem;
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

/// The OS's record counts ticks of its clock, of at most 10 ms.
const TICK: Duration = Duration::from_millis(10);

/// When the last bytes came on a socket: its thread may read them much later. Never before they came,
/// and hardly ever more than three ticks after that. Of what is no TCP socket the OS keeps no such
/// record: now.
pub(crate) fn arrived(socket: &impl AsRawFd) -> Instant {
    let mut arrived = Instant::now();

    for _ in 0..5 {
        let before = Instant::now();
        let age = age(socket).map_or(Duration::ZERO, |age| age.saturating_sub(TICK));
        let now = Instant::now();
        arrived = now.checked_sub(age).unwrap_or(now);
        // Else this thread stood still in between, and the age may be that of before.
        if now - before < TICK {
            break;
        }
    }
    arrived
}

/// How long ago the last bytes came, give or take a tick.
fn age(socket: &impl AsRawFd) -> Option<Duration> {
    // SAFETY: `tcp_info` is plain data, for which zeros are valid.
    let mut info: libc::tcp_info = unsafe { mem::zeroed() };
    let mut length = libc::socklen_t::try_from(size_of_val(&info)).ok()?;

    // SAFETY: the socket is open; `info` and its length live until the call returns.
    let code = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_INFO,
            (&raw mut info).cast(),
            &raw mut length,
        )
    };
    (code == 0).then(|| Duration::from_millis(info.tcpi_last_data_recv.into()))
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::{TcpListener, TcpStream};
    use std::os::unix::net::UnixStream;
    use std::thread::sleep;

    use super::*;

    #[test]
    fn bytes_that_are_read_late_came_before() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let mut client =
            TcpStream::connect(listener.local_addr().expect("one")).expect("a listener");
        let before = Instant::now();
        client.write_all(b"x").expect("a connection");
        let sent = Instant::now();
        sleep(Duration::from_millis(200));
        let (mut accepted, _) = listener.accept().expect("a client");
        accepted.read_exact(&mut [0]).expect("a byte");

        let at = arrived(&accepted);
        assert!(before <= at && at <= sent + 3 * TICK, "{:?} after it was sent", at - sent);
    }

    #[test]
    fn what_the_os_does_not_know_came_now() {
        let (socket, _other) = UnixStream::pair().expect("a pair of sockets");
        let before = Instant::now();

        assert!(arrived(&socket) >= before);
    }
}
