//! Many requests, counted by the peer that got them.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::http::Request;

/// Who answered, and how.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    /// Requests by peer, as nginx names it.
    pub peers: BTreeMap<String, usize>,
    /// Answers by status code.
    pub statuses: BTreeMap<u16, usize>,
    /// Workers that served at least one.
    pub workers: BTreeSet<u32>,
    /// Requests without an answer.
    pub errors: usize,
}

impl Tally {
    /// Sends `count` requests one after the other, each on a connection of its own, with another
    /// `k` argument and from another network, so that every balancer has a reason to spread them.
    pub fn of(count: u8, to: SocketAddr, path: &str) -> Tally {
        let mut tally = Tally::default();
        for index in 0..count {
            tally.add(&numbered(index, to, path));
        }
        tally
    }

    /// How many requests that peer got.
    pub fn at(&self, peer: &str) -> usize {
        self.peers.get(peer).copied().unwrap_or(0)
    }

    /// How many answers had that status.
    pub fn with_status(&self, status: u16) -> usize {
        self.statuses.get(&status).copied().unwrap_or(0)
    }

    fn add(&mut self, sample: &Sample) {
        match sample.status {
            None => self.errors += 1,
            Some(status) => {
                *self.statuses.entry(status).or_default() += 1;
                *self.peers.entry(sample.peer.clone()).or_default() += 1;
                self.workers.insert(sample.worker);
            }
        }
    }
}

/// One request of a load.
#[derive(Clone, Debug)]
pub struct Sample {
    /// Before its connection was opened.
    pub started: Instant,
    /// When its answer was complete.
    pub finished: Instant,
    /// `None` if there was no answer.
    pub status: Option<u16>,
    /// The peer that got it, as nginx names it.
    pub peer: String,
    /// The worker that served it.
    pub worker: u32,
}

/// Requests in the background until stopped.
#[derive(Debug)]
pub struct Load {
    running: Arc<AtomicBool>,
    threads: Vec<JoinHandle<Vec<Sample>>>,
}

impl Load {
    /// Starts `threads` clients, each of which sends its next request a moment after an answer.
    pub fn start(threads: usize, to: SocketAddr, path: &str) -> Load {
        let running = Arc::new(AtomicBool::new(true));
        let threads = (0..threads)
            .map(|_| {
                let (running, path) = (Arc::clone(&running), path.to_owned());
                thread::spawn(move || {
                    let mut samples = Vec::new();
                    let mut index: u8 = 0;
                    while running.load(Ordering::Relaxed) {
                        samples.push(numbered(index, to, &path));
                        index = index.wrapping_add(1);
                        thread::sleep(Duration::from_millis(2));
                    }
                    samples
                })
            })
            .collect();

        Load { running, threads }
    }

    /// Ends it and returns every request, in no order between clients.
    ///
    /// # Panics
    /// If a client did.
    pub fn stop(mut self) -> Vec<Sample> {
        self.running.store(false, Ordering::Relaxed);
        let threads = std::mem::take(&mut self.threads);

        threads.into_iter().flat_map(|thread| thread.join().expect("a client")).collect()
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.running.store(false, Ordering::Relaxed);
    }
}

fn numbered(index: u8, to: SocketAddr, path: &str) -> Sample {
    let started = Instant::now();
    let source = Ipv4Addr::new(127, 0, index, 1);
    let answer = Request::get(&format!("{path}?k={index}")).from(source).send(to);
    let finished = Instant::now();

    match answer {
        Ok(response) => Sample {
            started,
            finished,
            status: Some(response.status),
            peer: response.peer().to_owned(),
            worker: response.worker(),
        },
        Err(_) => Sample { started, finished, status: None, peer: String::new(), worker: 0 },
    }
}
