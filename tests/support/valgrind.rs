//! nginx under valgrind: no byte is read or written that is not ours.

use std::fs;
use std::process::Command;
use std::time::Duration;

use crate::config::Config;
use crate::environment::{skip, Environment};
use crate::nginx::Nginx;

/// A limit for waiting: everything is some thirty times slower.
pub const SLOW: Duration = Duration::from_secs(120);

/// A configuration that runs under valgrind; `None`, with a remark, where it cannot.
pub fn under_valgrind(config: Config) -> Option<Config> {
    let found = Command::new("valgrind").arg("--version").output();
    if !found.is_ok_and(|output| output.status.success()) {
        skip("valgrind is not installed");
        return None;
    }
    if Environment::get().build.contains("-fsanitize") {
        skip("this nginx looks at its memory itself");
        return None;
    }
    // nginx unloads the module before it ends, and the frames of a report would lose their names.
    Some(config.wrapper([
        "valgrind",
        "--leak-check=no",
        "--keep-debuginfo=yes",
        "--trace-children=yes",
        "--log-file=@DIR@/valgrind.%p.log",
    ]))
}

/// What valgrind wrote of each process.
///
/// # Panics
/// If the reports cannot be read.
pub fn reports(nginx: &Nginx) -> Vec<String> {
    fs::read_dir(nginx.dir())
        .expect("the directory")
        .flatten()
        .filter(|entry| entry.file_name().to_string_lossy().starts_with("valgrind."))
        .map(|entry| fs::read_to_string(entry.path()).expect("a report"))
        .collect()
}

/// Looks at the reports of all processes, when they have ended.
///
/// # Panics
/// If there are fewer, or one has found an error.
pub fn assert_clean(nginx: &Nginx, at_least: usize) {
    let reports = reports(nginx);

    assert!(reports.len() >= at_least, "{} reports", reports.len());
    for report in &reports {
        assert!(report.contains("ERROR SUMMARY: 0 errors"), "{report}");
    }
}
