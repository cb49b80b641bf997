//! `bench/run`: the parts of the benchmark, run one after the other.

use std::process::ExitCode;

use healthcheck_bench::report::{self, Part, Report};
use healthcheck_bench::{detect, floor, hold, page, path, probe, reload};

/// Each part by its name, in the order in which they run.
const PARTS: &[(&str, Part)] = &[
    ("probe", probe::run),
    ("detect", detect::run),
    ("path", path::run),
    ("page", page::run),
    ("reload", reload::run),
    ("hold", hold::run),
];

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (name, rest) = match arguments.split_first() {
        // The same program again, as one of the servers that are measured.
        Some((name, rest)) if name == floor::NAME => return floor::serve(rest),
        Some((name, rest)) => (Some(name.as_str()), rest),
        None => (None, &[][..]),
    };
    let wanted: Vec<_> =
        PARTS.iter().filter(|(part, _)| name.is_none_or(|name| name == *part)).collect();
    if wanted.is_empty() {
        let known: Vec<&str> = PARTS.iter().map(|(part, _)| *part).collect();
        eprintln!("no such part; there are: {}", known.join(", "));
        return ExitCode::from(2);
    }

    println!("{}", report::machine());
    let reports: Vec<Report> =
        wanted.iter().map(|(part, run)| Report::of(part, rest, *run)).collect();
    report::close(&reports)
}
