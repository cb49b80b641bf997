//! The text of an nginx configuration around what a test is about.

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::consumer::Consumer;
use crate::environment::Environment;
use crate::peer::Peer;
use crate::port::Port;

/// A short delay, a timeout that only a silent peer reaches, two in a row to flip, and probes that
/// a [`crate::Peer`] recognises.
pub const CHECK: &str = "healthcheck_enabled; healthcheck_delay 200; healthcheck_timeout 2000; \
                         healthcheck_failcount 2; healthcheck_send 'GET /hc HTTP/1.0' 'Host: x';";

/// As [`CHECK`] with other milliseconds and another number of verdicts in a row.
pub fn check(delay: u32, timeout: u32, failcount: u32) -> String {
    format!(
        "healthcheck_enabled; healthcheck_delay {delay}; healthcheck_timeout {timeout}; \
         healthcheck_failcount {failcount}; healthcheck_send 'GET /hc HTTP/1.0' 'Host: x';"
    )
}

/// The `server` lines of an upstream, with nginx's own passive checks off.
pub fn servers<'a>(peers: impl IntoIterator<Item = &'a Peer>) -> String {
    peers.into_iter().map(|peer| format!("server {peer} max_fails=0; ")).collect()
}

/// One nginx: its own port, upstreams and whatever text a test adds. `/NAME/` is passed to the
/// upstream NAME, `/status` and `/status.json` are the status pages.
///
/// A copy keeps the port: change it and reload with it.
#[derive(Clone, Debug)]
pub struct Config {
    port: Arc<Port>,
    workers: usize,
    single: bool,
    shared_socket: bool,
    module: bool,
    module_path: Option<PathBuf>,
    pages: bool,
    level: &'static str,
    wrapper: Vec<String>,
    first: String,
    main: String,
    http: String,
    server: String,
    upstreams: Vec<(String, String)>,
}

impl Config {
    /// One worker, no upstream, a port of its own.
    pub fn new() -> Config {
        Config::at(&Arc::new(Port::reserve()))
    }

    /// As [`Config::new`] at a given port.
    pub fn at(port: &Arc<Port>) -> Config {
        Config {
            port: Arc::clone(port),
            workers: 1,
            single: false,
            shared_socket: false,
            module: true,
            module_path: None,
            pages: true,
            level: "info",
            wrapper: Vec::new(),
            first: String::new(),
            main: String::new(),
            http: String::new(),
            server: String::new(),
            upstreams: Vec::new(),
        }
    }

    /// Number of worker processes.
    pub fn workers(mut self, workers: usize) -> Config {
        self.workers = workers;
        self
    }

    /// `master_process off`.
    pub fn single_process(mut self) -> Config {
        self.single = true;
        self
    }

    /// One listening socket for all workers. Otherwise each has its own and gets its share of the
    /// connections, also one that a signal has stopped.
    pub fn shared_socket(mut self) -> Config {
        self.shared_socket = true;
        self
    }

    /// Without the status pages, and so without a directive of the module.
    pub fn without_pages(mut self) -> Config {
        self.pages = false;
        self
    }

    /// Without the module itself, as nginx was before it.
    pub fn without_module(mut self) -> Config {
        self.module = false;
        self.without_pages()
    }

    /// With a copy of the module's file.
    pub fn module_at(mut self, path: &Path) -> Config {
        self.module_path = Some(path.to_owned());
        self
    }

    /// Logs nothing below `warn`: a long test reads its log often.
    pub fn quiet(mut self) -> Config {
        self.level = "warn";
        self
    }

    /// Logs at debug level; needs an nginx with `--with-debug`.
    pub fn debug(mut self) -> Config {
        self.level = "debug";
        self
    }

    /// A command that is given nginx's command line as its last arguments, such as valgrind.
    pub fn wrapper<S: Into<String>>(mut self, command: impl IntoIterator<Item = S>) -> Config {
        self.wrapper = command.into_iter().map(Into::into).collect();
        self
    }

    /// Adds an upstream, or replaces the one of that name.
    pub fn upstream(mut self, name: &str, body: impl Into<String>) -> Config {
        let body = body.into();

        match self.upstreams.iter_mut().find(|(own, _)| own == name) {
            Some(upstream) => upstream.1 = body,
            None => self.upstreams.push((name.to_owned(), body)),
        }
        self
    }

    /// Removes an upstream.
    pub fn without_upstream(mut self, name: &str) -> Config {
        self.upstreams.retain(|(own, _)| own != name);
        self
    }

    /// Loads a module of the test's own before the module.
    pub fn load_before(mut self, consumer: &Consumer) -> Config {
        self.first.push_str(&consumer.load());
        self
    }

    /// Loads a module of the test's own after the module.
    pub fn load_after(self, consumer: &Consumer) -> Config {
        self.main(&consumer.load())
    }

    /// Adds text outside of all blocks.
    pub fn main(mut self, text: &str) -> Config {
        self.main.push_str(text);
        self
    }

    /// Adds text to the http block.
    pub fn http(mut self, text: &str) -> Config {
        self.http.push_str(text);
        self
    }

    /// Adds text to the server block.
    pub fn server(mut self, text: &str) -> Config {
        self.server.push_str(text);
        self
    }

    /// Adds the pages `/start/NAME/` and `/stop/NAME/` of an upstream.
    pub fn commands(self, name: &str) -> Config {
        self.server(&format!(
            "location /start/{name}/ {{ supervisord_start {name}; }} \
             location /stop/{name}/ {{ supervisord_stop {name}; }} "
        ))
    }

    /// Whether there is no master.
    pub fn is_single_process(&self) -> bool {
        self.single
    }

    /// How many workers it asks for.
    pub fn worker_count(&self) -> usize {
        self.workers
    }

    /// The whole text for an nginx whose files are in `dir`, to be started by the test itself.
    pub fn text(&self, dir: &Path) -> String {
        self.render(dir, 0)
    }

    pub(crate) fn port(&self) -> &Arc<Port> {
        &self.port
    }

    pub(crate) fn wrapper_command(&self) -> &[String] {
        &self.wrapper
    }

    /// The whole text for an nginx whose files are in `dir`. `GET /generation` answers with
    /// `generation`, by which a reload is seen to be done.
    pub(crate) fn render(&self, dir: &Path, generation: usize) -> String {
        let mut text = String::new();
        self.render_to(&mut text, dir, generation).expect("a string takes any text");
        text
    }

    fn render_to(&self, out: &mut String, dir: &Path, generation: usize) -> std::fmt::Result {
        let dir = dir.display();

        writeln!(out, "{}", self.first)?;
        match &self.module_path {
            Some(path) if self.module => {
                writeln!(out, "load_module \"{}\";", path.display())?;
                out.push_str(&preamble(false));
            }
            _ => out.push_str(&preamble(self.module)),
        }
        writeln!(out, "{}", self.main)?;
        writeln!(out, "worker_processes {};", self.workers)?;
        if self.single {
            writeln!(out, "master_process off;")?;
        }
        writeln!(out, "pid {dir}/nginx.pid;\nerror_log {dir}/error.log {};", self.level)?;
        if !self.main.contains("events") {
            writeln!(out, "events {{ worker_connections 512; }}")?;
        }
        writeln!(out, "http {{\n{}{}", temporary_paths(&dir.to_string()), self.http)?;
        for (name, body) in &self.upstreams {
            writeln!(out, "  upstream {name} {{\n    {body}\n  }}")?;
        }
        self.render_server(out, generation)?;
        writeln!(out, "}}")
    }

    fn render_server(&self, out: &mut String, generation: usize) -> std::fmt::Result {
        let socket = if self.shared_socket || self.single { "" } else { " reuseport" };

        writeln!(out, "  server {{\n    listen {}{socket};", self.port)?;
        writeln!(
            out,
            "    add_header X-Peer $upstream_addr always;\n    add_header X-Worker $pid always;\n    \
             proxy_next_upstream off;\n    proxy_connect_timeout 15s;\n    proxy_read_timeout 15s;\n    \
             location = /generation {{ return 200 {generation}; }}"
        )?;
        if self.pages {
            writeln!(out, "    location = /status {{ healthcheck_status; }}")?;
            writeln!(out, "    location = /status.json {{ healthcheck_status json; }}")?;
        }
        for (name, _) in &self.upstreams {
            writeln!(out, "    location /{name}/ {{ proxy_pass http://{name}/; }}")?;
        }
        writeln!(out, "    {}\n  }}", self.server)
    }
}

impl Default for Config {
    fn default() -> Config {
        Config::new()
    }
}

/// What stands before everything else: the module, and what makes nginx a child of the test.
pub fn preamble(load: bool) -> String {
    let load = match &Environment::get().module {
        Some(module) if load => format!("load_module \"{}\";\n", module.display()),
        _ => String::new(),
    };
    // Without this root's workers become another user and reach none of the test's files.
    // SAFETY: no pointers, and it cannot fail.
    let user = if unsafe { libc::geteuid() } == 0 { "user root;\n" } else { "" };

    format!("{load}daemon off;\n{user}")
}

/// Keeps nginx's temporary files in `dir`.
pub fn temporary_paths(dir: &str) -> String {
    let modules = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"];
    let build = Environment::get();
    let mut text = String::from("  access_log off;\n");

    for module in modules {
        if !build.built_with(&format!("--without-http_{module}_module")) {
            text.push_str(&format!("  {module}_temp_path {dir}/{module};\n"));
        }
    }
    text
}
