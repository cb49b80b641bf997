//! Requests that wait, under valgrind: no byte is read or written that is not ours.

use std::io::Write;
use std::net::TcpStream;
use std::time::Duration;

use support::valgrind::{assert_clean, under_valgrind, SLOW};
use support::{check, servers, wait_until, Config, Nginx, Peer, Port, Request, Script};

use super::h2::{Answer, H2};
use super::{in_hand, Client};

/// The whole way of requests: they wait and are served, give up, leave, find the queue full.
fn through(config: Config) {
    let peers = Peer::start_many(2);
    let port = Port::reserve();
    let check = check(300, 5000, 1);
    let location = format!(
        "listen {port} http2; location = /basic {{ stub_status; }}
         location = /may {{ internal; proxy_pass http://backend; }}
         location /asked/ {{ auth_request /may; proxy_pass http://backend; }}
         location /post/ {{ proxy_pass http://backend; client_body_in_file_only clean; }}"
    );
    let both = servers(&peers);
    let config = config
        .server(&location)
        .upstream("backend", format!("zone backend 64k; queue 20 timeout=5m; {check} {both}"))
        .upstream("hasty", format!("least_conn; keepalive 4; queue 2 timeout=2s; {check} {both}"))
        .upstream("single", format!("queue 9; server {} max_conns=1 max_fails=0;", peers[0]));
    let Some(config) = under_valgrind(config) else { return };
    let mut nginx = Nginx::start_within(SLOW, &config);
    let all = |down| {
        wait_until(SLOW, "all flip", || {
            nginx.status().peers.iter().all(|row| !row.checked || row.down == down)
        });
    };
    let waiting = |count| wait_until(SLOW, "they wait", || in_hand(&nginx) == count);
    let slow = |path: &'static str| {
        Client::of(nginx.address(), move |to| Request::get(path).limit(SLOW).send(to))
    };

    for _ in 0..2 {
        for peer in &peers {
            peer.healthy(false);
        }
        all(true);
        let mut clients: Vec<Client> = (0..4).map(|_| slow("/backend/")).collect();
        clients.push(slow("/asked/"));
        clients.push(Client::of(nginx.address(), |to| {
            Request::get("/post/").method("POST").body(&[b'x'; 500]).limit(SLOW).send(to)
        }));
        let mut streams = H2::connect(port.address());
        let numbers = [0; 3].map(|_| streams.get("/backend/"));
        let mut gone = TcpStream::connect(nginx.address()).expect("nginx listens");
        gone.write_all(b"GET /backend/ HTTP/1.0\r\n\r\n").expect("a request");
        waiting(10);
        drop(gone);
        streams.reset(numbers[0]);
        waiting(8);
        // All of them before the patience of the first may end.
        let hasty = streams.get_all(3, "/hasty/");
        let mut statuses: Vec<Answer> = hasty.into_iter().map(|at| streams.answer(at)).collect();
        statuses.sort();
        assert_eq!(statuses, ["502", "504", "504"].map(|status| Answer::Status(status.to_owned())));
        for peer in &peers {
            peer.healthy(true);
        }
        for client in clients {
            assert_eq!(client.answer().0.status, 200);
        }
        for stream in &numbers[1..] {
            assert_eq!(streams.answer(*stream), Answer::Status("200".to_owned()));
        }
        all(false);
    }
    let pause = Duration::from_millis(200);
    peers[0].requests(Script::pieces(
        &["HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\n", "ok"],
        pause,
    ));
    for client in [0; 5].map(|_| slow("/single/")) {
        assert_eq!(client.answer().0.status, 200);
    }
    nginx.quit_within(SLOW);
    assert_clean(&nginx, 1);
}

#[test]
fn a_single_process_with_requests_that_wait_is_clean() {
    through(Config::new().single_process());
}

#[test]
fn a_worker_with_requests_that_wait_is_clean() {
    through(Config::new().workers(1));
}
