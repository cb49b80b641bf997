//! nginx's own list of peers, where its balancer has registered itself.

use support::{servers, Config, Consumer, Nginx, Peer, CHECK};

const NONE: &str = "supervisord none; supervisord_inherit_backend_status;";

/// Round robin in a zone, which has said these words to the module.
fn told(words: &str, peers: &[Peer], directives: &str) -> Nginx {
    let body = format!("zone backend 64k; tell_stock {words}; {} {directives}", servers(peers));
    let config = Config::new().upstream("backend", body).commands("backend");
    Nginx::start(&config.load_after(&Consumer::build("stock")))
}

#[test]
fn nothing_is_written_where_the_peers_are_registered() {
    let peers = Peer::start_many(3);
    let nginx = told("peers", &peers, &format!("{CHECK} {NONE}"));
    peers[1].healthy(false);
    nginx.wait_down(&peers[1], true);
    assert!(nginx.stop_page("backend", 2).accepted);

    // A balancer that registers and does not ask gets what it asked for.
    let tally = nginx.tally(30, "backend");
    for peer in &peers {
        assert_eq!(tally.at(&peer.to_string()), 10, "{tally:?}");
    }
    assert!(nginx.row(&peers[2]).down);
}

#[test]
fn nothing_is_written_where_the_balancer_is_told_of_programs() {
    let peers = Peer::start_many(3);
    let nginx = told("monitor", &peers, NONE);
    assert!(nginx.stop_page("backend", 2).accepted);

    let tally = nginx.tally(30, "backend");
    assert_eq!(tally.at(&peers[2].to_string()), 10, "{tally:?}");
    assert!(nginx.row(&peers[2]).down);
}

#[test]
fn health_alone_is_written_where_the_balancer_is_told_of_programs_and_asks_for_no_peer() {
    let peers = Peer::start_many(3);
    let nginx = told("monitor", &peers, &format!("{CHECK} {NONE}"));
    assert!(nginx.stop_page("backend", 2).accepted);
    peers[1].healthy(false);
    nginx.wait_down(&peers[1], true);

    let tally = nginx.tally(30, "backend");
    assert_eq!(tally.at(&peers[1].to_string()), 0, "{tally:?}");
    assert_eq!(tally.at(&peers[2].to_string()), 15, "{tally:?}");
    assert_eq!(tally.with_status(200), 30);
}
