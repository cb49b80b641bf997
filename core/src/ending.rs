//! How a program's last command ended, in a word for shared memory and in words for a page.

use std::fmt;

use crate::supervisor::{CallError, Fault};

/// How a command ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Ending {
    /// It is under way.
    #[default]
    UnderWay,
    /// supervisord did it, or there was nobody to call.
    Done,
    /// supervisord said that there was nothing to do.
    Already,
    /// No supervisord could be connected to.
    NoConnection,
    /// supervisord did not answer in time.
    TimedOut,
    /// supervisord did not accept the credentials.
    Unauthorized,
    /// The reply was none that supervisord gives, or none at all.
    BadReply,
    /// supervisord refused with this fault.
    Refused(i32),
    /// supervisord reported that the program did not stay up.
    NotRunning,
    /// The worker that carried it out is gone, and another one has taken it over.
    TakenOver,
}

impl Ending {
    const PLAIN: [Ending; 9] = [
        Ending::UnderWay,
        Ending::Done,
        Ending::Already,
        Ending::NoConnection,
        Ending::TimedOut,
        Ending::Unauthorized,
        Ending::BadReply,
        Ending::NotRunning,
        Ending::TakenOver,
    ];
    const REFUSED: u64 = 0xff;

    /// The word: bits 0-7 which, bits 8-39 the number of the fault. Zero is [`Ending::UnderWay`].
    pub fn to_bits(self) -> u64 {
        match self {
            Ending::Refused(fault) => Ending::REFUSED | (u64::from(fault.cast_unsigned()) << 8),
            plain => Ending::PLAIN
                .iter()
                .position(|one| *one == plain)
                .and_then(|index| u64::try_from(index).ok())
                .unwrap_or(0),
        }
    }

    /// The ending that a word means; one that no version wrote is [`Ending::UnderWay`].
    pub fn from_bits(bits: u64) -> Ending {
        if bits & 0xff == Ending::REFUSED {
            let fault = u32::try_from((bits >> 8) & u64::from(u32::MAX)).unwrap_or(0);
            return Ending::Refused(fault.cast_signed());
        }
        let index = usize::try_from(bits & 0xff).unwrap_or(0);
        Ending::PLAIN.get(index).copied().unwrap_or_default()
    }
}

impl From<&CallError> for Ending {
    fn from(error: &CallError) -> Ending {
        match error {
            CallError::Connect => Ending::NoConnection,
            CallError::TimedOut(_) => Ending::TimedOut,
            CallError::Unauthorized => Ending::Unauthorized,
            CallError::Fault(fault) => Ending::Refused(fault.code),
            _ => Ending::BadReply,
        }
    }
}

impl fmt::Display for Ending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Ending::UnderWay => "under way",
            Ending::Done => "ok",
            Ending::Already => "ok, there was nothing to do",
            Ending::NoConnection => "couldn't connect to supervisord",
            Ending::TimedOut => "timed out",
            Ending::Unauthorized => "unauthorized connection",
            Ending::BadReply => "malformed reply",
            Ending::NotRunning => "it did not stay up",
            Ending::TakenOver => "taken over",
            Ending::Refused(code) => {
                return write!(f, "fault {code} {}", Fault::new(*code, "").name());
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_keeps_every_ending() {
        let faults = [0, 1, 50, -1, i32::MAX, i32::MIN].map(Ending::Refused);
        for ending in Ending::PLAIN.into_iter().chain(faults) {
            assert_eq!(Ending::from_bits(ending.to_bits()), ending);
        }
        assert_eq!(Ending::from_bits(0), Ending::UnderWay);
        assert_eq!(Ending::from_bits(200), Ending::UnderWay);
    }

    #[test]
    fn a_fault_is_told_by_number_and_name() {
        assert_eq!(Ending::Refused(50).to_string(), "fault 50 SPAWN_ERROR");
        assert_eq!(Ending::Refused(4711).to_string(), "fault 4711 UNKNOWN");
    }
}
