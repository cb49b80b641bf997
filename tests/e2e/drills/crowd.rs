//! The peers of a drill: very many of them, some known to be down.

use std::time::{Duration, Instant};

use support::swarm::Swarm;
use support::{check, wait_until, Config, Nginx, LIMIT};

use super::either;

/// From the start of one probe to the start of the next, ms.
pub(super) const DELAY: u32 = 300;

/// What a probe may take, ms.
pub(super) const TIMEOUT: u32 = 1_500;

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

    /// Probes per delay of each of these peers in a while from now on: the least and the most.
    pub(super) fn settled_rate(&self, peers: impl Iterator<Item = usize>) -> (f64, f64) {
        self.rate(peers, either(Duration::from_millis(1_500), Duration::from_secs(6)))
    }

    /// As [`Crowd::settled_rate`], within `period`.
    pub(super) fn rate(&self, peers: impl Iterator<Item = usize>, period: Duration) -> (f64, f64) {
        let start = Instant::now();
        std::thread::sleep(period);
        let end = Instant::now();
        let delays = (end - start).as_secs_f64() * 1000.0 / f64::from(DELAY);
        let times = self.swarm.times();
        let rates = peers.map(|peer| {
            let count = times[peer].iter().filter(|&&at| at >= start && at < end).count();
            count as f64 / delays
        });
        rates.fold((f64::INFINITY, 0.0), |(least, most), rate| (rate.min(least), rate.max(most)))
    }
}
