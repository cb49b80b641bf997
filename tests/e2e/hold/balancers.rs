//! Whatever the balancer, and whatever takes peers out: health, passive checks, `max_conns`.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::thread::sleep;
use std::time::{Duration, Instant};

use support::{
    check, holds_for, servers, skip, wait_until, Config, Environment, Nginx, Peer, Response, LIMIT,
};

use super::server::{Connection, Server};
use super::{config, quick, wait_for_passive_checks, wait_in_hand, Client, IN_TIME};

/// Each balancer of nginx's, with and without a zone and kept connections, before and after the
/// queue, has a request wait until the second of two peers is up.
#[test]
fn every_balancer_waits_for_the_first_peer_that_is_up() {
    let lines = ["", "least_conn;", "hash $arg_k;", "hash $arg_k consistent;", "ip_hash;"];
    let lines = lines.into_iter().chain(["random;", "random two least_conn;"]);
    let peers = Peer::start_many(2);
    // Slower than elsewhere: there are many of them.
    let check = check(200, 10_000, 1);
    let (mut config, mut names) = (Config::new().workers(2), Vec::new());
    for (at, line) in lines.enumerate() {
        for (zone, around) in [(0, ("", "")), (1, ("", "keepalive 4;")), (2, ("keepalive 4;", ""))]
        {
            let name = format!("u{at}x{zone}");
            let memory = if zone == 0 { String::new() } else { format!("zone {name} 64k;") };
            let (before, after) = around;
            let body =
                format!("{memory} {line} {before} queue 10; {after} {check} {}", servers(&peers));
            config = config.upstream(&name, body);
            names.push(name);
        }
    }
    for peer in &peers {
        peer.healthy(false);
    }
    let nginx = Nginx::start(&config.server("location = /basic { stub_status; }"));
    let all = |down: bool, peer: &Peer| {
        wait_until(LIMIT, "every upstream knows", || {
            let page = nginx.status();
            page.peers.iter().filter(|row| row.name == peer.to_string()).all(|row| row.down == down)
        });
    };

    for (round, up) in [&peers[1], &peers[0]].into_iter().enumerate() {
        all(true, &peers[0]);
        all(true, &peers[1]);
        // The page may be ahead of what the other worker is told.
        nginx.wait_logged("is down", names.len() * (2 + round));
        let clients: Vec<Client> =
            names.iter().map(|name| Client::get(&nginx, &format!("/{name}/?k=1"))).collect();
        wait_in_hand(&nginx, names.len());
        holds_for(Duration::from_millis(200), "all wait", || clients.iter().all(|c| !c.is_done()));
        up.healthy(true);
        for (client, name) in clients.into_iter().zip(&names) {
            let (response, _) = client.answer();
            assert_eq!(
                (response.status, response.peer()),
                (200, up.to_string().as_str()),
                "{name}"
            );
        }
        up.healthy(false);
    }
}

#[test]
fn a_backup_peer_ends_the_waiting_and_a_primary_does_too() {
    for extra in ["", "zone backend 64k;", "least_conn;", "keepalive 4;"] {
        let peers = Peer::start_many(3);
        let body =
            format!("{extra} {} server {} max_fails=0 backup;", servers(&peers[..2]), peers[2]);
        for peer in &peers {
            peer.healthy(false);
        }
        let nginx = Nginx::start(&config("queue 10;", &body));
        for up in [&peers[2], &peers[1]] {
            wait_until(LIMIT, "all down", || nginx.status().peers.iter().all(|row| row.down));
            let client = Client::get(&nginx, "/backend/");
            wait_in_hand(&nginx, 1);
            up.healthy(true);
            assert_eq!(client.answer().0.peer(), up.to_string(), "{extra}");
            up.healthy(false);
        }
    }
}

/// Two peers that nginx's own passive checks have taken out, and a request that waits for them.
fn passively_down(lines: impl Fn(&[Peer]) -> String, extra: &str) -> (Nginx, Vec<Peer>, Client) {
    let mut peers = Peer::start_many(2);
    let body = format!("{extra} queue 10; {}", lines(&peers));
    let again = "location /it { proxy_pass http://backend; proxy_next_upstream error; }";
    let config = Config::new().upstream("backend", body).server(again);
    let (nginx, mut clients) = wait_for_passive_checks(&config, &mut peers, 1);
    (nginx, peers, clients.remove(0))
}

#[test]
fn a_queue_without_checks_waits_for_what_the_passive_checks_took_out() {
    for extra in ["keepalive 4;", "zone backend 64k; least_conn;", "hash $uri;", "random two;"] {
        let lines = |peers: &[Peer]| {
            peers.iter().map(|peer| format!("server {peer} fail_timeout=2s; ")).collect()
        };
        let (nginx, _peers, client) = passively_down(lines, extra);
        let (response, took) = client.answer();
        assert_eq!(response.status, 200, "{extra}: {response}");
        assert!(took < IN_TIME, "{extra}: {took:?}");
        assert!(nginx.log_lines("[alert]").is_empty());
    }
}

#[test]
fn a_primary_that_is_back_is_found_although_there_is_a_backup() {
    for extra in ["", "zone backend 64k;", "least_conn;"] {
        let lines = |peers: &[Peer]| {
            format!(
                "server {} fail_timeout=2s; server {} fail_timeout=60s backup;",
                peers[0], peers[1]
            )
        };
        let (_nginx, peers, client) = passively_down(lines, extra);
        let (response, _) = client.answer();
        assert_eq!((response.status, response.peer()), (200, peers[0].to_string().as_str()));
    }
}

#[test]
fn a_sticky_session_waits_and_moves_to_the_peer_that_is_up() {
    if !Environment::get().at_least([1, 29, 6]) {
        return skip("this nginx has no sticky sessions");
    }
    let peers = Peer::start_many(2);
    let body = format!("zone backend 64k; sticky cookie route; {}", servers(&peers));
    let nginx = Nginx::start(&config("queue 10;", &body));
    nginx.wait_probed();
    let first = nginx.get("/backend/");
    let cookie = first.header("Set-Cookie").expect("a cookie").to_owned();
    let (own, other) = match first.peer() == peers[0].to_string() {
        true => (&peers[0], &peers[1]),
        false => (&peers[1], &peers[0]),
    };
    for peer in [own, other] {
        peer.healthy(false);
        nginx.wait_down(peer, true);
    }
    let request = format!("GET /backend/ HTTP/1.0\r\nCookie: {cookie}\r\n\r\n");
    let ask = move |to| {
        let mut stream = TcpStream::connect(to)?;
        stream.write_all(request.as_bytes())?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer)?;
        Response::parse(&answer).ok_or_else(|| std::io::ErrorKind::InvalidData.into())
    };
    for (up, changes) in [(own, false), (other, true)] {
        let client = Client::of(nginx.address(), ask.clone());
        wait_in_hand(&nginx, 1);
        up.healthy(true);
        let (response, _) = client.answer();
        assert_eq!((response.status, response.peer()), (200, up.to_string().as_str()));
        let new = response.header("Set-Cookie");
        assert_eq!(new.is_some_and(|new| new != cookie), changes, "{response}");
        up.healthy(false);
        nginx.wait_down(up, true);
    }
}

#[test]
fn nginx_is_not_asked_in_vain() {
    // Each time it is, it takes memory that the request keeps to its end.
    if !Environment::get().built_with("--with-debug") {
        return skip("this nginx has no debug log");
    }
    let mut peers = Peer::start_many(2);
    for peer in &mut peers {
        peer.stop();
    }
    let lines: String =
        peers.iter().map(|peer| format!("server {peer} fail_timeout=60s; ")).collect();
    let location = "location /it { proxy_pass http://backend; proxy_next_upstream error; }
                    location = /basic { stub_status; }";
    let config = Config::new().upstream("backend", format!("queue 10; keepalive 4; {lines}"));
    let nginx = Nginx::start(&config.server(location).debug());
    assert_eq!(nginx.get("/it").status, 502);
    let _client = Client::get(&nginx, "/it");
    wait_in_hand(&nginx, 1);

    let asked = || nginx.log_lines("init keepalive peer").len();
    let before = asked();
    assert!(before >= 2, "{before}");
    holds_for(Duration::from_millis(500), "nginx is left alone", || asked() == before);
}

/// How long a peer takes that may have one request at a time.
const PAUSE: Duration = Duration::from_millis(100);

/// Notes when it has a request, and when it is about to end the answer: with the last byte of that,
/// nginx may send the next one.
fn take_time(connection: &mut Connection) -> std::io::Result<()> {
    connection.head()?;
    connection.note("begins");
    connection.send(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\n")?;
    sleep(PAUSE);
    connection.note("ends");
    connection.send(b"ok")
}

/// Five requests to a peer that may have one at a time.
fn in_turn(extra: &str, checks: &str) {
    let peer = Server::start(take_time);
    peer.healthy(true);
    let body = format!("{extra} queue 10; {checks} server {peer} max_conns=1 max_fails=0;");
    let nginx = Nginx::start(&Config::new().upstream("backend", body));

    let start = Instant::now();
    for client in Client::many(&nginx, 5, "/backend/") {
        assert_eq!(client.answer().0.status, 200, "{extra}");
    }
    let took = start.elapsed();
    assert!(took >= 5 * PAUSE, "{took:?}");
    assert_eq!(peer.notes(), ["begins", "ends"].repeat(5), "{extra}: one at a time");
}

#[test]
fn requests_above_max_conns_are_served_in_turn() {
    let checks = check(200, 10_000, 1);
    for (extra, checks) in
        [("", ""), ("zone backend 64k;", ""), ("", checks.as_str()), ("zone backend 64k;", &checks)]
    {
        in_turn(extra, checks);
    }
}

#[test]
fn who_comes_while_others_wait_is_served_after_them() {
    // One connection at a time: the order of the requests at the peer is that of the queue.
    let peer = Peer::start();
    peer.healthy(false);
    let body = format!("queue 100; {} server {peer} max_conns=1 max_fails=0;", quick());
    let nginx = Nginx::start(
        &Config::new().server("location = /basic { stub_status; }").upstream("backend", body),
    );

    nginx.wait_down(&peer, true);
    let mut clients = Vec::new();
    for at in 0..20 {
        clients.push(Client::get(&nginx, &format!("/backend/{at:02}")));
        wait_in_hand(&nginx, at + 1);
    }
    peer.healthy(true);
    for client in clients {
        assert_eq!(client.answer().0.status, 200);
    }
    let paths = peer.seen().into_iter().filter(|seen| !seen.probe).map(|seen| {
        let text = String::from_utf8_lossy(&seen.raw).into_owned();
        text.split(' ').nth(1).unwrap_or_default().to_owned()
    });
    let expected: Vec<String> = (0..20).map(|at| format!("/{at:02}")).collect();
    assert_eq!(paths.collect::<Vec<_>>(), expected);
}
