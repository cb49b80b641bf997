//! The examples with programs: an nginx and a supervisord configuration each, both run, with their
//! ports and paths replaced.

use std::fs::{self, File};
use std::net::SocketAddr;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};

use serde_json::Value;
use support::process::signal;
use support::{wait_until, Environment, Nginx, Request, Response, LIMIT};

use super::Example;

/// A pair that runs.
struct Pair {
    nginx: Nginx,
    front: SocketAddr,
    supervisord: Child,
    _dir: tempfile::TempDir,
}

impl Drop for Pair {
    fn drop(&mut self) {
        // It takes its programs along.
        let _ = signal(self.supervisord.id(), libc::SIGTERM);
        let _ = self.supervisord.wait();
    }
}

impl Pair {
    /// Starts both configurations of `examples/<name>`, with these texts replaced in either.
    fn start(name: &str, changes: &[(&str, &str)]) -> Pair {
        let folder = Environment::get().checkout.join("examples").join(name);
        let read = |file: &str| {
            let text = fs::read_to_string(folder.join(file)).expect("a file of the example");
            changes.iter().fold(text, |text, (from, to)| text.replace(from, to))
        };
        let (nginx, supervisord) = (read("nginx.conf"), read("supervisord.conf"));
        for (from, _) in changes {
            let both = fs::read_to_string(folder.join("nginx.conf")).expect("read before")
                + &fs::read_to_string(folder.join("supervisord.conf")).expect("read before");
            assert!(both.contains(from), "{name} says {from}");
        }
        let dir = tempfile::Builder::new().prefix("example-").tempdir().expect("a folder");
        let socket = dir.path().join("supervisor.sock").display().to_string();
        let mut example = Example::of(&nginx);
        example.text = example.text.replace("/run/supervisor.sock", &socket);

        let mut lines = String::new();
        for line in supervisord.lines() {
            // What the test says itself.
            let line = match line.split_once('=').map_or("", |(key, _)| key) {
                "logfile" => "logfile=supervisord.log".to_owned(),
                "pidfile" => "pidfile=supervisord.pid".to_owned(),
                "chown" => continue,
                "chmod" => "chmod=0777".to_owned(),
                _ => with_ports(line, &example).replace("/run/supervisor.sock", &socket),
            };
            lines.push_str(&line);
            lines.push('\n');
        }
        let conf = dir.path().join("supervisord.conf");
        fs::write(&conf, lines).expect("a file in the folder");

        let launcher = Environment::get().supervisord.clone();
        let output = File::create(dir.path().join("output")).expect("a file in the folder");
        let supervisord = Command::new(launcher.expect("TEST_SUPERVISORD is empty"))
            .arg("--nodaemon")
            .arg("-c")
            .arg(&conf)
            .current_dir(dir.path())
            .stdin(Stdio::null())
            .stdout(output.try_clone().expect("a descriptor"))
            .stderr(output)
            .process_group(0)
            .spawn()
            .expect("supervisord");
        // Python has much to read first.
        wait_until(3 * LIMIT, "supervisord runs", || {
            fs::read_to_string(dir.path().join("supervisord.log"))
                .is_ok_and(|log| log.contains("supervisord started with pid"))
        });
        let port = &example.ports[&example.listens[0]];
        let nginx = Nginx::spawn_text(port, &example.text);
        let pair = Pair { nginx, front: port.address(), supervisord, _dir: dir };
        wait_until(LIMIT, "nginx answers", || pair.try_get("/health-status").is_some());
        pair
    }

    fn try_get(&self, path: &str) -> Option<Response> {
        Request::get(path).limit(LIMIT).send(self.front).ok()
    }

    fn get(&self, path: &str) -> Response {
        self.try_get(path).expect("an answer")
    }

    fn post(&self, path: &str) {
        let answer = Request::get(path).method("POST").send(self.front).expect("an answer");
        assert_eq!(answer.status, 200, "{path}");
    }

    /// One field of the program behind each server line, from the page in JSON.
    fn programs(&self, field: &str) -> Vec<Value> {
        let page = self.get("/health-status?format=json").text();
        let page: Value = serde_json::from_str(&page).expect("JSON");
        let peers = page["peers"].as_array().expect("peers").iter();
        peers.map(|peer| peer["program"][field].clone()).collect()
    }

    /// Waits until supervisord itself has reported these states.
    fn wait_reported(&self, states: &[&str]) {
        wait_until(LIMIT, &format!("supervisord reports {states:?}"), || {
            self.programs("reported_state") == states
        });
    }

    /// Waits until the programs are in these states.
    fn wait_states(&self, states: &[&str]) {
        wait_until(LIMIT, &format!("{states:?}"), || self.programs("state") == states);
    }
}

/// A line with the ports that the example got.
fn with_ports(line: &str, example: &Example) -> String {
    example.ports.iter().fold(line.to_owned(), |line, (number, port)| {
        line.replace(number, &port.address().port().to_string())
    })
}

#[test]
fn programs_are_rotated_by_hand() {
    let pair = Pair::start("rotate", &[]);
    wait_until(LIMIT, "both answer", || {
        (0..4).all(|_| pair.try_get("/").is_some_and(|answer| answer.status == 200))
    });
    assert_eq!(pair.programs("state"), ["up", "up", "down"]);

    pair.post("/_stop/0");
    assert_eq!(pair.programs("state"), ["down", "up", "down"]);
    pair.post("/_start/0");
    pair.post("/_start/2");
    assert_eq!(pair.programs("state"), ["up", "up", "up"]);
    assert_eq!(pair.get("/").status, 200);
}

#[test]
fn the_first_request_starts_a_program_and_the_next_after_a_stop_does_again() {
    // Probes that are late are no failure, which would have the program stopped.
    let changes = [("healthcheck_timeout 1s", "healthcheck_timeout 10s")];
    let pair = Pair::start("on-demand", &changes);
    pair.wait_reported(&["STOPPED", "STOPPED"]);

    assert_eq!(pair.get("/").status, 200);
    pair.wait_reported(&["RUNNING", "STOPPED"]);
    assert_eq!(pair.programs("state"), ["up", "down"]);

    pair.post("/_stop/0");
    pair.wait_reported(&["STOPPED", "STOPPED"]);
    assert_eq!(pair.get("/").status, 200);
    pair.wait_reported(&["RUNNING", "STOPPED"]);
    assert!(pair.nginx.log_lines("could not start").is_empty());
}

#[test]
fn load_starts_and_stops_programs() {
    let changes = [
        ("supervisord_load_interval 60s", "supervisord_load_interval 1s"),
        ("supervisord_cooldown 30s", "supervisord_cooldown 200ms"),
        // A slow machine has few requests a second; a single one is not to be too many.
        ("supervisord_load_threshold 50", "supervisord_load_threshold 2"),
    ];
    let pair = Pair::start("load", &changes);

    assert_eq!(pair.get("/").status, 200);
    pair.wait_states(&["up", "down", "down", "down"]);
    // A machine that stands still for an interval has it stopped again: what counts is that it came.
    let line = "program \"app:app1\" of upstream \"backend\" is up: started by load";
    wait_until(3 * LIMIT, "a second one is started", || {
        assert_eq!(pair.get("/").status, 200);
        !pair.nginx.log_lines(line).is_empty()
    });
    // Without load all but the minimum go, the highest first.
    pair.wait_states(&["up", "down", "down", "down"]);
}
