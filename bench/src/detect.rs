//! Part `detect`: what a peer costs that falls ill under load, and when it serves again.
//!
//! Four peers at 2000 requests a second, whether or not they are answered, and no retries. Everybody
//! probes once a second, gives a peer a second to answer, and wants two verdicts in a row.

use std::thread::sleep;
use std::time::{Duration, Instant};

use support::swarm::{Mode, Swarm};
use support::{wait_until, Config, Nginx};

use crate::haproxy::{Haproxy, Setup};
use crate::load::{Ending, Load, Sample};
use crate::numbers::{count, median};
use crate::report::{Report, Row};
use crate::server::EVENTS;

const PEERS: u16 = 4;
const RATE: u32 = 2000;
/// From the start of one probe of a peer to the start of the next.
const DELAY: Duration = Duration::from_secs(1);
/// The same where a server is told to hurry.
const FAST: Duration = Duration::from_millis(100);
/// Two ticks of the prober, the first request to each peer afterwards, and this machine's own.
const SLACK: Duration = Duration::from_millis(50);
/// How long a server runs under load before the fault.
const CALM: Duration = Duration::from_millis(500);
/// How long it may take until a peer that is back has a request.
const LIMIT: Duration = Duration::from_secs(15);

/// What is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// nginx with the module; each of its two workers for itself or with a `zone`.
    Ours { fast: bool, zone: bool },
    /// HAProxy with two threads.
    Haproxy,
    /// The same, which also watches requests and probes faster what it doubts.
    Observing,
    /// nginx alone, which avoids a peer for 10 s after a failed request.
    Stock,
}

const KINDS: [Kind; 6] = [
    Kind::Ours { fast: true, zone: true },
    Kind::Ours { fast: true, zone: false },
    Kind::Ours { fast: false, zone: true },
    Kind::Haproxy,
    Kind::Observing,
    Kind::Stock,
];

/// How a peer falls ill.
#[derive(Clone, Copy, Debug)]
struct Fault {
    name: &'static str,
    mode: Mode,
    /// How long it is ill at least: until the slowest of all has noticed.
    lasts: Duration,
    /// How often it is tried, and how often with those whose figures must hold.
    rounds: (u32, u32),
}

const FAULTS: [Fault; 3] = [
    Fault { name: "dead", mode: Mode::Dead, lasts: Duration::from_millis(2600), rounds: (5, 15) },
    Fault {
        name: "silent",
        mode: Mode::Silent,
        lasts: Duration::from_millis(4600),
        rounds: (3, 3),
    },
    Fault { name: "500", mode: Mode::Failing, lasts: Duration::from_millis(2600), rounds: (3, 3) },
];

/// The names of the faults, one of which the part may be asked for.
pub const NAMES: [&str; 3] = [FAULTS[0].name, FAULTS[1].name, FAULTS[2].name];

/// A server that runs. It ends with the value.
enum Server {
    Haproxy(Haproxy),
    Nginx(Box<Nginx>),
}

/// One illness.
struct Illness {
    /// Requests that failed because of it.
    failed: f64,
    /// Milliseconds until the last of those began.
    out: f64,
    /// Milliseconds from its end to the peer's first request.
    back: f64,
    /// Requests that failed after its end.
    late: f64,
    /// Whether a request had no answer for longer than any server waits for a peer: not the fault's
    /// doing.
    is_disturbed: bool,
}

/// All illnesses of one kind.
#[derive(Default)]
struct Illnesses {
    /// Those that count.
    counted: Vec<Illness>,
    /// How many were measured anew, as the machine was too busy.
    repeated: usize,
}

/// Measures all faults, or the one that is given.
pub fn run(arguments: &[String], report: &mut Report) {
    let wanted = |fault: &&Fault| arguments.first().is_none_or(|name| name == fault.name);
    let faults: Vec<&Fault> = FAULTS.iter().filter(wanted).collect();
    let swarm = Swarm::start(PEERS);

    for fault in faults {
        let illnesses = rounds(fault, &swarm);
        let rows: Vec<Row> =
            KINDS.iter().zip(&illnesses).map(|(kind, of)| row(*kind, of)).collect();
        report.table(
            &format!(
                "A peer that is {}: medians; times in ms, the slowest in brackets",
                fault.name
            ),
            &rows,
        );
        if fault.mode == Mode::Dead {
            for (kind, of) in KINDS.iter().zip(&illnesses).filter(|(kind, _)| kind.is_fast()) {
                figures(*kind, &of.counted, report);
            }
        }
    }
}

/// All illnesses of each of `KINDS`. A round has all of them, so that whatever else the machine does
/// meets them alike.
fn rounds(fault: &Fault, swarm: &Swarm) -> [Illnesses; KINDS.len()] {
    let mut illnesses: [Illnesses; KINDS.len()] = Default::default();
    let of = |kind: Kind| if kind.is_fast() { fault.rounds.1 } else { fault.rounds.0 };

    for round in 0..fault.rounds.0.max(fault.rounds.1) {
        for (kind, illnesses) in KINDS.iter().zip(&mut illnesses) {
            if round < of(*kind) {
                // Every part of the delay has its turn, and which moment of it is luck.
                let phase = (f64::from(round) + chance()) / f64::from(of(*kind));
                illnesses.add(|| measure(*kind, fault, DELAY.mul_f64(phase), swarm));
            }
        }
    }
    illnesses
}

/// `None` if the server is not to be had.
fn measure(kind: Kind, fault: &Fault, phase: Duration, swarm: &Swarm) -> Option<Illness> {
    swarm.take();
    let server = kind.start(swarm)?;
    wait_until(Duration::from_secs(60), "every peer has been probed", || {
        kind == Kind::Stock || swarm.fewest_probes() >= 2
    });
    let load = Load::new(server.address(), "/bench/", RATE).start();
    sleep(CALM + DELAY.mul_f64(chance()));
    let struck = swarm.set(0..1, fault.mode);
    sleep(fault.lasts + phase);
    swarm.take();
    let cured = swarm.set(0..1, Mode::Healthy);
    let served = first_request(swarm, cured);
    sleep(CALM);
    let failures = load.stop().failures();

    let (during, late): (Vec<Sample>, Vec<Sample>) =
        failures.iter().partition(|sample| sample.due < cured);
    let last = during.iter().map(|sample| sample.due).max().unwrap_or(struck);
    Some(Illness {
        failed: count(during.len()),
        out: millis(last.saturating_duration_since(struck)),
        back: millis(served.saturating_duration_since(cured)),
        late: count(late.len()),
        is_disturbed: failures.iter().any(|sample| sample.ending == Ending::Late),
    })
}

impl Illnesses {
    /// Adds what `measure` finds. Where the machine was too busy for it, that is done again; half of all
    /// at most, so that a server which leaves requests without an answer does not get away with it.
    fn add(&mut self, measure: impl Fn() -> Option<Illness>) {
        let mut one = measure();
        while self.repeated <= self.counted.len()
            && one.as_ref().is_some_and(|one| one.is_disturbed)
        {
            self.repeated += 1;
            one = measure();
        }
        self.counted.extend(one);
    }
}

/// When the peer that was ill has its first request; or when nobody would wait any longer.
fn first_request(swarm: &Swarm, cured: Instant) -> Instant {
    while cured.elapsed() < LIMIT {
        let first = swarm.take()[0].requests.iter().copied().filter(|at| *at >= cured).min();
        if let Some(first) = first {
            return first;
        }
        sleep(Duration::from_millis(5));
    }
    cured + LIMIT
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Kind::Ours { fast: true, zone: true } => "ours, fast delay",
            Kind::Ours { fast: true, zone: false } => "ours, fast delay, no zone",
            Kind::Ours { fast: false, .. } => "ours",
            Kind::Haproxy => "haproxy",
            Kind::Observing => "haproxy, observing, fastinter",
            Kind::Stock => "nginx alone",
        }
    }

    fn is_fast(self) -> bool {
        matches!(self, Kind::Ours { fast: true, .. })
    }

    fn start(self, swarm: &Swarm) -> Option<Server> {
        let options = match self {
            Kind::Ours { fast, zone } => {
                let fast =
                    if fast { format!("healthcheck_fast_delay {FAST:?};") } else { String::new() };
                let check = format!("{} {fast}", support::check(1000, 1000, 2));
                return Some(nginx(Config::new(), zone, &check, swarm));
            }
            Kind::Stock => return Some(nginx(Config::new().without_module(), true, "", swarm)),
            Kind::Haproxy => "fall 2 rise 2",
            Kind::Observing => {
                "fall 2 rise 2 fastinter 100ms observe layer7 error-limit 1 on-error mark-down"
            }
        };
        let setup = Setup { peers: swarm.addresses(), options, master: false };
        Haproxy::start_within(&setup, 1).map(Server::Haproxy)
    }
}

/// With nginx's own passive checks as they are by default.
fn nginx(config: Config, zone: bool, check: &str, swarm: &Swarm) -> Server {
    let zone = if zone { "zone backend 1m;" } else { "" };
    let lines: String =
        swarm.addresses().iter().map(|address| format!("server {address}; ")).collect();
    let location = "location /bench/ { proxy_pass http://backend; proxy_connect_timeout 1s; \
                    proxy_read_timeout 1s; }";
    let config = config.workers(2).main(EVENTS).server(location);
    let body = format!("{zone} {check} {lines}");
    Server::Nginx(Box::new(Nginx::start(&config.upstream("backend", body))))
}

impl Server {
    fn address(&self) -> std::net::SocketAddr {
        match self {
            Server::Haproxy(haproxy) => haproxy.address(),
            Server::Nginx(nginx) => nginx.address(),
        }
    }
}

fn row(kind: Kind, illnesses: &Illnesses) -> Row {
    let Illnesses { counted: illnesses, repeated } = illnesses;
    let both = |of: fn(&Illness) -> f64| {
        (!illnesses.is_empty()).then(|| (middle(illnesses, of), most(illnesses, of)))
    };
    let time = |of| {
        let numbers = both(of);
        numbers.map_or("-".to_owned(), |(middle, most)| format!("{middle:.0} ({most:.0})"))
    };

    Row::new()
        .text("server", kind.name())
        .number("rounds", count(illnesses.len()), 0)
        .maybe("failed requests", both(|one| one.failed).map(|(middle, _)| middle), 0)
        .maybe("most", both(|one| one.failed).map(|(_, most)| most), 0)
        .text("until out", time(|one| one.out))
        .text("until back", time(|one| one.back))
        .maybe("failed afterwards", both(|one| one.late).map(|(middle, _)| middle), 0)
        .number("repeated", count(*repeated), 0)
}

fn figures(kind: Kind, illnesses: &[Illness], report: &mut Report) {
    let name = |what: &str| format!("{what}, {}", kind.name());
    let slowest = millis(DELAY + 2 * FAST + SLACK);

    // With a zone all workers know of the first, and one may be on its way; without, each has its own.
    report.at_most(
        name("requests that a dead peer costs"),
        middle(illnesses, |one| one.failed),
        2.0,
    );
    let back = |one: &Illness| one.back;
    report.at_most(name("ms until it is back, median"), middle(illnesses, back), 700.0);
    report.at_most(name("ms until it is back, slowest"), most(illnesses, back), slowest);
}

fn middle(illnesses: &[Illness], of: impl Fn(&Illness) -> f64) -> f64 {
    median(&illnesses.iter().map(of).collect::<Vec<_>>())
}

fn most(illnesses: &[Illness], of: impl Fn(&Illness) -> f64) -> f64 {
    illnesses.iter().map(of).fold(0.0, f64::max)
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

/// From 0 to 1, another each time: the clock's digits that nobody chooses.
fn chance() -> f64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let digits = now.map_or(0, |time| time.subsec_nanos() / 10 % 10_000);
    f64::from(digits) / 10_000.0
}
