//! A program for supervisord to run.

use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::port::Port;

/// A program that supervisord may run: a small HTTP server. It does not start with supervisord, is
/// RUNNING as soon as it is started, and is not started again when it exits, until told otherwise.
#[derive(Clone, Debug)]
pub struct Program {
    name: String,
    port: Arc<Port>,
    unix: Option<PathBuf>,
    settings: Vec<(String, String)>,
    behaviour: String,
}

impl Program {
    /// A program on a port of 127.0.0.1.
    pub fn new(name: &str) -> Program {
        let settings = [
            ("autostart", "false"),
            ("autorestart", "false"),
            ("startsecs", "0"),
            ("startretries", "0"),
            ("stopwaitsecs", "5"),
        ];
        let settings = settings.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec();

        Program {
            name: name.to_owned(),
            port: Arc::new(Port::reserve()),
            unix: None,
            settings,
            behaviour: String::new(),
        }
    }

    /// Programs as an upstream of that name numbers them: `backend0`, `backend1`.
    pub fn many(upstream: &str, count: usize) -> Vec<Program> {
        (0..count).map(|number| Program::new(&format!("{upstream}{number}"))).collect()
    }

    /// On a unix socket at that path instead.
    pub fn unix(mut self, path: &Path) -> Program {
        self.unix = Some(path.to_owned());
        self
    }

    /// Another value of a setting in the program's section of supervisord's file.
    pub fn setting(mut self, name: &str, value: impl ToString) -> Program {
        self.settings.retain(|(own, _)| own != name);
        self.settings.push((name.to_owned(), value.to_string()));
        self
    }

    /// Lines that the program reads when it starts; `tests/program/main.rs` says which there are.
    pub fn behaves(mut self, lines: &str) -> Program {
        self.behaviour = lines.to_owned();
        self
    }

    /// Where it listens, as nginx names it.
    pub fn address(&self) -> String {
        match &self.unix {
            Some(path) => format!("unix:{}", path.display()),
            None => self.port.to_string(),
        }
    }

    /// Its reserved port.
    pub fn port(&self) -> &Arc<Port> {
        &self.port
    }

    fn listens(&self) -> String {
        match &self.unix {
            Some(path) => path.display().to_string(),
            None => self.port.to_string(),
        }
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Whether it lives on without its supervisord.
    pub(super) fn is_orphan(&self) -> bool {
        self.behaviour.lines().any(|line| line == "orphan")
    }

    /// Its section of supervisord's file.
    pub(super) fn render(&self, dir: &str) -> String {
        let name = &self.name;
        let mut text =
            format!("[program:{name}]\nredirect_stderr=true\nstdout_logfile={dir}/{name}.log\n");
        if !self.settings.iter().any(|(name, _)| name == "command") {
            let binary = binary();
            writeln!(text, "command=\"{}\" \"{dir}/{name}.behaviour\"", binary.display())
                .expect("a string takes any text");
        }
        for (name, value) in &self.settings {
            writeln!(text, "{name}={value}").expect("a string takes any text");
        }
        text
    }

    /// Has it read these lines when it starts next, nothing for its own.
    pub(super) fn write(&self, dir: &Path, lines: Option<&str>) {
        let lines = lines.unwrap_or(&self.behaviour);
        let text = format!("name {}\nlisten {}\n{lines}\n", self.name, self.listens());
        // It may read at any time, so it gets the old lines or the new ones.
        let new = dir.join(format!("{}.new", self.name));
        fs::write(&new, text).expect("a file in the folder");
        fs::rename(&new, dir.join(format!("{}.behaviour", self.name))).expect("a file of ours");
    }
}

/// Cargo puts it beside the folder of the test itself.
fn binary() -> PathBuf {
    let test = std::env::current_exe().expect("a test runs");
    let folder = test.parent().and_then(Path::parent).expect("cargo's folders");
    let program = folder.join("healthcheck-test-program");
    assert!(program.is_file(), "{} is missing", program.display());
    program
}
