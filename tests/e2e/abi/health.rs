//! Health, as a balancer with a peer list of its own is told of it.

use support::{holds_for, servers, wait_until, Config, Consumer, Nginx, Peer, CHECK, LIMIT};

use super::{asked, asked_of, balanced, hashed, indices, First};

#[test]
fn check_29_a_balancer_that_asks_avoids_a_sick_peer_in_every_worker() {
    for first in [First::Ours, First::Balancer] {
        let peers = Peer::start_many(3);
        let body = format!("{} {CHECK}", servers(&peers));
        let nginx = Nginx::start(&balanced(&Config::new().workers(3), first, &body));
        nginx.wait_probed();
        assert_eq!(indices(&nginx).len(), 3);
        for peer in &peers {
            assert!(nginx.tally(60, "backend").at(&peer.to_string()) > 0, "each has its share");
        }

        peers[1].healthy(false);
        nginx.wait_down(&peers[1], true);
        let tally = nginx.tally(90, "backend");
        assert_eq!((tally.at(&peers[1].to_string()), tally.with_status(200)), (0, 90), "{tally:?}");
        assert_eq!(tally.workers.len(), 3, "{tally:?}");
        assert_eq!(asked_of(&nginx, &peers[1]).down, 1);
        assert_eq!(asked_of(&nginx, &peers[0]).down, 0);

        peers[1].healthy(true);
        nginx.wait_down(&peers[1], false);
        assert!(
            nginx.tally(60, "backend").at(&peers[1].to_string()) > 0,
            "it gets its share again"
        );
    }
}

#[test]
fn check_29_without_hashing_again_a_sick_peer_is_taken_all_the_same() {
    let peers = Peer::start_many(2);
    let body = format!("ask_hash $arg_k; {} {CHECK}", servers(&peers));
    let config = Config::new().upstream("backend", body).load_after(&Consumer::build("hash"));
    let nginx = Nginx::start(&config);
    peers[0].healthy(false);
    nginx.wait_down(&peers[0], true);
    assert!(nginx.tally(60, "backend").at(&peers[0].to_string()) > 0);
}

#[test]
fn check_29_an_index_that_was_never_given_out_is_reported_and_not_down() {
    let peers = Peer::start_many(2);
    let mut nginx = Nginx::start(&hashed(&peers, CHECK));
    nginx.allow_in_log("Invalid index to is_down");

    for index in ["0", "1", "2"] {
        assert_eq!(nginx.get(&format!("/is_down?index={index}")).text(), "0");
    }
    assert!(nginx.log_lines("[crit]").is_empty());
    // The second is of the kind that peers have which are found while nginx runs.
    for index in ["3", "4611686018427387904", "9223372036854775807", "9999"] {
        assert_eq!(nginx.get(&format!("/is_down?index={index}")).text(), "0");
        let lines = nginx.log_lines("[crit]");
        let line = lines.last().expect("a line");
        assert!(
            line.contains(&format!("healthcheck: Invalid index to is_down: {index}")),
            "{line}"
        );
    }
}

#[test]
fn the_page_shows_registered_peers_like_all_others() {
    let peers = Peer::start_many(3);
    let body = format!(
        "server {} weight=3; server {} backup; server {} down; {CHECK}",
        peers[0], peers[1], peers[2]
    );
    let nginx = Nginx::start(&balanced(&Config::new(), First::Ours, &body));
    peers[0].healthy(false);
    let row = nginx.wait_down(&peers[0], true);

    assert_eq!((row.weight, row.backup, row.line, row.checked), (3, false, Some(0), true));
    assert_eq!(row.upstream, "backend");
    let row = nginx.row(&peers[1]);
    assert_eq!((row.backup, row.line, row.server), (true, Some(1), peers[1].to_string()));
    // The balancer registers no server that is marked "down", and so nobody asks for it.
    let page = nginx.status();
    assert!(page.peers.iter().all(|row| row.name != peers[2].to_string()), "{page:#?}");
    assert_eq!(asked_of(&nginx, &peers[2]).index, 0);
    assert_eq!(peers[2].probe_count(), 0);
}

#[test]
fn one_address_is_one_peer_however_often_it_stands_there() {
    let peers = Peer::start_many(2);
    let body = format!("{} {} {CHECK}", servers(&peers), servers([&peers[0]]));
    let nginx = Nginx::start(&balanced(&Config::new(), First::Ours, &body));
    nginx.wait_probed();

    let all = asked(&nginx);
    assert_eq!(all.len(), 3);
    assert!(all[0].index == all[2].index && all[0].index != all[1].index, "{all:?}");
    assert_eq!(nginx.status().peers.len(), 2);
}

#[test]
fn an_upstream_without_our_directives_has_peers_that_are_never_down() {
    let peers = Peer::start_many(2);
    let mut nginx = Nginx::start(&hashed(&peers, ""));

    assert!(asked(&nginx).iter().all(|one| (one.index, one.down) == (0, 0)));
    assert_eq!(nginx.tally(20, "backend").with_status(200), 20);
    assert!(peers.iter().all(|peer| peer.probe_count() == 0));
    nginx.quit_within(LIMIT);
}

#[test]
fn requests_wait_where_every_registered_peer_is_sick() {
    let peers = Peer::start_many(2);
    let nginx = Nginx::start(&hashed(&peers, &format!("{CHECK} queue 10 timeout=15s;")));
    for peer in &peers {
        peer.healthy(false);
        nginx.wait_down(peer, true);
    }

    std::thread::scope(|scope| {
        let request = scope.spawn(|| nginx.get("/backend/?k=1"));
        wait_until(LIMIT, "it waits", || nginx.status().upstreams[0].held == 1);
        let count = || peers.iter().map(Peer::request_count).sum::<usize>();
        let before = count();
        holds_for(std::time::Duration::from_millis(300), "it waits", || count() == before);
        peers[1].healthy(true);
        let response = request.join().expect("an answer");
        assert_eq!((response.status, response.peer()), (200, &*peers[1].to_string()), "{response}");
    });
}

#[test]
fn a_peer_has_the_same_health_in_an_upstream_of_nginx_and_in_a_registered_one() {
    // The slots are those of two upstreams, and so are the probes.
    let peers = Peer::start_many(2);
    let plain = format!("{} {CHECK}", servers(&peers));
    let nginx = Nginx::start(&hashed(&peers, CHECK).upstream("plain", plain));
    peers[0].healthy(false);
    wait_until(LIMIT, "down in both", || {
        nginx.status().peers.iter().filter(|row| row.down).count() == 2
    });

    for upstream in ["backend", "plain"] {
        assert_eq!(nginx.tally(40, upstream).at(&peers[0].to_string()), 0, "{upstream}");
    }
}
