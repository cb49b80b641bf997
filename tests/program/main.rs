//! A program for supervisord to run: a small HTTP server that does as its file says.
//!
//! `healthcheck-test-program FILE`. The file has an option a line, read at the start; of each the
//! last one counts:
//!
//! ```text
//! name NAME       what it answers
//! listen ADDRESS  IP:PORT, or the path of a unix socket
//! delay MS        from the start until it listens
//! fail            exits with 1 at once
//! exit MS         exits with 3 that long after it listens
//! linger MS       from SIGTERM until it exits
//! sick            answers probes with 500; read for each of them
//! release         answers requests for `/held`; read again and again while there are any
//! orphan          lives on without its parent
//! ```
//!
//! A request for `/wait/MS` is answered after that time, `/held` once the file says so, `/hc` is a
//! probe, and all else is answered at once.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::exit;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

static TERMINATED: AtomicBool = AtomicBool::new(false);

/// The options of a file.
struct Options(String);

impl Options {
    fn read(path: &Path) -> Options {
        Options(fs::read_to_string(path).unwrap_or_default())
    }

    fn value(&self, name: &str) -> Option<&str> {
        let lines = self.0.lines().rev().map(|line| line.split_once(' ').unwrap_or((line, "")));
        lines.into_iter().find(|(own, _)| *own == name).map(|(_, value)| value)
    }

    fn time(&self, name: &str) -> Option<Duration> {
        let milliseconds = self.value(name)?.parse().expect("milliseconds");
        Some(Duration::from_millis(milliseconds))
    }
}

fn main() {
    let path = PathBuf::from(std::env::args_os().nth(1).expect("a file of options"));
    let options = Options::read(&path);

    if options.value("orphan").is_none() {
        end_with_the_parent();
    }
    if options.value("fail").is_some() {
        exit(1);
    }
    if let Some(time) = options.time("linger") {
        exit_late(time);
    }
    if let Some(time) = options.time("delay") {
        thread::sleep(time);
    }
    listen(&path, &options);
}

/// Serves until it is ended.
fn listen(path: &Path, options: &Options) {
    let name = options.value("name").expect("a name").to_owned();
    let address = options.value("listen").expect("an address");
    let path = path.to_owned();
    let exit_after = |options: &Options| {
        if let Some(time) = options.time("exit") {
            thread::spawn(move || {
                thread::sleep(time);
                exit(3);
            });
        }
    };

    if address.starts_with('/') {
        // That of a predecessor.
        let _ = fs::remove_file(address);
        let listener = UnixListener::bind(address).expect("the path");
        exit_after(options);
        for stream in listener.incoming() {
            serve(stream, &name, &path);
        }
    } else {
        let listener = TcpListener::bind(address).expect("the port");
        exit_after(options);
        for stream in listener.incoming() {
            serve(stream, &name, &path);
        }
    }
}

/// One connection, in a thread of its own.
fn serve<S>(stream: std::io::Result<S>, name: &str, path: &Path)
where
    S: Read + Write + Send + 'static,
{
    let Ok(stream) = stream else { return };
    let (name, path) = (name.to_owned(), path.to_owned());

    thread::spawn(move || {
        // The other side may go at any time; then there is nobody to tell.
        let _ = answer(stream, &name, &path);
    });
}

fn answer<S: Read + Write>(stream: S, name: &str, path: &Path) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.read_line(&mut line)?;
    let target = line.split(' ').nth(1).unwrap_or("/").to_owned();

    let mut length = 0;
    loop {
        line.clear();
        if reader.read_line(&mut line)? == 0 || line == "\r\n" {
            break;
        }
        let (name, value) = line.trim_end().split_once(": ").unwrap_or_default();
        if name.eq_ignore_ascii_case("content-length") {
            length = value.parse().unwrap_or(0);
        }
    }
    std::io::copy(&mut reader.by_ref().take(length), &mut std::io::sink())?;

    let wait = target.split("/wait/").nth(1).and_then(|rest| rest.split(['?', '/']).next());
    if let Some(milliseconds) = wait.and_then(|text| text.parse().ok()) {
        thread::sleep(Duration::from_millis(milliseconds));
    }
    while target == "/held" && Options::read(path).value("release").is_none() {
        thread::sleep(Duration::from_millis(5));
    }
    let sick = target == "/hc" && Options::read(path).value("sick").is_some();
    let status = if sick { "500 Sick" } else { "200 OK" };
    let answer = format!(
        "HTTP/1.1 {status}\r\nContent-Type: text/plain\r\nContent-Length: {}\r\n\
         X-Pid: {}\r\nConnection: close\r\n\r\n{name}",
        name.len(),
        std::process::id(),
    );
    reader.get_mut().write_all(answer.as_bytes())
}

/// Exits that long after SIGTERM instead of at once.
fn exit_late(time: Duration) {
    extern "C" fn on_signal(_: libc::c_int) {
        TERMINATED.store(true, Ordering::Relaxed);
    }
    let handler: extern "C" fn(libc::c_int) = on_signal;

    // SAFETY: the handler only stores into an atomic, which a signal may do at any time.
    unsafe { libc::signal(libc::SIGTERM, handler as libc::sighandler_t) };
    thread::spawn(move || loop {
        if TERMINATED.load(Ordering::Relaxed) {
            thread::sleep(time);
            exit(0);
        }
        thread::sleep(Duration::from_millis(5));
    });
}

/// A supervisord that is killed leaves its programs running, a test must not.
fn end_with_the_parent() {
    // SAFETY: no pointers.
    unsafe {
        libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
        if libc::getppid() == 1 {
            exit(1);
        }
    }
}
