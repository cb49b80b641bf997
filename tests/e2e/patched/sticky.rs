//! A client that sticks to a peer is served by another while that one is sick (nginx 1.29.6 and later).

use support::{servers, skip, Config, Environment, Nginx, Peer, Request, CHECK};

use super::patched_balancers;

#[test]
fn a_sick_peer_loses_its_clients_and_gets_them_back() {
    if !Environment::get().at_least([1, 29, 6]) {
        return skip("this nginx has no sticky sessions");
    }
    for line in patched_balancers() {
        for zone in ["", "zone backend 64k;"] {
            let peers = Peer::start_many(3);
            let body = format!("{zone} {line} {} sticky cookie stuck; {CHECK}", servers(&peers));
            let nginx = Nginx::start(&Config::new().workers(2).upstream("backend", body));
            nginx.wait_probed();
            let first = nginx.get("/backend/?k=key");
            let cookie = first.header("Set-Cookie").expect("a cookie");
            let cookie = cookie.split(';').next().expect("its name and value");
            let served_by = || {
                let answer =
                    nginx.send(&Request::get("/backend/?k=other").header("Cookie", cookie));
                assert_eq!(answer.status, 200);
                answer.peer().to_owned()
            };
            let sick = peers.iter().find(|peer| peer.to_string() == first.peer()).expect("it");

            for _ in 0..2 {
                for _ in 0..10 {
                    assert_eq!(served_by(), sick.to_string(), "{line} {zone}");
                }
                sick.healthy(false);
                nginx.wait_down(sick, true);
                for _ in 0..10 {
                    assert_ne!(served_by(), sick.to_string(), "{line} {zone}");
                }
                sick.healthy(true);
                nginx.wait_down(sick, false);
            }
        }
    }
}
