//! Tries the files of a target's corpus, and mutations of them, without libFuzzer.
//!
//! Blind where libFuzzer sees what code an input reaches, but the same input for the same seed, on any
//! toolchain.

use std::env;
use std::fs;
use std::panic::{catch_unwind, resume_unwind};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::noise::Noise;
use crate::Target;

/// The longest mutated input, in bytes: most are some hundred.
const LONGEST: usize = 8 * 1024;

/// No input of that length may take so long; a quadratic one would.
const SLOWEST: Duration = Duration::from_secs(10);

/// How inputs are tried.
#[derive(Clone, Copy, Debug)]
pub struct Runner {
    /// Decides the mutations.
    pub seed: u64,
    /// How many mutated inputs are tried; `None`: as many as the target itself says.
    pub inputs: Option<usize>,
}

/// How many inputs were tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tried {
    /// Files of the corpus.
    pub files: usize,
    /// Mutations of them.
    pub mutated: usize,
}

impl Runner {
    /// As the environment says: `TEST_SEED`, unset: another in each run; `FUZZ_INPUTS`.
    ///
    /// # Panics
    /// If one of them is no number.
    pub fn from_environment() -> Runner {
        let number = |name: &str| {
            let text = env::var(name).ok()?;
            Some(text.parse().unwrap_or_else(|_| panic!("{name} is no number: {text}")))
        };
        let clock = SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock after 1970");

        Runner {
            seed: number("TEST_SEED").unwrap_or_else(|| u64::from(clock.subsec_nanos())),
            inputs: number("FUZZ_INPUTS").map(|count| usize::try_from(count).expect("a count")),
        }
    }

    /// Tries all files of the target's corpus, and mutations.
    ///
    /// # Panics
    /// If there is no corpus, and with the target; the input is then in a file that the message names.
    pub fn run(&self, target: &Target) -> Tried {
        let corpus = corpus(target.name);
        let mutated = self.inputs.unwrap_or(target.inputs);
        let mut noise = Noise::new(self.seed);

        for input in &corpus {
            attempt(target, input);
        }
        for _ in 0..mutated {
            let mut input = corpus[noise.below(corpus.len())].clone();
            for _ in 0..=noise.below(6) {
                let other = noise.below(corpus.len());
                noise.mutate(&mut input, target.words, &corpus[other]);
            }
            input.truncate(LONGEST);
            attempt(target, &input);
        }
        Tried { files: corpus.len(), mutated }
    }
}

/// The files of a target's corpus, in the order of their names.
///
/// # Panics
/// If there are none.
fn corpus(name: &str) -> Vec<Vec<u8>> {
    let folder = folder().join("corpus").join(name);
    let files =
        fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut paths: Vec<PathBuf> = files.map(|file| file.expect("a file").path()).collect();

    paths.sort();
    assert!(!paths.is_empty(), "{} is empty", folder.display());
    paths.iter().map(|path| fs::read(path).expect("a file")).collect()
}

/// This package's own folder.
fn folder() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn attempt(target: &Target, input: &[u8]) {
    let begun = Instant::now();
    let result = catch_unwind(|| {
        target.run(input);
        assert!(begun.elapsed() < SLOWEST, "it took {:?}", begun.elapsed());
    });

    if let Err(panic) = result {
        let name = format!("{}-{}", target.name, Noise::of(input).below(usize::MAX));
        let path = folder().join("artifacts").join(name);
        let kept =
            fs::create_dir_all(folder().join("artifacts")).and_then(|()| fs::write(&path, input));
        eprintln!("input: {}", input.escape_ascii());
        eprintln!("in {}: {kept:?}; if it is a fault, it belongs into the corpus", path.display());
        resume_unwind(panic);
    }
}
