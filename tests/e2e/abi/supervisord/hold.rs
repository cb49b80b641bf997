//! Requests to a balancer with a peer list of its own wait for a program.

use std::thread::{self, JoinHandle};
use std::time::Duration;

use support::scripted_supervisord::START as START_CALL;
use support::{
    holds_for, servers, wait_until, Config, Consumer, Nginx, Peer, Reply, Request, Response,
    ScriptedSupervisord, CHECK, LIMIT,
};

use super::{by_hand, config, fill, real, trace};

/// A supervisord whose starts take as long as a test wants, and requests on their way.
pub(crate) fn held(settings: &str, count: usize) -> Held {
    let (supervisord, peers) = (ScriptedSupervisord::start(), Peer::start_many(2));
    supervisord.hold(START_CALL);
    let body = format!("supervisord {supervisord}; {settings} {}", servers(&peers));
    let nginx = Nginx::start(&config(body).workers(2));

    let clients = (0..count).map(|_| get(&nginx)).collect();
    wait_until(LIMIT, "a start", || supervisord.starts("backend0") == 1);
    (supervisord, peers, nginx, clients)
}

type Held = (ScriptedSupervisord, Vec<Peer>, Nginx, Vec<Client>);
pub(crate) type Client = JoinHandle<std::io::Result<Response>>;

pub(crate) fn get(nginx: &Nginx) -> Client {
    let to = nginx.address();
    thread::spawn(move || Request::get("/backend/").limit(LIMIT).send(to))
}

/// The status of an answer.
pub(crate) fn status(client: Client) -> u16 {
    client.join().expect("a client").expect("an answer").status
}

/// Waits until so many requests are held.
pub(crate) fn wait_held(nginx: &Nginx, count: u64) {
    wait_until(LIMIT, "the requests wait", || nginx.status().upstream("backend").held == count);
}

#[test]
fn a_request_starts_a_real_program_and_waits_for_it() {
    let supervisord = real(2);
    // RUNNING is not listening yet: hence the check.
    let body = format!("traced_peers on; {CHECK} {}", supervisord.upstream());
    let nginx = Nginx::start(&config(body).workers(2));

    let response = nginx.get("/backend/");
    assert_eq!((response.status, response.peer()), (200, supervisord.peer(0).as_str()));
    assert_eq!(supervisord.state("backend0"), "RUNNING");
    assert_eq!(trace(&nginx, "init").len(), 2, "the balancer begins anew when it goes on");
}

#[test]
fn all_that_wait_go_on_through_their_balancer() {
    let (supervisord, peers, nginx, clients) = held("", 20);

    wait_held(&nginx, 20);
    supervisord.release(START_CALL);
    for client in clients {
        assert_eq!(status(client), 200);
    }
    assert_eq!(peers[0].request_count(), 20);
    assert_eq!((supervisord.starts("backend0"), supervisord.starts("backend1")), (1, 0));
    assert_eq!(trace(&nginx, "init").len(), 40);
    let upstream = nginx.status().upstream("backend");
    assert_eq!((upstream.requests, upstream.held), (20, 0));
}

#[test]
fn those_that_wait_too_long_and_those_too_many_are_told() {
    // Longer than the others take to come.
    let (_supervisord, _peers, nginx, clients) = held("queue 1 timeout=5s;", 1);

    wait_held(&nginx, 1);
    let more: Vec<_> = (0..8).map(|_| get(&nginx)).collect();
    let mut counts = [0, 0];
    for client in more {
        match status(client) {
            502 => counts[0] += 1,
            504 => counts[1] += 1,
            other => panic!("{other}"),
        }
    }
    assert!(counts[0] >= 7 && counts[1] <= 1, "one in each worker: {counts:?}");
    for client in clients {
        assert_eq!(status(client), 504);
    }
    wait_held(&nginx, 0);
}

#[test]
fn where_no_program_can_be_started_those_that_wait_are_told() {
    let (supervisord, peers) = (ScriptedSupervisord::start(), Peer::start_many(2));
    supervisord.reply(START_CALL, Reply::Fault(50));
    let body = format!("supervisord {supervisord}; {}", servers(&peers));
    let nginx = Nginx::start(&config(body).workers(2));

    assert_eq!(nginx.get("/backend/").status, 502);
    assert_eq!((supervisord.starts("backend0"), supervisord.starts("backend1")), (1, 1));
}

#[test]
fn a_client_that_leaves_is_forgotten() {
    let (supervisord, peers, nginx, clients) = held("", 1);
    wait_held(&nginx, 1);
    {
        let mut leaving = std::net::TcpStream::connect(nginx.address()).expect("nginx listens");
        let request = b"GET /backend/ HTTP/1.1\r\nHost: x\r\n\r\n";
        std::io::Write::write_all(&mut leaving, request).expect("nginx reads");
        wait_held(&nginx, 2);
    }

    wait_held(&nginx, 1);
    supervisord.release(START_CALL);
    for client in clients {
        assert_eq!(status(client), 200);
    }
    assert_eq!(peers[0].request_count(), 1);
}

#[test]
fn a_request_waits_again_where_its_balancer_has_no_peer_after_all() {
    let (supervisord, peers, nginx, clients) = held("", 3);
    wait_held(&nginx, 3);
    fill(&nginx, true);

    supervisord.release(START_CALL);
    nginx.wait_program("backend0", "up");
    let clients: Vec<_> = clients.into_iter().chain([get(&nginx)]).collect();
    wait_held(&nginx, 4);
    // Where nginx itself keeps them, the page does not count one whose balancer is being asked.
    holds_for(Duration::from_millis(500), "they wait", || {
        !clients.iter().any(Client::is_finished) && peers[0].request_count() == 0
    });
    wait_held(&nginx, 4);
    fill(&nginx, false);
    for client in clients {
        assert_eq!(status(client), 200);
    }
    assert_eq!(peers[0].request_count(), 4);
}

#[test]
fn with_a_queue_alone_a_request_waits_until_its_balancer_has_a_peer() {
    let peers = Peer::start_many(2);
    let body = format!("traced trace; traced_peers on; queue 10; {}", servers(&peers));
    let config = Config::new().load_after(&Consumer::build("traced")).upstream("backend", body);
    let nginx = Nginx::start(&config);
    fill(&nginx, true);

    let clients = [get(&nginx), get(&nginx)];
    wait_held(&nginx, 2);
    fill(&nginx, false);
    for client in clients {
        assert_eq!(status(client), 200);
    }
}

#[test]
fn by_hand_nothing_waits() {
    let peers = Peer::start_many(1);
    let nginx = Nginx::start(&by_hand(&peers));
    assert!(nginx.stop_page("backend", 0).accepted);

    assert_eq!(nginx.status().upstream("backend").queue, None);
    assert_eq!(nginx.get("/backend/").status, 502);
    assert_eq!(trace(&nginx, "init").len(), 1);
    assert!(nginx.start_page("backend", 0).accepted);
    assert_eq!(nginx.get("/backend/").status, 200);
}
