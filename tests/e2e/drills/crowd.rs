//! The peers of a drill: very many of them, some known to be down.

use std::time::{Duration, Instant};

use support::swarm::Swarm;
use support::{check, wait_until, Config, Nginx, LIMIT};

use super::either;

/// From the start of one probe to the start of the next, ms.
pub(super) const DELAY: u32 = 300;

/// What a probe may take, ms: the swarm may itself stand still for a second.
pub(super) const TIMEOUT: u32 = 3_000;

/// A swarm, the first peers of which fail their probes.
pub(super) struct Crowd {
    pub(super) swarm: Swarm,
    sick: usize,
}

impl Crowd {
    /// `count` peers; the first `sick` of them fail their probes.
    pub(super) fn start(count: usize, sick: usize) -> Crowd {
        let swarm = Swarm::start(u16::try_from(count).expect("addresses for all"));
        for peer in 0..sick {
            swarm.healthy(peer, false);
        }

        Crowd { swarm, sick }
    }

    /// A peer as nginx names it.
    pub(super) fn name(&self, peer: usize) -> String {
        self.swarm.addresses()[peer].to_string()
    }

    /// An upstream of these peers, with nginx's own passive checks off.
    pub(super) fn upstream(&self, extra: &str, peers: impl IntoIterator<Item = usize>) -> String {
        let line = |peer| format!("server {} max_fails=0; ", self.swarm.addresses()[peer]);
        let lines: String = peers.into_iter().map(line).collect();

        format!("{extra} {} {lines}", check(DELAY, TIMEOUT, 2))
    }

    /// An upstream of all of them.
    pub(super) fn all(&self, extra: &str) -> String {
        self.upstream(extra, 0..self.swarm.addresses().len())
    }

    /// nginx, when it knows who is down; `sick_requests` counts from here on.
    pub(super) fn nginx(&self, config: &Config) -> Nginx {
        let nginx = Nginx::start(config);
        nginx.wait_probed();
        self.wait_known(&nginx);
        // Every worker knows it before it is in the log.
        nginx.wait_logged("is down", self.sick);
        nginx
    }

    /// Waits until nginx knows who is down.
    pub(super) fn wait_known(&self, nginx: &Nginx) {
        wait_until(LIMIT, "those that are sick are down, all others up", || {
            let page = nginx.status();
            page.peers.iter().all(|row| row.down == self.is_sick(&row.name))
        });
    }

    /// Whether nginx's name is that of a peer that fails its probes.
    pub(super) fn is_sick(&self, name: &str) -> bool {
        (0..self.sick).any(|peer| self.name(peer) == name)
    }

    /// Requests that those got that fail their probes.
    pub(super) fn sick_requests(&self) -> usize {
        (0..self.sick).map(|peer| self.swarm.requests(peer)).sum()
    }

    /// Waits until each of these peers has been probed so often more.
    pub(super) fn wait_probed(&self, peers: impl Iterator<Item = usize> + Clone, times: usize) {
        let before: Vec<usize> = self.swarm.times().iter().map(Vec::len).collect();
        wait_until(LIMIT, "every peer is probed again", || {
            let now = self.swarm.times();
            peers.clone().all(|peer| now[peer].len() >= before[peer] + times)
        });
    }

    /// The longest time between two probes of one of these peers since `since`.
    pub(super) fn longest_gap(
        &self,
        peers: impl Iterator<Item = usize>,
        since: Instant,
    ) -> Duration {
        let (times, now) = (self.swarm.times(), Instant::now());
        let gap = |peer: usize| {
            let mut last = since;
            let own = times[peer].iter().copied().filter(|&at| at > since);
            own.chain([now])
                .map(|at| at - std::mem::replace(&mut last, at))
                .max()
                .unwrap_or_default()
        };
        peers.map(gap).max().unwrap_or_default()
    }

    /// Probes per delay of each of these peers in a while from now on, in which each has some: the
    /// least, by the usual time between two of them, and the most, by their number.
    pub(super) fn settled_rate(&self, peers: impl Iterator<Item = usize> + Clone) -> (f64, f64) {
        self.rate(peers, either(Duration::from_millis(1_500), Duration::from_secs(6)))
    }

    /// As [`Crowd::settled_rate`], for `period` at least.
    pub(super) fn rate(
        &self,
        peers: impl Iterator<Item = usize> + Clone,
        period: Duration,
    ) -> (f64, f64) {
        let start = Instant::now();
        std::thread::sleep(period);
        // A machine that stands still makes the while longer, and says nothing of the rate.
        self.wait_probed_since(peers.clone(), start);
        let (times, end) = (self.swarm.times(), Instant::now());
        let delays = (end - start).as_secs_f64() * 1000.0 / f64::from(DELAY);
        let (mut least, mut most) = (f64::INFINITY, 0.0_f64);
        for peer in peers {
            let own: Vec<Instant> = times[peer].iter().copied().filter(|&at| at > start).collect();
            let mut gaps: Vec<Duration> = own.windows(2).map(|pair| pair[1] - pair[0]).collect();
            gaps.sort_unstable();
            let usual = gaps[(gaps.len() - 1) / 2].as_secs_f64() * 1000.0;
            least = least.min(f64::from(DELAY) / usual);
            most = most.max(own.len() as f64 / delays);
        }
        (least, most)
    }

    /// Waits until each of these peers has been probed some times since `start`.
    fn wait_probed_since(&self, peers: impl Iterator<Item = usize> + Clone, start: Instant) {
        wait_until(LIMIT, "every peer is probed some times", || {
            let times = self.swarm.times();
            peers.clone().all(|peer| times[peer].iter().filter(|&&at| at > start).count() >= 7)
        });
    }

    /// How many probes these peers get in a while of some delays from now on.
    pub(super) fn probes(&self, peers: impl Iterator<Item = usize> + Clone) -> usize {
        let count = || {
            self.swarm.settle();
            let times = self.swarm.times();
            peers.clone().map(|peer| times[peer].len()).sum::<usize>()
        };
        let before = count();
        std::thread::sleep(either(Duration::from_millis(1_500), Duration::from_secs(6)));
        count() - before
    }
}
