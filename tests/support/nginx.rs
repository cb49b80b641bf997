//! A real nginx, started and ended by a test.

use std::fs::{self, File};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::config::Config;
use crate::environment::Environment;
use crate::http::Request;
use crate::port::Port;
use crate::process::{self, Process};
use crate::spawn;
use crate::valgrind;
use crate::wait::{patient, wait_for, wait_until, LIMIT};

mod ask;

pub use crate::spawn::end_with_the_test;

/// A running nginx. It ends with the value; a failed test prints its error log.
#[derive(Debug)]
pub struct Nginx {
    child: Child,
    dir: tempfile::TempDir,
    port: Arc<Port>,
    single: bool,
    wrapped: bool,
    generation: usize,
    allowed: Vec<String>,
    ended: bool,
}

/// What `nginx -t` says.
#[derive(Debug)]
pub struct Tested {
    /// Whether it accepts the configuration.
    pub ok: bool,
    /// All that it wrote.
    pub output: String,
}

/// No test allows these in the log unless it says so.
const NEVER: [&str; 7] = [
    "[emerg]",
    "[alert]",
    "[crit]",
    "panicked at",
    "exited on signal",
    "AddressSanitizer",
    UNDEFINED,
];

/// What UndefinedBehaviorSanitizer writes, and goes on.
const UNDEFINED: &str = ": runtime error: ";

impl Nginx {
    /// Starts nginx and returns when it serves.
    ///
    /// # Panics
    /// If it does not.
    pub fn start(config: &Config) -> Nginx {
        Nginx::start_within(LIMIT, config)
    }

    /// Starts nginx with a whole configuration of the test's own, in which `@DIR@` stands for its
    /// directory. `port` is any at which it listens; the caller waits until it serves.
    pub fn spawn_text(port: &Arc<Port>, text: &str) -> Nginx {
        Nginx::spawn(&Config::at(port), text)
    }

    /// Starts nginx and does not wait until it serves.
    pub fn launch(config: &Config) -> Nginx {
        Nginx::spawn(config, &config.render(Path::new("@DIR@"), 0))
    }

    /// Starts nginx as [`Nginx::start`], with a longer limit for slow wrappers.
    pub fn start_within(limit: Duration, config: &Config) -> Nginx {
        let mut nginx = Nginx::launch(config);
        nginx.await_generation(limit);
        nginx.await_workers(limit, config);
        nginx
    }

    /// What `nginx -t` says of a configuration.
    pub fn test(config: &Config) -> Tested {
        let dir = directory();
        let path = dir.path().join("nginx.conf");
        fs::write(&path, config.render(dir.path(), 0)).expect("a file in the directory");
        let mut command = Command::new(&Environment::get().nginx);
        command
            .args(["-t".as_ref(), "-p".as_ref(), dir.path().as_os_str()])
            .args(["-c".as_ref(), path.as_os_str()]);
        let output = spawn::output(&mut command).expect("nginx starts");
        let log = fs::read(dir.path().join("error.log")).unwrap_or_default();

        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let output =
            Tested { ok: output.status.success(), output: text(&output.stderr) + &text(&log) };
        let reports = ["AddressSanitizer", UNDEFINED];
        assert!(!reports.iter().any(|report| output.output.contains(report)), "{}", output.output);
        output
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.port.address()
    }

    /// Its directory.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// The master, or the single process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The workers that are not leaving, in the order of their numbers.
    pub fn workers(&self) -> Vec<u32> {
        let works = |child: &Process| {
            child.title.contains("worker process") && !child.title.contains("shutting down")
        };
        self.children().into_iter().filter(works).map(|child| child.pid).collect()
    }

    /// The cache manager and loader.
    pub fn helpers(&self) -> Vec<u32> {
        let helps = |child: &Process| child.title.contains("cache ");
        self.children().into_iter().filter(helps).map(|child| child.pid).collect()
    }

    /// All children of the master.
    pub fn children(&self) -> Vec<Process> {
        process::children(self.pid())
    }

    /// Kills a child at once.
    pub fn kill9(&mut self, pid: u32) {
        self.allow_in_log(&format!("process {pid} exited on signal 9"));
        // nginx takes the lock of a shared memory from a dead worker, and says so.
        self.allow_in_log(&format!("was locked by {pid}"));
        process::signal(pid, libc::SIGKILL).expect("a process to kill");
    }

    /// All of the error log.
    pub fn error_log(&self) -> String {
        let bytes = fs::read(self.dir().join("error.log")).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// The lines of the error log with a text in them.
    pub fn log_lines(&self, text: &str) -> Vec<String> {
        let log = self.error_log();
        log.lines().filter(|line| line.contains(text)).map(str::to_owned).collect()
    }

    /// Waits until the error log has so many lines with a text in them, and returns them. Another
    /// process's page may show what happened before the line is written.
    #[track_caller]
    pub fn wait_logged(&self, text: &str, count: usize) -> Vec<String> {
        let what = format!("{count} times {text:?} in the error log");
        wait_for(LIMIT, &what, || Some(self.log_lines(text)).filter(|lines| lines.len() >= count))
    }

    /// Lets lines with this text pass although they are of a level that no test expects.
    pub fn allow_in_log(&mut self, text: &str) {
        self.allowed.push(text.to_owned());
    }

    /// Reloads, and returns when the new configuration serves and the old workers are gone.
    pub fn reload(&mut self, config: &Config) {
        self.reload_within(LIMIT, config);
    }

    /// As [`Nginx::reload`], with another limit for each of the two.
    pub fn reload_within(&mut self, limit: Duration, config: &Config) {
        let old = if self.single { Vec::new() } else { self.children() };
        self.signal_reload(config);
        self.await_generation(limit);
        // Of those that the master has not asked for yet it still has descriptors.
        wait_until(limit, "the old workers are gone", || {
            old.iter().all(|child| !process::exists(child.pid))
        });
        self.await_workers(limit, config);
    }

    /// Writes a configuration and tells nginx to load it.
    pub fn signal_reload(&mut self, config: &Config) {
        self.generation += 1;
        let text = config.render(self.dir(), self.generation);
        // Nginx may be reading the one of the reload before.
        let new = self.dir().join("nginx.conf.new");
        fs::write(&new, text).expect("a file in the directory");
        fs::rename(new, self.dir().join("nginx.conf")).expect("files in one directory");
        process::signal(self.pid(), libc::SIGHUP).expect("nginx lives");
    }

    /// Waits until the configuration of the last reload serves.
    pub fn await_generation(&mut self, limit: Duration) {
        let expected = self.generation.to_string();
        let emergencies = self.emergencies();

        wait_for(limit, "nginx serves the configuration", || {
            if let Some(status) = self.exit_status() {
                self.ended = true;
                panic!("nginx ended ({status}): {}{}", self.stderr(), self.error_log());
            }
            assert_eq!(self.emergencies(), emergencies, "nginx refused: {}", self.error_log());
            let request = Request::get("/generation");
            let response = request.send(self.address()).ok()?;
            (response.text() == expected).then_some(())
        });
    }

    /// Ends nginx gracefully and returns how long that took.
    ///
    /// # Panics
    /// If it takes longer than `limit`, ends by a signal or with an error code.
    pub fn quit_within(&mut self, limit: Duration) -> Duration {
        self.end(libc::SIGQUIT, limit)
    }

    /// Ends nginx fast and returns how long that took.
    ///
    /// # Panics
    /// As [`Nginx::quit_within`].
    pub fn terminate_within(&mut self, limit: Duration) -> Duration {
        self.end(libc::SIGTERM, limit)
    }

    /// What it wrote to its standard error.
    pub fn stderr(&self) -> String {
        fs::read_to_string(self.dir().join("stderr")).unwrap_or_default()
    }

    fn spawn(config: &Config, text: &str) -> Nginx {
        let dir = directory();
        let conf = dir.path().join("nginx.conf");
        let text = text.replace("@DIR@", &dir.path().display().to_string());
        fs::write(&conf, text).expect("a file in the directory");
        let wrapper = wrapper(config);
        let child = spawn::spawn(&mut command(&wrapper, dir.path(), &conf)).expect("nginx starts");

        Nginx {
            child,
            dir,
            port: Arc::clone(config.port()),
            single: config.is_single_process(),
            wrapped: !wrapper.is_empty(),
            generation: 0,
            allowed: Vec::new(),
            ended: false,
        }
    }

    /// Waits until every worker has its title, which it sets when it is about to serve.
    fn await_workers(&self, limit: Duration, config: &Config) {
        // Under a wrapper /proc keeps the wrapper's titles.
        if !self.single && !self.wrapped {
            wait_until(limit, "all workers run", || self.workers().len() == config.worker_count());
        }
    }

    fn emergencies(&self) -> usize {
        self.log_lines("[emerg]").len()
    }

    fn exit_status(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("a child of ours")
    }

    fn end(&mut self, signal: libc::c_int, limit: Duration) -> Duration {
        let start = Instant::now();
        process::signal(self.pid(), signal).expect("nginx lives");
        let status = wait_for(limit, "nginx ends", || {
            // A signal right before epoll_wait() is seen with the next event, of which there may be
            // none; under valgrind that moment is long. Workers are told by their master in another way.
            if (self.wrapped || self.single) && start.elapsed() > Duration::from_secs(2) {
                let _ = TcpStream::connect(self.address());
            }
            self.exit_status()
        });
        self.ended = true;

        assert!(status.success(), "nginx ended: {status}, signal {:?}", status.signal());
        start.elapsed()
    }

    /// Lines that no test expects.
    fn offences(&self) -> Vec<String> {
        let log = self.error_log() + &self.stderr();

        log.lines()
            .filter(|line| NEVER.iter().any(|never| line.contains(never)))
            .filter(|line| !self.allowed.iter().any(|allowed| line.contains(allowed)))
            .map(str::to_owned)
            .collect()
    }

    /// Ends all processes, gracefully if they let us.
    fn clear(&mut self) {
        if self.ended {
            return;
        }
        let _ = process::signal(self.pid(), libc::SIGQUIT);
        let start = Instant::now();
        while start.elapsed() < patient(Duration::from_secs(5)) {
            if matches!(self.child.try_wait(), Ok(Some(_))) {
                return;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        // The group is the child's own, so this ends its workers and nobody else.
        let _ = process::signal_group(self.pid(), libc::SIGKILL);
        let _ = self.child.wait();
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        self.clear();
        let offences = self.offences();

        if std::thread::panicking() {
            eprintln!("---- stderr of nginx\n{}---- its error log", self.stderr());
            eprintln!("{}----", tail(&self.error_log()));
        } else {
            assert!(offences.is_empty(), "in the error log: {offences:#?}");
            if valgrind::is_wanted() {
                valgrind::assert_clean(self, 0);
            }
        }
    }
}

/// The test's own, else that of all tests.
fn wrapper(config: &Config) -> Vec<String> {
    match config.wrapper_command() {
        [] if valgrind::is_wanted() => valgrind::COMMAND.map(str::to_owned).to_vec(),
        own => own.to_vec(),
    }
}

fn command(wrapper: &[String], dir: &Path, conf: &Path) -> Command {
    let nginx = &Environment::get().nginx;
    let mut command = match wrapper {
        [] => Command::new(nginx),
        [program, arguments @ ..] => {
            let mut command = Command::new(program);
            let dir = dir.display().to_string();
            command.args(arguments.iter().map(|argument| argument.replace("@DIR@", &dir)));
            command.arg(nginx);
            command
        }
    };
    let stderr = File::create(dir.join("stderr")).expect("a file in the directory");

    command
        .args(["-p".as_ref(), dir.as_os_str(), "-c".as_ref(), conf.as_os_str()])
        // Before it has read the configuration nginx logs to a place it was compiled with.
        .args(["-e".as_ref(), dir.join("error.log").as_os_str()])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(stderr)
        .process_group(0);
    // SAFETY: `prctl` is a plain system call, allowed between fork and exec.
    unsafe { command.pre_exec(end_with_the_test) };
    command
}

fn directory() -> tempfile::TempDir {
    tempfile::Builder::new().prefix("healthcheck-").tempdir().expect("a temporary directory")
}

/// The end of a log, in whole lines.
fn tail(log: &str) -> &str {
    const BYTES: usize = 64 * 1024;

    let from = log.len().saturating_sub(BYTES);
    let line = log.as_bytes()[from..].iter().position(|&byte| byte == b'\n').unwrap_or(0);
    if from == 0 {
        log
    } else {
        &log[from + line + 1..]
    }
}
