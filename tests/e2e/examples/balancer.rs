//! The example of a balancer with a peer list of its own, with its own configuration.

use std::fs;

use support::balancer::rendezvous;
use support::status::table;
use support::{wait_until, Environment, Nginx, Peer, Request, Script, LIMIT};

use super::Example;

#[test]
fn a_user_stays_with_one_peer_until_that_is_sick() {
    let Some(balancer) = rendezvous() else { return };
    let path = Environment::get().checkout.join("examples/balancer/nginx.conf");
    let example = Example::of(&fs::read_to_string(path).expect("the example"));
    let peers = example.peers();
    let front = &example.ports[&example.listens[0]];
    let _nginx = Nginx::spawn_text(front, &format!("{}{}", balancer.load(), example.text));
    let get = |path: &str| Request::get(path).send(front.address());
    let down = || {
        let page = get("/health-status?format=html").expect("the page").text();
        table(&page)[1..].iter().filter(|row| row[8] == "1").count()
    };
    wait_until(LIMIT, "it answers", || get("/?user=anna").is_ok());

    let answers = |user: &str| {
        let path = format!("/?user={user}");
        // The example's probes ask for what users may ask for as well, so they are told apart here.
        let line = format!("GET {path} HTTP/");
        let count = |peer: &Peer| {
            peer.seen().iter().filter(|seen| seen.raw.starts_with(line.as_bytes())).count()
        };
        let counts = || peers.iter().map(|(_, peer)| count(peer)).collect::<Vec<_>>();
        let before = counts();
        for _ in 0..10 {
            let answer = get(&path).expect("an answer");
            assert_eq!(answer.status, 200, "{answer}");
        }
        counts().iter().zip(before).position(|(now, before)| *now == before + 10)
    };
    let first = answers("anna").expect("one peer has had all ten");
    assert!((0..50).any(|user| answers(&format!("user{user}")) != Some(first)));

    peers[first].1.everything(Script::status(500, "sick"));
    wait_until(LIMIT, "it is down", || down() == 1);
    let second = answers("anna").expect("one peer has had all ten");
    assert_ne!(second, first);
    peers[second].1.everything(Script::status(500, "sick"));
    wait_until(LIMIT, "it is down too", || down() == 2);
    assert_eq!(peers[answers("anna").expect("the backup")].0, "9003");
}
