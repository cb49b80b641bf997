//! Arguments of directives: each is a number in its range or an error that is one line, and a number is
//! what its text says.

use std::fmt::Debug;

use healthcheck_core::check::{MAX_BUFFER, MAX_COUNT, MAX_TIME};
use healthcheck_core::queue::{parse_queue, MAX_REQUESTS};
use healthcheck_core::supervision::{
    parse_credentials, parse_min_servers, parse_name, parse_on_failure, parse_threshold,
};
use healthcheck_core::value::{parse_failcount, parse_size, parse_time};

use crate::quoted::is_one_short_line;
use crate::Target;

/// The input is the arguments, with blanks between them.
pub static TARGET: Target = Target {
    name: "directive_values",
    inputs: 150_000,
    words: &[
        b" ",
        b"fall=",
        b"rise=",
        b"timeout=",
        b"1",
        b"1000",
        b"86400000",
        b"86400001",
        b"16777216",
        b"16384k",
        b"16m",
        b"18446744073709551616",
        b"000",
        b"1d",
        b"1h",
        b"m",
        b"s",
        b"ms",
        b"1m30s",
        b"stop",
        b"user:password",
        b"-",
        b"+",
        b".5",
    ],
    check: run,
};

fn run(input: &[u8]) {
    let args: Vec<&[u8]> = input.split(|byte| *byte == b' ').collect();

    for arg in &args {
        same(arg, parse_time(arg), time(arg).filter(|it| (1..=MAX_TIME.into()).contains(it)));
        let size = size(arg).filter(|it| (1..=MAX_BUFFER as u128).contains(it));
        same(arg, parse_size(arg), size);
        same(arg, parse_threshold(arg), number(arg).filter(|it| (1..=1_000_000).contains(it)));
        same(arg, parse_min_servers(arg), number(arg).filter(|it| *it <= 1_000_000));
        words(arg);
    }
    match parse_failcount(&args) {
        Ok(counts) => {
            assert!(
                (1..=MAX_COUNT).contains(&counts.fall) && (1..=MAX_COUNT).contains(&counts.rise)
            );
            assert!(args.len() <= 2, "one threshold is given twice");
        }
        Err(error) => is_one_short_line(&error),
    }
    match parse_queue(&args) {
        Ok(queue) => {
            assert_eq!(number(args[0]), Some(queue.requests.into()));
            assert!((1..=MAX_REQUESTS).contains(&queue.requests) && queue.timeout <= MAX_TIME);
        }
        Err(error) => is_one_short_line(&error),
    }
}

/// The parsed number is the naive one, or both are none.
fn same<T: TryInto<u128> + Debug, E: std::fmt::Display>(
    arg: &[u8],
    parsed: Result<T, E>,
    naive: Option<u128>,
) {
    match parsed {
        Ok(number) => assert_eq!(number.try_into().ok(), naive, "{}", arg.escape_ascii()),
        Err(error) => {
            assert_eq!(naive, None, "{}: {error}", arg.escape_ascii());
            is_one_short_line(&error);
        }
    }
}

fn words(arg: &[u8]) {
    match parse_name(arg) {
        Ok(name) => assert!(&name[..] == arg && !name.is_empty()),
        Err(error) => is_one_short_line(&error),
    }
    match parse_credentials(arg) {
        Ok(credentials) => assert!(&credentials[..] == arg && arg.contains(&b':')),
        // A password must not be quoted in whole; without a colon there is none.
        Err(error) => is_one_short_line(&error),
    }
    if let Err(error) = parse_on_failure(arg) {
        is_one_short_line(&error);
    }
}

/// Digits alone, as far as any range goes.
fn number(text: &[u8]) -> Option<u128> {
    let text = std::str::from_utf8(text).ok()?;
    let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());

    // One that is too large even for this type is in no range either.
    is_number.then(|| format!("0{}", text.trim_start_matches('0')).parse().unwrap_or(u128::MAX))
}

fn size(text: &[u8]) -> Option<u128> {
    let (digits, unit) = match text.split_last() {
        Some((b'k' | b'K', digits)) => (digits, 1 << 10),
        Some((b'm' | b'M', digits)) => (digits, 1 << 20),
        _ => (text, 1),
    };
    number(digits)?.checked_mul(unit).or(Some(u128::MAX))
}

/// The sum of what stands before each unit, cut off from the left, each unit at most once.
fn time(text: &[u8]) -> Option<u128> {
    if let Some(number) = number(text) {
        return Some(number);
    }
    let mut rest = std::str::from_utf8(text).ok()?.to_owned();
    let mut total = 0_u128;
    let mut is_none = true;
    // `ms` first becomes one letter, which the text itself must not have.
    if rest.contains('M') {
        return None;
    }
    rest = rest.replace("ms", "M");
    for (unit, scale) in
        [('d', 86_400_000), ('h', 3_600_000), ('m', 60_000), ('s', 1_000), ('M', 1)]
    {
        if let Some((before, after)) = rest.split_once(unit) {
            total = total.saturating_add(number(before.as_bytes())?.saturating_mul(scale));
            rest = after.to_owned();
            is_none = false;
        }
    }
    (rest.is_empty() && !is_none).then_some(total)
}
