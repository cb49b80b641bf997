//! Programs, as a balancer that asks for its peers is told of them.

use support::{Nginx, Peer, CHECK};

use super::{asked_of, hashed};

const NONE: &str = "supervisord none; supervisord_inherit_backend_status;";

#[test]
fn a_peer_whose_program_is_not_up_is_down_in_every_worker() {
    for check in ["", CHECK] {
        let peers = Peer::start_many(3);
        let config = hashed(&peers, &format!("{check} {NONE}"));
        let nginx = Nginx::start(&config.workers(3).commands("backend"));
        assert!(nginx.tally(60, "backend").at(&peers[1].to_string()) > 0);

        for _ in 0..2 {
            assert!(nginx.stop_page("backend", 1).accepted);
            let tally = nginx.tally(60, "backend");
            assert_eq!((tally.at(&peers[1].to_string()), tally.with_status(200)), (0, 60));
            assert_eq!(tally.workers.len(), 3, "{tally:?}");
            assert_eq!(asked_of(&nginx, &peers[1]).down, 1);
            assert!(nginx.start_page("backend", 1).accepted);
            assert!(nginx.tally(60, "backend").at(&peers[1].to_string()) > 0);
            assert_eq!(asked_of(&nginx, &peers[1]).down, 0);
        }
    }
}

#[test]
fn requests_of_a_registered_upstream_are_counted() {
    let peers = Peer::start_many(2);
    let config = hashed(&peers, NONE);
    let nginx = Nginx::start(&config.workers(2));

    assert_eq!(nginx.tally(20, "backend").with_status(200), 20);
    let page = nginx.status();
    assert_eq!((page.upstreams[0].requests, page.upstreams[0].managed), (20, true));
    assert!(page.peers.iter().all(|row| row.program.is_some()), "{page:#?}");
}
