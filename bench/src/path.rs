//! Part `path`: what a proxied request costs.

use support::swarm::Swarm;
use support::Config;

use crate::report::{Report, Row};
use crate::server::lines;

mod instructions;

use instructions::{of_requests, Instructions};

const SIZES: [u16; 3] = [2, 32, 256];
/// nginx's balancers, and what an upstream says to have each.
const METHODS: [(&str, &str); 3] =
    [("round_robin", ""), ("least_conn", "least_conn;"), ("hash", "hash $request_uri;")];
/// Where what an upstream may have besides checks is looked at.
const FEW: u16 = 2;
/// Requests that a process passes; each figure is the difference of two processes, so that what they do
/// besides drops out.
const REQUESTS: [u32; 2] = [500, 2500];
/// Instructions of ours for a request to an upstream with checks.
const LIMIT: f64 = 60.0;

/// What is compared.
#[derive(Clone, Copy)]
struct Case {
    name: &'static str,
    /// Whether the module is loaded.
    module: bool,
    /// Directives of the upstream.
    directives: &'static str,
}

const WITHOUT: Case = Case { name: "without the module", module: false, directives: "" };
const UNUSED: Case = Case { name: "module unused", module: true, directives: "" };
const CHECKS: Case = Case {
    name: "checks",
    module: true,
    directives: "healthcheck_enabled; healthcheck_delay 1h; \
    healthcheck_send 'GET /hc HTTP/1.0';",
};
const FAST: Case = Case {
    name: "checks and a fast delay",
    module: true,
    directives: "healthcheck_enabled; healthcheck_delay 1h; healthcheck_fast_delay 30m; \
                 healthcheck_send 'GET /hc HTTP/1.0';",
};
const QUEUE: Case = Case {
    name: "checks and a queue",
    module: true,
    directives: "healthcheck_enabled; \
    healthcheck_delay 1h; healthcheck_send 'GET /hc HTTP/1.0'; queue 100;",
};
const PROGRAMS: Case = Case {
    name: "managed programs",
    module: true,
    directives: "supervisord none; supervisord_inherit_backend_status;",
};

/// Measures all sizes, or the one that is given.
pub fn run(arguments: &[String], report: &mut Report) {
    let size = arguments.first().map(|text| text.parse().expect("a number of peers"));
    let mut rows = Vec::new();

    for size in size.map_or(SIZES.to_vec(), |size: u16| vec![size]) {
        let swarm = Swarm::start(size);
        for (method, directive) in METHODS {
            let each = |case: Case| each(case, directive, &swarm);
            let (without, unused, checks) = (each(WITHOUT), each(UNUSED), each(CHECKS));
            let base = without.all;
            for (case, each) in [(WITHOUT, without), (UNUSED, unused), (CHECKS, checks)] {
                rows.push(row(case, method, size, each, base));
            }
            assert!(checks.ours > 0.0, "callgrind has not seen the module");
            let name = format!("instructions of ours a request, {method}, {size} peers");
            report.at_most(name, checks.ours, LIMIT);
            if size == FEW && directive.is_empty() {
                for case in [FAST, QUEUE, PROGRAMS] {
                    rows.push(row(case, method, size, self::each(case, "", &swarm), base));
                }
            }
        }
    }
    report.table("Instructions a proxied request, user space", &rows);
}

/// Instructions a request.
#[derive(Clone, Copy)]
struct Each {
    ours: f64,
    all: f64,
}

fn each(case: Case, method: &str, swarm: &Swarm) -> Each {
    let config = Config::new().without_pages().http("keepalive_requests 1000000;");
    let config = if case.module { config } else { config.without_module() };
    let config =
        config.upstream("backend", format!("{method} {} {}", lines(swarm), case.directives));
    let probes = case.directives.contains("healthcheck_enabled");
    let [few, many] = REQUESTS.map(|count| of_requests(&config, swarm, probes, count));
    let Instructions { ours, all } = many - few;
    let each = |total: i64| total as f64 / f64::from(REQUESTS[1] - REQUESTS[0]);

    Each { ours: each(ours), all: each(all) }
}

fn row(case: Case, method: &'static str, size: u16, each: Each, base: f64) -> Row {
    Row::new()
        .text("upstream", case.name)
        .text("method", method)
        .number("peers", size.into(), 0)
        .number("ours", each.ours, 0)
        .number("all", each.all, 0)
        .number("of stock", each.all / base, 3)
}
