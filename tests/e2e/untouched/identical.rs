//! The answers of nginx's own features, byte by byte, with the module and without it.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use support::{patient, servers, Config, Nginx, Peer, Port, Script, CHECK};

const CHUNKED: &str =
    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nX-Accel-Buffering: no\r\n\r\n\
                       4\r\nfour\r\n5;x=y\r\nchunk\r\n0\r\n\r\n";
const CACHED: &str = "HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\nETag: \"one\"\r\n\
                      Content-Length: 6\r\n\r\ncached";
const REDIRECT: &str =
    "HTTP/1.1 200 OK\r\nX-Accel-Redirect: /plain/inside\r\nContent-Length: 0\r\n\r\n";
const SWITCHING: &str = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\
                         Connection: Upgrade\r\n\r\n";

/// Peers of which each does another thing, and nobody at the last port.
struct Backends {
    peers: Vec<Peer>,
    nobody: Port,
}

impl Backends {
    fn start() -> Backends {
        let peers = Peer::start_many(8);
        peers[0].requests(Script::ok("plain"));
        peers[1].requests(Script::status(503, "busy"));
        peers[2].requests(Script::raw(CHUNKED));
        peers[3].requests(Script::raw(CACHED));
        peers[4].requests(Script::raw(REDIRECT));
        peers[5].requests(Script::pieces(
            &[SWITCHING, "\u{1}frame", "\u{2}other"],
            Duration::from_millis(20),
        ));
        peers[6].requests(Script::raw("no HTTP at all\r\n\r\n"));
        peers[7].requests(Script::silent());
        Backends { peers, nobody: Port::reserve() }
    }

    /// All upstreams, with the same directives in front of their servers.
    fn config(&self, base: Config) -> Config {
        let [plain, busy, chunked, cached, redirect, upgraded, nonsense, silent] = &self.peers[..]
        else {
            unreachable!("eight peers")
        };
        let nobody = &self.nobody;
        let alone = |peer: &Peer| servers([peer]);
        let server = "
            proxy_http_version 1.1;
            location /retry/ { proxy_pass http://retried/; proxy_next_upstream error http_503; }
            location /limit/ {
                proxy_pass http://retried/; proxy_next_upstream error http_503;
                proxy_next_upstream_tries 2; }
            location /cache/ {
                proxy_pass http://cached/; proxy_cache one; proxy_cache_valid 1m;
                add_header X-Cache $upstream_cache_status; }
            location /upgrade/ {
                proxy_pass http://upgraded/; proxy_set_header Upgrade $http_upgrade;
                proxy_set_header Connection upgrade; }
            location /keep/ { proxy_pass http://kept/; proxy_set_header Connection ''; }
            location /catch/ {
                proxy_pass http://busy/; proxy_intercept_errors on; error_page 503 = /plain/caught; }
            location /ask/ { auth_request /plain/; proxy_pass http://plain/; }
            location /slow/ { proxy_pass http://silent/; proxy_read_timeout 300ms; }
            location /listed/ { return 200 '$upstream_addr'; }";

        base.http("proxy_cache_path @DIR@/cache keys_zone=one:1m;")
            .server(server)
            .upstream("plain", alone(plain))
            .upstream("busy", alone(busy))
            .upstream("chunked", alone(chunked))
            .upstream("cached", alone(cached))
            .upstream("redirect", alone(redirect))
            .upstream("upgraded", alone(upgraded))
            .upstream("nonsense", alone(nonsense))
            .upstream("silent", alone(silent))
            .upstream("kept", format!("zone kept 64k; keepalive 2; {}", alone(plain)))
            .upstream("dead", format!("server {nobody};"))
            .upstream(
                "retried",
                format!(
                    "server {nobody} weight=5 fail_timeout=1h; {} {}",
                    alone(busy),
                    alone(plain)
                ),
            )
            .upstream("spare", format!("server {nobody} fail_timeout=1h; server {plain} backup;"))
    }
}

/// Each path, some of them again: the order is part of what is compared.
const PATHS: [&str; 27] = [
    "/plain/",
    "/plain/?a=b",
    "/busy/",
    "/chunked/",
    "/cache/",
    "/cache/",
    "/cache/other",
    "/redirect/",
    "/upgrade/",
    "/nonsense/",
    "/slow/",
    "/dead/",
    "/dead/",
    "/retry/",
    "/retry/",
    "/retry/",
    "/limit/",
    "/limit/",
    "/spare/",
    "/spare/",
    "/keep/",
    "/keep/",
    "/keep/",
    "/catch/",
    "/ask/",
    "/listed/",
    "/none/",
];

/// All answers with what differs from time to time masked.
fn answers(config: &Config) -> Vec<String> {
    let nginx = Nginx::start(config);
    let mut answers: Vec<String> = Vec::new();

    for path in PATHS {
        for method in ["GET", "HEAD", "POST"] {
            let upgrade = if path == "/upgrade/" { "Upgrade: websocket\r\n" } else { "" };
            let request = format!(
                "{method} {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n{upgrade}\
                 Content-Length: {}\r\n\r\n{}",
                if method == "POST" { 4 } else { 0 },
                if method == "POST" { "data" } else { "" },
            );
            answers.push(format!("{method} {path}\n{}", masked(&ask(nginx.address(), &request))));
        }
    }
    answers
}

/// All that comes back.
fn ask(address: SocketAddr, request: &str) -> String {
    let mut stream = TcpStream::connect(address).expect("nginx listens");
    let mut answer = Vec::new();
    let limit = patient(Duration::from_secs(10));

    stream.set_read_timeout(Some(limit)).expect("a limit");
    stream.write_all(request.as_bytes()).expect("a request");
    stream.read_to_end(&mut answer).expect("an answer");
    String::from_utf8_lossy(&answer).into_owned()
}

fn masked(answer: &str) -> String {
    let lines = answer.split_inclusive("\r\n").map(|line| {
        let varies = ["Date: ", "X-Worker: "].iter().find(|name| line.starts_with(**name));
        varies.map_or(line, |name| name)
    });
    lines.collect()
}

/// The first requests that differ.
fn assert_same(one: &[String], other: &[String]) {
    assert_eq!(one.len(), other.len());
    for (one, other) in one.iter().zip(other) {
        assert_eq!(one, other);
    }
}

#[test]
fn the_answers_are_the_same_bytes_with_the_module_unused_and_without_it() {
    let backends = Backends::start();
    let config = backends.config(Config::new());
    let without = answers(&config.clone().without_module());

    // The answers are those of the features.
    let all = without.concat();
    for part in [
        " 101 ",
        " 502 ",
        " 503 ",
        " 504 ",
        " 404 ",
        "X-Cache: MISS",
        "X-Cache: HIT",
        "\u{2}other",
        "chunk",
        "X-Peer: 127.0.0.1:",
    ] {
        assert!(all.contains(part), "{part:?}: {all}");
    }
    assert_same(&without, &answers(&config.without_pages()));
}

#[test]
fn the_answers_are_the_same_bytes_beside_an_upstream_that_is_checked() {
    let backends = Backends::start();
    let config = backends.config(Config::new());
    let without = answers(&config.clone().without_module());
    let body = format!("{CHECK} queue 10; {}", servers(&backends.peers));

    assert_same(&without, &answers(&config.upstream("checked", body)));
}
