//! init_busy: a balancer's peer.init keeps a request, and has nginx go on with it later.

use std::io::Write;
use std::net::TcpStream;
use std::time::{Duration, Instant};

use support::{
    servers, wait_until, Config, Consumer, Environment, Nginx, Peer, Port, Request, Script, LIMIT,
};

use crate::hold::h2::{Answer, H2};
use crate::hold::server::{self, Server};

/// How long it takes until somebody notices that a client has left, compared with [`LIMIT`]: for ever.
const LONG: &str = "park 1h;";

/// An upstream whose balancer parks; `None`, with a remark, without the patch.
fn parking(park: &str, peers: &[Peer]) -> Option<Config> {
    if !Environment::get().patched("init_busy") {
        return None;
    }
    let config = Config::new().load_after(&Consumer::build("parking"));
    Some(config.upstream("backend", format!("{} {park}", servers(peers))))
}

/// Waits until a request has left before its time.
fn wait_gone(nginx: &Nginx) {
    wait_until(LIMIT, "it is gone", || nginx.log_lines("parking: gone").len() == 1);
    assert!(nginx.log_lines("parking: resumed").is_empty());
}

#[test]
fn a_request_goes_on_when_its_balancer_says_so() {
    let peers = Peer::start_many(1);
    let Some(config) = parking("park 300ms;", &peers) else { return };
    for config in [config.clone(), config.without_module()] {
        let nginx = Nginx::start(&config);
        let start = Instant::now();
        let answer = nginx.get("/backend/");

        assert_eq!((answer.status, answer.peer()), (200, &*peers[0].to_string()));
        // nginx reads its clock once in a round of its event loop.
        assert!(start.elapsed() >= Duration::from_millis(250), "{:?}", start.elapsed());
    }
}

#[test]
fn a_body_arrives_whole_whether_nginx_reads_it_first_or_not() {
    let server = Server::start(server::http);
    let Some(config) = parking("park 50ms;", &[]) else { return };
    let config = config.upstream("backend", format!("server {server}; park 50ms;"));
    let location = |buffering| {
        format!(
            "location /{buffering} {{ proxy_pass http://backend; proxy_http_version 1.1; \
             proxy_request_buffering {buffering}; }}"
        )
    };
    let nginx = Nginx::start(&config.server(&location("on")).server(&location("off")));
    let body = vec![b'x'; 200_000];
    let sum = 200_000 * u64::from(b'x');

    for path in ["/on", "/off"] {
        assert_eq!(
            nginx.send(&Request::get(path).method("POST").body(&body)).status,
            200,
            "{path}"
        );
    }
    assert_eq!(server.notes(), vec![format!("200000 {sum}"); 2]);
}

#[test]
fn a_subrequest_is_parked_as_well() {
    let peers = Peer::start_many(1);
    let Some(config) = parking("park 50ms;", &peers) else { return };
    let location = "location /mirrored { mirror /copy; proxy_pass http://backend; } \
                    location = /copy { internal; proxy_pass http://backend; }";
    let nginx = Nginx::start(&config.server(location));

    assert_eq!(nginx.get("/mirrored").status, 200);
    wait_until(LIMIT, "the copy arrives", || peers[0].request_count() == 2);
}

#[test]
fn a_client_that_leaves_is_noticed() {
    let peers = Peer::start_many(1);
    let Some(config) = parking(LONG, &peers) else { return };
    let nginx = Nginx::start(&config);
    let mut client = TcpStream::connect(nginx.address()).expect("nginx listens");
    client.write_all(b"GET /backend/ HTTP/1.0\r\n\r\n").expect("a request");

    drop(client);
    wait_gone(&nginx);
    assert_eq!(peers[0].request_count(), 0);
}

#[test]
fn a_stream_that_is_reset_is_noticed_and_the_others_stay() {
    let peers = Peer::start_many(1);
    let Some(config) = parking("park 4s;", &peers) else { return };
    let port = Port::reserve();
    let nginx = Nginx::start(&config.server(&format!("listen {port} http2;")));
    let mut client = H2::connect(port.address());
    let (first, second) = (client.get("/backend/"), client.get("/backend/"));

    client.reset(first);
    wait_gone(&nginx);
    assert_eq!(client.answer(second), Answer::Status("200".to_owned()));
    assert_eq!(peers[0].request_count(), 1);
}

#[test]
fn the_time_for_retries_begins_when_the_request_goes_on() {
    let peers = Peer::start_many(3);
    for peer in &peers {
        peer.requests(Script::status(500, "broken"));
    }
    // Longer than the time for retries, which is longer than a peer takes to answer.
    let Some(config) = parking("park 4s;", &peers) else { return };
    let location = "location /it { proxy_pass http://backend; proxy_next_upstream http_500; \
                    proxy_next_upstream_timeout 3500ms; proxy_next_upstream_tries 2; }";
    let nginx = Nginx::start(&config.server(location));
    let answer = nginx.get("/it");

    assert_eq!(answer.peer().split(", ").count(), 2, "{}", answer.peer());
    assert_eq!(answer.status, 500);
}

#[test]
fn what_a_worker_has_parked_ends_with_it() {
    let peers = Peer::start_many(1);
    let Some(config) = parking(LONG, &peers) else { return };
    let mut nginx = Nginx::start(&config.main("worker_shutdown_timeout 200ms;"));
    let mut client = TcpStream::connect(nginx.address()).expect("nginx listens");
    client.write_all(b"GET /backend/ HTTP/1.0\r\n\r\n").expect("a request");
    // It is parked when a later request on the same worker has been answered.
    assert_eq!(nginx.get("/generation").status, 200);

    nginx.quit_within(LIMIT);
}
