//! nginx's own list of peers, where its balancer has registered itself.

use support::{servers, wait_until, Config, Consumer, Environment, Nginx, Peer, CHECK, LIMIT};

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

#[test]
fn a_process_that_begins_or_ends_may_ask() {
    let peers = Peer::start_many(1);
    peers[0].healthy(false);
    let stock = Consumer::build("stock");
    let cache = "proxy_cache_path cache keys_zone=cache:1m;";
    let base = Config::new().workers(2).http(cache);
    let base = base.upstream("backend", format!("tell_stock peers; {CHECK} {}", servers(&peers)));
    for (config, begins, ends) in [
        // The processes for the cache look after no peers, and nobody knows more before our part of a
        // worker has begun, or after it has ended.
        (base.clone().load_before(&stock), ["0", "0"], ["1", "0"]),
        (base.clone().load_after(&stock), ["1", "0"], ["0", "0"]),
    ] {
        // A module that is inside of nginx comes first in any case.
        if Environment::get().module.is_none() && begins[0] == "0" {
            continue;
        }
        let mut nginx = Nginx::start(&config);
        nginx.wait_down(&peers[0], true);
        nginx.reload(&config);
        nginx.quit_within(LIMIT);
        wait_until(LIMIT, "all have said so", || nginx.log_lines("ends with").len() >= 4);
        let said = |word: &str| {
            let lines = nginx.log_lines(word);
            lines.iter().map(|line| line.rsplit(' ').next().expect("a word").to_owned()).collect()
        };
        let (began, ended): (Vec<String>, Vec<String>) = (said("begins with"), said("ends with"));
        assert!(began.iter().all(|one| begins.contains(&one.as_str())), "{began:?}");
        assert!(ended.iter().all(|one| ends.contains(&one.as_str())), "{ended:?}");
        assert!(nginx.log_lines("[crit]").is_empty());
    }
}
