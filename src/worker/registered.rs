//! Peers that a balancer finds while nginx runs, and registers.

use super::roster::Watch;
use super::{references, with_worker, Worker};
use crate::conf::UpstreamConf;
use crate::nginx::address::Address;
use crate::nginx::upstream::Upstream;

/// What became of a registration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// The peer has this index.
    Index(usize),
    /// Nothing is known of the upstream here, so that its peers are never down.
    Unwatched,
    /// The upstream has not registered itself while the configuration was read.
    Unregistered,
    /// There are no more indices.
    Full,
}

/// Registers a peer of an upstream in this process.
pub(crate) fn register(upstream: Upstream, address: Address, name: Box<[u8]>) -> Outcome {
    let mut outcome = Outcome::Unwatched;
    with_worker(|worker| outcome = worker.register(upstream, address, name));
    outcome
}

/// Takes one registration of a peer back.
pub(crate) fn forget(index: usize) {
    with_worker(|worker| worker.forget_peer(index));
}

impl Worker {
    /// Registers a peer of an upstream.
    fn register(&mut self, upstream: Upstream, address: Address, name: Box<[u8]>) -> Outcome {
        let is_its = |watch: &Watch| watch.upstream == upstream;
        let found = self.watches.iter().position(is_its);
        let Some((number, conf)) = found.and_then(|at| Some((at, self.watches.get(at)?.conf)))
        else {
            return Outcome::Unwatched;
        };
        let registration = &conf.registration;
        if !registration.has_peers() && !registration.is_monitored() {
            return Outcome::Unregistered;
        }
        if let Some(index) = registration.add_again(&address) {
            return Outcome::Index(index);
        }
        let Some(index) = references::give() else { return Outcome::Full };
        registration.add_found(index, address, name);
        if registration.has_peers() {
            self.enlist_found(number, conf, index);
        }
        if let Some(watch) = self.watches.get(number) {
            references::set(index, watch.reference(&address));
        }
        Outcome::Index(index)
    }

    /// Lists a peer that was just registered.
    fn enlist_found(&mut self, number: usize, conf: &UpstreamConf, index: usize) {
        let Some(upstream) = self.watches.get(number).map(|watch| watch.upstream) else { return };
        let Some(member) = conf.registration.member_of(upstream, index) else { return };
        let (image, is_complete) = self.image_of(number, upstream, &member);
        if let Some(watch) = self.watches.get_mut(number) {
            watch.complete &= is_complete;
            watch.mirror.add(image, &conf.gate);
        }
        self.unranked = true;
    }

    /// Takes one registration of a peer back.
    fn forget_peer(&mut self, index: usize) {
        let is_known = |watch: &Watch| watch.conf.registration.has_index(index);
        let Some(watch) = self.watches.iter_mut().find(|watch| is_known(watch)) else { return };
        if watch.conf.registration.forget(index) {
            references::take_back(index);
            // The next look around lists its peers anew.
            watch.complete = false;
        }
    }
}
