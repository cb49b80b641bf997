//! Reloads, killed workers, a single process, and a new file of the module.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use support::{
    check, holds_for, process, servers, skip, wait_until, Config, Environment, Nginx, Peer,
    Request, Script, CHECK, LIMIT,
};

use super::{asked, asked_of, balanced, hashed, indices, First};

/// The balancer with these peers, which are checked.
fn with(base: &Config, peers: &[Peer]) -> Config {
    balanced(base, First::Ours, &format!("{} {CHECK}", servers(peers)))
}

/// The balancer with these peers, without the module.
fn without(base: &Config, first: First, peers: &[Peer]) -> Config {
    balanced(base, first, &servers(peers)).without_module()
}

#[test]
fn an_index_is_never_another_peers_whatever_is_reloaded() {
    let peers = Peer::start_many(4);
    let base = Config::new().workers(2);
    let mut nginx = Nginx::start(&with(&base, &peers[..2]));
    let mut owner = BTreeMap::new();

    for part in [&peers[..2], &peers[1..], &peers[2..], &peers[..3], &peers[..]] {
        nginx.reload(&with(&base, part));
        assert_eq!(indices(&nginx).len(), part.len());
        for one in asked(&nginx) {
            let name = owner.entry(one.index).or_insert_with(|| one.name.clone());
            assert_eq!(*name, one.name, "index {}", one.index);
        }
    }
    // Nor is one that is no longer in use a mistake.
    for index in owner.keys() {
        nginx.get(&format!("/is_down?index={index}"));
    }
    assert!(nginx.log_lines("[crit]").is_empty());
}

#[test]
fn health_stays_over_a_reload_of_a_registered_upstream() {
    let peers = Peer::start_many(3);
    let base = Config::new().workers(2);
    let mut nginx = Nginx::start(&with(&base, &peers));
    peers[1].healthy(false);
    nginx.wait_down(&peers[1], true);
    let since = nginx.row(&peers[1]).last_change;

    for count in [3, 2, 3] {
        nginx.reload(&with(&base, &peers[..count]));
        assert_eq!(asked_of(&nginx, &peers[1]).down, 1);
        assert_eq!(nginx.row(&peers[1]).last_change, since);
        assert_eq!(nginx.tally(40, "backend").at(&peers[1].to_string()), 0);
    }
}

#[test]
fn the_worker_in_the_place_of_a_killed_one_knows_the_same() {
    let peers = Peer::start_many(3);
    let mut nginx = Nginx::start(&hashed(&peers, CHECK).workers(2));
    peers[2].healthy(false);
    nginx.wait_down(&peers[2], true);

    for _ in 0..4 {
        let victim = nginx.workers()[0];
        nginx.kill9(victim);
        wait_until(LIMIT, "a worker in its place", || {
            nginx.workers().len() == 2 && !nginx.workers().contains(&victim)
        });
        let tally = nginx.tally(40, "backend");
        assert_eq!((tally.at(&peers[2].to_string()), tally.with_status(200)), (0, 40));
        assert_eq!(tally.workers.len(), 2, "{tally:?}");
    }
    peers[2].healthy(true);
    nginx.wait_down(&peers[2], false);
}

#[test]
fn a_single_process_asks_and_survives_reloads() {
    let peers = Peer::start_many(3);
    let base = Config::new().single_process();
    let mut nginx = Nginx::start(&with(&base, &peers));
    nginx.allow_in_log("worker_connections are not enough");
    peers[1].healthy(false);
    nginx.wait_down(&peers[1], true);
    assert_eq!(nginx.tally(40, "backend").at(&peers[1].to_string()), 0);

    for (round, count) in [3, 2, 3].into_iter().enumerate() {
        nginx.signal_reload(&with(&base, &peers[..count]));
        reloads(&nginx, round + 1);
        holds_for(Duration::from_millis(300), "it lives", || process::is_alive(nginx.pid()));
    }
    nginx.quit_within(LIMIT);
}

/// Waits until a single process has read its configuration so many times anew.
fn reloads(nginx: &Nginx, count: usize) {
    wait_until(LIMIT, "a reload", || nginx.log_lines("event method").len() > count);
}

#[test]
fn a_single_process_survives_the_module_going_and_coming_back_at_once() {
    if Environment::get().module.is_none() {
        return skip("the module is inside of nginx");
    }
    let peers = Peer::start_many(2);
    let base = Config::new().single_process();
    // Nothing but its look around once a second tells the old worker.
    let body = format!("{} {}", servers(&peers), check(60_000, 2_000, 2));
    let with = balanced(&base, First::Ours, &body);
    let without = without(&base, First::Ours, &peers);
    let mut nginx = Nginx::start(&with);
    nginx.allow_in_log("worker_connections are not enough");

    for round in 0..3 {
        nginx.signal_reload(&without);
        reloads(&nginx, 2 * round + 1);
        nginx.signal_reload(&with);
        reloads(&nginx, 2 * round + 2);
        holds_for(Duration::from_millis(50), "it lives", || process::is_alive(nginx.pid()));
    }
    holds_for(Duration::from_millis(1_500), "it lives", || process::is_alive(nginx.pid()));
    nginx.quit_within(LIMIT);
}

#[test]
fn five_reloads_add_and_remove_the_module_while_its_balancer_stays() {
    if Environment::get().module.is_none() {
        return skip("the module is inside of nginx");
    }
    for first in [First::Ours, First::Balancer] {
        let peers = Peer::start_many(3);
        let base = Config::new().workers(2);
        let with = balanced(&base, first, &format!("{} {CHECK}", servers(&peers)));
        let without = without(&base, first, &peers);
        peers[1].healthy(false);
        let mut nginx = Nginx::start(&without);
        let load = nginx.load(2, "backend");

        for _ in 0..5 {
            nginx.reload(&with);
            nginx.wait_down(&peers[1], true);
            assert_eq!(asked_of(&nginx, &peers[1]).down, 1);
            assert_eq!(nginx.tally(40, "backend").at(&peers[1].to_string()), 0);
            nginx.reload(&without);
            assert!(asked(&nginx).iter().all(|one| (one.index, one.down) == (0, 0)));
            assert!(nginx.tally(40, "backend").at(&peers[1].to_string()) > 0);
            assert!(!is_mapped(nginx.pid()), "nothing keeps the module in the master's memory");
        }
        let samples = load.stop();
        assert!(samples.iter().all(|sample| sample.status.is_some()));
        nginx.quit_within(LIMIT);
    }
}

/// Whether a process has the module in its memory.
fn is_mapped(pid: u32) -> bool {
    let module = Environment::get().module.as_ref().expect("a module");
    let maps = fs::read_to_string(format!("/proc/{pid}/maps")).expect("a process");
    maps.contains(&module.display().to_string())
}

#[test]
fn another_file_of_the_module_is_in_use_after_a_reload() {
    let Some(module) = &Environment::get().module else {
        return skip("the module is inside of nginx");
    };
    let peers = Peer::start_many(3);
    let dir = tempfile::tempdir().expect("a directory");
    let files = ["old.so", "new.so"].map(|name| dir.path().join(name));
    for file in &files {
        fs::copy(module, file).expect("a copy");
    }
    for first in [First::Ours, First::Balancer] {
        let base = Config::new().workers(2);
        let config = |round: usize| {
            let base = base.clone().module_at(&files[round % 2]);
            balanced(&base, first, &format!("{} {CHECK}", servers(&peers)))
        };
        let mut nginx = Nginx::start(&config(0));
        peers[1].healthy(false);
        nginx.wait_down(&peers[1], true);

        for round in 1..5 {
            // One that fails on the way leaves the running one as it was.
            nginx.allow_in_log("unknown directive");
            nginx.signal_reload(&config(round).http("no_such_directive;"));
            wait_until(LIMIT, "refused", || nginx.log_lines("no_such_directive").len() == round);
            assert_eq!(asked_of(&nginx, &peers[1]).down, 1);

            nginx.reload(&config(round));
            assert_eq!(indices(&nginx).len(), 3);
            assert_eq!(asked_of(&nginx, &peers[1]).down, 1);
            assert_eq!(nginx.tally(40, "backend").at(&peers[1].to_string()), 0);
            for pid in nginx.workers().into_iter().chain([nginx.pid()]) {
                let maps = fs::read_to_string(format!("/proc/{pid}/maps")).expect("a process");
                let is_mapped = |file: &PathBuf| maps.contains(&file.display().to_string());
                let mapped = [is_mapped(&files[round % 2]), is_mapped(&files[(round + 1) % 2])];
                assert_eq!(mapped, [true, false], "round {round}: only the new file");
            }
        }
        peers[1].healthy(true);
        nginx.wait_down(&peers[1], false);
        nginx.quit_within(LIMIT);
    }
}

#[test]
fn an_old_worker_goes_on_knowing_when_the_new_ones_have_a_larger_zone() {
    let (sick, mut peers) = (Peer::start(), Peer::start_many(2));
    sick.healthy(false);
    peers[0].requests(Script::silent());
    let lines = |more: usize| {
        let more: String = (1..=more).map(|at| format!("server 127.0.9.{at}:1; ")).collect();
        let check = check(300, 2000, 2);
        format!("server {sick}; {} {check} {more}", servers(&peers))
    };
    let again = "location /again/ { proxy_next_upstream error; proxy_pass http://backend/; }";
    let (small, large) = (lines(0), lines(200));
    let base = Config::new().server(again);
    let config = |lines: &str| balanced(&base, First::Ours, lines);
    let mut nginx = Nginx::start(&config(&small));
    nginx.wait_down(&sick, true);
    let old = nginx.workers();

    let address = nginx.address();
    std::thread::scope(|scope| {
        let path = |key: usize| format!("/again/?k={key}");
        let send = move |key| Request::get(&path(key)).send(address).expect("an answer");
        let requests: Vec<_> = (0..20).map(|key| scope.spawn(move || send(key))).collect();
        wait_until(LIMIT, "some wait for the silent peer", || {
            peers[0].request_count() + peers[1].request_count() == 20
        });
        let waiting = peers[0].request_count();
        assert!(waiting > 0);
        nginx.signal_reload(&config(&large));
        nginx.await_generation(LIMIT);
        assert!(old.iter().all(|pid| process::is_alive(*pid)));

        // They choose again, in the old worker.
        peers[0].stop();
        for request in requests {
            assert_eq!(request.join().expect("a client").status, 200);
        }
        assert_eq!((peers[1].request_count(), sick.request_count()), (20, 0));
    });
}
