//! Every protocol that nginx speaks to an upstream.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use support::spawn::output;
use support::{holds_for, servers, wait_until, Config, Nginx, Peer, Port, Response, LIMIT};

use super::server::{self, Answer, Server};
use super::{config, held, wait_in_hand, Client};

/// Starts nginx with a peer that is down, has a request wait, and brings the peer up.
fn served(answer: Answer, location: &str) -> Response {
    let server = Server::start(answer);
    let config = config("queue 10;", &format!("server {server} max_fails=0;"));
    let nginx = Nginx::start(&config.server(&format!("location /it {{ {location} }}")));

    nginx.wait_down(&server, true);
    let client = Client::get(&nginx, "/it");
    wait_in_hand(&nginx, 1);
    holds_for(Duration::from_millis(100), "it waits", || !client.is_done());
    server.healthy(true);
    let (response, _) = client.answer();
    assert_eq!(response.peer(), server.to_string());
    assert_eq!(server.requests(), 1);
    response
}

/// The response is 200 with this body.
#[track_caller]
fn assert_says(response: &Response, body: &str) {
    assert_eq!((response.status, response.text().as_str()), (200, body));
}

#[test]
fn fastcgi_waits() {
    assert_says(&served(server::fastcgi, "fastcgi_pass backend;"), "fastcgi");
}

#[test]
fn uwsgi_waits() {
    assert_says(&served(server::uwsgi, "uwsgi_pass backend;"), "uwsgi");
}

#[test]
fn scgi_waits() {
    assert_says(&served(server::scgi, "scgi_pass backend;"), "scgi");
}

#[test]
fn memcached_waits() {
    assert_says(
        &served(server::memcached, "set $memcached_key k; memcached_pass backend;"),
        "memcached",
    );
}

#[test]
fn grpc_waits() {
    let response = served(server::grpc, "grpc_pass grpc://backend;");
    assert_eq!(response.status, 200);
    assert!(response.text().contains("grpc"), "{response}");
}

#[test]
fn a_proxy_pass_with_a_variable_waits() {
    let location = "set $where backend; proxy_pass http://$where; proxy_http_version 1.1;";
    assert_eq!(served(server::http, location).status, 200);
}

#[test]
fn a_peer_on_a_unix_socket_is_waited_for() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let mut peer = Peer::unix(&dir.path().join("peer.sock"));
    peer.stop();
    let nginx = Nginx::start(&config("queue 10;", &servers([&peer])));

    // Connecting to it succeeds or fails at once, without an event.
    nginx.wait_down(&peer, true);
    let clients = Client::many(&nginx, 3, "/backend/");
    wait_in_hand(&nginx, 3);
    peer.restart();
    for client in clients {
        assert_eq!(client.answer().0.status, 200);
    }
    assert_eq!(peer.request_count(), 3);
}

#[test]
fn a_connection_that_becomes_another_protocol_waits() {
    let server = Server::start(server::upgraded);
    let location = "location /it { proxy_pass http://backend; proxy_http_version 1.1; \
                    proxy_set_header Connection upgrade; proxy_set_header Upgrade $http_upgrade; }";
    let config = config("queue 10;", &format!("server {server} max_fails=0;"));
    let nginx = Nginx::start(&config.server(location));

    nginx.wait_down(&server, true);
    let mut client = TcpStream::connect(nginx.address()).expect("nginx listens");
    client.set_read_timeout(Some(LIMIT)).expect("a timeout above zero");
    let request = "GET /it HTTP/1.1\r\nHost: test\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n";
    client.write_all(request.as_bytes()).expect("a request");
    wait_in_hand(&nginx, 1);
    server.healthy(true);
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        client.read_exact(&mut byte).expect("a byte of the head");
        answer.push(byte[0]);
    }
    assert!(answer.starts_with(b"HTTP/1.1 101"), "{}", String::from_utf8_lossy(&answer));
    client.write_all(b"hello").expect("an open connection");
    let mut echo = [0; 5];
    client.read_exact(&mut echo).expect("the echo");
    assert_eq!(&echo, b"hello");
}

/// A key and a certificate of nobody's.
fn certificate(dir: &Path) {
    let made = output(
        Command::new("openssl")
            .args(["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=test"])
            .args(["-days", "2", "-keyout", "key.pem", "-out", "certificate.pem"])
            .current_dir(dir),
    );
    assert!(made.is_ok_and(|made| made.status.success()), "openssl makes a certificate");
}

/// A peer that speaks TLS: nginx itself. It passes probes, which come without TLS, to `probed`, and
/// says of other requests whether their TLS session was used before, and on which connection they
/// came.
fn tls_peer(config: Config, dir: &Path, port: &Port, probed: &Peer) -> Config {
    certificate(dir);
    let dir = dir.display();
    config.http(&format!(
        "server {{
            listen {port} ssl;
            ssl_certificate {dir}/certificate.pem;
            ssl_certificate_key {dir}/key.pem;
            ssl_session_cache shared:tls:1m;
            error_page 497 = @probe;
            location @probe {{ proxy_pass http://{probed}; }}
            location / {{ return 200 \"$ssl_session_reused $connection\"; }}
        }}"
    ))
}

/// A first request while the peer is up, and one that waits for it; what the peer says of both.
fn twice_over_tls(upstream: &str, connection: &str) -> [String; 2] {
    let (dir, port, probed) =
        (tempfile::tempdir().expect("a directory"), Port::reserve(), Peer::start());
    let location = format!(
        "location /it {{ proxy_pass https://backend; proxy_http_version 1.1; \
         proxy_set_header Connection '{connection}'; }}"
    );
    let config = config("queue 10;", &format!("server {port} max_fails=0; {upstream}"));
    let nginx = Nginx::start(&tls_peer(config.server(&location), dir.path(), &port, &probed));

    let first = nginx.get("/it");
    assert_eq!(first.status, 200, "{first}");
    probed.healthy(false);
    nginx.wait_down(&port, true);
    let client = Client::get(&nginx, "/it");
    wait_until(LIMIT, "it waits", || held(&nginx) == 1);
    holds_for(Duration::from_millis(200), "it waits", || !client.is_done());
    probed.healthy(true);
    let (second, _) = client.answer();
    assert_eq!(second.status, 200, "{second}");
    [first.text(), second.text()]
}

#[test]
fn https_waits_and_uses_the_tls_session_of_its_peer_again() {
    let [first, second] = twice_over_tls("", "close");
    assert!(first.starts_with(". "), "{first}");
    assert!(second.starts_with("r "), "{second}");
}

#[test]
fn https_waits_and_goes_on_over_a_kept_connection() {
    let [first, second] = twice_over_tls("keepalive 4;", "");
    assert_eq!(first, second);
}

#[test]
fn a_tls_peer_that_is_gone_again_is_a_failure_of_the_request() {
    // Up for the probe's eyes, but what listens does not speak TLS.
    let server = Server::start(|connection| connection.send(b"no TLS"));
    let location = "location /it { proxy_pass https://backend; }";
    let config = config("queue 10;", &format!("server {server} max_fails=0;"));
    let nginx = Nginx::start(&config.server(location));

    nginx.wait_down(&server, true);
    let client = Client::get(&nginx, "/it");
    wait_in_hand(&nginx, 1);
    server.healthy(true);
    assert_eq!(client.answer().0.status, 502);
    wait_until(LIMIT, "nginx says so", || nginx.log_lines("SSL_do_handshake() failed").len() == 1);
}
