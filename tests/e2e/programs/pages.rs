//! The start and stop pages, on an upstream without a supervisord: its programs change at once.

use std::io::{Read, Write};
use std::net::TcpStream;

use support::{servers, Command, Config, Environment, Nginx, Peer, Request, Response};

/// An nginx with three programs that are all up.
fn start() -> (Nginx, Vec<Peer>) {
    let peers = Peer::start_many(3);
    let body = format!(
        "supervisord none; supervisord_inherit_backend_status; supervisord_cooldown 60s; {}",
        servers(&peers)
    );
    let config = Config::new().workers(2).upstream("backend", body).commands("backend");
    let denied = "location /denied/ { deny all; supervisord_stop backend; } \
                  location /outer/ { supervisord_stop backend; location /outer/inner/ { } }";

    (Nginx::start(&config.server(denied)), peers)
}

fn json(nginx: &Nginx, method: &str, path: &str) -> Command {
    let request = Request::get(path).method(method).header("Accept", "application/json");
    Command::parse(&nginx.send(&request))
}

fn states(nginx: &Nginx) -> Vec<String> {
    let rows = nginx.status().of("backend");
    rows.iter().map(|row| row.program.clone().expect("a program").state).collect()
}

fn no_store(response: &Response) {
    assert_eq!(response.header("Cache-Control"), Some("no-store"), "{response}");
}

#[test]
fn check_40_the_page_says_what_was_asked_in_the_originals_words() {
    let (nginx, _peers) = start();
    let version = &Environment::get().version;
    let body = |command: &str, program: &str| {
        format!(
            "<html>\r\n<head><title>Command executed successfully</title></head>\r\n\
             <body bgcolor=\"white\">\r\n<center><h1>Command executed successfully</h1>\r\n\
             <br>Command: {command}\r\n<br>Backend: {program}\r\n</center>\r\n\
             <hr><center>nginx/{version}</center>\r\n</body>\r\n</html>\r\n"
        )
    };

    for (path, command, program) in [
        ("/stop/backend/1", "stopProcess", "1"),
        ("/stop/backend/any", "stopProcess", "any"),
        ("/start/backend/2", "startProcess", "2"),
        ("/start/backend/x/y/01", "startProcess", "1"),
    ] {
        let response = nginx.get(path);
        assert_eq!((response.status, response.text()), (200, body(command, program)), "{path}");
        assert_eq!(response.header("Content-Type"), Some("text/html"));
        let length = body(command, program).len().to_string();
        assert_eq!(response.header("Content-Length"), Some(length.as_str()));
        no_store(&response);
    }
}

#[test]
fn check_41_get_and_post_execute_head_only_reports_and_the_rest_is_not_allowed() {
    let (nginx, _peers) = start();
    let send = |method, path| nginx.send(&Request::get(path).method(method));

    let head = send("HEAD", "/stop/backend/0");
    assert_eq!((head.status, head.text().as_str()), (200, ""));
    no_store(&head);
    assert_eq!(states(&nginx), ["up", "up", "up"]);
    assert_eq!(send("GET", "/stop/backend/0").status, 200);
    assert_eq!(states(&nginx), ["down", "up", "up"]);
    let body = Request::get("/stop/backend/1").method("POST").body(b"a=b&c=d");
    assert_eq!(nginx.send(&body).status, 200);
    assert_eq!(states(&nginx), ["down", "down", "up"]);
    for method in ["PUT", "DELETE", "OPTIONS", "PATCH"] {
        assert_eq!(send(method, "/start/backend/0").status, 405, "{method}");
    }
    assert_eq!(states(&nginx), ["down", "down", "up"]);
}

#[test]
fn check_42_what_names_no_program_is_not_found_and_deny_forbids() {
    let (nginx, _peers) = start();

    for last in ["3", "", "x", "-1", "1a", "anything", "99999999999999999999", "+1", "%31x", "1 "] {
        let path = format!("/stop/backend/{}", last.replace(' ', "%20"));
        assert_eq!(nginx.get(&path).status, 404, "{path}");
    }
    assert_eq!(nginx.get("/denied/1").status, 403);
    assert_eq!(nginx.get("/outer/inner/1").status, 404, "not inherited");
    assert_eq!(states(&nginx), ["up", "up", "up"]);
    assert_eq!(nginx.get("/stop/backend/3/%31?2").status, 200);
    assert_eq!(states(&nginx), ["up", "down", "up"]);
}

#[test]
fn json_says_which_program_was_chosen_and_why_a_command_was_not_accepted() {
    let (nginx, _peers) = start();
    let command = |path: &str| json(&nginx, "POST", path);
    let (start, stop) = ("startProcess", "stopProcess");
    let of = |command: Command| (command.command.clone(), command.upstream.clone(), command);

    let (name, upstream, chosen) = of(command("/stop/backend/any"));
    assert_eq!((name.as_str(), upstream.as_str()), (stop, "backend"));
    assert!(chosen.accepted && chosen.reason.is_none(), "{chosen:?}");
    assert_eq!(chosen.program, Some(0));
    assert!(matches!(chosen.state.as_deref(), Some("stopping" | "down")), "{chosen:?}");

    let soon = command("/stop/backend/any");
    assert!(!soon.accepted && soon.reason.is_some(), "{soon:?}");
    let again = command("/stop/backend/0");
    assert!(!again.accepted && again.reason.is_some(), "{again:?}");
    assert_eq!((again.program, again.state.as_deref()), (Some(0), Some("down")));

    let (name, _, started) = of(command("/start/backend/0"));
    assert_eq!((name.as_str(), started.program, started.accepted), (start, Some(0), true));
    assert_eq!(states(&nginx), ["up", "up", "up"]);
}

#[test]
fn json_answers_are_not_stored_and_have_their_type() {
    let (nginx, _peers) = start();
    let request = Request::get("/start/backend/1").header("Accept", "application/json");
    let response = nginx.send(&request);

    assert_eq!(response.header("Content-Type"), Some("application/json"));
    no_store(&response);
    let head = nginx.send(&request.method("HEAD"));
    assert_eq!((head.status, head.text().as_str()), (200, ""));
}

#[test]
fn other_sites_and_prefetches_are_forbidden_and_change_nothing() {
    let (nginx, _peers) = start();
    let stop = |name, value| {
        let request = Request::get("/stop/backend/0").method("POST").header(name, value);
        nginx.send(&request).status
    };

    for (name, value) in [
        ("Sec-Fetch-Site", "cross-site"),
        ("Sec-Fetch-Site", "same-site"),
        ("Origin", "http://elsewhere"),
        ("Origin", "http://test.elsewhere"),
        ("Origin", "null"),
        ("Purpose", "prefetch"),
        ("Sec-Purpose", "prefetch"),
        ("Sec-Purpose", "prefetch;prerender"),
    ] {
        assert_eq!(stop(name, value), 403, "{name}: {value}");
    }
    assert_eq!(states(&nginx), ["up", "up", "up"]);
    for (name, value) in
        [("Sec-Fetch-Site", "same-origin"), ("Sec-Fetch-Site", "none"), ("Origin", "http://test")]
    {
        assert_eq!(stop(name, value), 200, "{name}: {value}");
    }
    assert_eq!(states(&nginx), ["down", "up", "up"]);
}

#[test]
fn a_body_is_read_and_the_connection_goes_on() {
    let (nginx, _peers) = start();
    let mut client = TcpStream::connect(nginx.address()).expect("nginx listens");
    let body = "x".repeat(200_000);
    let head = |path: &str, close: &str| {
        format!(
            "POST {path} HTTP/1.1\r\nHost: test\r\n{close}Content-Length: {}\r\n\r\n",
            body.len()
        )
    };

    for (path, close) in [
        ("/stop/backend/0", ""),
        ("/start/backend/x", ""),
        ("/stop/backend/1", "Connection: close\r\n"),
    ] {
        client.write_all(head(path, close).as_bytes()).expect("it reads");
        client.write_all(body.as_bytes()).expect("it reads");
    }
    let mut answer = String::new();
    client.read_to_string(&mut answer).expect("it answers");
    let statuses: Vec<&str> =
        answer.split("HTTP/1.1 ").skip(1).filter_map(|answer| answer.get(..3)).collect();
    assert_eq!(statuses, ["200", "404", "200"], "{answer}");
    assert_eq!(states(&nginx), ["down", "down", "up"]);
}
