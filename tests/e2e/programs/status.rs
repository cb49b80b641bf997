//! What the status pages say of programs.

use std::thread;
use std::time::{SystemTime, UNIX_EPOCH};

use support::scripted_supervisord::START;
use support::{
    servers, wait_until, Config, Nginx, Peer, Program, Reply, Request, ScriptedSupervisord,
    Supervisord, LIMIT,
};

fn wall_clock_ms() -> u128 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_millis()
}

#[test]
fn a_program_has_its_state_process_and_last_command() {
    let supervisord = Supervisord::start(Program::many("backend", 2));
    let config = Config::new().workers(2).upstream("backend", supervisord.upstream());
    let nginx = Nginx::start(&config.commands("backend"));
    wait_until(LIMIT, "the first poll", || {
        nginx.status().program("backend1").reported_state.as_deref() == Some("STOPPED")
    });

    let before = nginx.status().program("backend1");
    assert_eq!((before.number, before.name.as_str()), (1, "backend1"));
    assert_eq!((before.state.as_str(), before.reported_pid), ("down", None));
    assert_eq!(
        (before.last_command, before.last_command_ms, before.last_result),
        (None, None, None)
    );
    let asked = wall_clock_ms();
    assert!(nginx.start_page("backend", 1).accepted);
    let answered = wall_clock_ms();
    nginx.wait_program("backend1", "up");
    wait_until(LIMIT, "it is asked for after the command", || {
        let program = nginx.status().program("backend1");
        let is_reported = program.reported_state.as_deref() == Some("RUNNING");
        is_reported && program.last_result.as_deref() == Some("ok")
    });
    let after = nginx.status().program("backend1");
    assert_eq!(after.reported_pid, Some(u64::from(supervisord.pid("backend1"))));
    assert!(after.last_command.is_some_and(|command| command.starts_with("start")));
    let at = u128::from(after.last_command_ms.expect("a time"));
    assert!((asked..=answered).contains(&at), "{asked} {at} {answered}");

    let html = nginx.get("/status").text();
    let pid = supervisord.pid("backend1").to_string();
    for text in ["backend0", "backend1", "RUNNING", "STOPPED", pid.as_str()] {
        assert!(html.contains(text), "{text} is not in {html}");
    }
}

#[test]
fn a_command_that_failed_leaves_its_reason_on_the_page() {
    let (supervisord, peers) = (ScriptedSupervisord::start(), Peer::start_many(1));
    supervisord.reply(START, Reply::Fault(50));
    let body = format!("supervisord {supervisord}; {}", servers(&peers));
    let config = Config::new().upstream("backend", body).commands("backend");
    let nginx = Nginx::start(&config);

    assert!(nginx.start_page("backend", 0).accepted);
    wait_until(LIMIT, "the result", || {
        let program = nginx.status().program("backend0");
        program.last_result.as_deref() == Some("fault 50 SPAWN_ERROR")
    });
    assert_eq!(nginx.status().program("backend0").state, "down");
    assert!(nginx.get("/status").text().contains("fault 50"));
}

#[test]
fn an_upstream_has_what_it_holds_and_how_many_requests_it_got() {
    let (supervisord, peers) = (ScriptedSupervisord::start(), Peer::start_many(3));
    supervisord.hold(START);
    let body = format!("supervisord {supervisord}; {}", servers(&peers[..2]));
    let config = Config::new().workers(2).upstream("backend", body);
    let nginx = Nginx::start(&config.upstream("plain", servers(&peers[2..])));
    let address = nginx.address();

    let clients: Vec<_> =
        (0..5).map(|_| thread::spawn(move || Request::get("/backend/").send(address))).collect();
    wait_until(LIMIT, "all are held", || nginx.status().upstream("backend").held == 5);
    supervisord.release(START);
    for client in clients {
        assert_eq!(client.join().expect("a client").expect("an answer").status, 200);
    }
    let upstream = nginx.status().upstream("backend");
    assert_eq!((upstream.held, upstream.queue, upstream.requests), (0, Some(1000), 5));
    assert!(upstream.managed);
    let page = nginx.status();
    assert!(page.upstreams.iter().all(|own| own.name != "plain" || !own.managed));
    assert!(page.of("plain").iter().all(|row| row.program.is_none()));
}

#[test]
fn running_requests_are_counted_over_all_workers() {
    let programs: Vec<Program> = Program::many("backend", 2);
    let supervisord = Supervisord::start(programs);
    supervisord.start_program("backend0").expect("it starts");
    let config = Config::new().workers(3).upstream("backend", supervisord.upstream());
    let nginx = Nginx::start(&config);
    nginx.wait_program("backend0", "up");
    wait_until(LIMIT, "it answers", || nginx.get("/backend/").status == 200);
    let address = nginx.address();

    let clients: Vec<_> = (0..9)
        .map(|_| thread::spawn(move || Request::get("/backend/held").send(address)))
        .collect();
    wait_until(LIMIT, "nine", || nginx.status().program("backend0").running == 9);
    supervisord.behave("backend0", "release");
    for client in clients {
        assert_eq!(client.join().expect("a client").expect("an answer").status, 200);
    }
    wait_until(LIMIT, "none", || nginx.status().program("backend0").running == 0);
    assert_eq!(nginx.status().program("backend1").running, 0);
}

#[test]
fn a_name_that_looks_like_markup_stays_text() {
    let (supervisord, peers) = (ScriptedSupervisord::start(), Peer::start_many(1));
    let name = "<b>&amp;\"'";
    let body =
        format!("supervisord {supervisord}; supervisord_name '<b>&amp;\"\\''; {}", servers(&peers));
    let config = Config::new().upstream("backend", body).commands("backend");
    let nginx = Nginx::start(&config);

    assert_eq!(nginx.status().program("backend0").name, format!("{name}0"));
    let html = nginx.get("/status").text();
    assert!(html.contains("&lt;b&gt;&amp;amp;") && !html.contains("<b>&amp;"), "{html}");
    assert_eq!(nginx.get("/backend/").status, 200);
    assert_eq!(supervisord.starts(&format!("{name}0")), 1);
}
