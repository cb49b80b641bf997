//! How an upstream's programs are managed: what the operator configured, whatever the address of the
//! supervisord.
//!
//! Plain values with their defaults and ranges, and the parsers of those that are not times.

use thiserror::Error;

use crate::programs::LoadRule;
use crate::supervisor::Limits;
use crate::value::{integer, quotable};
use crate::Msec;

/// Milliseconds from one look at the programs' states to the next, unless configured.
pub const DEFAULT_POLL: Msec = 10_000;
/// Milliseconds that a stop waits at most for running requests, unless configured.
pub const DEFAULT_DRAIN: Msec = 30_000;
/// Milliseconds after an accepted command during which `any` and load do nothing, unless configured.
pub const DEFAULT_COOLDOWN: Msec = 30_000;
/// Milliseconds from one load report to the next, unless configured.
pub const DEFAULT_LOAD_INTERVAL: Msec = 60_000;
/// The largest threshold and the largest number of programs that a directive takes.
const MAX_NUMBER: u64 = 1_000_000;

/// What a failure of a program leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnFailure {
    /// It is stopped, and started again when its probes pass or a request finds none usable.
    Stop,
    /// It is stopped and started again, after longer and longer waits.
    Restart,
    /// Nothing: nginx's own passive checks and the health checks decide alone.
    Ignore,
}

/// Why an argument was refused.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum SupervisionError {
    /// Not a policy.
    #[error("invalid value {0:?}, stop or restart or ignore is accepted")]
    OnFailure(String),
    /// Not a threshold.
    #[error("invalid value {0:?}, a number from 1 to 1000000 is accepted")]
    Threshold(String),
    /// Not a number of programs.
    #[error("invalid value {0:?}, a number from 0 to 1000000 is accepted")]
    MinServers(String),
    /// A name that no program of supervisord can have.
    #[error("invalid value {0:?}, a name without control characters is accepted")]
    Name(String),
    /// No credentials.
    #[error("invalid value {0:?}, user:password is accepted after the address")]
    Credentials(String),
}

/// What precedes the number in the programs' names: the argument of `supervisord_name`.
///
/// # Errors
/// [`SupervisionError::Name`] for an empty one, and for control characters, which XML cannot carry.
pub fn parse_name(text: &[u8]) -> Result<Box<[u8]>, SupervisionError> {
    if text.is_empty() || text.iter().any(u8::is_ascii_control) {
        return Err(SupervisionError::Name(quotable(text)));
    }
    Ok(text.into())
}

/// The second argument of `supervisord`, which is sent as it stands.
///
/// # Errors
/// [`SupervisionError::Credentials`] without a colon: it separates user and password.
pub fn parse_credentials(text: &[u8]) -> Result<Box<[u8]>, SupervisionError> {
    if text.contains(&b':') {
        Ok(text.into())
    } else {
        Err(SupervisionError::Credentials(quotable(text)))
    }
}

/// The argument of `supervisord_on_failure`.
///
/// # Errors
/// [`SupervisionError::OnFailure`] for any other word.
pub fn parse_on_failure(text: &[u8]) -> Result<OnFailure, SupervisionError> {
    match text {
        b"stop" => Ok(OnFailure::Stop),
        b"restart" => Ok(OnFailure::Restart),
        b"ignore" => Ok(OnFailure::Ignore),
        _ => Err(SupervisionError::OnFailure(quotable(text))),
    }
}

/// Requests per second and active program: the argument of `supervisord_load_threshold`.
///
/// # Errors
/// [`SupervisionError::Threshold`] unless it is 1 to 1000000.
pub fn parse_threshold(text: &[u8]) -> Result<u64, SupervisionError> {
    integer(text)
        .filter(|number| (1..=MAX_NUMBER).contains(number))
        .ok_or_else(|| SupervisionError::Threshold(quotable(text)))
}

/// A number of programs: the argument of `supervisord_min_servers`.
///
/// # Errors
/// [`SupervisionError::MinServers`] unless it is 0 to 1000000.
pub fn parse_min_servers(text: &[u8]) -> Result<usize, SupervisionError> {
    integer(text)
        .filter(|number| *number <= MAX_NUMBER)
        .and_then(|number| usize::try_from(number).ok())
        .ok_or_else(|| SupervisionError::MinServers(quotable(text)))
}

/// One upstream's supervision with nothing left open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Supervision {
    /// What precedes the number in a program's name; default: the upstream's name.
    pub prefix: Box<[u8]>,
    /// Whether programs of lines not marked `down` start as up; default no.
    pub inherit: bool,
    /// Time limits of a call, each 1 ms to 1 d; default 5 s, 30 s, 30 s.
    pub limits: Limits,
    /// See [`DEFAULT_POLL`]; 1 ms to 1 d.
    pub poll: Msec,
    /// See [`DEFAULT_DRAIN`]; 1 ms to 1 d.
    pub drain: Msec,
    /// See [`DEFAULT_COOLDOWN`]; 1 ms to 1 d.
    pub cooldown: Msec,
    /// What a failure leads to; default [`OnFailure::Stop`] with a supervisord, else
    /// [`OnFailure::Ignore`].
    pub on_failure: OnFailure,
    /// How it scales by load; `None`: not at all.
    pub load: Option<LoadRule>,
    /// See [`DEFAULT_LOAD_INTERVAL`]; 1 ms to 1 d.
    pub load_interval: Msec,
}

/// A supervision while its directives are being read: `None` is "not given yet".
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SupervisionDraft {
    /// See [`Supervision::prefix`].
    pub prefix: Option<Box<[u8]>>,
    /// See [`Supervision::inherit`].
    pub inherit: bool,
    /// See [`Limits::connect`].
    pub connect_timeout: Option<Msec>,
    /// See [`Limits::send`].
    pub send_timeout: Option<Msec>,
    /// See [`Limits::read`].
    pub read_timeout: Option<Msec>,
    /// See [`Supervision::poll`].
    pub poll: Option<Msec>,
    /// See [`Supervision::drain`].
    pub drain: Option<Msec>,
    /// See [`Supervision::cooldown`].
    pub cooldown: Option<Msec>,
    /// See [`Supervision::on_failure`].
    pub on_failure: Option<OnFailure>,
    /// See [`LoadRule::threshold`].
    pub load_threshold: Option<u64>,
    /// See [`LoadRule::min_servers`].
    pub min_servers: Option<usize>,
    /// See [`Supervision::load_interval`].
    pub load_interval: Option<Msec>,
}

impl SupervisionDraft {
    /// Whether any setting was given: without a `supervisord` it does nothing, which deserves a
    /// warning.
    pub fn any_setting(&self) -> bool {
        *self != SupervisionDraft::default()
    }

    /// The supervision with a default in the place of each missing setting; `upstream` is the name
    /// of the block, `is_real` says that there is a supervisord to call.
    pub fn finish(&self, upstream: &[u8], is_real: bool) -> Supervision {
        let limits = Limits::default();
        let default_policy = if is_real { OnFailure::Stop } else { OnFailure::Ignore };
        Supervision {
            prefix: self.prefix.clone().unwrap_or_else(|| upstream.into()),
            inherit: self.inherit,
            limits: Limits {
                connect: self.connect_timeout.unwrap_or(limits.connect),
                send: self.send_timeout.unwrap_or(limits.send),
                read: self.read_timeout.unwrap_or(limits.read),
            },
            poll: self.poll.unwrap_or(DEFAULT_POLL),
            drain: self.drain.unwrap_or(DEFAULT_DRAIN),
            cooldown: self.cooldown.unwrap_or(DEFAULT_COOLDOWN),
            on_failure: self.on_failure.unwrap_or(default_policy),
            load: self.load_threshold.map(|threshold| LoadRule {
                threshold,
                min_servers: self.min_servers.unwrap_or(0),
            }),
            load_interval: self.load_interval.unwrap_or(DEFAULT_LOAD_INTERVAL),
        }
    }
}

impl Supervision {
    /// What supervisord calls program `number`.
    pub fn program_name(&self, number: usize) -> Box<[u8]> {
        let mut name = self.prefix.to_vec();
        name.extend_from_slice(number.to_string().as_bytes());
        name.into_boxed_slice()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_draft_becomes_the_documented_defaults() {
        let real = SupervisionDraft::default().finish(b"backend", true);
        assert_eq!(
            real,
            Supervision {
                prefix: Box::from(&b"backend"[..]),
                inherit: false,
                limits: Limits { connect: 5_000, send: 30_000, read: 30_000 },
                poll: 10_000,
                drain: 30_000,
                cooldown: 30_000,
                on_failure: OnFailure::Stop,
                load: None,
                load_interval: 60_000,
            }
        );
        let none = SupervisionDraft::default().finish(b"backend", false);
        assert_eq!(none.on_failure, OnFailure::Ignore);
    }

    #[test]
    fn a_programs_name_is_the_prefix_and_its_number() {
        let draft = SupervisionDraft { prefix: Some(b"grp:app"[..].into()), ..Default::default() };
        assert_eq!(&draft.finish(b"u", true).program_name(12)[..], b"grp:app12");
    }

    #[test]
    fn names_and_credentials_that_supervisord_cannot_have_are_refused() {
        assert!(parse_name(b"").is_err() && parse_name(b"a\nb").is_err());
        assert_eq!(parse_name(b"grp:app").as_deref(), Ok(&b"grp:app"[..]));
        assert!(parse_credentials(b"").is_err() && parse_credentials(b"user").is_err());
        assert_eq!(parse_credentials(b"user:").as_deref(), Ok(&b"user:"[..]));
    }

    #[test]
    fn words_and_numbers_out_of_range_are_refused() {
        assert_eq!(parse_on_failure(b"restart"), Ok(OnFailure::Restart));
        assert!(parse_on_failure(b"Stop").is_err());
        assert!(parse_threshold(b"0").is_err() && parse_threshold(b"1k").is_err());
        assert_eq!(parse_threshold(b"100"), Ok(100));
        assert_eq!(parse_min_servers(b"0"), Ok(0));
        assert!(parse_min_servers(b"-1").is_err() && parse_min_servers(b"1000001").is_err());
    }
}
