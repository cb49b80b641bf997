//! Balancers with peer lists of their own, and what they are told through the C headers.

use std::collections::BTreeSet;

use support::{servers, Config, Consumer, Nginx, Peer, CHECK, LIMIT};

mod example;
mod fair;
mod foreign;
mod health;
mod lifecycle;
mod order;
mod programs;
mod run_time;
mod stock;
pub(crate) mod supervisord;
mod valgrind;

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

/// Which module is loaded first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum First {
    /// Ours.
    Ours,
    /// The balancer.
    Balancer,
}

/// Adds an upstream "backend" with the balancer of tests/consumers/hash.c, which hashes the argument `k`,
/// and pages that ask for it.
fn balanced(config: &Config, first: First, body: &str) -> Config {
    let (hash, asking) = (Consumer::build("hash"), Consumer::build("asking"));
    let config = config
        .clone()
        .upstream("backend", format!("ask_hash $arg_k again=20; {body}"))
        .server("location = /peers { ask_peers; }")
        .server("location = /is_down { ask_is_down $arg_index; }")
        .server("location = /register { ask_register $arg_upstream $arg_address; }")
        .server("location = /forget { ask_forget $arg_index; }");

    match first {
        First::Balancer => config.load_before(&hash).load_before(&asking),
        First::Ours => config.load_after(&hash).load_after(&asking),
    }
}

/// As [`balanced`], with these peers and `settings` and a port of its own.
fn hashed(peers: &[Peer], settings: &str) -> Config {
    balanced(&Config::new(), First::Ours, &format!("{} {settings}", servers(peers)))
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

/// Serves `plain`, an upstream of these peers, through reloads that add and remove the module.
fn serves_through_reloads(balancer: &Consumer, peers: &[Peer], plain: &str) {
    let load: [fn(Config, &Consumer) -> Config; 2] = [Config::load_before, Config::load_after];
    for load in load {
        let with = Config::new().workers(2).upstream("backend", format!("{plain} {CHECK}"));
        let with = load(with, balancer).shared_socket();
        let without = with.clone().upstream("backend", plain).without_module();
        let mut nginx = Nginx::start(&without);

        let requests = nginx.load(2, "backend");
        for round in 0..5 {
            let sick = &peers[round % peers.len()];
            nginx.reload(&with);
            nginx.wait_probed();
            sick.healthy(false);
            nginx.wait_down(sick, true);
            assert_eq!(nginx.tally(30, "backend").at(&sick.to_string()), 0);
            nginx.reload(&without);
            sick.healthy(true);
            assert_eq!(nginx.tally(30, "backend").with_status(200), 30, "round {round}");
        }
        let samples = requests.stop();
        assert!(samples.iter().all(|sample| sample.status == Some(200)));
        nginx.quit_within(LIMIT);
    }
}
