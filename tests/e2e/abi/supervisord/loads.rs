//! Balancers are told their load.

use support::scripted_supervisord::START as START_CALL;
use support::{servers, wait_until, Nginx, Peer, ScriptedSupervisord, LIMIT};

use super::{config, replace_worker, trace};

/// One report.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Load {
    load: u64,
    reqs: u64,
    interval: u64,
    active: u64,
    programs: u64,
    size: u64,
}

/// What a process was told.
fn loads(nginx: &Nginx, pid: u32) -> Vec<Load> {
    let lines = trace(nginx, "backend: load ").into_iter().filter(|line| line.pid == pid);
    let read = |text: &str| {
        let numbers = text.split(' ').filter_map(|word| word.parse().ok());
        let [load, reqs, interval, active, programs, size] = numbers.collect::<Vec<_>>()[..] else {
            panic!("{text}")
        };
        Load { load, reqs, interval, active, programs, size }
    };
    lines.map(|line| read(&line.text)).collect()
}

/// From one report to the next, ms: workers look once a second, and one that is late is not to miss a
/// report.
const INTERVAL: u64 = 3_000;

/// Two of three programs run, and loads are told.
fn start(workers: usize) -> (Vec<Peer>, Nginx) {
    let peers = Peer::start_many(2);
    let body = format!(
        "supervisord none; supervisord_inherit_backend_status; supervisord_load_interval {INTERVAL}; \
         {} server 127.0.0.1:1 down;",
        servers(&peers)
    );
    let nginx = Nginx::start(&config(body).workers(workers));
    // Requests are counted from the beginning of the first interval.
    wait_until(LIMIT, "the first interval", || {
        nginx.workers().iter().all(|pid| !loads(&nginx, *pid).is_empty())
    });
    (peers, nginx)
}

#[test]
fn check_49_every_worker_is_told_the_same_load_of_all_workers() {
    let (_peers, nginx) = start(2);
    let workers = nginx.workers();

    assert_eq!(nginx.tally(60, "backend").with_status(200), 60);
    wait_until(LIMIT, "all requests are told, and an interval without", || {
        workers.iter().all(|pid| {
            let loads = loads(&nginx, *pid);
            let total: u64 = loads.iter().map(|load| load.reqs).sum();
            total == 60 && loads.last().is_some_and(|load| load.reqs == 0)
        })
    });
    let [one, other] = [loads(&nginx, workers[0]), loads(&nginx, workers[1])];
    let common = one.len().min(other.len());
    assert_eq!(one[..common], other[..common]);
    for load in one {
        assert_eq!((load.interval, load.active, load.programs, load.size), (INTERVAL, 2, 3, 40));
        assert_eq!(load.load, 100_000 * load.reqs / (INTERVAL * load.active), "{load:?}");
    }
    assert_eq!(loads(&nginx, nginx.pid()), []);
}

#[test]
fn a_new_worker_is_told_of_no_interval_before_it() {
    let (_peers, mut nginx) = start(2);
    let [killed, other] = nginx.workers()[..] else { panic!("two workers") };
    assert_eq!(nginx.tally(50, "backend").with_status(200), 50);
    wait_until(LIMIT, "the requests are told", || {
        loads(&nginx, other).iter().map(|load| load.reqs).sum::<u64>() == 50
    });

    let new = replace_worker(&mut nginx, killed);
    wait_until(LIMIT, "it is told", || loads(&nginx, new).len() > 1);
    assert!(loads(&nginx, new).iter().all(|load| load.reqs == 0), "{:?}", loads(&nginx, new));
}

#[test]
fn a_command_that_every_worker_gives_by_load_is_carried_out_once() {
    let (supervisord, peers) = (ScriptedSupervisord::start(), Peer::start_many(5));
    let body = format!(
        "supervisord {supervisord}; supervisord_load_interval 1000; supervisord_cooldown 1; \
         traced_on_load 1; {}",
        servers(&peers)
    );
    let nginx = Nginx::start(&config(body).workers(4));

    nginx.wait_program("backend4", "up");
    let starts = supervisord.calls_of(START_CALL);
    let names: Vec<_> = starts.iter().map(|call| call.programs[0].clone()).collect();
    assert_eq!(names, ["backend0", "backend1", "backend2", "backend3", "backend4"]);
    let page = nginx.status();
    let accepted = |name: &String| page.program(name).last_command_ms.expect("a command");
    let times: Vec<u64> = names.iter().map(accepted).collect();
    // One a report: the last report came four seconds after the first, upon which a worker may have
    // given its command as late as it looked. More than one a report take no more than two reports.
    assert!(times[4] - times[0] > 2_000, "{times:?}");
    // The page may show one up before the worker that has started it has logged it.
    wait_until(LIMIT, "all are logged", || {
        nginx.log_lines("is up: started by its balancer").len() == 5
    });
}
