//! A request that has an answer in nginx's cache does not wait for a peer.

use std::time::{Duration, Instant};

use support::{holds_for, servers, wait_until, Config, Nginx, Peer, Script, LIMIT};

use super::{access, config, wait_in_hand, Client, IN_TIME};

/// nginx with a cached answer of `peer` that is out of date, and the peer down.
fn out_of_date(use_stale: &str, script: Script) -> (Nginx, Peer) {
    let peer = Peer::start();
    peer.requests(script);
    let location = format!(
        "location /it {{ proxy_pass http://backend; proxy_cache cache; proxy_cache_key it; \
         proxy_cache_valid 200 1s; {use_stale} add_header X-Cache $upstream_cache_status always; }}"
    );
    let config: Config = config("queue 10;", &servers([&peer])).server(&location);
    let nginx = Nginx::start(&config.http("proxy_cache_path cache keys_zone=cache:1m;"));
    nginx.wait_probed();
    let cache = || nginx.get("/it").header("X-Cache").map(str::to_owned);
    assert_eq!(cache().as_deref(), Some("MISS"));
    let cached = Instant::now();
    peer.healthy(false);
    nginx.wait_down(&peer, true);
    // nginx counts in whole seconds: an entry for one second is old after two.
    wait_until(LIMIT, "the entry is old", || cached.elapsed() > Duration::from_millis(2_100));
    (nginx, peer)
}

#[test]
fn an_answer_that_is_out_of_date_is_given_at_once_where_that_is_allowed() {
    let (nginx, peer) = out_of_date("proxy_cache_use_stale error;", Script::ok("cached"));

    let (response, took) = Client::get(&nginx, "/it").answer();
    assert_eq!((response.status, response.header("X-Cache")), (200, Some("STALE")));
    assert!(took < IN_TIME, "{took:?}");
    assert_eq!(peer.request_count(), 1);
}

#[test]
fn an_answer_that_says_so_itself_is_given_at_once() {
    let answer = "HTTP/1.1 200 OK\r\nCache-Control: max-age=1, stale-if-error=60\r\n\
                  Content-Length: 6\r\n\r\ncached";
    let (nginx, _peer) = out_of_date("", Script::raw(answer));

    let (response, took) = Client::get(&nginx, "/it").answer();
    assert_eq!((response.status, response.header("X-Cache")), (200, Some("STALE")));
    assert!(took < IN_TIME, "{took:?}");
}

#[test]
fn a_request_that_must_not_have_an_old_answer_waits() {
    let (nginx, peer) = out_of_date("", Script::ok("cached"));

    let client = Client::get(&nginx, "/it");
    wait_in_hand(&nginx, 1);
    holds_for(Duration::from_millis(300), "it waits", || !client.is_done());
    peer.healthy(true);
    assert_eq!(client.answer().0.status, 200);
}

#[test]
fn a_request_that_may_be_cached_is_sent_although_its_client_is_gone() {
    use std::io::Write;

    let peer = Peer::start();
    peer.healthy(false);
    let location = "location /it { proxy_pass http://backend; proxy_cache cache; \
                    proxy_cache_valid 200 1m; }";
    let config = config("queue 10;", &servers([&peer])).server(location);
    let nginx = Nginx::start(&config.http("proxy_cache_path cache keys_zone=cache:1m;"));
    nginx.wait_down(&peer, true);
    let mut client = std::net::TcpStream::connect(nginx.address()).expect("nginx listens");
    client.write_all(b"GET /it HTTP/1.0\r\n\r\n").expect("a request");
    wait_in_hand(&nginx, 1);
    drop(client);
    peer.healthy(true);
    access(&nginx, &format!("/it 200 [{peer}] [200]"));
    assert_eq!(peer.request_count(), 1);
}
