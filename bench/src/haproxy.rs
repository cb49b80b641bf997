//! HAProxy, the checker that anyone can install.

use std::env;
use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use support::{process, wait_until, Port};

/// A running HAProxy with two threads. It ends with the value.
pub struct Haproxy {
    child: Child,
    port: Arc<Port>,
    dir: tempfile::TempDir,
}

/// What it is to do.
pub struct Setup<'a> {
    /// The peers, in their order.
    pub peers: &'a [SocketAddr],
    /// More options of each `server` line besides `check inter 1s`.
    pub options: &'a str,
    /// Whether it can be reloaded, as services run it: a master holds the sockets.
    pub master: bool,
}

impl Haproxy {
    /// The program; `None` where it is not to be had.
    pub fn program() -> Option<PathBuf> {
        env::var_os("BENCH_HAPROXY").filter(|path| !path.is_empty()).map(PathBuf::from)
    }

    /// Starts it, and returns when it serves; `None` where it is not to be had.
    ///
    /// # Panics
    /// If it does not serve.
    pub fn start(setup: &Setup<'_>) -> Option<Haproxy> {
        Haproxy::start_within(setup, 10)
    }

    /// As [`Haproxy::start`], with another number of seconds that a peer may take to answer a request.
    ///
    /// # Panics
    /// If it does not serve.
    pub fn start_within(setup: &Setup<'_>, seconds: u8) -> Option<Haproxy> {
        let haproxy = Haproxy::launch(setup, seconds)?;
        wait_until(Duration::from_secs(60), "HAProxy serves", || {
            assert!(process::is_alive(haproxy.pid()), "HAProxy ended: {}", haproxy.said());
            TcpStream::connect(haproxy.address()).is_ok()
        });
        Some(haproxy)
    }

    /// As [`Haproxy::start_within`], and does not wait until it serves.
    ///
    /// # Panics
    /// If it does not start.
    pub fn launch(setup: &Setup<'_>, seconds: u8) -> Option<Haproxy> {
        let program = Haproxy::program()?;
        let port = Arc::new(Port::reserve());
        let dir = tempfile::Builder::new().prefix("bench-").tempdir().expect("a directory");
        let path = dir.path().join("haproxy.cfg");
        // No state so far.
        fs::write(dir.path().join("state"), "").expect("a file in the directory");
        let text = configuration(setup, &port, seconds);
        let text = text.replace("@DIR@", &dir.path().display().to_string());
        fs::write(&path, text).expect("a file in the directory");
        let said = File::create(dir.path().join("stderr")).expect("a file in the directory");

        let mut command = Command::new(program);
        if setup.master {
            command.arg("-W");
        }
        command.arg("-db").arg("-f").arg(&path);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(said).process_group(0);
        // SAFETY: `prctl` is a plain system call, allowed between fork and exec.
        unsafe { command.pre_exec(support::nginx::end_with_the_test) };
        Some(Haproxy { child: command.spawn().expect("HAProxy starts"), port, dir })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.port.address()
    }

    /// Its first process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Tells it to load its configuration again.
    pub fn reload(&self) {
        process::signal(self.pid(), libc::SIGUSR2).expect("HAProxy lives");
    }

    /// Writes down which peers are down, for the next reload to read.
    ///
    /// # Errors
    /// Those of the socket by which it is asked, and of the file.
    pub fn save_state(&self) -> io::Result<()> {
        let mut socket = UnixStream::connect(self.dir.path().join("socket"))?;
        socket.write_all(b"show servers state\n")?;
        let mut state = String::new();
        socket.read_to_string(&mut state)?;
        fs::write(self.dir.path().join("state"), state)
    }

    fn said(&self) -> String {
        fs::read_to_string(self.dir.path().join("stderr")).unwrap_or_default()
    }
}

impl Drop for Haproxy {
    fn drop(&mut self) {
        // The group is its own, and it has nothing to put in order.
        let _ = process::signal_group(self.child.id(), libc::SIGKILL);
        let _ = self.child.wait();
    }
}

fn configuration(setup: &Setup<'_>, port: &Port, seconds: u8) -> String {
    let reloads = "  stats socket @DIR@/socket mode 600 level admin expose-fd listeners\n  \
                   server-state-file @DIR@/state\n";
    let mut text = format!(
        "global\n  nbthread 2\n  maxconn 7000\n{}\
         defaults\n  mode http\n  timeout connect 1s\n  timeout server {seconds}s\n  timeout client 30s\n  \
         timeout check 1s\n  retries 0\n  load-server-state-from-file global\n  \
         default-server check inter 1s {}\n\
         listen front\n  bind {port} backlog 4096\n  balance roundrobin\n  option httpchk GET /hc\n",
        if setup.master { reloads } else { "" },
        setup.options
    );
    for (at, peer) in setup.peers.iter().enumerate() {
        writeln!(text, "  server s{at} {peer}").expect("a string takes any text");
    }
    text
}
