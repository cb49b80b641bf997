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
fn integer(digits: &[u8]) -> Option<u64> {
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
