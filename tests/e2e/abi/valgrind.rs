//! A balancer that asks the module, under valgrind: no byte is read or written that is not ours.

use support::valgrind::{assert_clean, under_valgrind, SLOW};
use support::{check, servers, wait_until, Config, Environment, Nginx, Peer};

use super::{asked, balanced, First};

/// Asks, registers, forgets and reloads, with the module and without it.
fn through(base: &Config) {
    let peers = Peer::start_many(3);
    let Some(base) = under_valgrind(base.clone()) else { return };
    let lines = servers(&peers);
    let with = balanced(
        &base,
        First::Balancer,
        &format!(
            "{lines} {} supervisord none; supervisord_inherit_backend_status;",
            check(300, 5000, 1)
        ),
    )
    .commands("backend");
    let more: String = (1..=100).map(|at| format!("server 127.0.9.{at}:1; ")).collect();
    let more =
        with.clone().upstream("more", format!("ask_hash $arg_k; {more} {}", check(300, 5000, 1)));
    let mut nginx = Nginx::start_within(SLOW, &with);
    nginx.allow_in_log("Invalid index to is_down");

    for healthy in [false, true] {
        peers[1].healthy(healthy);
        wait_until(SLOW, "it flips", || asked(&nginx)[1].down == i64::from(!healthy));
        assert_eq!(nginx.tally(20, "backend").with_status(200), 20);
    }
    for _ in 0..3 {
        let path = format!("/register?upstream=backend&address={}", "127.0.9.9:1");
        let index = nginx.get(&path).text();
        assert_eq!(nginx.get(&format!("/is_down?index={index}")).status, 200);
        assert_eq!(nginx.get(&format!("/forget?index={index}")).status, 200);
        assert_eq!(nginx.get(&format!("/is_down?index={index}")).text(), "0");
    }
    nginx.get("/is_down?index=9999");
    assert!(nginx.stop_page("backend", 0).accepted);
    assert_eq!(asked(&nginx)[0].down, 1);
    assert_eq!(nginx.status().peers.len(), 3);
    if !base.is_single_process() {
        let without = balanced(&base, First::Balancer, &lines).without_module();
        // A module that is inside of nginx stays.
        let bare = if Environment::get().module.is_some() { &without } else { &more };
        for config in [&with, &more, &more, bare, &with, bare] {
            nginx.reload_within(SLOW, config);
            assert_eq!(nginx.tally(20, "backend").errors, 0);
            asked(&nginx);
        }
    }
    nginx.quit_within(SLOW);
    assert_clean(&nginx, 1);
}

#[test]
fn a_worker_that_is_asked_through_reloads_is_clean() {
    through(&Config::new().workers(1));
}

#[test]
fn a_single_process_that_is_asked_is_clean() {
    through(&Config::new().single_process());
}
