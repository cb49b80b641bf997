//! The balancer of examples/balancer does what the template for others should do.

use std::collections::BTreeMap;

use support::balancer::rendezvous;
use support::scripted_supervisord::START;
use support::{
    check, wait_until, Config, Consumer, Nginx, Peer, Script, ScriptedSupervisord, CHECK, LIMIT,
};

use super::serves_through_reloads;

/// What stands before the peers. Requests say their key in the argument `k`.
const RENDEZVOUS: &str = "rendezvous $arg_k;";

/// Keeps connections to peers.
const KEPT: &str = "proxy_http_version 1.1; proxy_set_header Connection '';";

/// The `server` lines of peers; the balancer has no `max_fails`.
fn lines(peers: &[Peer]) -> String {
    peers.iter().map(|peer| format!("server {peer}; ")).collect()
}

/// An upstream `backend` of these peers and directives.
fn config(balancer: &Consumer, peers: &[Peer], more: &str) -> Config {
    let body = format!("{RENDEZVOUS} {} {more}", lines(peers));

    Config::new().load_after(balancer).upstream("backend", body)
}

/// Which peer each of so many keys has.
fn owners(nginx: &Nginx, keys: usize) -> BTreeMap<usize, String> {
    let owner = |key| {
        let answer = nginx.get(&format!("/backend/?k={key}"));
        assert_eq!(answer.status, 200, "{answer}");
        (key, answer.peer().to_owned())
    };
    (0..keys).map(owner).collect()
}

#[test]
fn it_serves_when_loaded_before_the_module_after_it_and_alone() {
    let Some(balancer) = rendezvous() else { return };
    let peers = Peer::start_many(3);
    let plain = Config::new().upstream("backend", format!("{RENDEZVOUS} {}", lines(&peers)));
    let checked =
        plain.clone().upstream("backend", format!("{RENDEZVOUS} {CHECK} {}", lines(&peers)));
    let configs = [
        checked.clone().load_before(&balancer),
        checked.load_after(&balancer),
        plain.clone().load_before(&balancer),
        plain.without_module().load_after(&balancer),
    ];

    let mut seen = Vec::new();
    for config in configs {
        let mut nginx = Nginx::start(&config);
        seen.push(owners(&nginx, 60));
        nginx.quit_within(LIMIT);
    }
    assert!(seen.windows(2).all(|pair| pair[0] == pair[1]), "a key's peer depends on nothing else");
    for peer in &peers {
        assert!(seen[0].values().any(|owner| *owner == peer.to_string()), "{peer} has some");
    }
}

#[test]
fn the_keys_of_a_sick_peer_move_in_every_worker_and_come_back_and_no_other_moves() {
    let Some(balancer) = rendezvous() else { return };
    let peers = Peer::start_many(3);
    for more in ["", "keepalive 8;"] {
        let config = config(&balancer, &peers, &format!("{CHECK} {more}")).workers(4);
        let mut nginx = Nginx::start(&config.server(KEPT));
        nginx.wait_probed();
        let before = owners(&nginx, 90);
        let sick = peers[1].to_string();

        peers[1].healthy(false);
        nginx.wait_down(&sick, true);
        let requests = peers[1].request_count();
        let during = owners(&nginx, 90);
        let tally = nginx.tally(100, "backend");
        assert_eq!((tally.with_status(200), tally.workers.len()), (100, 4), "{tally:?}");
        assert_eq!(peers[1].request_count(), requests, "none after the flip");
        for (key, owner) in &before {
            assert!(*owner == sick || during[key] == *owner, "key {key} has moved");
        }

        peers[1].healthy(true);
        nginx.wait_down(&sick, false);
        assert_eq!(owners(&nginx, 90), before, "{more}");
        nginx.quit_within(LIMIT);
    }
}

#[test]
fn weights_are_shares_of_the_keys() {
    let Some(balancer) = rendezvous() else { return };
    let peers = Peer::start_many(2);
    let body = format!("{RENDEZVOUS} server {} weight=3; server {};", peers[0], peers[1]);
    let nginx = Nginx::start(&Config::new().load_after(&balancer).upstream("backend", body));

    let owners = owners(&nginx, 400);
    let heavy = owners.values().filter(|owner| **owner == peers[0].to_string()).count();
    // Three quarters, give or take six standard deviations.
    assert!((248..=352).contains(&heavy), "{heavy} of 400");
}

#[test]
fn a_backup_is_asked_where_no_other_is_usable_and_a_down_server_never() {
    let Some(balancer) = rendezvous() else { return };
    let peers = Peer::start_many(4);
    let body = format!(
        "{RENDEZVOUS} server {} backup; server {}; server {} down; server {}; {CHECK}",
        peers[0], peers[1], peers[2], peers[3]
    );
    let nginx = Nginx::start(&Config::new().load_after(&balancer).upstream("backend", body));
    let all_at = |own: &Peer| nginx.tally(40, "backend").at(&own.to_string()) == 40;
    nginx.wait_down(&peers[0], false);

    assert!(owners(&nginx, 60)
        .values()
        .all(|owner| { [&peers[1], &peers[3]].iter().any(|peer| peer.to_string() == *owner) }));
    peers[3].healthy(false);
    nginx.wait_down(&peers[3], true);
    assert!(all_at(&peers[1]));
    peers[1].healthy(false);
    nginx.wait_down(&peers[1], true);
    assert!(all_at(&peers[0]));
    assert_eq!(peers[2].request_count(), 0);
}

#[test]
fn a_single_peer_is_obeyed_too() {
    let Some(balancer) = rendezvous() else { return };
    let peers = Peer::start_many(1);
    let nginx = Nginx::start(&config(&balancer, &peers, CHECK));

    for _ in 0..2 {
        peers[0].healthy(false);
        nginx.wait_down(&peers[0], true);
        assert_eq!(nginx.tally(10, "backend").with_status(502), 10);
        peers[0].healthy(true);
        nginx.wait_down(&peers[0], false);
        assert_eq!(nginx.tally(10, "backend").with_status(200), 10);
    }
}

#[test]
fn a_request_goes_on_to_each_peer_once() {
    let Some(balancer) = rendezvous() else { return };
    let mut peers = Peer::start_many(3);
    let again = "location /again/ { proxy_next_upstream error; proxy_pass http://backend/; }";
    let nginx = Nginx::start(&config(&balancer, &peers, "").server(again));
    let tried = |key: usize| {
        let answer = nginx.get(&format!("/again/?k={key}"));
        let mut tried: Vec<String> = answer.peer().split(", ").map(str::to_owned).collect();
        let last = tried.last().cloned().expect("a peer");
        tried.sort();
        (answer.status, tried, last)
    };
    let mut all: Vec<String> = peers.iter().map(Peer::to_string).collect();
    all.sort();

    let left = peers[2].to_string();
    peers[0].stop();
    peers[1].stop();
    let mut longest = 0;
    for key in 0..40 {
        let (status, tried, last) = tried(key);
        assert_eq!((status, &last), (200, &left), "{tried:?}");
        assert!(tried.windows(2).all(|pair| pair[0] != pair[1]), "{tried:?}");
        longest = longest.max(tried.len());
    }
    assert_eq!(longest, 3, "some key has all three");
    peers[2].stop();
    for key in 0..10 {
        let (status, tried, _) = tried(key);
        assert_eq!((status, &tried), (502, &all));
    }
}

#[test]
fn the_answer_of_the_last_usable_peer_is_passed_on() {
    let Some(balancer) = rendezvous() else { return };
    let peers = Peer::start_many(3);
    let again = "location /again/ { proxy_next_upstream http_503; proxy_pass http://backend/; }";
    let nginx = Nginx::start(&config(&balancer, &peers, CHECK).server(again));
    peers[0].healthy(false);
    nginx.wait_down(&peers[0], true);

    for peer in &peers[1..] {
        peer.requests(Script::status(503, "not now"));
    }
    for key in 0..10 {
        let answer = nginx.get(&format!("/again/?k={key}"));
        assert_eq!((answer.status, answer.peer().split(", ").count()), (503, 2), "{answer}");
    }
}

#[test]
fn a_single_peer_is_asked_once_more_when_it_has_closed_a_kept_connection() {
    let Some(balancer) = rendezvous() else { return };
    let peers = Peer::start_many(1);
    let kept = format!(
        "location /kept/ {{ proxy_pass http://backend/; {KEPT} proxy_next_upstream error; }}"
    );
    let nginx = Nginx::start(&config(&balancer, &peers, "keepalive 1;").server(&kept));

    assert_eq!(nginx.get("/kept/").status, 200);
    peers[0].requests(Script::close());
    assert_eq!(nginx.get("/kept/").status, 502);
    assert_eq!(peers[0].request_count(), 3);
}

#[test]
fn what_it_cannot_do_is_an_error_of_the_configuration() {
    let Some(balancer) = rendezvous() else { return };
    let neither = "\"rendezvous\" takes neither \"zone\" nor \"resolve\" in upstream \"backend\"";
    let mut cases = vec![
        ("zone backend 64k; rendezvous $arg_k; server 127.0.0.1:1;", neither),
        ("rendezvous $arg_k; rendezvous $uri; server 127.0.0.1:1;", "directive is duplicate"),
        ("rendezvous $arg_k; server 127.0.0.1:1 max_fails=2;", "does not support parameter"),
        ("rendezvous; server 127.0.0.1:1;", "invalid number of arguments"),
    ];
    if support::Environment::get().at_least([1, 27, 3]) {
        cases.push(("rendezvous $arg_k; server a.test:1 resolve;", neither));
    }
    for (body, error) in cases {
        let config = Config::new().load_after(&balancer).upstream("backend", body);
        let config = config.http("resolver 127.0.0.1:1;");
        let tested = Nginx::test(&config);
        assert!(!tested.ok && tested.output.contains(error), "{body}: {}", tested.output);
    }
}

#[test]
fn reloads_add_and_remove_the_module_while_it_serves() {
    let Some(balancer) = rendezvous() else { return };
    let peers = Peer::start_many(3);
    serves_through_reloads(&balancer, &peers, &format!("{RENDEZVOUS} {}", lines(&peers)));
}

#[test]
fn a_request_waits_until_its_program_is_up() {
    let Some(balancer) = rendezvous() else { return };
    let (supervisord, peers) = (ScriptedSupervisord::start(), Peer::start_many(2));
    let more = format!("supervisord {supervisord}; supervisord_on_failure ignore;");
    let config = config(&balancer, &peers, &more).workers(2).commands("backend");
    let nginx = Nginx::start(&config);

    assert_eq!(nginx.tally(20, "backend").at(&peers[0].to_string()), 20, "it was started");
    assert_eq!(supervisord.calls_of(START).len(), 1);
    assert!(nginx.start_page("backend", 1).accepted);
    nginx.wait_program("backend1", "up");
    assert!(nginx.stop_page("backend", 0).accepted);
    assert_eq!(nginx.tally(20, "backend").at(&peers[1].to_string()), 20);
}

#[test]
fn down_is_only_how_a_program_begins() {
    let Some(balancer) = rendezvous() else { return };
    let peers = Peer::start_many(2);
    let body = format!(
        "{RENDEZVOUS} supervisord none; supervisord_inherit_backend_status; server {}; \
         server {} down;",
        peers[0], peers[1]
    );
    let config = Config::new().load_after(&balancer).upstream("backend", body);
    let nginx = Nginx::start(&config.commands("backend"));
    let at = |peer: &Peer| nginx.tally(20, "backend").at(&peer.to_string());

    assert_eq!(at(&peers[0]), 20);
    assert!(nginx.start_page("backend", 1).accepted);
    assert!(nginx.stop_page("backend", 0).accepted);
    assert_eq!(at(&peers[1]), 20);
}

#[test]
fn its_peers_are_on_the_status_page() {
    let Some(balancer) = rendezvous() else { return };
    let peers = Peer::start_many(2);
    let body = format!(
        "{RENDEZVOUS} server {} weight=2; server {} backup; {}",
        peers[0],
        peers[1],
        check(100, 1000, 1)
    );
    let config = Config::new().load_after(&balancer).upstream("backend", body);
    let nginx = Nginx::start(&config);

    wait_until(LIMIT, "both are probed", || {
        nginx.status().of("backend").iter().all(|row| row.code == "ok")
    });
    let rows = nginx.status().of("backend");
    let shown: Vec<_> = rows.iter().map(|row| (row.name.clone(), row.weight, row.backup)).collect();
    assert_eq!(shown, [(peers[0].to_string(), 2, false), (peers[1].to_string(), 1, true)]);
}
