//! `bench/run`: the parts of the benchmark, run one after the other.

use std::ops::RangeInclusive;
use std::process::ExitCode;

use healthcheck_bench::report::{self, Part, Report};
use healthcheck_bench::{detect, floor, hold, page, path, probe, reload};

/// Each part by its name, with what it takes, in the order in which they run.
const PARTS: &[(&str, Takes, Part)] = &[
    ("probe", Takes::Peers, probe::run),
    ("detect", Takes::OneOf(&detect::NAMES), detect::run),
    ("path", Takes::Peers, path::run),
    ("page", Takes::Peers, page::run),
    ("reload", Takes::Nothing, reload::run),
    ("hold", Takes::Nothing, hold::run),
];

/// The argument that a part may be given.
enum Takes {
    Nothing,
    /// A number of peers.
    Peers,
    /// One of these words.
    OneOf(&'static [&'static str]),
}

impl Takes {
    /// Why these arguments will not do; `None` if they will.
    fn refusal(&self, arguments: &[String]) -> Option<String> {
        let argument = match arguments {
            [] => return None,
            [argument] => argument,
            _ => return Some("more than one argument".to_owned()),
        };
        let (is_taken, taken) = match self {
            Takes::Nothing => (false, "no argument".to_owned()),
            Takes::Peers => {
                let is_number = argument.parse().is_ok_and(|number| MANY.contains(&number));
                (is_number, format!("a number of peers, {} to {}", MANY.start(), MANY.end()))
            }
            Takes::OneOf(words) => (words.contains(&argument.as_str()), words.join(", ")),
        };
        (!is_taken).then(|| format!("\"{argument}\"; it takes {taken}"))
    }
}

/// How many peers a part may be asked to take.
const MANY: RangeInclusive<u16> = 2..=10_000;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (name, rest) = match arguments.split_first() {
        // The same program again, as one of the servers that are measured.
        Some((name, rest)) if name == floor::NAME => return floor::serve(rest),
        Some((name, rest)) => (Some(name.as_str()), rest),
        None => (None, &[][..]),
    };
    let wanted: Vec<_> =
        PARTS.iter().filter(|(part, ..)| name.is_none_or(|name| name == *part)).collect();
    if wanted.is_empty() {
        let known: Vec<&str> = PARTS.iter().map(|(part, ..)| *part).collect();
        eprintln!("no such part; there are: {}", known.join(", "));
        return ExitCode::from(2);
    }

    for (part, takes, _) in &wanted {
        if let Some(refusal) = takes.refusal(rest) {
            eprintln!("{part}: {refusal}");
            return ExitCode::from(2);
        }
    }

    println!("{}", report::machine());
    let reports: Vec<Report> =
        wanted.iter().map(|(part, _, run)| Report::of(part, rest, *run)).collect();
    report::close(&reports)
}
