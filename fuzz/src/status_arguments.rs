//! The query of a status page: its first `format=` chooses, and nothing else does.

use healthcheck_core::status::{
    format_by_name, format_from_argument, format_from_query, STATUS_FORMATS,
};

use crate::quoted::is_one_short_line;
use crate::Target;

/// The input is the query, and the argument of a directive.
pub static TARGET: Target = Target {
    name: "status_arguments",
    inputs: 300_000,
    words: &[b"format=", b"json", b"html", b"&", b"=", b"format=json", b"FORMAT=", b"%6a", b"\0"],
    check: run,
};

fn run(query: &[u8]) {
    let text = String::from_utf8_lossy(query);
    let named = format!("&{text}").split_once("&format=").map(|(_, rest)| {
        let value = rest.split_once('&').map_or(rest, |(value, _)| value);
        STATUS_FORMATS.iter().find(|format| format.name() == value)
    });

    for default in STATUS_FORMATS {
        match (format_from_query(query, default), named) {
            (Ok(chosen), None) => assert_eq!(chosen.name(), default.name()),
            (Ok(chosen), Some(Some(named))) => assert_eq!(chosen.name(), named.name()),
            (Err(error), Some(None)) => is_one_short_line(&error),
            (chosen, named) => panic!("{chosen:?} for {text:?}, and not {named:?}"),
        }
    }

    match (format_from_argument(query), format_by_name(query)) {
        (Ok(chosen), Some(named)) => {
            assert!(chosen.name().as_bytes() == query && named.name() == chosen.name());
        }
        (Err(error), None) => is_one_short_line(&error),
        (chosen, named) => panic!("{chosen:?} and {named:?} for {text:?}"),
    }
}
