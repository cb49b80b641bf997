//! Drills: what a bad night brings, many times over and under load. Each prints its seed and a line
//! of figures, and fails where the module did.
//!
//! `tests/drills` runs them: the short form, in which they are part of `tests/run`, or with `--long`
//! the long one, which sets `TEST_LONG`. `TEST_SEED` repeats one of a seed.

mod busy;
mod connections;
mod crowd;
mod descriptors;
mod kills;
mod long;
mod module;
mod reloads;
mod stopped;
mod tested;
mod traffic;
mod zone_full;

use std::fmt::Display;
use std::time::{Duration, Instant};

use support::{process, say, skip, Nginx, Random};

/// One drill, from its seed to its figures.
struct Drill {
    random: Random,
    started: Instant,
}

impl Drill {
    /// Begins the drill that the running test is.
    fn begin() -> Drill {
        let random = Random::seeded();
        let form = if is_long() { "long" } else { "short" };
        say(&format!("SEED: {}, {form} form of {}", random.seed(), name()));

        Drill { random, started: Instant::now() }
    }

    /// Ends it with its line of figures.
    fn end(self, figures: impl Display) {
        let seconds = self.started.elapsed().as_secs_f64();
        say(&format!(
            "FIGURES: {} (seed {}, {seconds:.1} s): {figures}",
            name(),
            self.random.seed()
        ));
    }

    /// A pause that is shorter than `limit` milliseconds.
    fn pause(&mut self, limit: usize) {
        std::thread::sleep(Duration::from_millis(self.random.below(limit) as u64));
    }
}

fn name() -> String {
    std::thread::current().name().unwrap_or("a drill").to_owned()
}

/// Whether the long form is wanted.
fn is_long() -> bool {
    std::env::var_os("TEST_LONG").is_some()
}

/// Whether a drill that has no short form is to run; if not, says so.
fn long_only() -> bool {
    if !is_long() {
        skip("a drill of the long form: tests/drills --long");
    }
    is_long()
}

/// How much of something there is in the short form and in the long one.
fn either<T>(short: T, long: T) -> T {
    if is_long() {
        long
    } else {
        short
    }
}

/// What must not grow.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Size {
    /// Resident memory of the master, KiB.
    master_kib: u64,
    /// Descriptors of the master.
    descriptors: usize,
    /// Shared memory, in bytes of each zone.
    zones: Vec<u64>,
    /// Largest resident memory of a worker, KiB.
    worker_kib: u64,
    /// Most descriptors of a worker.
    worker_descriptors: usize,
}

impl Size {
    /// Measures it while all workers live.
    fn of(nginx: &Nginx) -> Size {
        let (master, workers) = (nginx.pid(), nginx.workers());
        // Probes and requests under way come and go, and so does what the master has of a worker that it
        // has just seen go: what is left when they are fewest.
        let descriptors = |all: &[u32]| all.iter().copied().map(process::descriptors).max();
        let fewest = |all: &[u32]| {
            let sample = |_| {
                std::thread::sleep(Duration::from_millis(10));
                descriptors(all).unwrap_or(0)
            };
            (0..20).map(sample).min().unwrap_or(0)
        };
        let mut zones = process::shared_mappings(master);
        // A reload may map them in another order.
        zones.sort_unstable();

        Size {
            master_kib: process::resident_kib(master),
            descriptors: fewest(&[master]),
            zones,
            worker_kib: workers.iter().map(|&pid| process::resident_kib(pid)).max().unwrap_or(0),
            worker_descriptors: fewest(&workers),
        }
    }

    /// Shared memory in all.
    fn zone_bytes(&self) -> u64 {
        self.zones.iter().sum()
    }

    /// Asserts that nothing has grown since `before`; returns what to say of it. `each`: so much may
    /// memory differ for reasons of its own, KiB.
    #[track_caller]
    fn flat_since(&self, before: &Size, each: u64) -> String {
        assert_eq!(self.zones, before.zones, "shared memory in bytes");
        assert_eq!(self.descriptors, before.descriptors, "descriptors of the master");
        assert!(
            self.worker_descriptors <= before.worker_descriptors + 20,
            "descriptors of a worker: {} after {}",
            self.worker_descriptors,
            before.worker_descriptors
        );
        for (now, then) in
            [(self.master_kib, before.master_kib), (self.worker_kib, before.worker_kib)]
        {
            assert!(now <= then + each, "resident memory: {now} KiB after {then}");
        }
        format!(
            "master {} -> {} KiB and {} descriptors, largest worker {} -> {} KiB, zones of {} KiB",
            before.master_kib,
            self.master_kib,
            self.descriptors,
            before.worker_kib,
            self.worker_kib,
            self.zone_bytes() / 1024
        )
    }
}
