//! What the tests run against, as the environment names it.

use std::env;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use crate::spawn;

/// The nginx under test and the module built for it.
#[derive(Debug)]
pub struct Environment {
    /// `TEST_NGINX`: the binary.
    pub nginx: PathBuf,
    /// `TEST_MODULE`: the shared object; `None` if empty, which serves to try out this library.
    pub module: Option<PathBuf>,
    /// `TEST_NGINX_TREE`: nginx's headers as the binary was configured; unset: those around it.
    pub tree: PathBuf,
    /// `TEST_NGINX_VERSION`, such as `1.28.3`.
    pub version: String,
    /// `TEST_SUPERVISORD`: Debian's supervisord; `None` if empty.
    pub supervisord: Option<PathBuf>,
    /// `TEST_SUPERVISORD_43`: that of supervisor 4.3; `None` if empty.
    pub supervisord_43: Option<PathBuf>,
    /// `TEST_PATCHES`: which of patches/ this nginx has, such as `round_robin hash`; unset: none.
    pub patches: String,
    /// `TEST_CHECKOUT`: the root of the source tree.
    pub checkout: PathBuf,
    /// What `nginx -V` prints.
    pub build: String,
}

impl Environment {
    /// Reads it once.
    ///
    /// # Panics
    /// If a variable is missing or the binary does not start.
    pub fn get() -> &'static Environment {
        static ENVIRONMENT: OnceLock<Environment> = OnceLock::new();

        ENVIRONMENT.get_or_init(|| {
            let nginx = PathBuf::from(variable("TEST_NGINX"));
            let path = |text: String| (!text.is_empty()).then(|| absolute(Path::new(&text)));
            let output = spawn::output(Command::new(&nginx).arg("-V")).expect("nginx -V starts");

            let tree = env::var("TEST_NGINX_TREE").unwrap_or_default();
            let around = nginx.parent().and_then(Path::parent).map(Path::to_owned);

            Environment {
                tree: path(tree).or(around).expect("a folder around the binary"),
                module: path(variable("TEST_MODULE")),
                supervisord: path(variable("TEST_SUPERVISORD")),
                supervisord_43: path(variable("TEST_SUPERVISORD_43")),
                version: variable("TEST_NGINX_VERSION"),
                patches: env::var("TEST_PATCHES").unwrap_or_default(),
                checkout: absolute(Path::new(&variable("TEST_CHECKOUT"))),
                build: String::from_utf8_lossy(&output.stderr).into_owned(),
                nginx,
            }
        })
    }

    /// Whether this nginx is of `version` or newer; each of the parts is compared as a number.
    pub fn at_least(&self, version: [u32; 3]) -> bool {
        let parts = self.version.split('.').map(|part| part.parse().expect("a version number"));

        parts.collect::<Vec<u32>>() >= version.to_vec()
    }

    /// Whether this nginx has a patch of patches/; a remark says that it has not.
    pub fn patched(&self, name: &str) -> bool {
        let has = self.patches.split_whitespace().any(|patch| patch == name);
        if !has {
            skip(&format!("this nginx has no patch {name}"));
        }
        has
    }

    /// Whether this nginx looks at its memory itself.
    pub fn is_sanitized(&self) -> bool {
        self.build.contains("-fsanitize")
    }

    /// Whether this nginx was configured with `option`, such as `--with-debug`.
    pub fn built_with(&self, option: &str) -> bool {
        self.build.split_whitespace().any(|word| word == option)
    }
}

/// Whether a process's memory tells how much it uses; a remark says that it does not.
pub fn can_measure_memory() -> bool {
    let can = !Environment::get().is_sanitized();
    if !can {
        skip("AddressSanitizer keeps freed memory, which is not measured here");
    }
    can
}

/// Says that a test, or a part of it, could not run here.
pub fn skip(reason: &str) {
    let test = std::thread::current();
    let name = test.name().unwrap_or("a test");

    say(&format!("SKIP: {name}: {reason}"));
}

/// Says something past libtest's capture of a passing test's output.
pub fn say(remark: &str) {
    // A closed stdout loses the remark, not the run.
    let _ = writeln!(std::io::stdout().lock(), "{remark}");
}

fn variable(name: &str) -> String {
    env::var(name).unwrap_or_else(|_| panic!("{name} is not set: run these tests by tests/run"))
}

fn absolute(path: &Path) -> PathBuf {
    path.canonicalize().unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}
