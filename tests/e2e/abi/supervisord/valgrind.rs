//! Monitors, commands that wait and requests that wait, under valgrind: no byte is read or written that is
//! not ours.

use std::io::Write;
use std::net::TcpStream;
use std::thread;

use support::scripted_supervisord::START as START_CALL;
use support::valgrind::{assert_clean, under_valgrind, SLOW};
use support::{servers, wait_until, Config, Consumer, Nginx, Peer, Request, ScriptedSupervisord};

use super::{execute, fill, trace, OK, STOP};

fn get(nginx: &Nginx) -> thread::JoinHandle<u16> {
    let to = nginx.address();
    let send = move || Request::get("/backend/").limit(SLOW).send(to).expect("an answer").status;
    thread::spawn(send)
}

fn wait_state(nginx: &Nginx, name: &str, state: &str) {
    wait_until(SLOW, &format!("{name} is {state}"), || nginx.status().program(name).state == state);
}

/// Requests wait and are served, commands wait and are taken back or carried out.
fn through(config: Config, reloads: bool) {
    let (supervisord, peers) = (ScriptedSupervisord::start(), Peer::start_many(3));
    supervisord.hold(START_CALL);
    let body = format!(
        "traced trace; traced_peers on; traced_on_failure on; supervisord {supervisord}; \
         supervisord_load_interval 1000; supervisord_drain 500; queue 20 timeout=60s; {}",
        servers(&peers)
    );
    let config = config
        .load_after(&Consumer::build("traced"))
        .upstream("backend", body)
        .commands("backend")
        .server("location = /execute { traced_execute backend; } ");
    let Some(config) = under_valgrind(config) else { return };
    let mut nginx = Nginx::start_within(SLOW, &config);
    let held = |nginx: &Nginx, count| {
        wait_until(SLOW, "they wait", || nginx.status().upstream("backend").held == count);
    };

    let clients = [0; 4].map(|_| get(&nginx));
    let mut gone = TcpStream::connect(nginx.address()).expect("nginx listens");
    gone.write_all(b"GET /backend/ HTTP/1.0\r\n\r\n").expect("a request");
    held(&nginx, 5);
    drop(gone);
    held(&nginx, 4);
    fill(&nginx, true);
    supervisord.release(START_CALL);
    wait_state(&nginx, "backend0", "up");
    fill(&nginx, false);
    for client in clients {
        assert_eq!(client.join().expect("a client"), 200);
    }
    assert_eq!(execute(&nginx, STOP, 0, true), OK);
    wait_until(SLOW, "it is asked again", || trace(&nginx, "check 0: -3").len() > 1);
    assert!(nginx.start_page("backend", 0).accepted);
    wait_state(&nginx, "backend0", "up");
    wait_until(SLOW, "loads are told", || trace(&nginx, "backend: load").len() > 1);
    assert_eq!(execute(&nginx, STOP, 0, true), OK);
    if reloads {
        nginx.reload_within(SLOW, &config);
        wait_state(&nginx, "backend0", "down");
        assert_eq!(get(&nginx).join().expect("a client"), 200);
    }
    nginx.quit_within(SLOW);
    assert_clean(&nginx, 1);
}

#[test]
fn a_single_process_with_a_balancer_that_is_told_is_clean() {
    through(Config::new().single_process(), false);
}

#[test]
fn a_worker_with_a_balancer_that_is_told_is_clean() {
    through(Config::new().workers(1), true);
}
