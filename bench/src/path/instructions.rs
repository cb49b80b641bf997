//! Instructions, counted by callgrind.

use std::collections::HashMap;
use std::fs;
use std::ops::Sub;
use std::thread::sleep;
use std::time::{Duration, Instant};

use support::swarm::Swarm;
use support::valgrind::SLOW;
use support::{wait_until, Config, Environment, Nginx};

use crate::client::Client;

/// Where callgrind writes.
const FILE: &str = "callgrind.out";
/// How long a process lives from its last request on at least, and from its first on in any case: what
/// is done once a second is done as often with few requests as with many.
const LIFE: Duration = Duration::from_millis(1500);

/// What a process has executed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Instructions {
    /// In the module's object file.
    pub ours: i64,
    /// In all.
    pub all: i64,
}

impl Sub for Instructions {
    type Output = Instructions;

    fn sub(self, other: Instructions) -> Instructions {
        Instructions { ours: self.ours - other.ours, all: self.all - other.all }
    }
}

/// Those of the only process of an nginx that has probed a swarm once, if it `probes`, and has passed
/// so many requests to the upstream "backend".
///
/// # Panics
/// If nginx or a request fails, or callgrind is not there.
pub(super) fn of_requests(
    config: &Config,
    swarm: &Swarm,
    probes: bool,
    count: u32,
) -> Instructions {
    let file = format!("--callgrind-out-file=@DIR@/{FILE}");
    let wrapper = ["valgrind", "--tool=callgrind", &file];
    let config = config.clone().single_process().wrapper(wrapper);

    swarm.take();
    let mut nginx = Nginx::start_within(SLOW, &config);
    wait_until(SLOW, "every peer has been probed", || !probes || swarm.fewest_probes() > 0);
    let start = Instant::now();
    let mut client = Client::connect(nginx.address()).expect("a connection");
    for number in 0..count {
        client.get(&format!("/backend/{number}")).expect("an answer");
    }
    drop(client);
    sleep(LIFE.saturating_sub(start.elapsed()));
    nginx.quit_within(SLOW);
    let module = Environment::get().module.as_ref().and_then(|path| path.file_name());
    let module = module.and_then(|name| name.to_str()).expect("the module's file");
    let text = fs::read_to_string(nginx.dir().join(FILE)).expect("what callgrind has written");
    parse(&text, module)
}

/// Sums of a file of callgrind's: lines of costs under the object files that they are in, of which ours
/// is the one whose name ends so.
fn parse(text: &str, module: &str) -> Instructions {
    let mut sums = Instructions::default();
    // A name stands in the file once, with a number by which it is meant afterwards.
    let mut is_ours = HashMap::new();
    let mut here = false;
    let mut lines = text.lines();

    while let Some(line) = lines.next() {
        if let Some((kind @ ("ob" | "cob"), name)) = line.split_once('=') {
            let (number, name) = name.split_once(' ').unwrap_or((name, ""));
            if !name.is_empty() {
                is_ours.insert(number, name.ends_with(module));
            }
            if kind == "ob" {
                here = is_ours.get(number).copied().unwrap_or(false);
            }
        } else if line.starts_with("calls=") {
            // The next line is what was called, which is counted where it is.
            lines.next();
        } else if line.starts_with(|first: char| first.is_ascii_digit() || "+-*".contains(first)) {
            let cost = line.split(' ').nth(1).and_then(|cost| cost.parse().ok()).unwrap_or(0);
            sums.all += cost;
            sums.ours += if here { cost } else { 0 };
        }
    }
    sums
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn costs_count_where_they_are_and_not_where_they_were_called() {
        let text = "events: Ir\nob=(1) /nginx\nfn=(1) main\n10 5\n+2 7\ncob=(2) /x/ngx_http_healthcheck_module.so\n\
                    cfn=(2) ours\ncalls=3 20\n* 900\n* 1\n\nob=(2)\nfn=(2)\n20 400\n-1 2\ncob=(1)\n\
                    cfn=(3) pool\ncalls=1 1\n+3 50\nob=(1)\nfn=(3)\n1 50\n\ntotals: 465\n";
        assert_eq!(
            parse(text, "/ngx_http_healthcheck_module.so"),
            Instructions { ours: 402, all: 465 }
        );
    }
}
