//! What a scripted peer does on one connection.

use std::io::{Error, ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use super::{Seen, Shared, PROBE_PATH};
use crate::script::{Script, Step};

/// How often a waiting connection looks whether the test is over.
const SLICE: Duration = Duration::from_millis(20);

/// One connection of a peer, in a thread of its own.
pub(super) struct Connection {
    pub(super) stream: TcpStream,
    pub(super) alive: Arc<AtomicBool>,
    pub(super) shared: Arc<Shared>,
}

/// Whether the peer may wait for another request on the connection.
#[derive(PartialEq, Eq)]
enum After {
    KeepOpen,
    Close,
}

impl Connection {
    /// Reads requests and answers them until either side ends.
    pub(super) fn serve(mut self) {
        // Pieces leave as they are written; a unix socket refuses the option and needs it not.
        let _ = self.stream.set_nodelay(true);
        self.stream.set_read_timeout(Some(SLICE)).expect("a timeout above zero");
        self.stream.set_write_timeout(Some(SLICE)).expect("a timeout above zero");

        let script = self.shared.state().on_accept.clone();
        if let Some(script) = script {
            self.run(&script);
            return;
        }
        while let Some(raw) = self.read_head() {
            let index = self.record(&raw);
            let after = match self.choose(is_probe(&raw)) {
                Some(script) => self.run(&script),
                None => After::Close,
            };
            self.shared.state().seen[index].ended = Some(Instant::now());
            if after == After::Close || !wants_more(&raw) {
                return;
            }
        }
    }

    /// All bytes up to the end of a request's head; `None` once there is no further request.
    fn read_head(&mut self) -> Option<Vec<u8>> {
        let mut raw = Vec::new();
        let mut searched: usize = 0;

        loop {
            let from = searched.saturating_sub(3);
            if raw[from..].windows(4).any(|window| window == b"\r\n\r\n") {
                return Some(raw);
            }
            searched = raw.len();

            let mut buffer = [0; 16 * 1024];
            match self.stream.read(&mut buffer) {
                Ok(0) => return None,
                Ok(count) => raw.extend_from_slice(&buffer[..count]),
                Err(error) if is_timeout(&error) && self.is_alive() => {}
                Err(_) => return None,
            }
        }
    }

    fn record(&self, raw: &[u8]) -> usize {
        let seen =
            Seen { at: Instant::now(), ended: None, raw: raw.to_vec(), probe: is_probe(raw) };
        let mut state = self.shared.state();
        state.seen.push(seen);
        state.seen.len() - 1
    }

    /// The script for a request; `None` if the other side or the test ended before there was one.
    fn choose(&mut self, probe: bool) -> Option<Script> {
        let shared = Arc::clone(&self.shared);
        let mut state = shared.state();
        if !probe {
            return Some(state.request.clone());
        }

        loop {
            if let Some(script) = state.queue.pop_front() {
                return Some(script);
            }
            if !state.held {
                return Some(state.probe.clone());
            }
            state = shared.changed.wait_timeout(state, SLICE).expect("no peer thread panics").0;
            if !self.is_alive() || self.is_gone() {
                return None;
            }
        }
    }

    fn run(&mut self, script: &Script) -> After {
        for step in &script.0 {
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
    fn send(&mut self, mut bytes: &[u8]) -> bool {
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

    fn is_alive(&self) -> bool {
        self.alive.load(Ordering::Relaxed)
    }

    /// Whether the other side closed or reset the connection.
    fn is_gone(&self) -> bool {
        let mut entry =
            libc::pollfd { fd: self.stream.as_raw_fd(), events: libc::POLLRDHUP, revents: 0 };
        // SAFETY: `entry` is one entry that lives until the call returns.
        let ready = unsafe { libc::poll(&raw mut entry, 1, 0) };
        ready > 0 && entry.revents != 0
    }
}

fn is_probe(raw: &[u8]) -> bool {
    raw.split(|&byte| byte == b' ').nth(1) == Some(PROBE_PATH.as_bytes())
}

fn wants_more(raw: &[u8]) -> bool {
    let text = String::from_utf8_lossy(raw).to_ascii_lowercase();
    text.contains(" http/1.1\r\n") && !text.contains("connection: close")
}

fn is_timeout(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut)
}
