//! Reloads, ends and crashes while requests wait.

use std::time::{Duration, Instant};

use support::{check, holds_for, process, servers, wait_until, Config, Nginx, Peer, Port, LIMIT};

use super::h2::{Answer, H2};
use super::server::{self, Server};
use super::{access, all_down, config, connection_to, held, quick, wait_in_hand, Client, IN_TIME};

/// nginx with two workers whose only peer is down, and four requests that wait in each.
fn waiting_in_two(queue: &str) -> (Nginx, Config, Peer, Vec<(u32, Client)>) {
    let peer = Peer::start();
    peer.healthy(false);
    let config = config(queue, &servers([&peer])).workers(2);
    let nginx = Nginx::start(&config);
    nginx.wait_down(&peer, true);
    nginx.wait_logged("is down", 1);
    let workers = nginx.workers().repeat(4);
    // None of them begins to wait before all can.
    let connections: Vec<_> =
        workers.into_iter().map(|worker| (worker, connection_to(&nginx, worker))).collect();
    let wait = |(worker, connection)| (worker, Client::on(connection, "/backend/"));
    let clients = connections.into_iter().map(wait).collect();
    wait_in_hand(&nginx, 8);
    (nginx, config, peer, clients)
}

#[test]
fn requests_that_wait_through_a_reload_are_served_by_the_old_workers() {
    let (mut nginx, config, peer, clients) = waiting_in_two("queue 10;");
    let old = nginx.workers();

    nginx.signal_reload(&config);
    nginx.await_generation(LIMIT);
    wait_until(LIMIT, "new workers", || {
        let workers = nginx.workers();
        workers.len() == 2 && workers.iter().all(|pid| !old.contains(pid))
    });
    // A request to the new workers waits too.
    let late = Client::get(&nginx, "/backend/");
    wait_in_hand(&nginx, 9);
    assert!(old.iter().all(|pid| process::is_alive(*pid)));
    peer.healthy(true);
    for (worker, client) in clients {
        let (response, _) = client.answer();
        assert_eq!((response.status, response.worker()), (200, worker));
    }
    assert_eq!(late.answer().0.status, 200);
    wait_until(LIMIT, "the old workers end", || old.iter().all(|pid| !process::is_alive(*pid)));
}

#[test]
fn a_graceful_quit_waits_for_the_patience_of_those_who_wait() {
    let (mut nginx, _config, _peer, clients) = waiting_in_two("queue 10 timeout=5s;");

    let took = nginx.quit_within(LIMIT);
    assert!(took < IN_TIME, "{took:?}");
    for (_, client) in clients {
        let (response, took) = client.answer();
        assert_eq!(response.status, 504);
        assert!(took >= Duration::from_millis(4_980), "{took:?}");
    }
    assert!(nginx.log_lines("open socket").is_empty());
}

#[test]
fn a_worker_that_must_be_gone_takes_those_who_wait_along() {
    let peer = Peer::start();
    peer.healthy(false);
    let config = config("queue 10;", &servers([&peer])).main("worker_shutdown_timeout 1s;");
    let mut nginx = Nginx::start(&config);
    nginx.wait_down(&peer, true);
    let client = Client::get(&nginx, "/backend/");
    wait_in_hand(&nginx, 1);

    let took = nginx.quit_within(LIMIT);
    assert!(took < IN_TIME, "{took:?}");
    assert!(client.0.join().expect("a client").0.is_err(), "no answer, as any request in flight");
}

#[test]
fn a_killed_worker_loses_its_own_queue_alone() {
    let (mut nginx, _config, peer, clients) = waiting_in_two("queue 10;");
    let killed = nginx.workers()[0];

    nginx.kill9(killed);
    wait_until(LIMIT, "a new worker", || {
        let workers = nginx.workers();
        workers.len() == 2 && !workers.contains(&killed)
    });
    let late = Client::many(&nginx, 4, "/backend/");
    peer.healthy(true);
    for (worker, client) in clients {
        let response = client.0.join().expect("a client").0;
        let served = response.ok().map(|response| (response.status, response.worker()));
        assert_eq!(served, (worker != killed).then_some((200, worker)));
    }
    for client in late {
        assert_eq!(client.answer().0.status, 200);
    }
}

/// As the configuration, with more peers than the zone has room for.
fn grown(config: &Config) -> Config {
    let many: String = (1..=200).map(|port| format!("server 127.0.0.1:{port}; ")).collect();
    config.clone().upstream("more", format!("{} {many}", check(60_000, 1000, 1000)))
}

#[test]
fn those_who_wait_for_a_zone_that_was_replaced_are_told_at_once() {
    let (mut nginx, config, peer, clients) = waiting_in_two("queue 10;");

    let (start, old) = (Instant::now(), nginx.workers());
    nginx.signal_reload(&grown(&config));
    nginx.await_generation(LIMIT);
    for (_, client) in clients {
        assert_eq!(client.answer().0.status, 502);
    }
    assert!(start.elapsed() < IN_TIME, "{:?}", start.elapsed());
    assert_eq!(nginx.log_lines("no live upstreams").len(), 8);
    // The new workers go on as before; the old ones may still have taken a connection.
    wait_until(LIMIT, "the old workers end", || old.iter().all(|pid| !process::is_alive(*pid)));
    let client = Client::get(&nginx, "/backend/");
    wait_in_hand(&nginx, 1);
    peer.healthy(true);
    assert_eq!(client.answer().0.status, 200);
}

#[test]
fn those_who_wait_for_an_upstream_that_nobody_watches_are_told_at_once() {
    let (peer, port) = (Peer::start(), Port::reserve());
    peer.healthy(false);
    let server = format!(
        "listen {port} http2; location @other {{ return 203 other; }}
         location /it {{ proxy_pass http://backend; error_page 502 = @other; }}
         location = /may {{ internal; proxy_pass http://backend; }}
         location /asked {{ auth_request /may; root /nonexistent; }}"
    );
    let first = config("queue 10;", &servers([&peer])).server(&server);
    let mut nginx = Nginx::start(&first);
    nginx.wait_down(&peer, true);
    let paths = [("/backend/", 502), ("/it", 203), ("/asked", 500)];
    let clients = paths.map(|(path, status)| (Client::get(&nginx, path), status));
    let mut streams = H2::connect(port.address());
    let numbers = [0; 2].map(|_| streams.get("/backend/h2"));
    wait_in_hand(&nginx, 5);

    let start = Instant::now();
    let other = Peer::start();
    // The new configuration neither watches the upstream nor lets requests to it wait.
    let without = first.upstream("backend", servers([&peer]));
    let without = without.upstream("other", format!("{} {}", quick(), servers([&other])));
    nginx.signal_reload(&without);
    nginx.await_generation(LIMIT);
    for (client, status) in clients {
        assert_eq!(client.answer().0.status, status);
    }
    for stream in numbers {
        assert_eq!(streams.answer(stream), Answer::Status("502".to_owned()));
    }
    assert!(start.elapsed() < IN_TIME, "{:?}", start.elapsed());
    for path in ["/backend/", "/backend/h2"] {
        access(&nginx, &format!("{path} 502 [backend] [502] [-] ["));
    }
    assert_eq!(nginx.log_lines("no live upstreams while waiting").len(), 5);
}

#[test]
fn those_who_wait_for_a_zone_that_was_replaced_are_served_where_a_peer_is_up() {
    // Two at a time: who waits does so although the peer is up.
    let peer = Server::start(server::when_released);
    peer.healthy(true);
    let body = format!("queue 10; {} server {peer} max_conns=2 max_fails=0;", quick());
    let location = "location /it { proxy_pass http://backend; proxy_read_timeout 60s; }";
    let config = config("", "").upstream("backend", body).server(location);
    let mut nginx = Nginx::start(&config);
    nginx.wait_probed();
    let clients = Client::many(&nginx, 4, "/it");
    wait_until(LIMIT, "two wait", || peer.requests() == 2 && held(&nginx) == 2);

    nginx.signal_reload(&grown(&config));
    nginx.await_generation(LIMIT);
    let told = || clients.iter().filter(|client| client.is_done()).count();
    wait_until(LIMIT, "two are told", || told() == 2);
    peer.release();
    let mut statuses: Vec<u16> = clients.into_iter().map(|c| c.answer().0.status).collect();
    statuses.sort_unstable();
    // Two were on their way; the others find no connection free and are told so.
    assert_eq!(statuses, [200, 200, 502, 502]);
}

#[test]
fn a_single_process_lets_requests_wait() {
    let peer = Peer::start();
    peer.healthy(false);
    let config = config("queue 10;", &servers([&peer])).single_process();
    let mut nginx = Nginx::start(&config);

    nginx.wait_down(&peer, true);
    let clients = Client::many(&nginx, 3, "/backend/");
    wait_in_hand(&nginx, 3);
    peer.healthy(true);
    for client in clients {
        assert_eq!(client.answer().0.status, 200);
    }
    peer.healthy(false);
    nginx.wait_down(&peer, true);
    let client = Client::get(&nginx, "/backend/");
    wait_in_hand(&nginx, 1);
    nginx.quit_within(LIMIT);
    assert!(client.0.join().expect("a client").0.is_err(), "it waits for nobody");
}

/// nginx without a master does not serve after a reload: it gives its new cycle no connections. But
/// who waits under the old configuration is told, and nothing of it is used wrongly.
fn a_single_process_after(next: impl Fn(Config) -> Config) {
    let peer = Peer::start();
    peer.healthy(false);
    let config = config("queue 10;", &servers([&peer])).single_process();
    let mut nginx = Nginx::start(&config);
    nginx.allow_in_log("worker_connections are not enough");
    nginx.wait_down(&peer, true);
    let client = Client::get(&nginx, "/backend/");
    wait_in_hand(&nginx, 1);

    nginx.signal_reload(&next(config));
    assert_eq!(client.answer().0.status, 502);
    holds_for(Duration::from_millis(600), "it lives", || process::is_alive(nginx.pid()));
    nginx.quit_within(LIMIT);
}

#[test]
fn a_single_process_that_is_reloaded_tells_those_who_wait() {
    a_single_process_after(|config| config);
}

#[test]
fn a_single_process_that_loses_the_module_tells_those_who_wait() {
    a_single_process_after(|config| config.without_upstream("backend").without_module());
}

#[test]
fn a_wait_that_is_over_leaves_nothing_that_keeps_nginx() {
    let (mut nginx, peer) = all_down("queue 10;");
    let client = Client::get(&nginx, "/backend/");
    wait_in_hand(&nginx, 1);
    peer.healthy(true);
    assert_eq!(client.answer().0.status, 200);
    let took = nginx.quit_within(LIMIT);
    assert!(took < Duration::from_secs(10), "{took:?}");
}
