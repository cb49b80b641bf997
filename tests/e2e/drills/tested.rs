//! `nginx -t` again and again beside an nginx that runs with the same files.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use support::spawn::spawn;
use support::{Config, Environment, Nginx};

use super::crowd::Crowd;
use super::traffic::Traffic;
use super::{either, Drill, Size};

const PEERS: usize = 40;

/// `nginx -t` with the files of `nginx`.
fn test(nginx: &Nginx) {
    let mut command = Command::new(&Environment::get().nginx);
    command
        .args(["-t".as_ref(), "-q".as_ref(), "-p".as_ref(), nginx.dir().as_os_str()])
        .args(["-c".as_ref(), nginx.dir().join("nginx.conf").as_os_str()])
        .args(["-e".as_ref(), nginx.dir().join("error.log").as_os_str()])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let status = spawn(&mut command).expect("nginx starts").wait().expect("a child of ours");
    assert!(status.success(), "{}", nginx.error_log());
}

#[test]
fn a_configuration_test_leaves_the_nginx_that_runs_alone() {
    let drill = Drill::begin();
    let crowd = Crowd::start(PEERS, 2);
    let config = Config::new()
        .workers(2)
        .shared_socket()
        .main("events { worker_connections 2048; }")
        .upstream("backend", crowd.all("zone backend 256k;"));
    let mut nginx = crowd.nginx(&config);
    let peers = 0..PEERS;
    let state = |nginx: &Nginx| {
        let rows = nginx.status().peers.into_iter();
        rows.map(|row| (row.name, row.down, row.last_change)).collect::<Vec<_>>()
    };
    let (before, workers, size) = (state(&nginx), nginx.workers(), Size::of(&nginx));
    let lines = nginx.log_lines("healthcheck").len();

    let traffic = Traffic::start(500, nginx.address(), "/backend/");
    let start = Instant::now();
    let period = either(Duration::from_secs(4), Duration::from_secs(40));
    let (least, most, tests) = std::thread::scope(|scope| {
        let tester = scope.spawn(|| {
            let mut tests = 0;
            while start.elapsed() < period {
                test(&nginx);
                tests += 1;
            }
            tests
        });
        let (least, most) = crowd.rate(peers.clone(), period);
        (least, most, tester.join().expect("a tester"))
    });
    let served = traffic.stop();
    // Every probe is one of the workers: a probe more than there are periods is the tester's.
    assert!(most < 1.3, "{most} probes a period");
    assert_eq!(state(&nginx), before);
    assert_eq!(nginx.workers(), workers);
    assert_eq!(nginx.children().len(), 2);
    assert_eq!(served.failures(), 0, "{served}");
    assert_eq!(crowd.sick_requests(), 0);
    let after = Size::of(&nginx).flat_since(&size, 1_000);
    assert_eq!(
        nginx.log_lines("healthcheck").len(),
        lines,
        "{:#?}",
        nginx.log_lines("healthcheck")
    );

    // Nor does it spoil the next reload.
    nginx.reload(&config);
    assert_eq!(state(&nginx), before);
    drill.end(format_args!(
        "{tests} tests; {served}; {least:.2}..{most:.2} probes per peer and period; {after}"
    ));
}
