//! Requests at a fixed rate, whether or not the answers keep up.

use std::collections::VecDeque;
use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use support::epoll::{Epoll, Event, Events, Interest};

use crate::numbers;

/// What to send: a GET each time.
#[derive(Clone, Debug)]
pub struct Load {
    /// The server.
    pub to: SocketAddr,
    /// The path, such as `/backend/`.
    pub path: String,
    /// Requests per second, from 1.
    pub rate: u32,
    /// Whether connections are kept for further requests; else each has its own.
    pub keep: bool,
    /// How long an answer may take before the request has failed.
    pub limit: Duration,
}

/// A load that runs until it is stopped, in a thread of its own.
pub struct Running {
    ended: Arc<AtomicBool>,
    thread: Option<JoinHandle<Vec<Sample>>>,
}

/// One request.
#[derive(Clone, Copy, Debug)]
pub struct Sample {
    /// When it was due, which is when a client would have sent it.
    pub due: Instant,
    /// From then until its end.
    pub took: Duration,
    /// How it ended.
    pub ending: Ending,
}

/// How a request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// With an answer of that status.
    Status(u16),
    /// There was no connection.
    Refused,
    /// The connection ended before the answer was complete.
    Closed,
    /// There was no answer in time.
    Late,
}

/// All requests of a load, in the order in which they ended.
#[derive(Clone, Debug, Default)]
pub struct Answers(pub Vec<Sample>);

impl Load {
    /// New connections for each request, and 3 s for each answer.
    pub fn new(to: SocketAddr, path: &str, rate: u32) -> Load {
        Load { to, path: path.to_owned(), rate, keep: false, limit: Duration::from_secs(3) }
    }

    /// Starts it.
    pub fn start(self) -> Running {
        support::port::raise_open_files();
        let ended = Arc::new(AtomicBool::new(false));
        let thread = {
            let ended = Arc::clone(&ended);
            thread::spawn(move || Client::new(self).run(&ended))
        };
        Running { ended, thread: Some(thread) }
    }

    /// Runs it for so long.
    pub fn run_for(self, period: Duration) -> Answers {
        let running = self.start();
        thread::sleep(period);
        running.stop()
    }
}

impl Running {
    /// Sends no more, and returns all requests once the last one has ended.
    ///
    /// # Panics
    /// If the load's thread has.
    pub fn stop(mut self) -> Answers {
        self.ended.store(true, Ordering::Relaxed);
        let thread = self.thread.take().expect("it is stopped once");
        Answers(thread.join().expect("the load's thread"))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Relaxed);
    }
}

impl Sample {
    /// Whether a client would complain: no answer, or one of a server's fault.
    pub fn failed(&self) -> bool {
        !matches!(self.ending, Ending::Status(status) if status < 500)
    }
}

impl Answers {
    /// Those that failed.
    pub fn failures(&self) -> Vec<Sample> {
        self.0.iter().copied().filter(Sample::failed).collect()
    }

    /// In milliseconds, how long so many of 1000 took at most.
    pub fn latency_ms(&self, of_thousand: usize) -> f64 {
        let all = self.0.iter().map(|sample| sample.took.as_secs_f64() * 1e3).collect();
        numbers::percentile(&numbers::sorted(all), of_thousand)
    }
}

struct Client {
    load: Load,
    request: Vec<u8>,
    epoll: Epoll,
    start: Instant,
    begun: u32,
    /// By key.
    slots: Vec<Slot>,
    /// Keys of slots without a request; the last one was used last.
    free: Vec<usize>,
    /// Keys by the times at which they become late.
    deadlines: VecDeque<(Instant, usize)>,
    in_hand: usize,
    samples: Vec<Sample>,
}

#[derive(Default)]
struct Slot {
    stream: Option<TcpStream>,
    /// When its request was due; `None` while it has none.
    due: Option<Instant>,
    sent: bool,
    /// Whether the connection has served a request before: its end before an answer is no failure.
    used: bool,
    answer: Vec<u8>,
}

impl Client {
    fn new(load: Load) -> Client {
        let close = if load.keep { "" } else { "Connection: close\r\n" };
        let request = format!("GET {} HTTP/1.1\r\nHost: bench\r\n{close}\r\n", load.path);

        Client {
            load,
            request: request.into_bytes(),
            epoll: Epoll::new(),
            start: Instant::now(),
            begun: 0,
            slots: Vec::new(),
            free: Vec::new(),
            deadlines: VecDeque::new(),
            in_hand: 0,
            samples: Vec::new(),
        }
    }

    fn run(mut self, ended: &AtomicBool) -> Vec<Sample> {
        let mut events = Events::new();

        loop {
            let ending = ended.load(Ordering::Relaxed);
            while !ending && self.due() <= Instant::now() {
                self.begin();
            }
            if ending && self.in_hand == 0 {
                return self.samples;
            }
            let next = if ending { self.start } else { self.due() };
            let pause = next.saturating_duration_since(Instant::now());
            self.epoll.wait(&mut events, if ending { TURN } else { pause.min(TURN) });
            for event in events.iter() {
                self.go_on(event);
            }
            self.give_up();
        }
    }

    /// When the next request is due.
    fn due(&self) -> Instant {
        let (seconds, rest) = (self.begun / self.load.rate, self.begun % self.load.rate);
        self.start
            + Duration::from_secs(seconds.into())
            + Duration::from_secs(1) * rest / self.load.rate
    }

    fn begin(&mut self) {
        let due = self.due();
        self.begun += 1;
        self.in_hand += 1;
        let key = self.free.pop().unwrap_or_else(|| {
            self.slots.push(Slot::default());
            self.slots.len() - 1
        });
        self.deadlines.push_back((due + self.load.limit, key));
        self.slots[key].due = Some(due);
        self.send(key);
    }

    /// Sends the request of a slot on its connection, or on a new one.
    fn send(&mut self, key: usize) {
        let slot = &mut self.slots[key];
        slot.answer.clear();
        if let Some(stream) = &mut slot.stream {
            if stream.write_all(&self.request).is_ok() {
                return;
            }
            slot.stream = None;
        }
        (slot.sent, slot.used) = (false, false);
        // Several of them, so that they have more ports than one.
        let [.., low] = self.begun.to_be_bytes();
        let from = SocketAddrV4::new(Ipv4Addr::new(127, 0, 0, low % 8 + 1), 0);
        match crate::socket::connect(self.load.to, Some(from)) {
            Ok(stream) => {
                self.epoll.add(&stream, key, Interest::Changes);
                slot.stream = Some(stream);
            }
            Err(_) => self.finish(key, Ending::Refused),
        }
    }

    fn go_on(&mut self, event: Event) {
        let slot = &mut self.slots[event.key];
        let Some(stream) = &mut slot.stream else { return };
        if slot.due.is_none() {
            // The server ends a connection that is kept.
            if event.readable {
                slot.stream = None;
            }
            return;
        }
        if !slot.sent {
            if !matches!(stream.take_error(), Ok(None)) {
                self.finish(event.key, Ending::Refused);
                return;
            }
            if event.writable {
                slot.sent = true;
                if stream.write_all(&self.request).is_err() {
                    self.finish(event.key, Ending::Closed);
                    return;
                }
            }
        }
        if event.readable {
            self.read(event.key);
        }
    }

    fn read(&mut self, key: usize) {
        let slot = &mut self.slots[key];
        let Some(stream) = &mut slot.stream else { return };
        let mut buffer = [0; 16384];

        loop {
            match stream.read(&mut buffer) {
                Ok(count) if count > 0 => {
                    slot.answer.extend_from_slice(&buffer[..count]);
                    if let Some((status, kept)) = complete(&slot.answer) {
                        slot.used = true;
                        if !kept || !self.load.keep {
                            slot.stream = None;
                        }
                        self.finish(key, Ending::Status(status));
                        return;
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                _ => {
                    let stale = slot.used && slot.answer.is_empty();
                    slot.stream = None;
                    if stale {
                        self.send(key);
                    } else {
                        self.finish(key, Ending::Closed);
                    }
                    return;
                }
            }
        }
    }

    fn finish(&mut self, key: usize, ending: Ending) {
        let slot = &mut self.slots[key];
        let Some(due) = slot.due.take() else { return };
        if !matches!(ending, Ending::Status(_)) {
            slot.stream = None;
        }
        self.in_hand -= 1;
        self.free.push(key);
        self.samples.push(Sample { due, took: due.elapsed(), ending });
    }

    fn give_up(&mut self) {
        let now = Instant::now();
        while let Some(&(at, key)) = self.deadlines.front().filter(|(at, _)| *at <= now) {
            self.deadlines.pop_front();
            if self.slots[key].due.is_some_and(|due| due + self.load.limit == at) {
                self.finish(key, Ending::Late);
            }
        }
    }
}

/// How long a turn takes at most.
const TURN: Duration = Duration::from_millis(10);

/// The status of a whole answer, and whether the connection stays open; `None` if it is not whole.
fn complete(answer: &[u8]) -> Option<(u16, bool)> {
    let end = answer.windows(4).position(|window| window == b"\r\n\r\n")?;
    let head = std::str::from_utf8(&answer[..end]).ok()?;
    let status = head.split(' ').nth(1)?.parse().ok()?;
    let header = |name: &str| {
        let mut lines = head.split("\r\n").filter_map(|line| line.split_once(": "));
        lines.find(|(own, _)| own.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    };
    let length: usize = header("content-length").map_or(Some(0), |text| text.parse().ok())?;
    let kept = header("connection").is_none_or(|value| !value.eq_ignore_ascii_case("close"));

    (answer.len() >= end + 4 + length).then_some((status, kept))
}
