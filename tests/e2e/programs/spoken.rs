//! What supervisord is sent.

use std::io::ErrorKind;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use support::scripted_supervisord::{Call, INFO, START, STOP};
use support::{
    servers, skip, wait_until, Config, Nginx, Peer, Port, Reply, ScriptedSupervisord, Supervisord,
    LIMIT,
};

use super::settled;

fn body(supervisord: &ScriptedSupervisord, more: &str) -> (String, Vec<Peer>) {
    let peers = Peer::start_many(2);
    (format!("supervisord {supervisord}{more} {}", servers(&peers)), peers)
}

/// The request for this method and program, as section 14 of the specification has it.
#[track_caller]
fn is_whole(call: &Call, method: &str, program: &str, authorization: Option<&str>) {
    let body = format!(
        "<?xml version='1.0'?>\n<methodCall>\n<methodName>{method}</methodName>\n<params>\n\
         <param>\n<value><string>{program}</string></value>\n</param>\n</params>\n</methodCall>\n"
    );
    let authorization = authorization.map(|value| format!("Authorization: Basic {value}\r\n"));
    let head = format!(
        "POST /RPC2 HTTP/1.0\r\nAccept: text/xml\r\nContent-Type: text/xml\r\n\
         User-Agent: ngx_supervisord\r\nContent-Length: {}\r\n{}",
        body.len(),
        authorization.unwrap_or_default(),
    );
    assert_eq!((call.head(), call.body()), (head, body));
}

#[test]
fn check_31_a_start_is_one_post_with_the_programs_name() {
    let supervisord = ScriptedSupervisord::start();
    let (body, _peers) = body(&supervisord, ";");
    let nginx = Nginx::start(&Config::new().upstream("backend", body).commands("backend"));

    assert_eq!(nginx.get("/backend/").status, 200);
    let starts = supervisord.calls_of(START);
    assert_eq!(starts.len(), 1);
    is_whole(&starts[0], START, "backend0", None);
    assert!(nginx.stop_page("backend", 0).accepted);
    wait_until(LIMIT, "a stop", || supervisord.stops("backend0") == 1);
    is_whole(&supervisord.calls_of(STOP)[0], STOP, "backend0", None);
}

#[test]
fn check_32_name_and_password_are_sent_with_every_call() {
    let supervisord = ScriptedSupervisord::start();
    let (body, _peers) = body(&supervisord, " user:pass;");
    let nginx = Nginx::start(&Config::new().upstream("backend", body));

    assert_eq!(nginx.get("/backend/").status, 200);
    is_whole(&supervisord.calls_of(START)[0], START, "backend0", Some("dXNlcjpwYXNz"));
    let expected = Some("Basic dXNlcjpwYXNz".to_owned());
    assert!(supervisord.calls().iter().all(|call| call.header("Authorization") == expected));
}

#[test]
fn check_32_a_401_fails_the_held_client_and_is_called_so() {
    let supervisord = ScriptedSupervisord::start();
    supervisord.reply_to_all(&Reply::unauthorized());
    let (body, _peers) = body(&supervisord, " user:wrong;");
    let nginx = Nginx::start(&Config::new().upstream("backend", body));

    assert_eq!(nginx.get("/backend/").status, 502);
    assert!(!nginx.log_lines("unauthorized connection").is_empty());
}

#[test]
fn check_32_a_real_supervisord_wants_the_right_password() {
    let programs = [settled("backend0")];
    let supervisord = Supervisord::setup(programs).account("user", "pass").start();
    let right = supervisord.upstream();
    let wrong = right.replace("user:pass", "user:wrong");
    let missing = right.replace(" user:pass", "");

    for body in [wrong, missing] {
        let nginx = Nginx::start(&Config::new().upstream("backend", body));
        assert_eq!(nginx.get("/backend/").status, 502);
        assert!(!nginx.log_lines("unauthorized connection").is_empty());
        assert!(supervisord.spawned("backend0").is_empty());
    }
    let nginx = Nginx::start(&Config::new().upstream("backend", right));
    assert_eq!(nginx.get("/backend/").text(), "backend0");
}

#[test]
fn check_33_a_unix_socket_and_a_name_of_choice_work() {
    let dir = tempfile::tempdir().expect("a folder");
    let supervisord = ScriptedSupervisord::unix(&dir.path().join("socket"));
    let (body, peers) = body(&supervisord, "; supervisord_name app;");
    let nginx = Nginx::start(&Config::new().upstream("backend", body).commands("backend"));

    assert_eq!(nginx.get("/backend/").peer(), peers[0].to_string());
    is_whole(&supervisord.calls_of(START)[0], START, "app0", None);
    assert!(nginx.start_page("backend", 1).accepted);
    wait_until(LIMIT, "a start", || supervisord.starts("app1") == 1);
    assert_eq!(nginx.status().program("app1").number, 1);
}

#[test]
fn check_33_a_real_supervisord_is_reached_by_a_unix_socket() {
    let programs = [settled("app0")];
    let supervisord = Supervisord::setup(programs).unix().account("user", "pass").start();
    let body = format!("{} supervisord_name app;", supervisord.upstream());
    let nginx = Nginx::start(&Config::new().upstream("backend", body));

    assert_eq!(nginx.get("/backend/").text(), "app0");
}

#[test]
fn a_name_with_markup_and_a_group_arrives_as_it_is() {
    let supervisord = ScriptedSupervisord::start();
    let (body, _peers) = body(&supervisord, "; supervisord_name 'grp:a&b<c>\"d';");
    let nginx = Nginx::start(&Config::new().upstream("backend", body));
    let name = "grp:a&b<c>\"d0";

    assert_eq!(nginx.get("/backend/").status, 200);
    assert_eq!(supervisord.starts(name), 1);
    assert_eq!(nginx.status().program(name).number, 0);
}

#[test]
fn the_states_of_our_programs_are_asked_for_in_one_call() {
    let supervisord = ScriptedSupervisord::start();
    let (body, _peers) = body(&supervisord, "; supervisord_poll 200;");
    let (others, _other_peers) = {
        let peers = Peer::start_many(1);
        (format!("supervisord {supervisord}; supervisord_poll 200; {}", servers(&peers)), peers)
    };
    let config = Config::new().workers(2).upstream("backend", body).upstream("other", others);
    let _nginx = Nginx::start(&config);

    wait_until(LIMIT, "some polls", || supervisord.calls_of(INFO).len() > 5);
    for call in supervisord.calls() {
        assert_eq!(call.method, "system.multicall");
        let mut programs = call.programs.clone();
        programs.sort();
        assert_eq!(programs, ["backend0", "backend1", "other0"]);
    }
}

/// A port at which nobody listens at ::1, where the name "localhost" points first: it is reserved
/// there too, if there is IPv6.
fn port_closed_at_version_6() -> (Port, Option<Port>) {
    loop {
        let port = Port::reserve();
        let other = SocketAddr::new(IpAddr::V6(Ipv6Addr::LOCALHOST), port.address().port());
        match Port::reserve_exactly(other) {
            Err(error) if error.kind() == ErrorKind::AddrInUse => {}
            other => return (port, other.ok()),
        }
    }
}

#[test]
fn the_next_address_of_a_name_is_tried() {
    let (port, _closed) = port_closed_at_version_6();
    let number = port.address().port();
    let supervisord = ScriptedSupervisord::on(port);
    let peers = Peer::start_many(1);
    let body = format!("supervisord localhost:{number}; {}", servers(&peers));
    let nginx = Nginx::start(&Config::new().upstream("backend", body));

    assert_eq!(nginx.get("/backend/").status, 200);
    assert_eq!(supervisord.starts("backend0"), 1);
}

#[test]
fn a_supervisord_at_an_address_of_version_6_is_reached() {
    let Ok(port) = Port::reserve_at(IpAddr::V6(Ipv6Addr::LOCALHOST)) else {
        skip("there is no IPv6 here");
        return;
    };
    let supervisord = ScriptedSupervisord::on(port);
    let (body, peers) = body(&supervisord, ";");
    let nginx = Nginx::start(&Config::new().upstream("backend", body));

    assert_eq!(nginx.get("/backend/").peer(), peers[0].to_string());
}
