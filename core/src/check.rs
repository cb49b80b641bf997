//! The check: what the operator configured for one upstream, whatever dialect said it.
//!
//! Plain values with their defaults and ranges. It parses no directive ([`crate::value`] does) and
//! runs no probe.

use crate::health::Health;
use crate::Msec;

/// The shortest delay or timeout, in milliseconds: a zero would probe without pause or judge
/// every probe late.
pub const MIN_TIME: Msec = 1;
/// The longest delay or timeout, in milliseconds: one day.
pub const MAX_TIME: Msec = 86_400_000;
/// Milliseconds from the start of one probe to the start of the next, unless configured.
pub const DEFAULT_DELAY: Msec = 10_000;
/// Milliseconds that a whole probe may take, unless configured.
pub const DEFAULT_TIMEOUT: Msec = 2_000;

/// The smallest number of verdicts in a row that flips a peer.
pub const MIN_COUNT: u32 = 1;
/// The largest such number.
pub const MAX_COUNT: u32 = 1_000;
/// Failures in a row that take a peer down, unless configured.
pub const DEFAULT_FALL: u32 = 2;
/// Passes in a row that bring a peer up again, unless configured.
pub const DEFAULT_RISE: u32 = 2;

/// The smallest header buffer, in bytes.
pub const MIN_BUFFER: usize = 1;
/// The largest header buffer, in bytes: 16 MiB.
pub const MAX_BUFFER: usize = 16 * 1024 * 1024;
/// Bytes that the header of a response may have, unless configured.
pub const DEFAULT_BUFFER: usize = 1_000;

/// How many verdicts in a row flip a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Thresholds {
    /// Failures in a row that take it down; 1 to 1000, default 2.
    pub fall: u32,
    /// Passes in a row that bring it up; 1 to 1000, default 2.
    pub rise: u32,
}

impl Default for Thresholds {
    fn default() -> Thresholds {
        Thresholds { fall: DEFAULT_FALL, rise: DEFAULT_RISE }
    }
}

/// One upstream's check with nothing left open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Check {
    /// Milliseconds from the start of one probe to the start of the next, per peer; 1 to
    /// 86 400 000, default 10 000.
    pub delay: Msec,
    /// The same while it is undecided whether the peer is fit, and the shortest time between two
    /// probes that failed requests ask for; 1 to [`Check::delay`]. `None`, the default: every probe
    /// comes at the delay, and none is asked for.
    pub fast_delay: Option<Msec>,
    /// Milliseconds for the whole probe, from connect to verdict; 1 to 86 400 000, default 2000.
    pub timeout: Msec,
    /// Failures in a row that take a peer down; 1 to 1000, default 2.
    pub fall: u32,
    /// Passes in a row that bring a peer up; 1 to 1000, default 2.
    pub rise: u32,
    /// The bytes to send, final blank line included; default [`default_request`].
    pub request: Box<[u8]>,
    /// The body that the response must have, byte for byte. `None`: any body passes; empty: the
    /// body must be empty. Of any length: it is compared as it arrives, outside the buffer.
    pub expected: Option<Box<[u8]>>,
    /// Bytes that the header of the response may have; 1 to 16 MiB, default 1000.
    pub buffer: usize,
}

impl Check {
    /// The fast delay of a peer of this health that is to be probed fast.
    pub fn fast_delay_of(&self, health: Health) -> Option<Msec> {
        self.fast_delay.filter(|_| health.is_undecided(self.fall, self.rise))
    }

    /// The time within which the first probe of a new peer begins.
    pub fn first_delay(&self) -> Msec {
        self.fast_delay.unwrap_or(self.delay)
    }

    /// Both delays, where the fast one is longer than the other: they are of no use together.
    pub fn delays_swapped(&self) -> Option<(Msec, Msec)> {
        self.fast_delay.filter(|fast| *fast > self.delay).map(|fast| (fast, self.delay))
    }
}

/// A check while its directives are being read: `None` is "not given yet", so that a second one is
/// seen as a duplicate and a missing one gets its default in the end.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CheckDraft {
    /// Whether the upstream asked for checks at all (`healthcheck_enabled`).
    pub enabled: bool,
    /// See [`Check::delay`].
    pub delay: Option<Msec>,
    /// See [`Check::fast_delay`].
    pub fast_delay: Option<Msec>,
    /// See [`Check::timeout`].
    pub timeout: Option<Msec>,
    /// See [`Check::fall`] and [`Check::rise`]: one directive sets both.
    pub failcount: Option<Thresholds>,
    /// See [`Check::request`].
    pub send: Option<Box<[u8]>>,
    /// See [`Check::expected`].
    pub expected: Option<Box<[u8]>>,
    /// See [`Check::buffer`].
    pub buffer: Option<usize>,
}

impl CheckDraft {
    /// Whether any setting was given, `enabled` aside: such a setting in an upstream that is not
    /// enabled does nothing, which deserves a warning.
    pub fn any_setting(&self) -> bool {
        let CheckDraft {
            enabled: _,
            delay,
            fast_delay,
            timeout,
            failcount,
            send,
            expected,
            buffer,
        } = self;

        delay.is_some()
            || fast_delay.is_some()
            || timeout.is_some()
            || failcount.is_some()
            || send.is_some()
            || expected.is_some()
            || buffer.is_some()
    }

    /// The check with a default in the place of each missing setting; `upstream` is the name of
    /// the upstream block, for the default request. Whether it is `enabled` is the caller's test.
    pub fn finish(&self, upstream: &[u8]) -> Check {
        let Thresholds { fall, rise } = self.failcount.unwrap_or_default();

        Check {
            delay: self.delay.unwrap_or(DEFAULT_DELAY),
            fast_delay: self.fast_delay,
            timeout: self.timeout.unwrap_or(DEFAULT_TIMEOUT),
            fall,
            rise,
            request: self.send.clone().unwrap_or_else(|| default_request(upstream)),
            expected: self.expected.clone(),
            buffer: self.buffer.unwrap_or(DEFAULT_BUFFER),
        }
    }
}

/// What is sent when nothing was configured: a GET of `/` in HTTP/1.0 with the upstream's name as
/// `Host`, which asks the peer to close.
pub fn default_request(upstream: &[u8]) -> Box<[u8]> {
    let host = [b"Host: ", upstream].concat();

    request_from_lines(&[b"GET / HTTP/1.0", &host, b"Connection: close"])
}

/// A request from its lines: joined by CRLF and ended by an empty line, their bytes unchanged.
///
/// ```
/// use healthcheck_core::check::request_from_lines;
///
/// let request = request_from_lines(&[b"GET /h HTTP/1.0", b"Host: x"]);
/// assert_eq!(&request[..], b"GET /h HTTP/1.0\r\nHost: x\r\n\r\n");
/// ```
pub fn request_from_lines(lines: &[&[u8]]) -> Box<[u8]> {
    let mut request = lines.join(&b"\r\n"[..]);

    request.extend_from_slice(b"\r\n\r\n");
    request.into_boxed_slice()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outcome::Outcome;

    #[test]
    fn an_empty_draft_becomes_the_documented_defaults() {
        assert_eq!(
            CheckDraft::default().finish(b"backend"),
            Check {
                delay: 10_000,
                fast_delay: None,
                timeout: 2_000,
                fall: 2,
                rise: 2,
                request: Box::from(
                    &b"GET / HTTP/1.0\r\nHost: backend\r\nConnection: close\r\n\r\n"[..]
                ),
                expected: None,
                buffer: 1_000,
            }
        );
    }

    #[test]
    fn every_given_setting_survives_finish() {
        let draft = CheckDraft {
            enabled: true,
            delay: Some(9),
            fast_delay: Some(8),
            timeout: Some(2),
            failcount: Some(Thresholds { fall: 3, rise: 4 }),
            send: Some(request_from_lines(&[b"PING"])),
            expected: Some(Box::default()),
            buffer: Some(5),
        };

        assert_eq!(
            draft.finish(b"backend"),
            Check {
                delay: 9,
                fast_delay: Some(8),
                timeout: 2,
                fall: 3,
                rise: 4,
                request: Box::from(&b"PING\r\n\r\n"[..]),
                expected: Some(Box::default()),
                buffer: 5,
            }
        );
    }

    #[test]
    fn the_fast_delay_is_for_peers_that_are_undecided() {
        let check = |fast_delay| Check { fast_delay, ..CheckDraft::default().finish(b"backend") };
        let decided =
            (0..2).fold(Health::default(), |health, _| health.observe(Outcome::Ok, 2, 2).0);

        assert_eq!(check(Some(100)).fast_delay_of(Health::default()), Some(100));
        assert_eq!(check(Some(100)).fast_delay_of(decided), None);
        assert_eq!(check(None).fast_delay_of(Health::default()), None);
        assert_eq!((check(Some(100)).first_delay(), check(None).first_delay()), (100, 10_000));
    }

    #[test]
    fn a_fast_delay_may_be_as_long_as_the_delay_and_no_longer() {
        let swapped = |fast| {
            Check { fast_delay: Some(fast), ..CheckDraft::default().finish(b"backend") }
                .delays_swapped()
        };

        assert_eq!((swapped(10_000), swapped(10_001)), (None, Some((10_001, 10_000))));
    }

    #[test]
    fn enabled_alone_is_no_setting_and_each_other_one_is() {
        assert!(!CheckDraft { enabled: true, ..CheckDraft::default() }.any_setting());

        let drafts = [
            CheckDraft { delay: Some(1), ..CheckDraft::default() },
            CheckDraft { fast_delay: Some(1), ..CheckDraft::default() },
            CheckDraft { timeout: Some(1), ..CheckDraft::default() },
            CheckDraft { failcount: Some(Thresholds::default()), ..CheckDraft::default() },
            CheckDraft { send: Some(Box::default()), ..CheckDraft::default() },
            CheckDraft { expected: Some(Box::default()), ..CheckDraft::default() },
            CheckDraft { buffer: Some(1), ..CheckDraft::default() },
        ];
        for draft in drafts {
            assert!(draft.any_setting(), "{draft:?}");
        }
    }

    #[test]
    fn lines_keep_their_bytes() {
        assert_eq!(
            &request_from_lines(&[b"a\xff\0", b"", b" b "])[..],
            b"a\xff\0\r\n\r\n b \r\n\r\n"
        );
        assert_eq!(&request_from_lines(&[])[..], b"\r\n\r\n");
    }
}
