//! Peers that the resolver adds and removes while nginx runs (nginx 1.27.3 and later).

use std::net::{IpAddr, Ipv4Addr};
use std::time::Instant;

use support::dns::Dns;
use support::{
    check, skip, wait_for, wait_until, Config, Environment, Nginx, Peer, Port, Row, LIMIT,
};

/// Peers on one port of the addresses 127.0.2.1 and on, and a name for some of them.
pub(crate) struct Service {
    dns: Dns,
    peers: Vec<Peer>,
    port: u16,
}

impl Service {
    /// `None`, with a remark, where nginx cannot do it.
    pub(crate) fn start(count: u8) -> Option<Service> {
        if !Environment::get().at_least([1, 27, 3]) {
            skip("this nginx has no `server ... resolve` in its upstreams");
            return None;
        }
        for _ in 0..20 {
            let first = Port::reserve_at(address(1)).expect("a free port");
            let port = first.address().port();
            let rest: Result<Vec<Port>, _> = (2..=count)
                .map(|last| Port::reserve_exactly((address(last), port).into()))
                .collect();
            if let Ok(rest) = rest {
                let peers = [first].into_iter().chain(rest).map(Peer::on).collect();
                return Some(Service { dns: Dns::start(), peers, port });
            }
        }
        panic!("no port is free on {count} addresses");
    }

    /// Has the name mean the peers with these numbers, from 1.
    pub(crate) fn set(&self, numbers: &[u8]) {
        let addresses: Vec<IpAddr> = numbers.iter().map(|&number| address(number)).collect();
        self.dns.set("service.test", &addresses);
    }

    pub(crate) fn config(&self, balancer: &str, workers: usize) -> Config {
        let body = format!(
            "zone backend 256k; {balancer} {} {}",
            check(200, 2000, 2),
            self.server("max_fails=0")
        );
        let resolver = format!("resolver {} valid=1s ipv6=off;", self.dns.address());
        Config::new().workers(workers).http(&resolver).upstream("backend", body)
    }

    /// A `server` line of the name.
    pub(crate) fn server(&self, more: &str) -> String {
        format!("server service.test:{} resolve {more};", self.port)
    }

    pub(crate) fn peer(&self, number: u8) -> &Peer {
        &self.peers[usize::from(number) - 1]
    }

    /// Waits until the page lists exactly these peers.
    pub(crate) fn wait_listed(&self, nginx: &Nginx, numbers: &[u8]) {
        let mut expected: Vec<String> =
            numbers.iter().map(|&number| self.peer(number).to_string()).collect();
        expected.sort();
        wait_until(LIMIT, &format!("the page lists {numbers:?}"), || {
            let rows = nginx.status().peers;
            let mut names: Vec<String> = rows.into_iter().map(|row| row.name).collect();
            names.sort();
            names == expected
        });
    }
}

fn address(last: u8) -> IpAddr {
    IpAddr::V4(Ipv4Addr::new(127, 0, 2, last))
}

#[test]
fn check_28_resolved_peers_are_probed_and_obeyed() {
    let Some(service) = Service::start(3) else { return };
    for balancer in ["", "least_conn;", "hash $arg_k;", "hash $arg_k consistent;", "ip_hash;"]
        .into_iter()
        .chain(["random;", "random two;"])
    {
        service.set(&[1, 2]);
        service.peer(2).healthy(true);
        let nginx = Nginx::start(&service.config(balancer, 2));
        service.wait_listed(&nginx, &[1, 2]);
        nginx.wait_probed();

        service.peer(2).healthy(false);
        nginx.wait_down(service.peer(2), true);
        nginx.wait_logged("is down", 1);
        let tally = nginx.tally(60, "backend");
        assert_eq!(tally.at(&service.peer(1).to_string()), 60, "{balancer}: {tally:?}");
        service.peer(2).healthy(true);
        nginx.wait_down(service.peer(2), false);
        assert!(nginx.tally(60, "backend").at(&service.peer(2).to_string()) > 0, "{balancer}");
    }
}

#[test]
fn check_28_an_added_peer_is_probed_and_a_removed_one_is_not() {
    let Some(service) = Service::start(3) else { return };
    service.set(&[1]);
    let nginx = Nginx::start(&service.config("", 2));
    service.wait_listed(&nginx, &[1]);

    service.set(&[1, 2, 3]);
    service.wait_listed(&nginx, &[1, 2, 3]);
    nginx.wait_probed();
    service.peer(3).healthy(false);
    nginx.wait_down(service.peer(3), true);
    nginx.wait_logged("is down", 1);
    assert_eq!(nginx.tally(60, "backend").at(&service.peer(3).to_string()), 0);

    service.set(&[1, 3]);
    service.wait_listed(&nginx, &[1, 3]);
    // Its prober learns of it within about a second, or later on a machine that stands still.
    let probes = |number| service.peer(number).probe_count();
    wait_until(LIMIT, "nobody probes a peer that is gone", || {
        let (gone, there) = (probes(2), probes(1));
        wait_until(LIMIT, "ten periods", || probes(1) >= there + 10);
        service.peer(2).settle();
        probes(2) == gone
    });
    assert_eq!(nginx.tally(60, "backend").at(&service.peer(1).to_string()), 60);
}

#[test]
fn check_28_a_known_sick_peer_that_comes_back_gets_no_request() {
    let Some(service) = Service::start(3) else { return };
    service.set(&[1, 2, 3]);
    let nginx = Nginx::start(&service.config("", 4));
    service.wait_listed(&nginx, &[1, 2, 3]);
    nginx.wait_probed();
    let sick = service.peer(2).to_string();
    service.peer(2).healthy(false);
    nginx.wait_down(&sick, true);
    nginx.wait_logged("is down", 1);

    let load = nginx.load(3, "backend");
    for _ in 0..3 {
        service.set(&[1, 3]);
        service.wait_listed(&nginx, &[1, 3]);
        service.set(&[1, 2, 3]);
        service.wait_listed(&nginx, &[1, 2, 3]);
        assert!(nginx.row(&sick).down);
        assert_eq!(nginx.tally(60, "backend").at(&sick), 0);
    }
    let samples = load.stop();
    assert!(!samples.is_empty());
    assert_eq!(samples.iter().filter(|sample| sample.peer == sick).count(), 0);
    // nginx itself refuses a request that has begun with the list before: of six lists, hardly any.
    let refused = nginx.log_lines("no live upstreams").len();
    let failed = samples.iter().filter(|sample| sample.status != Some(200)).count();
    assert!(failed <= refused && refused <= 6, "{failed} failed, {refused} refused");
    assert_eq!(service.peer(2).request_count(), 0);
}

#[test]
fn check_28_resolved_health_survives_a_reload() {
    let Some(service) = Service::start(3) else { return };
    service.set(&[1, 2, 3]);
    let config = service.config("", 2);
    let mut nginx = Nginx::start(&config);
    service.wait_listed(&nginx, &[1, 2, 3]);
    nginx.wait_probed();
    let sick = service.peer(2).to_string();
    service.peer(2).healthy(false);
    nginx.wait_down(&sick, true);
    nginx.wait_logged("is down", 1);

    let load = nginx.load(2, "backend");
    for _ in 0..3 {
        nginx.reload(&config);
        service.wait_listed(&nginx, &[1, 2, 3]);
        assert!(nginx.row(&sick).down);
    }
    let samples = load.stop();
    assert_eq!(samples.iter().filter(|sample| sample.peer == sick).count(), 0);
}

#[test]
fn check_28_all_resolved_peers_down_fail_at_once() {
    let Some(service) = Service::start(2) else { return };
    service.set(&[1, 2]);
    let nginx = Nginx::start(&service.config("", 2));
    service.wait_listed(&nginx, &[1, 2]);

    for number in [1, 2] {
        service.peer(number).healthy(false);
    }
    wait_until(LIMIT, "all down", || nginx.status().peers.iter().all(|row| row.down));
    nginx.wait_logged("is down", 2);
    assert_eq!(nginx.tally(20, "backend").with_status(502), 20);
    // A removal while all are down keeps nginx's own count of attempts right.
    service.set(&[1]);
    service.wait_listed(&nginx, &[1]);
    service.peer(1).healthy(true);
    nginx.wait_down(service.peer(1), false);
    assert_eq!(nginx.tally(20, "backend").with_status(200), 20);
}

#[test]
fn fixed_and_resolved_servers_live_in_one_upstream() {
    let Some(service) = Service::start(2) else { return };
    let fixed = Peer::start();
    service.set(&[1, 2]);
    let body = format!(
        "zone backend 256k; {} server {fixed} max_fails=0; server service.test:{} resolve max_fails=0;",
        check(200, 2000, 2),
        service.port
    );
    let nginx = Nginx::start(&service.config("", 2).upstream("backend", body));
    wait_until(LIMIT, "three peers", || nginx.status().peers.len() == 3);
    nginx.wait_probed();

    assert_eq!(nginx.row(&fixed).line, Some(0));
    fixed.healthy(false);
    nginx.wait_down(&fixed, true);
    nginx.wait_logged("is down", 1);
    assert_eq!(nginx.tally(40, "backend").at(&fixed.to_string()), 0);
    service.peer(1).healthy(false);
    nginx.wait_down(service.peer(1), true);
    nginx.wait_logged("is down", 2);
    assert_eq!(nginx.tally(40, "backend").at(&service.peer(2).to_string()), 40);
}

#[test]
fn more_addresses_than_the_zone_has_room_for_are_used_without_probes() {
    if Service::start(1).is_none() {
        return;
    }
    let swarm = support::swarm::Swarm::start(200);
    let dns = Dns::start();
    let port = swarm.addresses()[0].port();
    let addresses: Vec<IpAddr> = swarm.addresses().iter().map(|address| address.ip()).collect();
    dns.set("service.test", &addresses);
    let body = format!(
        "zone backend 1m; {} server service.test:{port} resolve max_fails=0;",
        check(500, 5000, 2)
    );
    let resolver = format!("resolver {} valid=1s ipv6=off;", dns.address());
    let started = Instant::now();
    let nginx = Nginx::start(&Config::new().workers(2).http(&resolver).upstream("backend", body));

    wait_until(LIMIT, "all addresses are listed", || nginx.status().peers.len() == 200);
    let probed = || nginx.status().peers.iter().filter(|row| row.concurrent > 0).count();
    wait_until(LIMIT, "the zone is used up", || probed() >= 64);
    // A few more scans of both workers.
    let count = || nginx.status().peers.iter().map(|row| row.concurrent).max();
    let before = count();
    wait_until(LIMIT, "some more periods", || count() >= before.map(|count| count + 6));
    let page = wait_for(LIMIT, "no first probe is in flight", || {
        let page = nginx.status();
        let is_at_rest = |row: &Row| (row.probes > 0) == (row.concurrent > 0);
        page.peers.iter().all(is_at_rest).then_some(page)
    });
    let (seen, unseen): (Vec<_>, Vec<_>) = page.peers.iter().partition(|row| row.concurrent > 0);
    assert!(seen.len() >= 64 && !unseen.is_empty(), "{} of 200", seen.len());
    assert!(page.peers.iter().all(|row| !row.down));
    assert!(unseen.iter().all(|row| row.status == "Unknown state" && row.probes == 0));
    let lines = nginx.log_lines("[error]");
    let minutes = usize::try_from(started.elapsed().as_secs() / 60).expect("a short time");
    let most = 2 * (1 + minutes);
    assert!((1..=most).contains(&lines.len()), "one line a worker and minute: {lines:#?}");
    assert_eq!(nginx.tally(255, "backend").with_status(200), 255);
}
