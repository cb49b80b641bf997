//! Every target over its corpus and over mutations of it.
//!
//! `FUZZ_INPUTS` sets the number of mutated inputs of each, `TEST_SEED` repeats those of a seed.

use std::fs;
use std::io::Write;
use std::path::Path;

use healthcheck_fuzz::{Runner, Target, Tried, TARGETS};

/// Tries a target, and says past libtest's capture what was tried.
fn no_input_is_answered_wrongly(target: &Target) {
    let runner = Runner::from_environment();
    let begun = format!("{}: TEST_SEED={}", target.name, runner.seed);
    eprintln!("{begun}");
    let Tried { files, mutated } = runner.run(target);

    // A closed stdout loses the remark, not the run.
    let _ = writeln!(
        std::io::stdout().lock(),
        "fuzz {begun}: {files} inputs of the corpus and {mutated} mutated ones"
    );
}

/// One test a target.
macro_rules! targets {
    ($($name:ident)+) => {
        const TESTED: &[&str] = &[$(stringify!($name),)+];

        mod no_input_is_answered_wrongly_by {
            $(
                #[test]
                fn $name() {
                    super::no_input_is_answered_wrongly(&healthcheck_fuzz::$name::TARGET);
                }
            )+
        }
    };
}

targets! {
    chunked_body
    command_page
    directive_values
    expected_body
    page_names
    probe_http
    status_arguments
    supervisor_reply
    xmlrpc_request
    xmlrpc_response
}

#[test]
fn every_target_has_a_test_a_program_and_a_corpus() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"));
    let manifest = fs::read_to_string(folder.join("Cargo.toml")).expect("a manifest");
    let names: Vec<&str> = TARGETS.iter().map(|target| target.name).collect();
    let files = |name: &str| {
        let mut files: Vec<String> = fs::read_dir(folder.join(name))
            .expect("a folder")
            .map(|file| file.expect("a file").file_name().to_string_lossy().into_owned())
            .collect();
        files.sort();
        files
    };

    assert_eq!(TESTED, names);
    assert_eq!(files("corpus"), names);
    assert_eq!(
        files("fuzz_targets"),
        names.iter().map(|it| format!("{it}.rs")).collect::<Vec<_>>()
    );
    for name in names {
        assert!(manifest.contains(&format!("path = \"fuzz_targets/{name}.rs\"")), "{name}");
        let program =
            fs::read_to_string(folder.join("fuzz_targets").join(name).with_extension("rs"));
        assert!(program.expect("a file").contains(&format!("{name}::TARGET.run(data)")), "{name}");
    }
}
