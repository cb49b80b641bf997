//! Requests at a rate that does not wait for answers.

use std::collections::BTreeMap;
use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use support::{wait_until, Request, LIMIT};

/// Clients; so many requests at most are under way.
const CLIENTS: u32 = 16;

/// A client that is later than this leaves a request out, so that a pause of the machine is no burst.
const MOST_LATE: Duration = Duration::from_millis(200);

/// Requests in the background until stopped, each on a connection of its own.
pub(super) struct Traffic {
    shared: Arc<Shared>,
    clients: Vec<JoinHandle<()>>,
}

struct Shared {
    running: AtomicBool,
    started: Instant,
    /// When each client has begun the request that it waits for, ms plus 1; 0 = it waits for none.
    under_way: Vec<AtomicU64>,
    answered: AtomicUsize,
    served: Mutex<Served>,
}

/// What came of a load.
#[derive(Clone, Default)]
pub(super) struct Served {
    /// Requests that were sent.
    pub(super) sent: usize,
    /// Answers that were not 200, and errors, by what they were.
    pub(super) failed: BTreeMap<String, usize>,
    /// Requests that were not sent because their clients were late.
    late: usize,
    /// Each answer's time, in microseconds.
    micros: Vec<u32>,
    seconds: f64,
}

impl Traffic {
    /// Starts to send `rate` requests a second.
    pub(super) fn start(rate: u32, to: SocketAddr, path: &str) -> Traffic {
        let shared = Arc::new(Shared {
            running: AtomicBool::new(true),
            started: Instant::now(),
            under_way: (0..CLIENTS).map(|_| AtomicU64::new(0)).collect(),
            answered: AtomicUsize::new(0),
            served: Mutex::default(),
        });
        let clients = (0..CLIENTS)
            .map(|number| {
                let (shared, path) = (Arc::clone(&shared), path.to_owned());
                thread::spawn(move || client(number, rate, to, &path, &shared))
            })
            .collect();

        Traffic { shared, clients }
    }

    /// Requests that were answered so far, in whatever way.
    pub(super) fn answered(&self) -> usize {
        self.shared.answered.load(Ordering::Relaxed)
    }

    /// How long the oldest request has been under way.
    pub(super) fn oldest(&self) -> Duration {
        let now = self.shared.now();
        let begun = self.shared.under_way.iter().map(|at| at.load(Ordering::Relaxed));
        let oldest = begun.filter(|&at| at != 0).min().unwrap_or(now);

        Duration::from_millis(now.saturating_sub(oldest))
    }

    /// Waits until all requests that are under way now are answered, in whatever way.
    pub(super) fn settle(&self) {
        let now = self.shared.now();
        wait_until(LIMIT, "requests under way are answered", || {
            let begun = self.shared.under_way.iter().map(|at| at.load(Ordering::Acquire));
            begun.into_iter().all(|at| at == 0 || at > now)
        });
    }

    /// Ends it.
    pub(super) fn stop(mut self) -> Served {
        self.shared.running.store(false, Ordering::Relaxed);
        for client in std::mem::take(&mut self.clients) {
            client.join().expect("a client");
        }
        let mut served = self.shared.served.lock().expect("no client panics").clone();
        served.seconds = self.shared.started.elapsed().as_secs_f64();
        served.micros.sort_unstable();
        served
    }
}

impl Drop for Traffic {
    fn drop(&mut self) {
        self.shared.running.store(false, Ordering::Relaxed);
    }
}

impl Shared {
    /// The time for `under_way`.
    fn now(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_millis()).expect("a short time") + 1
    }
}

impl Served {
    /// How many requests failed.
    pub(super) fn failures(&self) -> usize {
        self.failed.values().sum()
    }

    fn percentile(&self, percent: usize) -> f64 {
        let at = (self.micros.len() * percent / 100).min(self.micros.len().saturating_sub(1));
        f64::from(self.micros.get(at).copied().unwrap_or(0)) / 1000.0
    }
}

impl fmt::Display for Served {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} requests ({:.0}/s, p50 {:.1} ms, p99 {:.1} ms, {} not sent), {} failed {:?}",
            self.sent,
            self.sent as f64 / self.seconds,
            self.percentile(50),
            self.percentile(99),
            self.late,
            self.failures(),
            self.failed
        )
    }
}

fn client(number: u32, rate: u32, to: SocketAddr, path: &str, shared: &Shared) {
    let between = Duration::from_secs(1) / rate;
    let source = Ipv4Addr::new(127, 0, u8::try_from(number).expect("a small number"), 9);
    let under_way = &shared.under_way[number as usize];
    let mut own = Served::default();
    let mut next = between * number;

    while shared.running.load(Ordering::Relaxed) {
        let now = shared.started.elapsed();
        if next > now {
            thread::sleep(next - now);
        } else if now - next > MOST_LATE {
            own.late += 1;
            next += between * CLIENTS;
            continue;
        }
        next += between * CLIENTS;
        under_way.store(shared.now(), Ordering::Relaxed);
        let begun = Instant::now();
        let answer = Request::get(path).from(source).send(to);
        own.sent += 1;
        match answer {
            Ok(answer) if answer.status == 200 => {
                let micros = begun.elapsed().as_micros();
                own.micros.push(u32::try_from(micros).unwrap_or(u32::MAX));
            }
            Ok(answer) => *own.failed.entry(answer.status.to_string()).or_default() += 1,
            Err(error) => *own.failed.entry(error.kind().to_string()).or_default() += 1,
        }
        under_way.store(0, Ordering::Release);
        shared.answered.fetch_add(1, Ordering::Relaxed);
    }
    let mut served = shared.served.lock().expect("no client panics");
    served.sent += own.sent;
    served.late += own.late;
    served.micros.extend(own.micros);
    for (what, count) in own.failed {
        *served.failed.entry(what).or_default() += count;
    }
}
