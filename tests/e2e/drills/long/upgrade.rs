//! The binary is upgraded under load, and the upgrade taken back.
//!
//! While both masters have workers there are two zones: each generation probes for itself, counts the
//! requests that it gets, and knows what it was told. Programs must not be scaled twice for it.

use std::fs;
use std::net::SocketAddr;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use support::scripted_supervisord::{START, STOP};
use support::swarm::Swarm;
use support::{
    check, holds_for, process, wait_for, wait_until, Config, Environment, Port,
    ScriptedSupervisord, LIMIT,
};

use crate::drills::traffic::{Served, Traffic};
use crate::drills::{long_only, Drill};

/// Programs that there are.
const PROGRAMS: u16 = 6;

/// Requests a second and program above which another one is started; below two fifths one is stopped.
const THRESHOLD: u32 = 100;

/// Requests a second that three programs are for: half of them would be for two.
const LOW: u32 = 220;

/// Requests a second that four programs are for.
const HIGH: u32 = 350;

/// How long two generations go on side by side: many intervals of the load.
const TOGETHER: Duration = Duration::from_secs(8);

/// An nginx that has left its parent, as only such a one takes USR2, and the master that it makes. All
/// of their processes end with the value.
struct Daemon {
    dir: tempfile::TempDir,
    old: u32,
}

impl Daemon {
    fn start(config: &Config) -> Daemon {
        let dir = tempfile::tempdir().expect("a folder");
        let text = config.text(dir.path()).replace("daemon off;", "daemon on;");
        let conf = dir.path().join("nginx.conf");
        fs::write(&conf, text).expect("a file in the folder");
        let status = Command::new(&Environment::get().nginx)
            .args(["-p".as_ref(), dir.path().as_os_str(), "-c".as_ref(), conf.as_os_str()])
            .args(["-e".as_ref(), dir.path().join("error.log").as_os_str()])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .expect("nginx starts");
        let mut daemon = Daemon { dir, old: 0 };
        assert!(status.success(), "{}", daemon.log());
        daemon.old = wait_for(LIMIT, "a file with its number", || daemon.running());
        daemon
    }

    /// The master that the file names.
    fn running(&self) -> Option<u32> {
        fs::read_to_string(self.dir.path().join("nginx.pid")).ok()?.trim().parse().ok()
    }

    fn log(&self) -> String {
        fs::read_to_string(self.dir.path().join("error.log")).unwrap_or_default()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let log = self.log();
        for master in self.running().into_iter().chain([self.old]).filter(|&pid| pid != 0) {
            let _ = process::signal(master, libc::SIGTERM);
        }
        let start = Instant::now();
        while start.elapsed() < LIMIT && process::signal_group(self.old, 0).is_ok() {
            std::thread::sleep(Duration::from_millis(10));
        }
        if self.old != 0 {
            // Its own session, so nobody else's processes.
            let _ = process::signal_group(self.old, libc::SIGKILL);
        }
        if std::thread::panicking() {
            eprintln!("---- error log\n{log}----");
        } else {
            for never in ["[alert]", "[crit]", "[emerg]", "panicked at"] {
                assert!(!log.contains(never), "{log}");
            }
        }
    }
}

struct Rig {
    daemon: Daemon,
    address: SocketAddr,
    supervisord: ScriptedSupervisord,
    swarm: Swarm,
    served: Vec<Served>,
}

impl Rig {
    fn start(interval: u32) -> Rig {
        let (swarm, supervisord) = (Swarm::start(PROGRAMS), ScriptedSupervisord::start());
        let lines: String =
            swarm.addresses().iter().map(|at| format!("server {at} max_fails=0; ")).collect();
        let body = format!(
            "supervisord {supervisord}; supervisord_poll 500; supervisord_load_threshold {THRESHOLD}; \
             supervisord_load_interval {interval}; supervisord_cooldown 300; queue 100 timeout=5s; {} {lines}",
            check(300, 2_000, 2)
        );
        let port = Arc::new(Port::reserve());
        let config = Config::at(&port)
            .workers(2)
            .shared_socket()
            .main("events { worker_connections 2048; }")
            .upstream("backend", body);

        let (daemon, address) = (Daemon::start(&config), port.address());
        wait_until(LIMIT, "its workers", || Rig::workers_of(daemon.old) == 2);
        Rig { daemon, address, supervisord, swarm, served: Vec::new() }
    }

    /// Waits until so many programs run, and returns the traffic of so many requests a second.
    fn traffic(&self, rate: u32, running: usize) -> Traffic {
        let traffic = Traffic::start(rate, self.address, "/backend/");
        wait_until(LIMIT, &format!("{running} programs for {rate} requests/s"), || {
            self.running() == running
        });
        self.is_steady(TOGETHER / 4, running);
        traffic
    }

    fn stop(&mut self, traffic: Traffic) {
        self.served.push(traffic.stop());
    }

    /// Programs that supervisord runs.
    fn running(&self) -> usize {
        let runs =
            |number: &u16| self.supervisord.state_of(&format!("backend{number}")) == "RUNNING";
        (0..PROGRAMS).filter(runs).count()
    }

    /// Starts and stops that supervisord was told.
    fn commands(&self) -> (usize, usize) {
        (self.supervisord.calls_of(START).len(), self.supervisord.calls_of(STOP).len())
    }

    /// Nothing is started or stopped for a while.
    #[track_caller]
    fn is_steady(&self, period: Duration, running: usize) {
        let before = self.commands();
        holds_for(period, &format!("{running} programs and no command after {before:?}"), || {
            self.running() == running && self.commands() == before
        });
    }

    fn workers_of(master: u32) -> usize {
        process::children(master)
            .iter()
            .filter(|child| child.title.contains("worker process"))
            .count()
    }

    /// USR2: a new master and its workers, beside the old ones.
    fn upgrade(&self) -> u32 {
        let old = self.daemon.old;
        process::signal(old, libc::SIGUSR2).expect("nginx lives");
        let new =
            wait_for(LIMIT, "a new master", || self.daemon.running().filter(|&pid| pid != old));
        wait_until(LIMIT, "its workers", || Rig::workers_of(new) == 2);
        new
    }

    /// WINCH: the old master's workers go.
    fn retire_old(&self) {
        let old = self.daemon.old;
        process::signal(old, libc::SIGWINCH).expect("nginx lives");
        wait_until(LIMIT, "the old workers are gone", || Rig::workers_of(old) == 0);
    }

    /// QUIT: a master and its workers end.
    fn end(&self, master: u32) {
        process::signal(master, libc::SIGQUIT).expect("it lives");
        wait_until(LIMIT, "it ends", || !process::is_alive(master));
    }

    /// Probes of the peers per period from now on, summed over who probes.
    fn probe_rate(&self) -> f64 {
        let count = || self.swarm.times().iter().map(Vec::len).sum::<usize>();
        let before = count();
        std::thread::sleep(Duration::from_secs(3));
        (count() - before) as f64 / f64::from(PROGRAMS) / 10.0
    }

    fn failures(&self) -> usize {
        self.served.iter().map(Served::failures).sum()
    }

    fn report(&self) -> String {
        let all: Vec<String> = self.served.iter().map(ToString::to_string).collect();
        all.join(" / ")
    }
}

#[test]
fn an_upgrade_scales_no_program_twice() {
    if !long_only() {
        return;
    }
    let drill = Drill::begin();
    let mut rig = Rig::start(2_000);

    let traffic = rig.traffic(LOW, 3);
    rig.upgrade();
    // Each sees a part of the requests alone.
    rig.is_steady(TOGETHER, 3);
    let together = rig.probe_rate();
    rig.retire_old();
    rig.is_steady(TOGETHER, 3);
    let alone = rig.probe_rate();
    rig.stop(traffic);

    // The old master may come back; until then the new generation has all of the load.
    let before = rig.commands();
    let traffic = rig.traffic(HIGH, 4);
    assert!(rig.commands().0 - before.0 <= 4, "{:?} after {before:?}", rig.commands());
    rig.end(rig.daemon.old);
    rig.is_steady(TOGETHER, 4);
    rig.stop(traffic);
    wait_until(LIMIT * 2, "an idle upstream shrinks", || rig.running() == 0);
    let (starts, stops) = rig.commands();
    assert_eq!(starts, stops, "every start is stopped once");
    assert_eq!(rig.failures(), 0, "{}", rig.report());
    drill.end(format_args!(
        "{starts} starts and {stops} stops for {LOW} and {HIGH} requests/s; {together:.2} probes per \
         peer and period while both generations work, {alone:.2} afterwards; {}",
        rig.report()
    ));
}

#[test]
fn the_interval_in_which_the_old_generation_goes_stops_no_program() {
    if !long_only() {
        return;
    }
    let drill = Drill::begin();
    let mut rig = Rig::start(4_000);

    // Two programs for 65 requests a second each; 32 would be for one.
    let traffic = rig.traffic(130, 2);
    rig.upgrade();
    // The first interval of the new generation begins a second after its workers, and is nearly over.
    rig.is_steady(Duration::from_millis(4_300), 2);
    rig.end(rig.daemon.old);
    rig.is_steady(Duration::from_secs(10), 2);
    rig.stop(traffic);
    wait_until(LIMIT * 2, "an idle upstream shrinks", || rig.running() == 0);
    let (starts, stops) = rig.commands();
    assert_eq!(rig.failures(), 0, "{}", rig.report());
    drill.end(format_args!("{starts} starts and {stops} stops; {}", rig.report()));
}

#[test]
fn load_that_grows_between_two_generations_is_scaled_for_once() {
    if !long_only() {
        return;
    }
    let drill = Drill::begin();
    let mut rig = Rig::start(2_000);

    let traffic = rig.traffic(LOW, 3);
    rig.upgrade();
    rig.stop(traffic);
    let traffic = Traffic::start(HIGH * 2, rig.address, "/backend/");
    let mut most = 0;
    holds_for(TOGETHER, "no more than there are", || {
        most = most.max(rig.running());
        rig.commands().0 <= usize::from(PROGRAMS) && rig.commands().1 == 0
    });
    rig.retire_old();
    wait_until(LIMIT, "all programs run", || rig.running() == usize::from(PROGRAMS));
    rig.stop(traffic);
    let traffic = rig.traffic(HIGH, rig.running());
    rig.is_steady(TOGETHER, usize::from(PROGRAMS));
    rig.end(rig.daemon.old);
    rig.stop(traffic);
    let (starts, stops) = rig.commands();
    assert_eq!(rig.failures(), 0, "{}", rig.report());
    drill.end(format_args!(
        "{most} programs while both generations worked, then {PROGRAMS}: {starts} starts, {stops} \
         stops; {}",
        rig.report()
    ));
}

#[test]
fn an_upgrade_that_is_taken_back_scales_no_program_twice() {
    if !long_only() {
        return;
    }
    let drill = Drill::begin();
    let mut rig = Rig::start(2_000);

    let traffic = rig.traffic(LOW, 3);
    let new = rig.upgrade();
    rig.is_steady(TOGETHER / 2, 3);
    rig.retire_old();
    rig.stop(traffic);
    // What happens meanwhile, the old generation does not know.
    let traffic = rig.traffic(HIGH, 4);
    let old = rig.daemon.old;
    process::signal(old, libc::SIGHUP).expect("nginx lives");
    wait_until(LIMIT, "the old master's workers again", || Rig::workers_of(old) == 2);
    rig.is_steady(TOGETHER, 4);
    rig.end(new);
    wait_until(LIMIT, "the old master has its file again", || rig.daemon.running() == Some(old));
    rig.is_steady(TOGETHER, 4);
    rig.stop(traffic);

    // The old generation scales again.
    let traffic = rig.traffic(HIGH * 2, 6);
    rig.stop(traffic);
    wait_until(LIMIT * 2, "an idle upstream shrinks", || rig.running() == 0);
    let (starts, stops) = rig.commands();
    assert_eq!(starts, stops, "every start is stopped once");
    assert_eq!(rig.failures(), 0, "{}", rig.report());
    drill.end(format_args!("{starts} starts and {stops} stops; {}", rig.report()));
}

#[test]
fn a_program_that_both_generations_want_is_started_once() {
    if !long_only() {
        return;
    }
    let drill = Drill::begin();
    let mut rig = Rig::start(2_000);

    rig.upgrade();
    rig.supervisord.delay("backend0", Duration::from_secs(1));
    let traffic = Traffic::start(60, rig.address, "/backend/");
    wait_until(LIMIT, "requests are served", || traffic.answered() > 100);
    rig.is_steady(TOGETHER / 2, 1);
    // Both see that it has crashed.
    rig.supervisord.set_state("backend0", "EXITED");
    wait_until(LIMIT, "it runs again", || rig.running() == 1);
    // The other generation asks for the same.
    std::thread::sleep(Duration::from_secs(2));
    rig.is_steady(TOGETHER / 2, 1);
    rig.retire_old();
    rig.is_steady(TOGETHER / 2, 1);
    rig.stop(traffic);
    let started: Vec<String> =
        rig.supervisord.calls_of(START).iter().map(|call| call.programs[0].clone()).collect();
    assert!(started.iter().all(|program| program == "backend0"), "{started:?}");
    assert_eq!(rig.failures(), 0, "{}", rig.report());
    drill.end(format_args!(
        "{} program runs after a crash and {} starts of the same one; {}",
        rig.running(),
        started.len(),
        rig.report()
    ));
}
