//! Values of directives: from the bytes of an argument to a number in its range.
//!
//! Pure parsers with errors that read well in nginx's `"<directive>" directive <error>`. Which
//! directive takes which value is not known here.

use thiserror::Error;

use crate::check::{Thresholds, MAX_BUFFER, MAX_COUNT, MAX_TIME, MIN_BUFFER, MIN_COUNT, MIN_TIME};
use crate::Msec;

/// Why an argument was refused. The text quotes what was given (control characters escaped, bytes
/// that are not UTF-8 replaced, cut after 64 characters) and says what is accepted.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ValueError {
    /// Not a time, or one out of range.
    #[error(
        "invalid value {0:?}, a time from 1ms to 1d is accepted (a bare number is milliseconds)"
    )]
    Time(String),
    /// Not a size, or one out of range.
    #[error("invalid value {0:?}, a size from 1 to 16m is accepted (a bare number is bytes)")]
    Size(String),
    /// Not a count, or one out of range.
    #[error(
        "invalid value {0:?}, a number from 1 to 1000 is accepted, \
         or fall=N and rise=N with such numbers"
    )]
    Count(String),
    /// Two bare numbers, or a bare number next to `fall=` or `rise=`.
    #[error("invalid values {0:?}, either one number or fall=N and rise=N is accepted")]
    Mixed(String),
    /// The same threshold twice.
    #[error("duplicate value {0:?}, fall=N and rise=N are accepted once each")]
    Duplicate(String),
    /// No argument at all.
    #[error("no value, either one number or fall=N and rise=N is accepted")]
    Missing,
}

/// Milliseconds from a time: a bare integer is milliseconds; otherwise integers with nginx's
/// suffixes `d`, `h`, `m`, `s`, `ms`, each at most once and in that order, such as `1m30s`.
///
/// # Errors
/// [`ValueError::Time`] unless the sum is 1 ms to 1 d and the text nothing but that: no sign,
/// fraction, blank, upper-case suffix, nor a bare integer after a suffix (nginx would read
/// seconds there, which does not fit a bare integer that is milliseconds).
///
/// ```
/// use healthcheck_core::value::parse_time;
///
/// assert_eq!(parse_time(b"1500"), Ok(1_500));
/// assert_eq!(parse_time(b"1m30s"), Ok(90_000));
/// assert!(parse_time(b"1.5s").is_err());
/// ```
pub fn parse_time(text: &[u8]) -> Result<Msec, ValueError> {
    integer(text)
        .or_else(|| suffixed_time(text))
        .filter(|time| (MIN_TIME..=MAX_TIME).contains(time))
        .ok_or_else(|| ValueError::Time(quotable(text)))
}

/// Bytes from a size: an integer, with `k` or `K` for 1024, `m` or `M` for 1024 * 1024.
///
/// # Errors
/// [`ValueError::Size`] unless it is 1 byte to 16 MiB and nothing else.
pub fn parse_size(text: &[u8]) -> Result<usize, ValueError> {
    let (digits, unit) = match text {
        [digits @ .., b'k' | b'K'] => (digits, 1024),
        [digits @ .., b'm' | b'M'] => (digits, 1024 * 1024),
        digits => (digits, 1),
    };

    integer(digits)
        .and_then(|number| usize::try_from(number.saturating_mul(unit)).ok())
        .filter(|size| (MIN_BUFFER..=MAX_BUFFER).contains(size))
        .ok_or_else(|| ValueError::Size(quotable(text)))
}

/// Thresholds from the arguments of one directive: one bare integer for both, or `fall=N` and
/// `rise=N` in any order, of which a missing one keeps its default.
///
/// # Errors
/// [`ValueError::Count`] for a number that is none or not 1 to 1000, or an unknown name;
/// [`ValueError::Mixed`], [`ValueError::Duplicate`] and [`ValueError::Missing`] as they say.
pub fn parse_failcount(args: &[&[u8]]) -> Result<Thresholds, ValueError> {
    if args.is_empty() {
        return Err(ValueError::Missing);
    }
    if let [both] = args {
        if !both.contains(&b'=') {
            return count(both, both).map(|both| Thresholds { fall: both, rise: both });
        }
    }

    let (mut fall, mut rise) = (None, None);
    for &arg in args {
        let (threshold, number) = if let Some(number) = arg.strip_prefix(b"fall=") {
            (&mut fall, number)
        } else if let Some(number) = arg.strip_prefix(b"rise=") {
            (&mut rise, number)
        } else if integer(arg).is_some() {
            return Err(ValueError::Mixed(quotable(&args.join(&b' '))));
        } else {
            return Err(ValueError::Count(quotable(arg)));
        };
        if threshold.is_some() {
            return Err(ValueError::Duplicate(quotable(arg)));
        }
        *threshold = Some(count(number, arg)?);
    }

    let default = Thresholds::default();
    Ok(Thresholds { fall: fall.unwrap_or(default.fall), rise: rise.unwrap_or(default.rise) })
}

/// A count from `digits`; an error quotes the whole argument `arg`.
fn count(digits: &[u8], arg: &[u8]) -> Result<u32, ValueError> {
    integer(digits)
        .and_then(|number| u32::try_from(number).ok())
        .filter(|number| (MIN_COUNT..=MAX_COUNT).contains(number))
        .ok_or_else(|| ValueError::Count(quotable(arg)))
}

/// An integer of digits alone; one too large for the type is its largest value, which is beyond
/// every range of this file.
pub(crate) fn integer(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    Some(digits.iter().fold(0, |number: u64, digit| {
        number.saturating_mul(10).saturating_add(u64::from(digit - b'0'))
    }))
}

/// The sum of numbers with descending suffixes; saturating like [`integer`].
fn suffixed_time(text: &[u8]) -> Option<Msec> {
    let mut rest = text;
    let mut total: Msec = 0;
    let mut last_scale = Msec::MAX;

    while !rest.is_empty() {
        let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
        let (number, suffix) = rest.split_at_checked(digits)?;
        let (scale, next) = match suffix {
            [b'm', b's', next @ ..] => (1, next),
            [b's', next @ ..] => (1_000, next),
            [b'm', next @ ..] => (60_000, next),
            [b'h', next @ ..] => (3_600_000, next),
            [b'd', next @ ..] => (86_400_000, next),
            _ => return None,
        };
        if scale >= last_scale {
            return None;
        }
        total = total.saturating_add(integer(number)?.saturating_mul(scale));
        last_scale = scale;
        rest = next;
    }

    Some(total)
}

/// What an error quotes: short enough that nginx's line has room for the rest of the sentence.
pub(crate) fn quotable(text: &[u8]) -> String {
    const MAX_CHARS: usize = 64;

    let text = String::from_utf8_lossy(text);
    let mut quotable: String = text.chars().take(MAX_CHARS).collect();

    if quotable.len() < text.len() {
        quotable.push_str("...");
    }
    quotable
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn times_take_bare_milliseconds_and_descending_suffixes() {
        let times: [(&[u8], Msec); 16] = [
            (b"1", 1),
            (b"300", 300),
            (b"0000000000000000000000000000300", 300),
            (b"86400000", 86_400_000),
            (b"500ms", 500),
            (b"10s", 10_000),
            (b"1m", 60_000),
            (b"2h", 7_200_000),
            (b"1d", 86_400_000),
            (b"24h", 86_400_000),
            (b"1440m", 86_400_000),
            (b"1m30s", 90_000),
            (b"1m1ms", 60_001),
            (b"1h1m1s1ms", 3_661_001),
            (b"0d1ms", 1),
            (b"23h59m59s1000ms", 86_400_000),
        ];

        for (text, time) in times {
            assert_eq!(parse_time(text), Ok(time), "{}", quotable(text));
        }
    }

    #[test]
    fn anything_else_is_no_time() {
        let texts: [&[u8]; 36] = [
            b"",
            b"0",
            b"0ms",
            b"0d0s",
            b"-1",
            b"+1",
            b"-1s",
            b"1.5",
            b"1.5s",
            b" 1",
            b"1 ",
            b"1m 30s",
            b"1 s",
            b"10x",
            b"abc",
            b"s",
            b"ms",
            b"1ss",
            b"1hs",
            b"1s1s",
            b"1s1m",
            b"1ms1s",
            b"1m30",
            b"1S",
            b"1MS",
            b"1M",
            b"1w",
            b"1y",
            b"1d1ms",
            b"86400001",
            b"25h",
            b"18446744073709551616",
            b"99999999999999999999999999d",
            b"18446744073709551615ms",
            b"1\0",
            b"\xff",
        ];

        for text in texts {
            assert_eq!(parse_time(text), Err(ValueError::Time(quotable(text))));
        }
    }

    #[test]
    fn sizes_take_bytes_kilobytes_and_megabytes() {
        let sizes: [(&[u8], usize); 8] = [
            (b"1", 1),
            (b"1000", 1_000),
            (b"4k", 4_096),
            (b"4K", 4_096),
            (b"16m", 16_777_216),
            (b"16M", 16_777_216),
            (b"16384k", 16_777_216),
            (b"16777216", 16_777_216),
        ];
        for (text, size) in sizes {
            assert_eq!(parse_size(text), Ok(size), "{}", quotable(text));
        }

        let texts: [&[u8]; 18] = [
            b"",
            b"0",
            b"0k",
            b"k",
            b"-1",
            b"+1",
            b"1.5k",
            b" 1",
            b"1 ",
            b"1kk",
            b"1kb",
            b"1g",
            b"16777217",
            b"16385k",
            b"17m",
            b"18446744073709551616",
            b"18014398509481984k",
            b"99999999999999999999999999m",
        ];
        for text in texts {
            assert_eq!(parse_size(text), Err(ValueError::Size(quotable(text))));
        }
    }

    #[test]
    fn failcount_takes_one_number_or_named_thresholds() {
        let counts: [(&[&[u8]], u32, u32); 7] = [
            (&[b"1"], 1, 1),
            (&[b"1000"], 1_000, 1_000),
            (&[b"fall=3"], 3, 2),
            (&[b"rise=3"], 2, 3),
            (&[b"fall=3", b"rise=4"], 3, 4),
            (&[b"rise=4", b"fall=3"], 3, 4),
            (&[b"fall=1", b"rise=1000"], 1, 1_000),
        ];

        for (args, fall, rise) in counts {
            assert_eq!(parse_failcount(args), Ok(Thresholds { fall, rise }), "{args:?}");
        }
    }

    #[test]
    fn failcount_says_what_was_wrong() {
        use ValueError::{Count, Duplicate, Mixed};

        let errors: [(&[&[u8]], ValueError); 20] = [
            (&[], ValueError::Missing),
            (&[b""], Count("".into())),
            (&[b"0"], Count("0".into())),
            (&[b"1001"], Count("1001".into())),
            (&[b"-1"], Count("-1".into())),
            (&[b"x"], Count("x".into())),
            (&[b"4294967297"], Count("4294967297".into())),
            (&[b"fall="], Count("fall=".into())),
            (&[b"fall=0"], Count("fall=0".into())),
            (&[b"fall=1001"], Count("fall=1001".into())),
            (&[b"rise=x"], Count("rise=x".into())),
            (&[b"Fall=1"], Count("Fall=1".into())),
            (&[b"fail=1"], Count("fail=1".into())),
            (&[b"fall=1", b"x"], Count("x".into())),
            (&[b"3", b"4"], Mixed("3 4".into())),
            (&[b"3", b"rise=2"], Mixed("3 rise=2".into())),
            (&[b"rise=2", b"3"], Mixed("rise=2 3".into())),
            (&[b"fall=1", b"fall=2"], Duplicate("fall=2".into())),
            (&[b"rise=1", b"rise=1"], Duplicate("rise=1".into())),
            (&[b"fall=1", b"rise=1", b"fall=1"], Duplicate("fall=1".into())),
        ];

        for (args, error) in errors {
            assert_eq!(parse_failcount(args), Err(error), "{args:?}");
        }
    }

    #[test]
    fn errors_finish_nginxs_sentence() {
        let sentences = [
            (
                parse_time(b"10x").unwrap_err(),
                "invalid value \"10x\", a time from 1ms to 1d is accepted \
                 (a bare number is milliseconds)",
            ),
            (
                parse_size(b"a\xff\n\"").unwrap_err(),
                "invalid value \"a\u{fffd}\\n\\\"\", a size from 1 to 16m is accepted \
                 (a bare number is bytes)",
            ),
            (
                parse_failcount(&[b"0"]).unwrap_err(),
                "invalid value \"0\", a number from 1 to 1000 is accepted, \
                 or fall=N and rise=N with such numbers",
            ),
            (
                parse_failcount(&[b"3", b"rise=2"]).unwrap_err(),
                "invalid values \"3 rise=2\", either one number or fall=N and rise=N is accepted",
            ),
            (
                parse_failcount(&[b"fall=1", b"fall=2"]).unwrap_err(),
                "duplicate value \"fall=2\", fall=N and rise=N are accepted once each",
            ),
        ];

        for (error, sentence) in sentences {
            assert_eq!(error.to_string(), sentence);
        }
    }

    #[test]
    fn a_long_value_is_cut_between_characters() {
        let text = "ä".repeat(65);

        assert_eq!(quotable(text.as_bytes()), "ä".repeat(64) + "...");
        assert_eq!(quotable("ä".repeat(64).as_bytes()), "ä".repeat(64));
    }

    /// Tries each unit, largest first, both as absent and as present, and takes whatever uses up
    /// the whole text.
    fn naive_time(text: &str, units: &[(&str, u128)]) -> Option<u128> {
        let Some(((suffix, scale), smaller)) = units.split_first() else {
            return text.is_empty().then_some(0);
        };
        let end = text.find(|char: char| !char.is_ascii_digit()).unwrap_or(text.len());
        let (digits, rest) = text.split_at(end);
        let present = rest.strip_prefix(suffix).and_then(|rest| {
            Some(digits.parse::<u128>().ok()? * scale + naive_time(rest, smaller)?)
        });

        present.or_else(|| naive_time(text, smaller))
    }

    proptest! {
        #[test]
        fn times_are_those_of_the_naive_reading(text in "[0-9]{0,3}[dhms.+ 0-9]{0,8}") {
            const UNITS: [(&str, u128); 5] =
                [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];
            let bare = text.bytes().all(|byte| byte.is_ascii_digit());
            let naive = if bare { text.parse().ok() } else { naive_time(&text, &UNITS) };
            let naive = naive.filter(|time| (1..=86_400_000).contains(time));

            prop_assert_eq!(parse_time(text.as_bytes()).ok().map(u128::from), naive);
        }

        #[test]
        fn written_times_are_read_back(d in 0u64..2, h in 0u64..30, m in 0u64..99, s in 0u64..99,
                                       ms in 0u64..9_999) {
            let total = (((d * 24 + h) * 60 + m) * 60 + s) * 1_000 + ms;
            let parsed = parse_time(format!("{d}d{h}h{m}m{s}s{ms}ms").as_bytes());

            prop_assert_eq!(parsed.ok(), Some(total).filter(|t| (1..=MAX_TIME).contains(t)));
        }

        #[test]
        fn no_bytes_make_a_parser_panic(bytes in any::<Vec<u8>>()) {
            let _ = (parse_time(&bytes), parse_size(&bytes), parse_failcount(&[&bytes, &bytes]));
        }
    }
}
