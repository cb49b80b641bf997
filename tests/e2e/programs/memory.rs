//! Commands and polls leave nothing behind, and waiting costs nothing.

use std::thread;
use std::time::Duration;

use support::scripted_supervisord::START;
use support::{
    can_measure_memory, process, servers, wait_until, Config, Nginx, Peer, Request,
    ScriptedSupervisord, LIMIT,
};

/// Memory and descriptors of the workers.
fn usage(nginx: &Nginx) -> (u64, usize) {
    let workers = nginx.workers();
    let memory = workers.iter().map(|&pid| process::resident_kib(pid)).sum();
    (memory, workers.iter().map(|&pid| process::descriptors(pid)).sum())
}

#[test]
fn thousands_of_commands_without_a_supervisord_cost_no_memory() {
    if !can_measure_memory() {
        return;
    }
    let peers = Peer::start_many(2);
    let none = "supervisord none; supervisord_inherit_backend_status;";
    let body = format!("{none} {}", servers(&peers));
    let config = Config::new().workers(2).upstream("backend", body).commands("backend");
    let nginx = Nginx::start(&config);
    let rounds = |count: usize| {
        for _ in 0..count {
            assert!(nginx.stop_page("backend", 0).accepted);
            assert!(nginx.start_page("backend", 0).accepted);
        }
        usage(&nginx)
    };

    let before = rounds(200);
    let after = rounds(1500);
    assert!(after.0 < before.0 + 1000, "{before:?}, then {after:?} KiB and descriptors");
    wait_until(LIMIT, "all connections are closed", || usage(&nginx).1 <= before.1);
}

#[test]
fn hundreds_of_calls_and_held_requests_cost_no_memory() {
    if !can_measure_memory() {
        return;
    }
    let (supervisord, peers) = (ScriptedSupervisord::start(), Peer::start_many(2));
    let body = format!("supervisord {supervisord}; supervisord_poll 20; {}", servers(&peers));
    let config = Config::new().workers(2).upstream("backend", body).commands("backend");
    let nginx = Nginx::start(&config);
    let rounds = |count: usize| {
        for _ in 0..count {
            assert_eq!(nginx.get("/backend/").status, 200);
            assert!(nginx.stop_page("backend", 0).accepted);
            nginx.wait_program("backend0", "down");
        }
        usage(&nginx)
    };

    let before = rounds(30);
    let after = rounds(300);
    assert_eq!(supervisord.stops("backend0"), 330);
    assert!(after.0 < before.0 + 2000, "{before:?}, then {after:?} KiB and descriptors");
    let open = || usage(&nginx).1;
    wait_until(LIMIT, "all connections are closed", || open() <= before.1 + 1);
}

#[test]
fn waiting_costs_no_processor_time() {
    let (supervisord, peers) = (ScriptedSupervisord::start(), Peer::start_many(2));
    supervisord.hold(START);
    let body = format!("supervisord {supervisord}; {}", servers(&peers));
    let nginx = Nginx::start(&Config::new().workers(2).upstream("backend", body));
    let address = nginx.address();
    let ticks = || -> u64 { nginx.workers().into_iter().map(process::cpu_ticks).sum() };

    let clients: Vec<_> = (0..40)
        .map(|_| thread::spawn(move || Request::get("/backend/").limit(LIMIT).send(address)))
        .collect();
    wait_until(LIMIT, "all are held", || nginx.status().upstream("backend").held == 40);
    let before = ticks();
    thread::sleep(Duration::from_secs(2));
    let used = ticks() - before;
    assert!(used < 20, "{used} of 400 ticks");
    supervisord.release(START);
    for client in clients {
        assert_eq!(client.join().expect("a client").expect("an answer").status, 200);
    }
}
