//! Balancers with peer lists of their own, and what they are told through the C headers.

use std::collections::BTreeSet;

use support::{servers, Config, Consumer, Nginx, Peer};

mod foreign;
mod health;
mod lifecycle;
mod order;
mod programs;
mod run_time;
pub(crate) mod supervisord;

/// A peer as the balancer of tests/consumers/hash.c shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Asked {
    /// What `add_peer` returned.
    index: i64,
    /// What `is_down` says.
    down: i64,
    /// Its address.
    name: String,
}

/// An upstream "backend" with the balancer of tests/consumers/hash.c, which hashes its argument `k`,
/// and `settings`; loaded before the module where `first` says so.
fn hashed_as(first: bool, peers: &[Peer], settings: &str) -> Config {
    hashed_text(first, &format!("{} {settings}", servers(peers)))
}

/// As [`hashed_as`], of which all but the balancer is given.
fn hashed_text(first: bool, body: &str) -> Config {
    let (hash, asking) = (Consumer::build("hash"), Consumer::build("asking"));
    let config = Config::new()
        .upstream("backend", format!("ask_hash $arg_k again=20; {body}"))
        .server("location = /peers { ask_peers; }")
        .server("location = /is_down { ask_is_down $arg_index; }")
        .server("location = /register { ask_register $arg_upstream $arg_address; }")
        .server("location = /forget { ask_forget $arg_index; }");

    if first {
        config.load_before(&hash).load_before(&asking)
    } else {
        config.load_after(&hash).load_after(&asking)
    }
}

/// As [`hashed_as`], loaded after the module.
fn hashed(peers: &[Peer], settings: &str) -> Config {
    hashed_as(false, peers, settings)
}

/// What the balancer is told of its peers.
#[track_caller]
fn asked(nginx: &Nginx) -> Vec<Asked> {
    let page = nginx.get("/peers");
    assert_eq!(page.status, 200, "{page}");
    let row = |line: &str| {
        let words: Vec<&str> = line.split(' ').collect();
        let number = |at: usize| words[at].parse().expect("a number");
        Asked { index: number(0), down: number(1), name: words[2].to_owned() }
    };
    page.text().lines().map(row).collect()
}

/// What the balancer is told of one peer.
#[track_caller]
fn asked_of(nginx: &Nginx, peer: &Peer) -> Asked {
    let all = asked(nginx);
    all.iter().find(|one| one.name == peer.to_string()).cloned().expect("one of its peers")
}

/// The indices of the peers, which differ and are larger than 0.
#[track_caller]
fn indices(nginx: &Nginx) -> BTreeSet<i64> {
    let all = asked(nginx);
    let indices: BTreeSet<i64> = all.iter().map(|one| one.index).collect();
    assert!(indices.len() == all.len() && indices.iter().all(|index| *index > 0), "{all:?}");
    indices
}
