//! nginx under valgrind: no byte is read or written that is not ours, and none is lost that the module
//! asked for.

use std::env;
use std::fs;
use std::process::Command;
use std::time::Duration;

use crate::config::Config;
use crate::environment::{skip, Environment};
use crate::nginx::Nginx;
use crate::spawn;

/// A limit for waiting: everything is some thirty times slower.
pub const SLOW: Duration = Duration::from_secs(120);

/// What nginx's command line follows.
pub(crate) const COMMAND: [&str; 8] = [
    "valgrind",
    "--leak-check=full",
    "--show-leak-kinds=definite,indirect",
    // Those of the module are found by its frames, below; nginx's own are nobody's fault here.
    "--errors-for-leak-kinds=none",
    "--num-callers=40",
    // nginx unloads the module before it ends, and the frames of a report would lose their names.
    "--keep-debuginfo=yes",
    "--trace-children=yes",
    "--log-file=@DIR@/valgrind.%p.log",
];

/// Whether every nginx runs under valgrind: `TEST_VALGRIND` is set.
pub(crate) fn is_wanted() -> bool {
    env::var_os("TEST_VALGRIND").is_some_and(|wanted| !wanted.is_empty())
}

/// A configuration that runs under valgrind; `None`, with a remark, where it cannot.
pub fn under_valgrind(config: Config) -> Option<Config> {
    let found = spawn::output(Command::new("valgrind").arg("--version"));
    if !found.is_ok_and(|output| output.status.success()) {
        skip("valgrind is not installed");
        return None;
    }
    if Environment::get().is_sanitized() {
        skip("this nginx looks at its memory itself");
        return None;
    }
    Some(config.wrapper(COMMAND))
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
/// If there are fewer, one has found an error, or one has lost memory of the module.
pub fn assert_clean(nginx: &Nginx, at_least: usize) {
    let reports = reports(nginx);

    assert!(reports.len() >= at_least, "{} reports", reports.len());
    for report in &reports {
        let flaws = flaws(report);
        assert!(flaws.is_empty(), "{}", flaws.join("\n\n"));
    }
}

/// The blocks of a report that speak of an error, or of lost memory of the module. A process that was
/// killed leaves a report without an end.
fn flaws(report: &str) -> Vec<String> {
    let text = |line: &str| line.splitn(3, "==").nth(2).unwrap_or(line).to_owned();
    let lines: Vec<String> = report.lines().map(text).collect();
    let blocks = lines.split(|line| line.trim().is_empty()).map(|block| block.join("\n"));

    blocks.filter(|block| is_flaw(block)).collect()
}

fn is_flaw(block: &str) -> bool {
    let has_frames = block.contains("   at 0x");

    if block.contains(" lost in loss record ") {
        // Nothing else in nginx has been written in Rust.
        has_frames && block.contains(".rs:")
    } else {
        has_frames || (block.contains("ERROR SUMMARY: ") && !block.contains(": 0 errors from"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OF_NGINX: &str = "\
==7== 64 bytes in 1 blocks are definitely lost in loss record 1 of 2
==7==    at 0x48407B4: malloc (vg_replace_malloc.c:381)
==7==    by 0x13FCE4: ngx_alloc (ngx_alloc.c:22)
==7==
";
    const OF_THE_MODULE: &str = "\
==7== 96 (32 direct, 64 indirect) bytes in 1 blocks are definitely lost in loss record 2 of 2
==7==    at 0x48407B4: malloc (vg_replace_malloc.c:381)
==7==    by 0x6123456: alloc (alloc.rs:95)
==7==    by 0x6123460: ngx_http_healthcheck_module::worker::run::start (run.rs:40)
==7==
";
    const INVALID: &str = "\
==7== Invalid read of size 4
==7==    at 0x1234: ngx_cpystrn (ngx_string.c:1)
==7==
";

    fn report(parts: &[&str], errors: usize) -> String {
        format!("{}==7== ERROR SUMMARY: {errors} errors from {errors} contexts", parts.concat())
    }

    #[test]
    fn only_memory_of_the_module_is_missed() {
        assert!(flaws(&report(&[OF_NGINX], 0)).is_empty());
        assert_eq!(flaws(&report(&[OF_NGINX, OF_THE_MODULE], 0)).len(), 1);
    }

    #[test]
    fn every_error_counts_also_of_a_process_that_was_killed() {
        assert_eq!(flaws(&report(&[INVALID], 1)).len(), 2);
        assert_eq!(flaws(INVALID).len(), 1);
        assert!(flaws("==7== Memcheck, a memory error detector").is_empty());
    }
}
