//! Part `page`: what a status page costs, and what requests suffer meanwhile.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use support::swarm::Swarm;
use support::{wait_until, Config, Nginx};

use crate::client::Client;
use crate::cpu;
use crate::load::{Answers, Load};
use crate::numbers::{count, median};
use crate::report::{Report, Row};
use crate::server::{lines, EVENTS};
use crate::spin::Spin;

const SIZES: [u16; 2] = [1000, 10_000];
const FORMATS: [&str; 2] = ["json", "html"];
const ROUNDS: usize = 5;
/// How many pages a round has, times their peers.
const PAGES_OF_ONE: u32 = 300_000;
/// Milliseconds of processor time that a JSON page of `LIMITED` peers may cost.
const LIMIT_MS: f64 = 0.25;
const LIMITED: u16 = 1000;
/// Requests per second that go on meanwhile, and for how long.
const RATE: u32 = 1000;
const WINDOW: Duration = Duration::from_secs(3);

/// Measures all sizes, or the one that is given.
pub fn run(arguments: &[String], report: &mut Report) {
    let size = arguments.first().map(|text| text.parse().expect("a number of peers"));
    let (mut costs, mut latencies) = (Vec::new(), Vec::new());

    for size in size.map_or(SIZES.to_vec(), |size: u16| vec![size]) {
        let swarm = Swarm::start(size);
        let nginx = start(&swarm);
        let pages = FORMATS.map(|format| cost(&nginx, format, size));
        for (format, (milliseconds, bytes)) in FORMATS.iter().zip(pages) {
            costs.push(
                Row::new()
                    .text("page", *format)
                    .number("peers", size.into(), 0)
                    .number("ms of processor time", milliseconds, 3)
                    .number("us/peer", milliseconds * 1e3 / f64::from(size), 3)
                    .number("bytes", bytes, 0),
            );
        }
        if size == LIMITED {
            let name = format!("ms of processor time for the JSON page of {size} peers");
            report.at_most(name, pages[0].0, LIMIT_MS);
        }
        latencies.extend(latency(&nginx, size));
    }
    report.table("A page on a kept connection, medians", &costs);
    let title = format!("Latency of {RATE} requests/s to the same worker, ms");
    report.table(&title, &latencies);
}

/// One worker that has probed every peer once, and will not again for an hour.
fn start(swarm: &Swarm) -> Nginx {
    let directives = "healthcheck_enabled; healthcheck_delay 1h; \
                      healthcheck_send 'GET /hc HTTP/1.0' 'Host: x';";
    let config = Config::new()
        .main(EVENTS)
        .http("keepalive_requests 1000000;")
        .upstream("backend", format!("{directives} {}", lines(swarm)))
        .server("location = /quick { return 204; }");
    let nginx = Nginx::start(&config);
    wait_until(Duration::from_secs(60), "every peer has been probed", || swarm.fewest_probes() > 0);
    nginx
}

/// Milliseconds of the worker's processor time for a page, and its bytes.
fn cost(nginx: &Nginx, format: &str, size: u16) -> (f64, f64) {
    let _awake = Spin::start();
    let path = path(format);
    let workers = nginx.workers();
    let mut client = Client::connect(nginx.address()).expect("a connection");
    let pages = PAGES_OF_ONE / u32::from(size);
    let mut bytes = 0.0;
    let mut round = || {
        let before = cpu::used(&workers);
        for _ in 0..pages {
            bytes = count(client.get(&path).expect("a page"));
        }
        (cpu::used(&workers) - before).as_secs_f64() * 1e3 / f64::from(pages)
    };
    // The first pages take memory that the worker keeps.
    round();
    let costs: Vec<f64> = (0..ROUNDS).map(|_| round()).collect();
    (median(&costs), bytes)
}

/// What requests suffer while nobody fetches pages, and while somebody fetches one after the other.
fn latency(nginx: &Nginx, size: u16) -> Vec<Row> {
    let row = |meanwhile: &str, answers: &Answers| {
        Row::new()
            .text("meanwhile", meanwhile)
            .number("peers", size.into(), 0)
            .number("p50", answers.latency_ms(500), 3)
            .number("p99", answers.latency_ms(990), 3)
            .number("failed", count(answers.failures().len()), 0)
    };
    let mut rows = vec![row("no pages", &load(nginx))];

    for format in FORMATS {
        let (answers, pages) = while_fetching(nginx, format);
        let each_second = pages / WINDOW.as_secs_f64();
        rows.push(row(&format!("{format} pages"), &answers).number("pages/s", each_second, 0));
    }
    rows
}

/// Requests to the worker, and how many pages it answered besides.
fn while_fetching(nginx: &Nginx, format: &str) -> (Answers, f64) {
    let ended = AtomicBool::new(false);
    let fetch = || {
        let mut client = Client::connect(nginx.address()).expect("a connection");
        let mut pages = 0.0;
        while !ended.load(Ordering::Relaxed) {
            client.get(&path(format)).expect("a page");
            pages += 1.0;
        }
        pages
    };

    thread::scope(|scope| {
        let fetcher = scope.spawn(fetch);
        let answers = load(nginx);
        ended.store(true, Ordering::Relaxed);
        (answers, fetcher.join().expect("the thread that fetches"))
    })
}

fn load(nginx: &Nginx) -> Answers {
    let load = Load::new(nginx.address(), "/quick", RATE);
    Load { keep: true, ..load }.run_for(WINDOW)
}

fn path(format: &str) -> String {
    format!("/status?format={format}")
}
