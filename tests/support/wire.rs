//! One accepted connection, and what scripts do with it.

use std::io::{Error, ErrorKind, Read, Write};
use std::mem::ManuallyDrop;
use std::net::{Shutdown, TcpStream};
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use crate::arrival::arrived;
use crate::script::{Script, Step};
use crate::spawn;

/// How often a waiting connection looks whether the test is over.
pub(crate) const SLICE: Duration = Duration::from_millis(20);

/// A connection that ends with the other side or with its listener.
pub(crate) struct Wire {
    stream: ManuallyDrop<TcpStream>,
    alive: Arc<AtomicBool>,
}

/// Whether there may be another request on the connection.
#[derive(PartialEq, Eq)]
pub(crate) enum After {
    KeepOpen,
    Close,
}

impl Wire {
    pub(crate) fn new(stream: TcpStream, alive: Arc<AtomicBool>) -> Wire {
        // Pieces leave as they are written; a unix socket refuses the option and needs it not.
        let _ = stream.set_nodelay(true);
        stream.set_read_timeout(Some(SLICE)).expect("a timeout above zero");
        stream.set_write_timeout(Some(SLICE)).expect("a timeout above zero");

        Wire { stream: ManuallyDrop::new(stream), alive }
    }

    /// When what was read last had come, however late this thread was.
    pub(crate) fn arrived(&self) -> Instant {
        arrived(&*self.stream)
    }

    /// All bytes up to the end of a request's head, and what came with it; `None` once there is no
    /// further request.
    pub(crate) fn read_head(&mut self) -> Option<Vec<u8>> {
        let mut raw = Vec::new();
        let mut searched: usize = 0;

        loop {
            let from = searched.saturating_sub(3);
            if raw[from..].windows(4).any(|window| window == b"\r\n\r\n") {
                return Some(raw);
            }
            searched = raw.len();
            self.read_more(&mut raw)?;
        }
    }

    /// Appends what comes next; `None` once nothing does.
    pub(crate) fn read_more(&mut self, raw: &mut Vec<u8>) -> Option<()> {
        let mut buffer = [0; 16 * 1024];

        loop {
            match self.stream.read(&mut buffer) {
                Ok(0) => return None,
                Ok(count) => {
                    raw.extend_from_slice(&buffer[..count]);
                    return Some(());
                }
                Err(error) if is_timeout(&error) && self.is_alive() => {}
                Err(_) => return None,
            }
        }
    }

    /// Does all that a script says. `on_last` is called right before the last bytes are sent, while
    /// nobody can have them yet; of a script that sends none, never.
    pub(crate) fn run(&mut self, script: &Script, on_last: impl FnOnce()) -> After {
        let last = script.0.iter().rposition(|step| matches!(step, Step::Send(_)));
        let mut on_last = Some(on_last);

        for (index, step) in script.0.iter().enumerate() {
            if let Some(on_last) = on_last.take_if(|_| last == Some(index)) {
                on_last();
            }
            let done = match step {
                Step::Send(bytes) => self.send(bytes),
                Step::Pause(time) => self.pause(*time),
                Step::Repeat(bytes, every) => {
                    while self.send(bytes) && self.pause(*every) {}
                    false
                }
                Step::HalfClose => self.stream.shutdown(Shutdown::Write).is_ok(),
                Step::Reset => {
                    self.reset_on_close();
                    false
                }
                Step::Hang => {
                    while self.is_alive() && !self.is_gone() {
                        thread::sleep(SLICE);
                    }
                    false
                }
                Step::Close => false,
            };
            if !done {
                return After::Close;
            }
        }
        After::KeepOpen
    }

    /// Whether all was sent; it was not if the other side is gone or the test over.
    pub(crate) fn send(&mut self, mut bytes: &[u8]) -> bool {
        while !bytes.is_empty() {
            match self.stream.write(bytes) {
                Ok(count) => bytes = &bytes[count..],
                Err(error) if is_timeout(&error) && self.is_alive() => {}
                Err(_) => return false,
            }
        }
        self.is_alive()
    }

    /// Whether the connection was still there at the end of the pause.
    fn pause(&self, time: Duration) -> bool {
        let end = Instant::now() + time;

        while let Some(rest) = end.checked_duration_since(Instant::now()) {
            if !self.is_alive() || self.is_gone() {
                return false;
            }
            thread::sleep(rest.min(SLICE));
        }
        true
    }

    fn reset_on_close(&self) {
        let linger = libc::linger { l_onoff: 1, l_linger: 0 };
        let length = libc::socklen_t::try_from(size_of::<libc::linger>()).expect("a small size");

        // SAFETY: the descriptor is open; `linger` lives until the call returns.
        unsafe {
            libc::setsockopt(
                self.stream.as_raw_fd(),
                libc::SOL_SOCKET,
                libc::SO_LINGER,
                (&raw const linger).cast(),
                length,
            );
        }
    }

    pub(crate) fn is_alive(&self) -> bool {
        self.alive.load(Ordering::Relaxed)
    }

    /// Whether the other side closed or reset the connection.
    pub(crate) fn is_gone(&self) -> bool {
        let mut entry =
            libc::pollfd { fd: self.stream.as_raw_fd(), events: libc::POLLRDHUP, revents: 0 };
        // SAFETY: `entry` is one entry that lives until the call returns.
        let ready = unsafe { libc::poll(&raw mut entry, 1, 0) };
        ready > 0 && entry.revents != 0
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        let _closing = spawn::closing();
        // SAFETY: nobody uses the stream after this.
        unsafe { ManuallyDrop::drop(&mut self.stream) };
    }
}

/// Whether to try again. A process that was stopped, or frozen, and goes on has its calls interrupted.
fn is_timeout(error: &Error) -> bool {
    let kinds = [ErrorKind::WouldBlock, ErrorKind::TimedOut, ErrorKind::Interrupted];
    kinds.contains(&error.kind())
}
