//! A real supervisord with programs that it may run, started and ended by a test.

use std::fmt::Write;
use std::fs::{self, File};
use std::net::TcpStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use crate::environment::Environment;
use crate::port::Port;
use crate::process;
use crate::rpc::{Client, Fault};
use crate::spawn::{self, end_with_the_test};
use crate::wait::{wait_for, wait_until, LIMIT};

mod program;

pub use program::Program;

/// What a supervisord is like before it starts.
#[derive(Clone, Debug)]
pub struct Setup {
    programs: Vec<Program>,
    unix: bool,
    account: Option<(String, String)>,
    launcher: PathBuf,
}

impl Setup {
    /// On a unix socket instead of a port.
    pub fn unix(mut self) -> Setup {
        self.unix = true;
        self
    }

    /// Only for those who say this name and password.
    pub fn account(mut self, user: &str, password: &str) -> Setup {
        self.account = Some((user.to_owned(), password.to_owned()));
        self
    }

    /// Another supervisord than Debian's.
    pub fn launcher(mut self, path: &Path) -> Setup {
        self.launcher = path.to_owned();
        self
    }

    /// Starts it and returns when it answers.
    pub fn start(self) -> Supervisord {
        let dir = tempfile::Builder::new().prefix("supervisord-").tempdir().expect("a folder");
        let port = Port::reserve();
        for program in &self.programs {
            program.write(dir.path(), None);
        }
        fs::write(dir.path().join("supervisord.conf"), self.render(dir.path(), &port))
            .expect("a file in the folder");
        let mut supervisord = Supervisord { setup: self, dir, port, child: None };

        supervisord.restart();
        supervisord
    }

    fn render(&self, dir: &Path, port: &Port) -> String {
        let mut text = String::new();
        self.render_to(&mut text, &dir.display().to_string(), port)
            .expect("a string takes any text");
        text
    }

    fn render_to(&self, out: &mut String, dir: &str, port: &Port) -> std::fmt::Result {
        writeln!(
            out,
            "[supervisord]\nnodaemon=true\nloglevel=trace\nlogfile={dir}/supervisord.log\n\
             logfile_maxbytes=0\npidfile={dir}/supervisord.pid\nchildlogdir={dir}\nminfds=256\n\
             [rpcinterface:supervisor]\n\
             supervisor.rpcinterface_factory=supervisor.rpcinterface:make_main_rpcinterface"
        )?;
        if self.unix {
            writeln!(out, "[unix_http_server]\nfile={dir}/socket\nchmod=0777")?;
        } else {
            writeln!(out, "[inet_http_server]\nport={port}")?;
        }
        if let Some((user, password)) = &self.account {
            writeln!(out, "username={user}\npassword={password}")?;
        }
        for program in &self.programs {
            out.push_str(&program.render(dir));
        }
        Ok(())
    }
}

/// A running supervisord. It ends with the value and takes its programs along; a failed test prints
/// its log.
#[derive(Debug)]
pub struct Supervisord {
    setup: Setup,
    dir: tempfile::TempDir,
    port: Port,
    child: Option<Child>,
}

impl Supervisord {
    /// Starts Debian's supervisord on a port, and returns when it answers.
    pub fn start(programs: impl Into<Vec<Program>>) -> Supervisord {
        Supervisord::setup(programs).start()
    }

    /// As [`Supervisord::start`], for further settings.
    ///
    /// # Panics
    /// If there is no supervisord.
    pub fn setup(programs: impl Into<Vec<Program>>) -> Setup {
        let launcher = Environment::get().supervisord.clone();

        Setup {
            programs: programs.into(),
            unix: false,
            account: None,
            launcher: launcher.expect("TEST_SUPERVISORD is empty: no supervisord to test with"),
        }
    }

    /// As nginx's directive takes it: `127.0.0.1:9001` or `unix:/path`.
    pub fn address(&self) -> String {
        if self.setup.unix {
            format!("unix:{}", self.socket().display())
        } else {
            self.port.to_string()
        }
    }

    /// Where the program of that position listens, as nginx names it.
    pub fn peer(&self, number: usize) -> String {
        self.setup.programs[number].address()
    }

    /// The directives and the `server` lines of an upstream of all programs, with nginx's own
    /// passive checks off.
    pub fn upstream(&self) -> String {
        let account = match &self.setup.account {
            Some((user, password)) => format!(" {user}:{password}"),
            None => String::new(),
        };
        let mut text = format!("supervisord {}{account}; ", self.address());
        for program in &self.setup.programs {
            write!(text, "server {} max_fails=0; ", program.address())
                .expect("a string takes any text");
        }
        text
    }

    /// The state of a program by supervisord's name for it, such as `RUNNING`.
    #[track_caller]
    pub fn state(&self, program: &str) -> String {
        self.info(program).0
    }

    /// The process of a program, 0 if there is none.
    #[track_caller]
    pub fn pid(&self, program: &str) -> u32 {
        self.info(program).1
    }

    /// Waits until supervisord says that a program is in that state.
    #[track_caller]
    pub fn wait_state(&self, program: &str, state: &str) {
        wait_until(LIMIT, &format!("{program} is {state}"), || self.state(program) == state);
    }

    /// Does what `supervisorctl start` does: returns when the program runs.
    ///
    /// # Errors
    /// Supervisord's.
    pub fn start_program(&self, name: &str) -> Result<(), Fault> {
        self.client().call("supervisor.startProcess", &[name]).map(drop)
    }

    /// Waits until the program of that position listens, which may be after it is RUNNING.
    #[track_caller]
    pub fn wait_listening(&self, number: usize) {
        let address = self.setup.programs[number].port().address();
        wait_until(LIMIT, "the program listens", || TcpStream::connect(address).is_ok());
    }

    /// Does what `supervisorctl stop` does: returns when the program has stopped.
    ///
    /// # Errors
    /// Supervisord's.
    pub fn stop_program(&self, name: &str) -> Result<(), Fault> {
        self.client().call("supervisor.stopProcess", &[name]).map(drop)
    }

    /// How often a method such as `supervisor.startProcess` has been called on its own.
    pub fn calls(&self, method: &str) -> usize {
        self.log().matches(&format!("XML-RPC method called: {method}()")).count()
    }

    /// The processes that supervisord has started for a program, in order.
    pub fn spawned(&self, program: &str) -> Vec<u32> {
        let start = format!("spawned: '{program}' with pid ");
        let log = self.log();
        let pids = log.lines().filter_map(|line| line.split_once(&start)?.1.parse().ok());
        pids.collect()
    }

    /// All that it has logged.
    pub fn log(&self) -> String {
        let bytes = fs::read(self.dir.path().join("supervisord.log")).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Has a program read these lines when it starts next.
    pub fn behave(&self, program: &str, lines: &str) {
        let program = self.setup.programs.iter().find(|own| own.name() == program);
        program.expect("a program").write(self.dir.path(), Some(lines));
    }

    /// Its own process.
    ///
    /// # Panics
    /// If it does not run.
    pub fn own_pid(&self) -> u32 {
        self.child.as_ref().expect("it runs").id()
    }

    /// Ends it at once; its programs end with it, but for those that behave as `orphan`.
    pub fn kill9(&mut self) {
        let Some(mut child) = self.child.take() else { return };

        let programs = self.setup.programs.iter();
        let bound = programs.filter(|program| !program.is_orphan());
        let pids = bound.flat_map(|program| self.spawned(program.name()));
        let pids: Vec<u32> = pids.filter(|&pid| self.is_ours(pid)).collect();
        child.kill().expect("a child of ours");
        child.wait().expect("a child of ours");
        wait_until(LIMIT, "its programs are gone", || {
            !pids.iter().any(|&pid| process::is_alive(pid))
        });
    }

    /// Stops it, as a process that hangs, and returns when it has stopped.
    pub fn pause(&self) {
        process::signal(self.own_pid(), libc::SIGSTOP).expect("it runs");
        wait_until(LIMIT, "supervisord has stopped", || process::is_stopped(self.own_pid()));
    }

    /// Lets it run again.
    pub fn resume(&self) {
        process::signal(self.own_pid(), libc::SIGCONT).expect("it runs");
    }

    /// Starts it again at the same place, and returns when it answers.
    ///
    /// # Panics
    /// If it runs already.
    pub fn restart(&mut self) {
        assert!(self.child.is_none(), "supervisord runs already");
        let _ = fs::remove_file(self.socket());
        let output = File::create(self.dir.path().join("output")).expect("a file in the folder");
        let mut command = Command::new(&self.setup.launcher);
        command
            .arg("-c")
            .arg(self.dir.path().join("supervisord.conf"))
            .current_dir(self.dir.path())
            .stdin(Stdio::null())
            .stdout(output.try_clone().expect("a descriptor"))
            .stderr(output)
            .process_group(0);
        // SAFETY: `prctl` is a plain system call, allowed between fork and exec.
        unsafe { command.pre_exec(end_with_the_test) };
        let mut child = spawn::spawn(&mut command).expect("supervisord starts");

        wait_for(LIMIT, "supervisord answers", || {
            if let Some(status) = child.try_wait().expect("a child of ours") {
                let output = fs::read_to_string(self.dir.path().join("output"));
                panic!("supervisord ended ({status}): {output:?}");
            }
            let state = self.client().call("supervisor.getState", &[]);
            state.is_ok_and(|state| state.contains("RUNNING")).then_some(())
        });
        self.child = Some(child);
    }

    fn info(&self, program: &str) -> (String, u32) {
        let info = self.client().call("supervisor.getProcessInfo", &[program]);
        let info = info.unwrap_or_else(|fault| panic!("{program}: {fault:?}"));
        let pid = crate::rpc::member(&info, "pid").parse().expect("a process number");

        (crate::rpc::member(&info, "statename"), pid)
    }

    fn client(&self) -> Client {
        let account = self.setup.account.as_ref();
        let account = account.map(|(user, password)| format!("{user}:{password}"));

        if self.setup.unix {
            Client::unix(self.socket(), account)
        } else {
            Client::tcp(self.port.address(), account)
        }
    }

    fn socket(&self) -> PathBuf {
        self.dir.path().join("socket")
    }

    /// Whether that process is one of our programs still.
    fn is_ours(&self, pid: u32) -> bool {
        let folder = self.dir.path().display().to_string();
        process::is_alive(pid) && process::title(pid).contains(&folder)
    }
}

impl Drop for Supervisord {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("---- log of supervisord\n{}----", self.log());
        }
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
        let programs = self.setup.programs.iter();
        for pid in programs.flat_map(|program| self.spawned(program.name())) {
            if self.is_ours(pid) {
                let _ = process::signal(pid, libc::SIGKILL);
            }
        }
    }
}
