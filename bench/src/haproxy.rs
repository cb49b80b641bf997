//! HAProxy, the checker that anyone can install.

use std::env;
use std::fmt::Write;
use std::fs::{self, File};
use std::net::{SocketAddr, TcpStream};
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
    /// Whether a master takes signals to reload, as services run it.
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
        let program = Haproxy::program()?;
        let port = Arc::new(Port::reserve());
        let dir = tempfile::Builder::new().prefix("bench-").tempdir().expect("a directory");
        let path = dir.path().join("haproxy.cfg");
        fs::write(&path, configuration(setup, &port)).expect("a file in the directory");
        let said = File::create(dir.path().join("stderr")).expect("a file in the directory");

        let mut command = Command::new(program);
        if setup.master {
            command.arg("-W");
        }
        command.arg("-db").arg("-f").arg(&path);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(said).process_group(0);
        // SAFETY: `prctl` is a plain system call, allowed between fork and exec.
        unsafe { command.pre_exec(support::nginx::end_with_the_test) };
        let haproxy = Haproxy { child: command.spawn().expect("HAProxy starts"), port, dir };
        wait_until(Duration::from_secs(60), "HAProxy serves", || {
            assert!(process::is_alive(haproxy.pid()), "HAProxy ended: {}", haproxy.said());
            TcpStream::connect(haproxy.address()).is_ok()
        });
        Some(haproxy)
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.port.address()
    }

    /// Its first process.
    pub fn pid(&self) -> u32 {
        self.child.id()
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

fn configuration(setup: &Setup<'_>, port: &Port) -> String {
    let mut text = format!(
        "global\n  nbthread 2\n  maxconn 4000\n\
         defaults\n  mode http\n  timeout connect 1s\n  timeout server 10s\n  timeout client 30s\n  \
         timeout check 1s\n  retries 0\n  default-server check inter 1s {}\n\
         listen front\n  bind {port} backlog 4096\n  balance roundrobin\n  option httpchk GET /hc\n",
        setup.options
    );
    for (at, peer) in setup.peers.iter().enumerate() {
        writeln!(text, "  server s{at} {peer}").expect("a string takes any text");
    }
    text
}
