//! Accepts connections until told to stop, each in a thread of its own.

use std::fmt;
use std::fs;
use std::io::Write;
use std::net::TcpStream;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use crate::port::Port;
use crate::spawn;

/// Where something listens.
#[derive(Clone, Debug)]
pub(crate) enum Place {
    Tcp(Arc<Port>),
    Unix(PathBuf),
}

/// As nginx names it: `127.0.0.1:81`, `[::1]:81`, `unix:/path`.
impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::Tcp(port) => port.fmt(f),
            Place::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// A listening thread.
pub(crate) struct Listener {
    place: Place,
    alive: Arc<AtomicBool>,
    wake: UnixStream,
    thread: JoinHandle<()>,
}

impl Listener {
    /// Listens there. `admit` sees each connection in the order in which they are accepted; `serve` gets
    /// it in a thread of its own, with a flag that goes off when it shall end and what `admit` returned.
    pub(crate) fn start<A, T, F>(place: &Place, admit: A, serve: F) -> Listener
    where
        A: Fn(&TcpStream) -> T + Send + 'static,
        T: Send + 'static,
        F: Fn(TcpStream, Arc<AtomicBool>, T) + Send + Sync + 'static,
    {
        let listener = match place {
            Place::Tcp(port) => OwnedFd::from(port.listen().expect("the port")),
            Place::Unix(path) => OwnedFd::from(UnixListener::bind(path).expect("the path")),
        };
        let (wake, woken) = UnixStream::pair().expect("a pair of sockets");
        let alive = Arc::new(AtomicBool::new(true));
        let thread = {
            let alive = Arc::clone(&alive);
            thread::spawn(move || accept_all(listener, &woken, &alive, &admit, &Arc::new(serve)))
        };

        Listener { place: place.clone(), alive, wake, thread }
    }

    /// Says that it shall end, without waiting for that.
    pub(crate) fn tell_to_stop(&self) {
        self.alive.store(false, Ordering::Relaxed);
        // The thread may be gone already if its listener broke; joining says so.
        let _ = (&self.wake).write_all(b"!");
    }

    /// Closes the listener and waits until all connections have ended.
    pub(crate) fn stop(self) {
        self.tell_to_stop();
        let ended = self.thread.join();
        let removed = match &self.place {
            Place::Unix(path) => fs::remove_file(path),
            Place::Tcp(_) => Ok(()),
        };
        // A test that fails says why itself.
        if !thread::panicking() {
            ended.expect("the listening thread");
            removed.expect("the socket's file");
        }
    }
}

fn accept_all<A, T, F>(
    listener: OwnedFd,
    woken: &UnixStream,
    alive: &Arc<AtomicBool>,
    admit: &A,
    serve: &Arc<F>,
) where
    A: Fn(&TcpStream) -> T,
    T: Send + 'static,
    F: Fn(TcpStream, Arc<AtomicBool>, T) + Send + Sync + 'static,
{
    let mut connections = Vec::new();

    while let Some(stream) = accept(&listener, woken) {
        let (alive, serve, admitted) = (Arc::clone(alive), Arc::clone(serve), admit(&stream));
        connections.push(thread::spawn(move || serve(stream, alive, admitted)));
        connections.retain(|connection| !connection.is_finished());
    }
    {
        let _closing = spawn::closing();
        drop(listener);
    }
    for connection in connections {
        connection.join().expect("the connection's thread");
    }
}

/// The next connection; `None` once the listener stops.
fn accept(listener: &OwnedFd, woken: &UnixStream) -> Option<TcpStream> {
    let entry = |fd| libc::pollfd { fd, events: libc::POLLIN, revents: 0 };
    let mut entries = [entry(listener.as_raw_fd()), entry(woken.as_raw_fd())];

    loop {
        // SAFETY: `entries` is an array of two that lives until the call returns.
        let ready = unsafe { libc::poll(entries.as_mut_ptr(), 2, -1) };
        if ready > 0 && entries[1].revents != 0 {
            return None;
        }
        if ready > 0 && entries[0].revents != 0 {
            return accept_one(listener);
        }
    }
}

fn accept_one(listener: &OwnedFd) -> Option<TcpStream> {
    // SAFETY: `listener` is open; no address is asked for; the result is checked before it
    // becomes a descriptor of ours.
    let fd = unsafe {
        libc::accept4(
            listener.as_raw_fd(),
            std::ptr::null_mut(),
            std::ptr::null_mut(),
            libc::SOCK_CLOEXEC,
        )
    };
    assert!(fd >= 0, "accept: {}", std::io::Error::last_os_error());

    // A unix socket too: reading, writing, timeouts and shutdown are the same calls.
    // SAFETY: `fd` was opened above and belongs to nobody else.
    Some(TcpStream::from(unsafe { OwnedFd::from_raw_fd(fd) }))
}
