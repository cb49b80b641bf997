//! How the connection of a probe is begun and watched.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread;

use support::{check, servers, skip, Config, Nginx, Peer, Port, LIMIT};

/// Answers whatever comes, for as long as the tests run.
pub(crate) fn answer_all(listener: TcpListener) {
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let mut request = [0; 100];
            if stream.read(&mut request).is_ok_and(|count| count > 0) {
                // The probe may be gone already.
                let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n");
            }
        }
    });
}

#[test]
fn a_peer_that_takes_its_time_to_connect_is_probed_like_any_other() {
    let port = Port::reserve();
    let listener = port.listen_for_one().expect("the port");
    let first = TcpStream::connect(port.address()).expect("the only place");
    let body = format!("{} server {port};", check(200, 30_000, 1));
    let nginx = Nginx::start(&Config::new().upstream("backend", body));

    // Its connection stands with the next attempt of the system, about a second later.
    let row = nginx.wait_row(&port, "is being probed", |row| row.last_action_ms > 0);
    assert_eq!(row.concurrent, 0, "it has to wait");
    drop(first);
    answer_all(listener);
    let row = nginx.wait_row(&port, "passes, and goes on", |row| row.concurrent >= 4);
    assert_eq!((row.code.as_str(), row.failures, row.down), ("ok", 0, false));
}

#[test]
fn peers_are_probed_with_each_of_nginx_ways_to_wait() {
    for method in ["epoll", "poll", "select"] {
        let events = format!("events {{ use {method}; worker_connections 512; }}");
        let mut peers = Peer::start_many(3);
        let body = format!("{} {}", check(100, 2000, 2), servers(&peers));
        let config = Config::new().main(&events).upstream("backend", body);
        if Nginx::test(&config).output.contains("invalid event type") {
            skip(&format!("this nginx is built without {method}"));
            continue;
        }
        let mut nginx = Nginx::start(&config);
        nginx.wait_probed();
        peers[1].healthy(false);
        nginx.wait_down(&peers[1], true);
        peers[1].healthy(true);
        nginx.wait_down(&peers[1], false);
        peers[2].stop();
        let row = nginx.wait_down(&peers[2], true);
        assert_eq!(row.code, "bad_connection", "{method}: {row:#?}");
        nginx.quit_within(LIMIT);
    }
}
