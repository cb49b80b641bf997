//! Readiness of very many sockets in one thread.

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::ptr;
use std::time::Duration;

const AT_ONCE: usize = 512;

/// An epoll instance.
#[derive(Debug)]
pub struct Epoll(OwnedFd);

/// What to be told of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interest {
    /// There is something to read, as long as there is.
    Readable,
    /// There begins to be room to write or something to read: once for each change.
    Changes,
}

/// Room for what [`Epoll::wait`] reports.
pub struct Events {
    list: Box<[libc::epoll_event; AT_ONCE]>,
    count: usize,
}

/// What happened on one socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Event {
    /// As it was given to [`Epoll::add`].
    pub key: usize,
    /// Something can be read, be it an end or an error.
    pub readable: bool,
    /// Something can be written, or an error can be seen.
    pub writable: bool,
}

impl Epoll {
    /// An empty one.
    ///
    /// # Panics
    /// If the system has none.
    pub fn new() -> Epoll {
        // SAFETY: no pointers; the result is checked before it becomes a descriptor of ours.
        let fd = unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) };
        assert!(fd >= 0, "epoll: {}", io::Error::last_os_error());
        // SAFETY: `fd` was opened above and belongs to nobody else.
        Epoll(unsafe { OwnedFd::from_raw_fd(fd) })
    }

    /// Reports `key` for the socket from now on. Closing the socket removes it.
    ///
    /// # Panics
    /// If the system refuses.
    pub fn add(&self, socket: &impl AsRawFd, key: usize, interest: Interest) {
        let bits = match interest {
            Interest::Readable => libc::EPOLLIN,
            Interest::Changes => libc::EPOLLIN | libc::EPOLLOUT | libc::EPOLLRDHUP | libc::EPOLLET,
        };
        let mut event = libc::epoll_event { events: bits.cast_unsigned(), u64: key as u64 };

        // SAFETY: both descriptors are open; `event` lives until the call returns.
        let code = unsafe {
            libc::epoll_ctl(
                self.0.as_raw_fd(),
                libc::EPOLL_CTL_ADD,
                socket.as_raw_fd(),
                &raw mut event,
            )
        };
        assert_eq!(code, 0, "epoll_ctl: {}", io::Error::last_os_error());
    }

    /// Waits for at most `limit` until something happened.
    pub fn wait(&self, events: &mut Events, limit: Duration) {
        let limit = libc::timespec {
            tv_sec: i64::try_from(limit.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: i64::from(limit.subsec_nanos()),
        };

        // SAFETY: `list` has room for as many events as the call is told, and outlives it, as the
        // limit does; no signal mask is given.
        let count = unsafe {
            libc::epoll_pwait2(
                self.0.as_raw_fd(),
                events.list.as_mut_ptr(),
                libc::c_int::try_from(AT_ONCE).unwrap_or(1),
                &raw const limit,
                ptr::null(),
            )
        };
        // A signal is as good as a time that is over.
        events.count = usize::try_from(count).unwrap_or(0);
    }
}

impl Default for Epoll {
    fn default() -> Epoll {
        Epoll::new()
    }
}

impl Events {
    /// Room for some hundred.
    pub fn new() -> Events {
        let empty = libc::epoll_event { events: 0, u64: 0 };
        Events { list: Box::new([empty; AT_ONCE]), count: 0 }
    }

    /// What the last wait reported.
    pub fn iter(&self) -> impl Iterator<Item = Event> + '_ {
        self.list[..self.count].iter().map(|event| {
            let has = |bits: i32| event.events & bits.cast_unsigned() != 0;
            let broken = has(libc::EPOLLERR | libc::EPOLLHUP);
            Event {
                key: usize::try_from(event.u64).expect("a key of ours"),
                readable: broken || has(libc::EPOLLIN | libc::EPOLLRDHUP),
                writable: broken || has(libc::EPOLLOUT),
            }
        })
    }
}

impl Default for Events {
    fn default() -> Events {
        Events::new()
    }
}
