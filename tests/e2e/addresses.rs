//! Peers of every address family, and names that mean several of them.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::Path;
use std::process::Command;

use support::spawn::output;
use support::{servers, skip, wait_until, Config, Nginx, Peer, Port, CHECK, LIMIT};

/// Waits until a peer counts as down, or up again, with that code of its last probe: the one before may
/// have met the peer on its way there.
#[track_caller]
fn wait_code(nginx: &Nginx, peer: impl ToString, down: bool, code: &str) {
    let what = format!("is {} with {code}", if down { "down" } else { "up" });
    nginx.wait_row(peer, &what, |row| row.down == down && row.code == code);
}

/// Two peers in one upstream, of which the second falls sick and recovers.
fn is_checked(peers: &[Peer; 2]) {
    for zone in ["", "zone backend 64k;"] {
        peers[1].healthy(true);
        let body = format!("{zone} {CHECK} {}", servers(peers));
        let nginx = Nginx::start(&Config::new().workers(2).upstream("backend", body));
        let [well, sick] = [&peers[0], &peers[1]].map(|peer| peer.to_string());

        nginx.wait_probed();
        assert!(nginx.tally(40, "backend").at(&sick) > 0);
        peers[1].healthy(false);
        wait_code(&nginx, &sick, true, "bad_code");
        nginx.wait_logged("is down", 1);
        assert_eq!(nginx.tally(40, "backend").at(&well), 40);
        peers[1].healthy(true);
        nginx.wait_down(&sick, false);
        assert!(nginx.tally(40, "backend").at(&sick) > 0);
    }
}

#[test]
fn ipv6_peers_are_checked() {
    let local = IpAddr::V6(Ipv6Addr::LOCALHOST);
    match (Peer::at(local), Peer::at(local)) {
        (Ok(first), Ok(second)) => is_checked(&[first, second]),
        _ => skip("no IPv6 on loopback"),
    }
}

#[test]
fn unix_sockets_are_checked() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let peer = |name: &str| Peer::unix(&dir.path().join(name));

    is_checked(&[peer("first.sock"), peer("second.sock")]);
}

#[test]
fn a_unix_socket_that_goes_and_comes_back_is_seen_both_times() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let mut peer = Peer::unix(&dir.path().join("peer.sock"));
    let body = format!("{CHECK} {}", servers([&peer]));
    let nginx = Nginx::start(&Config::new().upstream("backend", body));

    nginx.wait_probed();
    peer.stop();
    wait_code(&nginx, &peer, true, "bad_connection");
    peer.restart();
    wait_code(&nginx, &peer, false, "ok");
}

#[test]
fn mixed_families_are_told_apart() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let mut peers = vec![Peer::start(), Peer::unix(&dir.path().join("peer.sock"))];
    peers.extend(Peer::at(IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2))));
    peers.extend(Peer::at(IpAddr::V6(Ipv6Addr::LOCALHOST)));
    let body = format!("{CHECK} {}", servers(&peers));
    let nginx = Nginx::start(&Config::new().upstream("backend", body));

    nginx.wait_probed();
    for peer in &peers {
        peer.healthy(false);
        nginx.wait_down(peer, true);
        let down = nginx.status().peers.iter().filter(|row| row.down).count();
        assert_eq!(down, 1, "only {peer}");
        peer.healthy(true);
        nginx.wait_down(peer, false);
    }
}

#[test]
fn each_address_behind_one_name_is_a_peer_of_its_own() {
    let hosts = tempfile::tempdir().expect("a temporary directory");
    let Some((config, peers)) = with_a_name_of_three(hosts.path()) else { return };
    let nginx = Nginx::start(&config.workers(2));

    let page = nginx.wait_probed();
    assert_eq!(page.peers.len(), 3);
    for (row, peer) in page.peers.iter().zip(&peers) {
        assert_eq!(row.server.split(':').next(), Some("many.test"), "{row:#?}");
        assert_eq!((row.line, row.name.clone()), (Some(0), peer.to_string()));
    }
    let sick = peers[1].to_string();
    assert!(nginx.tally(60, "backend").at(&sick) > 0);
    peers[1].healthy(false);
    nginx.wait_down(&sick, true);
    nginx.wait_logged("is down", 1);
    assert_eq!(nginx.status().peers.iter().filter(|row| row.down).count(), 1);
    let tally = nginx.tally(60, "backend");
    assert_eq!((tally.at(&sick), tally.with_status(200)), (0, 60));
}

/// An upstream with a name for three addresses. nginx looks names up in the system's list while
/// it reads the configuration, so it gets a list of its own; that takes a mount namespace.
fn with_a_name_of_three(dir: &Path) -> Option<(Config, Vec<Peer>)> {
    let path = dir.join("hosts").display().to_string();
    fs::write(&path, "").expect("a file in the directory");
    let within = ["--mount", "sh", "-c", "mount --bind \"$0\" /etc/hosts && exec \"$@\"", &path];
    let allowed = output(Command::new("unshare").args(within).arg("true"));
    if !allowed.is_ok_and(|output| output.status.success()) {
        skip("no mount namespace for a list of hosts");
        return None;
    }

    let peers = three_at_one_port();
    let lines: String = (1..=3).map(|last| format!("127.0.3.{last} many.test\n")).collect();
    fs::write(&path, lines).expect("a file in the directory");
    let port = peers[0].to_string();
    let port = port.rsplit(':').next().expect("a port");
    let body = format!("{CHECK} server many.test:{port} max_fails=0;");
    let command = ["unshare"].into_iter().chain(within);
    Some((Config::new().wrapper(command).upstream("backend", body), peers))
}

/// Peers at 127.0.3.1 to 127.0.3.3 with the same port.
fn three_at_one_port() -> Vec<Peer> {
    let ip = |last| IpAddr::V4(Ipv4Addr::new(127, 0, 3, last));

    for _ in 0..20 {
        let first = Port::reserve_at(ip(1)).expect("a free port");
        let number = first.address().port();
        let rest: Result<Vec<Port>, _> = [2, 3]
            .map(|last| Port::reserve_exactly((ip(last), number).into()))
            .into_iter()
            .collect();
        if let Ok(rest) = rest {
            return [first].into_iter().chain(rest).map(Peer::on).collect();
        }
    }
    panic!("no port is free on three addresses");
}

#[test]
fn a_peer_that_no_connection_can_be_begun_to_stops_nobody() {
    let peers = Peer::start_many(2);
    // A link-local address without a link: connect() itself fails, no packet is sent.
    let nowhere = "[fe80::1]:9";
    let body = format!("{CHECK} server {nowhere} max_fails=0; {}", servers(&peers));
    let nginx = Nginx::start(&Config::new().upstream("backend", body));

    assert_eq!(nginx.wait_down(nowhere, true).code, "bad_connection");
    let before = peers[0].probe_count();
    wait_until(LIMIT, "the others are probed", || peers[0].probe_count() > before + 3);
    peers[1].healthy(false);
    nginx.wait_down(&peers[1], true);
    assert_eq!(nginx.tally(20, "backend").at(&peers[0].to_string()), 20);
}
