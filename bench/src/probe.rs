//! Part `probe`: what a probe costs, and how regular probes are.

use std::thread::sleep;
use std::time::{Duration, Instant};

use support::swarm::Swarm;
use support::wait_until;

use crate::cpu;
use crate::numbers::{count, median};
use crate::report::{Report, Row};
use crate::server::Kind;
use crate::spin::Spin;

const SIZES: [u16; 4] = [10, 100, 1000, 5000];
const ROUNDS: usize = 3;
const KINDS: [Kind; 3] = [Kind::Floor, Kind::Haproxy, Kind::Ours(2)];
const WINDOW: Duration = Duration::from_secs(4);

/// Measures all sizes, or the one that is given.
pub fn run(arguments: &[String], report: &mut Report) {
    let size = arguments.first().map(|text| text.parse().expect("a number of peers"));
    let sizes = size.map_or(SIZES.to_vec(), |size: u16| vec![size]);
    let _awake = Spin::start();
    let mut rows = Vec::new();

    for size in sizes {
        let swarm = Swarm::start(size);
        let mut costs = vec![Vec::new(); KINDS.len()];
        for _ in 0..ROUNDS {
            for (kind, costs) in KINDS.iter().zip(&mut costs) {
                costs.extend(measure(*kind, &swarm));
            }
        }
        let floor = median(&costs[0]);
        for (kind, costs) in KINDS.iter().zip(&costs) {
            let cost = median(costs);
            rows.push(
                Row::new()
                    .text("server", kind.name())
                    .number("peers", f64::from(size), 0)
                    .number("CPU us/probe", cost, 1)
                    .number("ratio to floor", cost / floor, 2),
            );
        }
    }
    report.table("CPU of all processes for each probe", &rows);
}

/// Processor time in microseconds for each probe; `None` if the server is not to be had.
fn measure(kind: Kind, swarm: &Swarm) -> Option<f64> {
    swarm.take();
    let server = kind.start(swarm)?;
    wait_until(Duration::from_secs(30), "every peer has been probed twice", || {
        swarm.fewest_probes() >= 2
    });
    let pids = server.pids();
    swarm.take();
    let (before, start) = (cpu::used(&pids), Instant::now());
    sleep(WINDOW.saturating_sub(start.elapsed()));
    let used = cpu::used(&pids) - before;
    let probes: usize = swarm.take().iter().map(|record| record.probes.len()).sum();
    Some(used.as_secs_f64() * 1e6 / count(probes))
}
