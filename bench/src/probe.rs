//! Part `probe`: what a probe costs, and how regular probes are.

use std::thread::sleep;
use std::time::{Duration, Instant};

use support::swarm::Swarm;
use support::wait_until;

use crate::cpu;
use crate::numbers::{count, median};
use crate::report::{Report, Row};
use crate::server::{Kind, Server};
use crate::spin::Spin;

mod calls;
mod shape;

use shape::Shape;

const SIZES: [u16; 4] = [10, 100, 1000, 5000];
const ROUNDS: usize = 3;
const KINDS: [Kind; 3] = [Kind::Floor, Kind::Haproxy, Kind::Ours(2)];
const OURS: Kind = Kind::Ours(2);
/// How long a server is watched in a round.
const WINDOW: Duration = Duration::from_secs(4);
/// How long its calls are counted.
const TRACED: Duration = Duration::from_secs(3);
/// At which size each number of workers is tried, and which.
const WORKERS: (u16, [usize; 3]) = (1000, [1, 4, 16]);
/// How many peers there are where the memory of a server without peers is wanted.
const FEW: u16 = 10;

/// What one round has seen of a server.
struct Round {
    /// Microseconds of processor time for each probe.
    cost: f64,
    shape: Shape,
    memory_kib: f64,
}

/// Measures all sizes, or the one that is given.
pub fn run(arguments: &[String], report: &mut Report) {
    let size = arguments.first().map(|text| text.parse().expect("a number of peers"));
    let sizes = size.map_or(SIZES.to_vec(), |size: u16| vec![size]);
    let few: Vec<Option<f64>> = {
        let swarm = Swarm::start(FEW);
        KINDS.iter().chain([&Kind::Stock]).map(|kind| memory(*kind, &swarm)).collect()
    };
    let (mut costs, mut shapes) = (Vec::new(), Vec::new());

    for &size in &sizes {
        let swarm = Swarm::start(size);
        let rounds = rounds(&swarm);
        let [floor, haproxy, ours] = &rounds;
        for ((kind, rounds), few) in KINDS.iter().zip(&rounds).zip(&few) {
            let grown = few.zip(middle(rounds, |round| round.memory_kib));
            let row = cost_row(*kind, size, rounds, floor);
            costs.push(row.maybe("KiB/peer", each_peer(size, grown), 2).maybe(
                "calls/probe",
                traced(*kind, &swarm, report),
                2,
            ));
            if !rounds.is_empty() {
                shapes.push(shape_row(*kind, size, rounds));
            }
        }
        let grown = few[KINDS.len()].zip(memory(Kind::Stock, &swarm));
        let stock = Row::new().text("server", Kind::Stock.name());
        costs.push(stock.number("peers", size.into(), 0).maybe(
            "KiB/peer",
            each_peer(size, grown),
            2,
        ));
        figures(size, floor, haproxy, ours, report);
    }
    if sizes.contains(&WORKERS.0) {
        shapes.extend(with_workers(report));
    }
    report.table("Processor time of all processes, system calls and memory", &costs);
    report.table("Regularity, as the peers see it; times in ms", &shapes);
}

/// All rounds of each of `KINDS`. A round has all of them, so that whatever else the machine does
/// meets them alike.
fn rounds(swarm: &Swarm) -> [Vec<Round>; 3] {
    let _awake = Spin::start();
    let mut rounds = [const { Vec::new() }; 3];

    for _ in 0..ROUNDS {
        for (kind, rounds) in KINDS.iter().zip(&mut rounds) {
            rounds.extend(measure(*kind, swarm));
        }
    }
    rounds
}

/// `None` if the server is not to be had.
fn measure(kind: Kind, swarm: &Swarm) -> Option<Round> {
    let server = settled(kind, swarm)?;
    let pids = server.pids();
    let (before, start) = (cpu::used(&pids), Instant::now());
    sleep(WINDOW);
    let (used, end) = (cpu::used(&pids) - before, Instant::now());
    let shape = Shape::of(&swarm.take(), start, end);

    Some(Round {
        cost: used.as_secs_f64() * 1e6 / count(shape.probes),
        shape,
        memory_kib: cpu::memory_kib(&pids),
    })
}

/// A server that has probed every peer twice.
fn settled(kind: Kind, swarm: &Swarm) -> Option<Server> {
    swarm.take();
    let server = kind.start(swarm)?;
    wait_until(Duration::from_secs(60), "every peer has been probed twice", || {
        !kind.probes() || swarm.fewest_probes() >= 2
    });
    Some(server)
}

/// KiB of all processes.
fn memory(kind: Kind, swarm: &Swarm) -> Option<f64> {
    settled(kind, swarm).map(|server| cpu::memory_kib(&server.pids()))
}

/// KiB for each peer, given those for few and for so many; `None` where there are not more.
fn each_peer(size: u16, grown: Option<(f64, f64)>) -> Option<f64> {
    let (few, many) = grown.filter(|_| size > FEW)?;
    Some((many - few) / f64::from(size - FEW))
}

/// System calls for each probe; `None` where they cannot be counted.
fn traced(kind: Kind, swarm: &Swarm, report: &mut Report) -> Option<f64> {
    let size = swarm.addresses().len();
    // strace is too slow for half of thousands.
    let traced = if kind == OURS && size > 1000 { Kind::Ours(4) } else { kind };
    let server = settled(traced, swarm)?;
    let thread = cpu::busiest_thread(&server.pids(), Duration::from_secs(1));
    let start = Instant::now();
    let counted = calls::count(thread, TRACED).and_then(|calls| {
        let pace = Shape::of(&swarm.take(), start, start + TRACED).each_second;
        if pace < 0.9 {
            return Err("under strace it does not keep up".to_owned());
        }
        Ok(f64::from(calls.all) / f64::from(calls.connects))
    });

    if kind == OURS && size >= 1000 {
        let name = format!("system calls for each probe, {size} peers");
        match &counted {
            Ok(each) => report.at_most(name, *each, 8.0),
            Err(reason) => report.missing(name, reason),
        }
    }
    counted.ok()
}

fn cost_row(kind: Kind, size: u16, rounds: &[Round], floor: &[Round]) -> Row {
    let row = Row::new().text("server", kind.name()).number("peers", size.into(), 0);
    let costs: Vec<f64> = rounds.iter().map(|round| round.cost).collect();
    let spread = costs.iter().copied().fold(0.0, f64::max)
        - costs.iter().copied().fold(f64::INFINITY, f64::min);
    let cost = middle(rounds, |round| round.cost);

    row.maybe("us/probe", cost, 1)
        .maybe("spread", cost.map(|cost| spread / cost), 2)
        .maybe("of floor", ratio(rounds, floor), 2)
        .maybe("MiB", middle(rounds, |round| round.memory_kib / 1024.0), 1)
}

fn shape_row(kind: Kind, size: u16, rounds: &[Round]) -> Row {
    let number = |of: fn(&Shape) -> f64| middle(rounds, |round| of(&round.shape)).unwrap_or(0.0);

    Row::new()
        .text("server", kind.name())
        .number("peers", size.into(), 0)
        .number("probes/peer/period", number(|shape| shape.each_second), 3)
        .number("gap p1", number(|shape| shape.gap(10)), 1)
        .number("p50", number(|shape| shape.gap(500)), 1)
        .number("p99", number(|shape| shape.gap(990)), 1)
        .number("most in 10 ms", number(|shape| count(shape.most_at_once)), 0)
}

fn figures(size: u16, floor: &[Round], haproxy: &[Round], ours: &[Round], report: &mut Report) {
    let name = |what: &str| format!("{what}, {size} peers");

    if size >= 1000 {
        let ratio = ratio(ours, floor).unwrap_or(f64::INFINITY);
        report.at_most(name("processor time as a multiple of the floor's"), ratio, 1.5);
    }
    if size >= 5000 {
        let name = name("processor time as a multiple of HAProxy's");
        match ratio(ours, haproxy) {
            Some(ratio) => report.below(name, ratio, 1.0),
            None => report.missing(name, "HAProxy is not to be had"),
        }
    }
    regular(ours, &format!("{size} peers"), report);
    // That much is the machine's.
    if let Some(late) = middle(floor, |round| round.shape.gap(990)) {
        report.remark(&format!("the floor's is {late:.1}"));
    }
    if size == 1000 {
        let most = middle(ours, |round| count(round.shape.most_at_once)).unwrap_or(f64::INFINITY);
        report.at_most(name("most probes begun within 10 ms"), most, 25.0);
    }
}

/// The figures that hold at every size, with any number of workers.
fn regular(ours: &[Round], with: &str, report: &mut Report) {
    let each = middle(ours, |round| round.shape.each_second).unwrap_or(0.0);
    let late = middle(ours, |round| round.shape.gap(990)).unwrap_or(f64::INFINITY);

    report.about(format!("probes of each peer in a period, {with}"), each, 1.0, 0.01);
    report.about(format!("gap p99 in ms, {with}"), late, 1000.0, 10.0);
}

fn with_workers(report: &mut Report) -> Vec<Row> {
    let _awake = Spin::start();
    let (size, numbers) = WORKERS;
    let swarm = Swarm::start(size);
    let mut rows = Vec::new();

    for kind in numbers.map(Kind::Ours) {
        let round = measure(kind, &swarm).into_iter().collect::<Vec<_>>();
        regular(&round, &format!("{size} peers, {}", kind.name()), report);
        rows.push(shape_row(kind, size, &round));
    }
    rows
}

/// The median over the rounds; `None` without rounds.
fn middle(rounds: &[Round], number: impl Fn(&Round) -> f64) -> Option<f64> {
    let numbers: Vec<f64> = rounds.iter().map(number).collect();
    (!numbers.is_empty()).then(|| median(&numbers))
}

/// The median of the ratios within each round.
fn ratio(rounds: &[Round], base: &[Round]) -> Option<f64> {
    let ratios: Vec<f64> =
        rounds.iter().zip(base).map(|(round, base)| round.cost / base.cost).collect();
    (!ratios.is_empty()).then(|| median(&ratios))
}
