//! Programs that are not up get no request, at once and in every worker, and those that begin as `down`
//! take part once they are started.

use support::{servers, Config, Nginx, Peer, Script};

use super::patched_balancers;

const NONE: &str = "supervisord none; supervisord_inherit_backend_status;";

#[test]
fn a_page_that_has_answered_is_obeyed_by_every_worker() {
    for line in patched_balancers() {
        let peers = Peer::start_many(3);
        let lines = |zone: &str| format!("{zone} {line} {NONE} {}", servers(&peers));
        let config = Config::new().workers(3).upstream("plain", lines("")).commands("plain");
        let config = config.upstream("zoned", lines("zone zoned 64k;")).commands("zoned");
        let nginx = Nginx::start(&config);

        for name in ["plain", "zoned"] {
            for number in [0, 2, 1, 0] {
                let peer = peers[number].to_string();
                assert!(nginx.stop_page(name, number).accepted);
                let tally = nginx.tally(60, name);
                assert_eq!((tally.at(&peer), tally.with_status(200)), (0, 60), "{line} {name}");
                assert_eq!(tally.workers.len(), 3, "{line} {name}");
                assert!(nginx.start_page(name, number).accepted);
                assert!(nginx.tally(60, name).at(&peer) > 0, "{line} {name}");
            }
        }
    }
}

#[test]
fn a_program_that_began_as_down_counts_as_a_try_once_it_is_started() {
    for line in patched_balancers() {
        for zone in ["", "zone backend 64k;"] {
            let peers = Peer::start_many(2);
            for peer in &peers {
                peer.requests(Script::status(500, "broken"));
            }
            let body = format!(
                "{zone} {line} {NONE} server {} max_fails=0; server {} max_fails=0 down;",
                peers[0], peers[1]
            );
            let location = "location /retried { proxy_pass http://backend; \
                            proxy_next_upstream http_500; }";
            let config = Config::new().workers(2).upstream("backend", body).commands("backend");
            let nginx = Nginx::start(&config.server(location));
            let asked = |key: u32| {
                let answer = nginx.get(&format!("/retried?k={key}"));
                let mut asked: Vec<String> = answer.peer().split(", ").map(str::to_owned).collect();
                asked.sort_unstable();
                (answer.status, asked)
            };
            let mut both: Vec<String> = peers.iter().map(Peer::to_string).collect();
            both.sort_unstable();

            for key in 0..8 {
                assert_eq!(asked(key), (500, vec![peers[0].to_string()]), "{line} {zone}");
            }
            assert!(nginx.start_page("backend", 1).accepted);
            for key in 0..8 {
                assert_eq!(asked(key), (500, both.clone()), "{line} {zone}");
            }
            assert!(nginx.stop_page("backend", 0).accepted);
            for key in 0..8 {
                assert_eq!(asked(key), (500, vec![peers[1].to_string()]), "{line} {zone}");
            }
        }
    }
}

#[test]
fn a_backup_is_a_program_like_the_others() {
    if !support::Environment::get().patched("round_robin") {
        return;
    }
    let peers = Peer::start_many(3);
    let body = format!(
        "{NONE} {} server {} max_fails=0 backup down; server {} max_fails=0 backup;",
        servers(&peers[..1]),
        peers[1],
        peers[2]
    );
    let config = Config::new().workers(2).upstream("backend", body).commands("backend");
    let nginx = Nginx::start(&config);
    let served_by = || {
        let tally = nginx.tally(20, "backend");
        assert_eq!(tally.with_status(200), 20, "{tally:?}");
        peers.iter().map(|peer| tally.at(&peer.to_string()) > 0).collect::<Vec<_>>()
    };

    assert_eq!(served_by(), [true, false, false]);
    assert!(nginx.stop_page("backend", 0).accepted);
    assert_eq!(served_by(), [false, false, true]);
    assert!(nginx.start_page("backend", 1).accepted);
    assert_eq!(served_by(), [false, true, true]);
    assert!(nginx.stop_page("backend", 2).accepted);
    assert_eq!(served_by(), [false, true, false]);
    assert!(nginx.start_page("backend", 0).accepted);
    assert_eq!(served_by(), [true, false, false]);
}
