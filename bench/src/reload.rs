//! Part `reload`: what clients notice of a cold start and of reloads, and whether what was known of a
//! peer is forgotten.

use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::thread::sleep;
use std::time::{Duration, Instant};

use support::swarm::{Mode, Swarm};
use support::{check, wait_until, Config, Nginx, Port};

use crate::haproxy::{Haproxy, Setup};
use crate::load::{Answers, Load};
use crate::numbers::{count, median};
use crate::report::{Report, Row};
use crate::server::lines;

const PEERS: u16 = 8;
/// The one that fails its probes and would serve, so that a request to it is seen and harms nobody.
const BAD: usize = 7;
const FALL: usize = 2;
const ROUNDS: usize = 3;

/// Requests per second in a cold start.
const COLD: u32 = 500;
/// Requests per second on connections of their own, and as many on kept ones, while reloads go on.
const STORM: u32 = 1000;
const RELOADS: u32 = 20;
const BETWEEN: Duration = Duration::from_millis(500);
/// Room for all that piles up while the machine stands still.
const EVENTS: &str = "worker_rlimit_nofile 20000; events { worker_connections 16384; }";
/// An answer needs a moment until it is a verdict, and a request that is under way is not called back.
const GRACE: Duration = Duration::from_millis(50);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Subject {
    Ours { zone: bool, fast: bool },
    Haproxy { state: bool },
    Stock,
}

const SUBJECTS: [Subject; 6] = [
    Subject::Ours { zone: true, fast: false },
    Subject::Ours { zone: true, fast: true },
    Subject::Ours { zone: false, fast: false },
    Subject::Haproxy { state: false },
    Subject::Haproxy { state: true },
    Subject::Stock,
];

/// What one round has seen of a server.
#[derive(Default)]
struct Round {
    first_answer_ms: f64,
    cold_failures: usize,
    /// Requests to the bad peer before its first failures could be known, and after.
    cold_early: usize,
    cold_leaks: usize,
    failures: usize,
    leaks: usize,
    requests: usize,
    p99_ms: f64,
    slowest_ms: f64,
}

enum Server {
    Nginx(Box<Nginx>, Box<Config>),
    Haproxy(Haproxy),
}

/// Measures it; there are no arguments.
pub fn run(_: &[String], report: &mut Report) {
    let mut rounds = SUBJECTS.map(|_| Vec::new());
    for _ in 0..ROUNDS {
        for (subject, rounds) in SUBJECTS.iter().zip(&mut rounds) {
            rounds.extend(measure(*subject));
        }
    }

    let measured = || SUBJECTS.iter().zip(&rounds).filter(|(_, rounds)| !rounds.is_empty());
    let cold: Vec<Row> = measured().map(|(subject, rounds)| cold_row(*subject, rounds)).collect();
    let storm: Vec<Row> = measured().map(|(subject, rounds)| storm_row(*subject, rounds)).collect();
    report.table(
        &format!(
            "Cold start: the first 3 s of {COLD} requests per second; sums of {ROUNDS} rounds"
        ),
        &cold,
    );
    report.table(
        &format!(
            "{RELOADS} reloads in 10 s under {} requests per second; sums of {ROUNDS} rounds",
            STORM * 2
        ),
        &storm,
    );
    for (subject, rounds) in
        measured().filter(|(subject, _)| matches!(subject, Subject::Ours { .. }))
    {
        let mut none = |what: &str, number: fn(&Round) -> usize| {
            report.at_most(format!("{what}, {}", subject.name()), sum(rounds, number), 0.0);
        };
        none("failed requests in cold starts", |round| round.cold_failures);
        none("requests to a peer known to be bad in cold starts", |round| round.cold_leaks);
        none("failed requests while reloads go on", |round| round.failures);
        none("requests to a peer known to be down while reloads go on", |round| round.leaks);
    }
}

/// `None` if the server is not to be had.
fn measure(subject: Subject) -> Option<Round> {
    let swarm = Swarm::start(PEERS);
    swarm.set(BAD..BAD + 1, Mode::ProbesFail);
    let start = Instant::now();
    let mut server = subject.launch(&swarm)?;
    wait_to_listen(server.address());

    let mut round = Round::default();
    let answers = server.load(COLD, false).run_for(Duration::from_secs(3));
    cold(&mut round, &answers, &swarm, start);
    // Whoever learns slowly has learned it by now.
    sleep(Duration::from_secs(1));
    storm(&mut round, &mut server, &swarm, subject);
    Some(round)
}

fn cold(round: &mut Round, answers: &Answers, swarm: &Swarm, start: Instant) {
    let answered = answers.0.iter().filter(|sample| !sample.failed());
    let first = answered.map(|sample| sample.due + sample.took).min();
    round.first_answer_ms = first.map_or(f64::NAN, |at| (at - start).as_secs_f64() * 1e3);
    round.cold_failures = tell(answers, start);

    let bad = &swarm.take()[BAD];
    // Stock nginx never learns.
    let known = bad.probes.get(FALL - 1).map(|probe| probe.asked + GRACE);
    let early = |at: &&Instant| known.is_none_or(|known| **at <= known);
    round.cold_early = bad.requests.iter().filter(early).count();
    round.cold_leaks = bad.requests.len() - round.cold_early;
}

fn storm(round: &mut Round, server: &mut Server, swarm: &Swarm, subject: Subject) {
    swarm.take();
    let start = Instant::now();
    let loads = [false, true].map(|keep| server.load(STORM, keep).start());
    for at in 1..=RELOADS {
        let due = start + BETWEEN * at;
        sleep(due.saturating_duration_since(Instant::now()));
        server.reload(subject);
    }
    sleep(BETWEEN * 2);
    let answers = Answers(loads.into_iter().flat_map(|load| load.stop().0).collect());

    round.failures = tell(&answers, start);
    round.leaks = swarm.take()[BAD].requests.len();
    round.requests = answers.0.len();
    round.p99_ms = answers.latency_ms(990);
    round.slowest_ms = answers.latency_ms(1000);
}

/// Counts the failures; the first ones are told to whoever looks for their cause.
fn tell(answers: &Answers, start: Instant) -> usize {
    let failures = answers.failures();
    for failure in failures.iter().take(3) {
        eprintln!("failed: {:?} after {:?}", failure.ending, failure.due - start);
    }
    failures.len()
}

fn wait_to_listen(address: SocketAddr) {
    let start = Instant::now();
    while TcpStream::connect(address).is_err() {
        assert!(start.elapsed() < Duration::from_secs(30), "it does not listen");
        sleep(Duration::from_millis(1));
    }
}

impl Subject {
    fn name(self) -> &'static str {
        match self {
            Subject::Ours { fast: true, .. } => "ours, fast delay",
            Subject::Ours { zone: true, .. } => "ours",
            Subject::Ours { zone: false, .. } => "ours, no zone",
            Subject::Haproxy { state: false } => "haproxy",
            Subject::Haproxy { state: true } => "haproxy, state file",
            Subject::Stock => "nginx alone",
        }
    }

    fn launch(self, swarm: &Swarm) -> Option<Server> {
        let nginx = |config: Config, zone: bool, directives: &str| {
            let zone = if zone { "zone backend 1m;" } else { "" };
            let body = format!("{zone} {directives} {}", lines(swarm));
            let config = config.workers(2).shared_socket().main(EVENTS).upstream("backend", body);
            let nginx = Nginx::launch(&config);
            Some(Server::Nginx(Box::new(nginx), Box::new(config)))
        };
        let config = Config::at(&Arc::new(Port::reserve()));

        match self {
            Subject::Ours { zone, fast } => {
                let fast = if fast { "healthcheck_fast_delay 100ms;" } else { "" };
                nginx(config, zone, &format!("{} {fast}", check(1000, 1000, 2)))
            }
            Subject::Stock => nginx(config.without_module(), true, ""),
            Subject::Haproxy { .. } => {
                let setup =
                    Setup { peers: swarm.addresses(), options: "fall 2 rise 2", master: true };
                Haproxy::launch(&setup, 10).map(Server::Haproxy)
            }
        }
    }
}

impl Server {
    fn address(&self) -> SocketAddr {
        match self {
            Server::Nginx(nginx, _) => nginx.address(),
            Server::Haproxy(haproxy) => haproxy.address(),
        }
    }

    fn load(&self, rate: u32, keep: bool) -> Load {
        // A slow machine shows in the latency, not as failures.
        let limit = Duration::from_secs(15);
        Load { keep, limit, ..Load::new(self.address(), "/backend/", rate) }
    }

    fn reload(&mut self, subject: Subject) {
        match self {
            Server::Nginx(nginx, config) => nginx.signal_reload(config),
            Server::Haproxy(haproxy) => {
                if subject == (Subject::Haproxy { state: true }) {
                    wait_until(Duration::from_secs(5), "HAProxy tells its state", || {
                        haproxy.save_state().is_ok()
                    });
                }
                haproxy.reload();
            }
        }
    }
}

fn cold_row(subject: Subject, rounds: &[Round]) -> Row {
    Row::new()
        .text("server", subject.name())
        .number("first answer ms", middle(rounds, |round| round.first_answer_ms), 0)
        .number("failed", sum(rounds, |round| round.cold_failures), 0)
        .number("to the bad peer, unknown", sum(rounds, |round| round.cold_early), 0)
        .number("known", sum(rounds, |round| round.cold_leaks), 0)
}

fn storm_row(subject: Subject, rounds: &[Round]) -> Row {
    Row::new()
        .text("server", subject.name())
        .number("requests", sum(rounds, |round| round.requests), 0)
        .number("failed", sum(rounds, |round| round.failures), 0)
        .number("to the peer known as down", sum(rounds, |round| round.leaks), 0)
        .number("p99 ms", middle(rounds, |round| round.p99_ms), 1)
        .number("slowest ms", middle(rounds, |round| round.slowest_ms), 0)
}

fn sum(rounds: &[Round], number: impl Fn(&Round) -> usize) -> f64 {
    count(rounds.iter().map(number).sum())
}

fn middle(rounds: &[Round], number: impl Fn(&Round) -> f64) -> f64 {
    median(&rounds.iter().map(number).collect::<Vec<_>>())
}
