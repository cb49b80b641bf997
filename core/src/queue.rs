//! The `queue` directive of an upstream: how many requests may wait for a peer, and how long.

use thiserror::Error;

use crate::value::{integer, parse_time, quotable, ValueError};
use crate::Msec;

/// Requests that may wait where programs are started for them, unless configured.
pub const DEFAULT_REQUESTS: u32 = 1_000;
/// The most requests that a queue may be set to.
pub const MAX_REQUESTS: u32 = 1_000_000;

/// How long a request waits where the directive does not say; nginx's own commercial `queue` has
/// the same default.
pub const DEFAULT_TIMEOUT: Msec = 60_000;

/// A queue as configured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Queue {
    /// Requests that may wait in each worker; 1 to [`MAX_REQUESTS`].
    pub requests: u32,
    /// Milliseconds that a request may wait in all.
    pub timeout: Msec,
}

/// Why the directive's arguments were refused; the text quotes what was given.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum QueueError {
    /// No number of requests, or one out of range.
    #[error("invalid value {0:?}, a number of requests from 1 to 1000000 is accepted")]
    Requests(String),
    /// A second argument that is not the timeout.
    #[error("invalid parameter {0:?}, only timeout=TIME is accepted")]
    Parameter(String),
    /// The timeout's time.
    #[error(transparent)]
    Timeout(#[from] ValueError),
}

/// Where programs are started for requests that wait, and nothing says how many may.
impl Default for Queue {
    fn default() -> Queue {
        Queue { requests: DEFAULT_REQUESTS, timeout: DEFAULT_TIMEOUT }
    }
}

/// The queue from the directive's arguments: `NUMBER [timeout=TIME]`.
///
/// # Errors
/// [`QueueError`] as its variants say.
///
/// ```
/// use healthcheck_core::queue::{parse_queue, Queue};
///
/// let queue = Queue { requests: 100, timeout: 5_000 };
/// assert_eq!(parse_queue(&[b"100", b"timeout=5s"]), Ok(queue));
/// ```
pub fn parse_queue(args: &[&[u8]]) -> Result<Queue, QueueError> {
    let number = args.first().copied().unwrap_or_default();
    let requests = integer(number)
        .and_then(|number| u32::try_from(number).ok())
        .filter(|number| (1..=MAX_REQUESTS).contains(number))
        .ok_or_else(|| QueueError::Requests(quotable(number)))?;
    let mut timeout = DEFAULT_TIMEOUT;
    for parameter in args.iter().skip(1) {
        let Some(time) = parameter.strip_prefix(b"timeout=") else {
            return Err(QueueError::Parameter(quotable(parameter)));
        };
        timeout = parse_time(time)?;
    }
    Ok(Queue { requests, timeout })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Result<Queue, QueueError> {
        let args: Vec<&[u8]> = text.split_whitespace().map(str::as_bytes).collect();
        parse_queue(&args)
    }

    #[test]
    fn a_queue_has_a_number_of_requests_and_a_timeout_of_a_minute() {
        assert_eq!(parsed("1"), Ok(Queue { requests: 1, timeout: 60_000 }));
        assert_eq!(parsed("1000000"), Ok(Queue { requests: 1_000_000, timeout: 60_000 }));
    }

    #[test]
    fn its_timeout_takes_what_other_times_take() {
        for (text, timeout) in [("250", 250), ("250ms", 250), ("5s", 5_000), ("1m30s", 90_000)] {
            let queue = Queue { requests: 10, timeout };
            assert_eq!(parsed(&format!("10 timeout={text}")), Ok(queue));
        }
    }

    #[test]
    fn an_error_says_what_was_wrong_and_what_is_accepted() {
        let refused = [
            ("0", "invalid value \"0\", a number of requests from 1 to 1000000 is accepted"),
            ("-1", "invalid value \"-1\", a number of requests from 1 to 1000000 is accepted"),
            ("1000001", "invalid value \"1000001\", a number of requests from 1 to 1000000 is accepted"),
            ("1k", "invalid value \"1k\", a number of requests from 1 to 1000000 is accepted"),
            ("", "invalid value \"\", a number of requests from 1 to 1000000 is accepted"),
            ("timeout=5s", "invalid value \"timeout=5s\", a number of requests from 1 to 1000000 is accepted"),
            ("5 5s", "invalid parameter \"5s\", only timeout=TIME is accepted"),
            ("5 time=5s", "invalid parameter \"time=5s\", only timeout=TIME is accepted"),
            (
                "5 timeout=0",
                "invalid value \"0\", a time from 1ms to 1d is accepted (a bare number is milliseconds)",
            ),
            (
                "5 timeout=",
                "invalid value \"\", a time from 1ms to 1d is accepted (a bare number is milliseconds)",
            ),
        ];
        for (text, error) in refused {
            assert_eq!(parsed(text).expect_err(text).to_string(), error);
        }
    }
}
