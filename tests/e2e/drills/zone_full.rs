//! The resolver brings more peers than the shared memory has room for.

use std::net::IpAddr;
use std::time::Instant;

use support::dns::Dns;
use support::swarm::Swarm;
use support::{check, skip, wait_until, Config, Environment, LIMIT};

use super::{either, is_long, Drill};

/// Addresses of the name; a zone of one such line has room for 128.
const PEERS: u16 = 160;

/// Slots of that zone.
const SLOTS: usize = 128;

#[test]
fn peers_beyond_the_zone_count_as_up_and_cost_one_line() {
    if !Environment::get().at_least([1, 27, 3]) {
        return skip("this nginx has no `server ... resolve` in its upstreams");
    }
    let drill = Drill::begin();
    let (swarm, dns) = (Swarm::start(PEERS), Dns::start());
    let addresses: Vec<IpAddr> = swarm.addresses().iter().map(|address| address.ip()).collect();
    let port = swarm.addresses()[0].port();
    let body = format!(
        "zone backend 1m; {} server many.test:{port} resolve max_fails=0;",
        check(500, 5000, 2)
    );
    let resolver = format!("resolver {} valid=1s ipv6=off;", dns.address());
    let events = "events { worker_connections 2048; }";
    let config = Config::new().workers(2).main(events).http(&resolver).upstream("backend", body);
    dns.set("many.test", &addresses);
    let started = Instant::now();
    let nginx = support::Nginx::start(&config);
    let rounds = either(1, 5);

    let mut left_out = 0;
    for _ in 0..rounds {
        wait_until(LIMIT, "all are listed", || nginx.status().peers.len() == addresses.len());
        wait_until(LIMIT, "those with a slot are probed", || {
            nginx.status().peers.iter().filter(|row| row.concurrent > 1).count() == SLOTS
        });
        wait_until(LIMIT, "a line", || !nginx.log_lines("no room in shared memory").is_empty());
        let page = nginx.status();
        assert!(page.peers.iter().all(|row| !row.down && row.failures == 0));
        let unprobed = page.peers.iter().filter(|row| row.probes == 0);
        let unprobed: Vec<String> = unprobed.map(|row| row.name.clone()).collect();
        let tally = nginx.tally(250, "backend");
        assert_eq!(tally.with_status(200), 250, "{tally:?}");
        assert!(unprobed.iter().all(|name| tally.at(name) > 0), "{unprobed:?}: {tally:?}");
        left_out = unprobed.len();
        if !is_long() {
            break;
        }
        // Fewer again, and all of these are probed: slots of those that are gone are free after ten
        // seconds.
        let few = &addresses[SLOTS - 8..];
        dns.set("many.test", few);
        wait_until(LIMIT, "few are listed", || nginx.status().peers.len() == few.len());
        wait_until(LIMIT * 2, "all are probed", || {
            nginx.status().peers.iter().all(|row| row.concurrent > 1)
        });
        dns.set("many.test", &addresses);
    }
    let lines = nginx.log_lines("no room in shared memory");
    // Once a minute, and each worker says it for itself.
    let minutes = started.elapsed().as_secs() / 60;
    assert!(lines.len() as u64 <= 2 * (1 + minutes), "{lines:#?}");
    assert!(lines.iter().all(|line| line.contains("[error]")), "{lines:#?}");
    assert!(nginx.log_lines("is down").is_empty());
    drill.end(format_args!(
        "{rounds} times {PEERS} peers in {SLOTS} slots: {left_out} not probed, up and used; {} lines \
         of 2 workers",
        lines.len()
    ));
}
