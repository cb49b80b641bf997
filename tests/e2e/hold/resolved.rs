//! Requests wait while nginx's resolver adds and removes peers.

use support::{holds_for, Nginx};

use super::{access, wait_in_hand, Client};
use crate::resolve::Service;

#[test]
fn a_request_that_waits_is_served_by_a_peer_that_came_meanwhile() {
    for balancer in ["", "least_conn;", "hash $arg_k;", "ip_hash;", "random two;", "keepalive 4;"] {
        let Some(service) = Service::start(2) else { return };
        service.set(&[1]);
        service.peer(1).healthy(false);
        let location = "location = /basic { stub_status; } access_log access.log hold;";
        let config = service.config(&format!("queue 10; {balancer}"), 1).server(location);
        let format = "log_format hold '$uri $status [$upstream_addr] [$upstream_status]';";
        let nginx = Nginx::start(&config.http(format));
        service.wait_listed(&nginx, &[1]);
        nginx.wait_down(service.peer(1), true);
        let clients = Client::many(&nginx, 3, "/backend/");
        wait_in_hand(&nginx, 3);

        // The peer that they waited for goes; the new one is up until a probe says otherwise.
        service.set(&[2]);
        for client in clients {
            let (response, _) = client.answer();
            let peer = service.peer(2).to_string();
            assert_eq!((response.status, response.peer()), (200, peer.as_str()), "{balancer}");
        }
        access(&nginx, &format!("/backend/ 200 [{}] [200]", service.peer(2)));
        assert_eq!(service.peer(1).request_count(), 0);
    }
}

#[test]
fn requests_that_wait_do_not_mind_peers_that_come_and_go() {
    let Some(service) = Service::start(3) else { return };
    for number in 1..=3 {
        service.peer(number).healthy(false);
    }
    service.set(&[1]);
    let location = "location = /basic { stub_status; }";
    let nginx = Nginx::start(&service.config("queue 10;", 2).server(location));
    service.wait_listed(&nginx, &[1]);
    nginx.wait_down(service.peer(1), true);
    nginx.wait_logged("is down", 1);
    let clients = Client::many(&nginx, 3, "/backend/");
    wait_in_hand(&nginx, 3);
    // A new peer counts as up until its first probe: those that it serves are served.
    service.peer(2).everything(support::Script::status(500, "sick"));
    for numbers in [&[1, 2][..], &[2, 3], &[1]] {
        service.set(numbers);
        service.wait_listed(&nginx, numbers);
        holds_for(std::time::Duration::from_millis(300), "nginx lives", || {
            nginx.get("/basic").status == 200
        });
    }
    service.peer(1).healthy(true);
    for client in clients {
        let (response, _) = client.answer();
        assert!(response.status == 200 || response.status == 500, "{response}");
    }
}
