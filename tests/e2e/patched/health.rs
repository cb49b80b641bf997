//! Peers that their probes call sick get no request, from any worker, whatever the upstream looks like.

use support::{
    check, servers, wait_until, Config, Consumer, Environment, Nginx, Peer, Script, CHECK, LIMIT,
};

use super::patched_balancers;

/// Waits until the page says so of a peer in all upstreams.
fn wait_everywhere(nginx: &Nginx, peer: &Peer, down: bool) {
    wait_until(LIMIT, if down { "down everywhere" } else { "up everywhere" }, || {
        let page = nginx.status();
        page.peers.iter().filter(|row| row.name == peer.to_string()).all(|row| row.down == down)
    });
}

/// The numbers of the peers that got any of 60 requests; all were answered, by both workers.
fn served_by(nginx: &Nginx, name: &str, peers: &[Peer]) -> Vec<usize> {
    let tally = nginx.tally(60, name);

    assert_eq!(tally.with_status(200), 60, "{name}: {tally:?}");
    assert_eq!(tally.workers.len(), 2, "{name}: {tally:?}");
    (0..peers.len()).filter(|&number| tally.at(&peers[number].to_string()) > 0).collect()
}

#[test]
fn the_peers_are_registered_so_that_nothing_is_written_into_the_list() {
    let asked = |line: &str| {
        let peer = Peer::start();
        let body = format!("{line} {CHECK} {}", servers([&peer]));
        let config = Config::new().load_after(&Consumer::build("asking"));
        let config = config.server("location /is_down { ask_is_down $arg_index; }");
        let mut nginx = Nginx::start(&config.upstream("backend", body));
        nginx.allow_in_log("Invalid index to is_down");
        peer.healthy(false);
        nginx.wait_down(&peer, true);
        let answer = nginx.get("/is_down?index=1").text();
        (answer, nginx.log_lines("Invalid index to is_down: 1").len())
    };

    for line in patched_balancers() {
        assert_eq!(asked(line), ("1".to_owned(), 0), "{line}");
        assert_eq!(asked(&format!("{line} keepalive 4;")), ("1".to_owned(), 0), "{line}");
    }
    // These ask for nginx's round robin by name, and read `down` alone.
    for line in ["least_conn;", "ip_hash;", "random;", "random two;"] {
        assert_eq!(asked(line), ("0".to_owned(), 1), "{line}");
    }
}

#[test]
fn backups_serve_while_no_usable_peer_is_left_and_are_asked_for_as_well() {
    if !Environment::get().patched("round_robin") {
        return;
    }
    let peers = Peer::start_many(4);
    let (backups, lines) = (&peers[2..], |zone: &str| {
        format!(
            "{zone} {CHECK} {} server {} max_fails=0 backup; server {} max_fails=0 backup;",
            servers(&peers[..2]),
            peers[2],
            peers[3]
        )
    });
    let config = Config::new().workers(2);
    let config = config.upstream("plain", lines("")).upstream("zoned", lines("zone zoned 64k;"));
    let nginx = Nginx::start(&config);
    nginx.wait_probed();

    for (sick, expected) in [
        (vec![], vec![0, 1]),
        (vec![0], vec![1]),
        (vec![0, 1], vec![2, 3]),
        (vec![0, 1, 3], vec![2]),
        (vec![3], vec![0, 1]),
    ] {
        for (number, peer) in peers.iter().enumerate() {
            peer.healthy(!sick.contains(&number));
            wait_everywhere(&nginx, peer, sick.contains(&number));
        }
        for name in ["plain", "zoned"] {
            assert_eq!(served_by(&nginx, name, &peers), expected, "{name} without {sick:?}");
        }
    }
    for peer in &peers {
        peer.healthy(false);
        wait_everywhere(&nginx, peer, true);
    }
    let before: Vec<usize> = backups.iter().map(Peer::request_count).collect();
    for name in ["plain", "zoned"] {
        assert_eq!(nginx.tally(10, name).with_status(502), 10, "{name}");
    }
    assert_eq!(backups.iter().map(Peer::request_count).collect::<Vec<_>>(), before);
}

#[test]
fn a_single_peer_that_is_sick_gets_nothing() {
    for line in patched_balancers() {
        let peer = Peer::start();
        let lines = |zone: &str| format!("{zone} {line} {CHECK} {}", servers([&peer]));
        let config = Config::new().workers(2).upstream("plain", lines(""));
        let nginx = Nginx::start(&config.upstream("zoned", lines("zone zoned 64k;")));
        nginx.wait_probed();

        for _ in 0..2 {
            peer.healthy(false);
            wait_everywhere(&nginx, &peer, true);
            let before = peer.request_count();
            for name in ["plain", "zoned"] {
                assert_eq!(nginx.tally(20, name).with_status(502), 20, "{line} {name}");
            }
            assert_eq!(peer.request_count(), before);
            peer.healthy(true);
            wait_everywhere(&nginx, &peer, false);
            for name in ["plain", "zoned"] {
                assert_eq!(nginx.tally(20, name).with_status(200), 20, "{line} {name}");
            }
        }
    }
}

#[test]
fn the_others_share_by_their_weights_and_so_does_a_peer_that_is_back() {
    if !Environment::get().patched("round_robin") {
        return;
    }
    for zone in ["", "zone backend 64k;"] {
        let peers = Peer::start_many(3);
        let lines: String = peers
            .iter()
            .zip([3, 1, 2])
            .map(|(peer, weight)| format!("server {peer} max_fails=0 weight={weight}; "))
            .collect();
        let nginx =
            Nginx::start(&Config::new().upstream("backend", format!("{zone} {CHECK} {lines}")));
        let shares = || {
            let tally = nginx.tally(24, "backend");
            peers.iter().map(|peer| tally.at(&peer.to_string())).collect::<Vec<_>>()
        };
        nginx.wait_probed();

        for _ in 0..2 {
            assert_eq!(shares(), [12, 4, 8], "{zone}");
            peers[2].healthy(false);
            wait_everywhere(&nginx, &peers[2], true);
            assert_eq!(shares(), [18, 6, 0], "{zone}");
            peers[2].healthy(true);
            wait_everywhere(&nginx, &peers[2], false);
        }
    }
}

#[test]
fn a_request_is_tried_once_at_each_usable_peer() {
    // With a try more, the last answer would give way to "no live upstreams".
    let peers = Peer::start_many(4);
    for peer in &peers {
        peer.requests(Script::status(500, "broken"));
    }
    let mut config = Config::new().workers(2);
    for (number, line) in patched_balancers().into_iter().enumerate() {
        for zone in [false, true] {
            let name = format!("upstream{number}{}", if zone { "_zoned" } else { "" });
            let zone = if zone { format!("zone {name} 64k;") } else { String::new() };
            config = config
                .upstream(&name, format!("{zone} {line} {CHECK} {}", servers(&peers)))
                .server(&format!(
                    "location /retried/{name} {{ proxy_pass http://{name}; \
                     proxy_next_upstream http_500; }}"
                ));
        }
    }
    let nginx = Nginx::start(&config);
    nginx.wait_probed();

    for sick in [0, 1, 3] {
        for (number, peer) in peers.iter().enumerate() {
            peer.healthy(number >= sick);
            wait_everywhere(&nginx, peer, number < sick);
        }
        let mut usable: Vec<String> = peers[sick..].iter().map(Peer::to_string).collect();
        usable.sort_unstable();
        for number in 0..patched_balancers().len() {
            for zone in ["", "_zoned"] {
                let path = format!("/retried/upstream{number}{zone}");
                let answer = nginx.get(&format!("{path}?k={number}"));
                let mut asked: Vec<&str> = answer.peer().split(", ").collect();
                asked.sort_unstable();
                assert_eq!((answer.status, asked), (500, usable.iter().map(|p| &**p).collect()));
            }
        }
    }
}

#[test]
fn a_retry_asks_anew() {
    for line in patched_balancers() {
        // The first peer of a request closes when the second is sick; the third has to be next.
        let peers = Peer::start_many(3);
        let body = format!("{line} {} {}", check(100, 2000, 1), servers(&peers));
        let location =
            "location /retried { proxy_pass http://backend; proxy_next_upstream error; }";
        let nginx = Nginx::start(&Config::new().upstream("backend", body).server(location));
        nginx.wait_probed();
        for peer in &peers {
            peer.requests(Script::silent());
        }
        let address = nginx.address();
        let client = std::thread::spawn(move || {
            support::Request::get("/retried?k=key").limit(LIMIT).send(address)
        });
        wait_until(LIMIT, "one has the request", || {
            peers.iter().map(Peer::request_count).sum::<usize>() == 1
        });
        let first = peers.iter().position(|peer| peer.request_count() == 1).expect("that one");
        let (sick, last) = match first {
            0 => (1, 2),
            1 => (2, 0),
            _ => (0, 1),
        };
        peers[sick].healthy(false);
        peers[last].requests(Script::ok("fine"));
        nginx.wait_down(&peers[sick], true);
        let mut peers = peers;
        peers[first].stop();

        let answer = client.join().expect("a client").expect("an answer");
        assert_eq!(answer.peer(), format!("{}, {}", peers[first], peers[last]), "{line}");
        assert_eq!(peers[sick].request_count(), 0);
    }
}

#[test]
fn many_peers_are_told_apart() {
    // More than the bits of a word, in which nginx notes who was tried.
    for line in patched_balancers() {
        let peers = Peer::start_many(70);
        let body = format!("zone backend 256k; {line} {CHECK} {}", servers(&peers));
        let nginx = Nginx::start(&Config::new().workers(2).upstream("backend", body));
        nginx.wait_probed();
        for peer in peers.iter().step_by(2) {
            peer.healthy(false);
        }
        for peer in peers.iter().step_by(2) {
            wait_everywhere(&nginx, peer, true);
        }
        let tally = nginx.tally(140, "backend");

        assert_eq!(tally.with_status(200), 140, "{line}: {tally:?}");
        assert!(peers.iter().step_by(2).all(|peer| peer.request_count() == 0), "{line}");
    }
}
