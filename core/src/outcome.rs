//! The result of one probe: the only list of outcomes; log, pages and tests read this table.

/// Whether an outcome speaks for the peer or against it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Verdict {
    /// The peer answered as the check demands.
    Pass,
    /// It did not.
    Fail,
}

/// How one probe ended. The discriminant is what a slot in shared memory keeps (6 bits);
/// 0 is reserved there for "no probe finished yet".
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Outcome {
    /// Status 200, a complete header and, where demanded, the expected body.
    Ok = 1,
    /// A header line, length or chunk that HTTP does not allow.
    MalformedHeader = 2,
    /// The first bytes are not an HTTP/1.x status line.
    BadStatusLine = 3,
    /// The body is not the expected one.
    BadBody = 4,
    /// A fault of this module.
    Internal = 5,
    /// Refused, reset or failed connection.
    BadConnection = 6,
    /// A status other than 200.
    BadCode = 7,
    /// No verdict within the timeout.
    TimedOut = 8,
    /// The header is larger than `healthcheck_buffer`, or has more than 128 lines.
    DoesNotFit = 9,
    /// The peer closed before the response was complete.
    EarlyClose = 10,
}

/// What the table says of one outcome.
struct Row {
    outcome: Outcome,
    verdict: Verdict,
    number: u16,
    code: &'static str,
    sentence: &'static str,
}

/// One row an outcome, in the order of the discriminants. Numbers and sentences are those of the
/// original module's page (two blanks after a full stop included).
#[rustfmt::skip]
const TABLE: [Row; 10] = [
    row(Outcome::Ok, Verdict::Pass, 100, "ok", "OK"),
    row(Outcome::MalformedHeader, Verdict::Fail, 200, "bad_header", "Malformed header"),
    row(Outcome::BadStatusLine, Verdict::Fail, 201, "bad_status_line", "Bad status line.  Maybe not HTTP"),
    row(Outcome::BadBody, Verdict::Fail, 202, "bad_body", "Bad HTTP body contents"),
    row(Outcome::Internal, Verdict::Fail, 203, "internal", "Internal error.  Bad healthcheck state"),
    row(Outcome::BadConnection, Verdict::Fail, 204, "bad_connection", "Error reading contents.  Bad connection"),
    row(Outcome::BadCode, Verdict::Fail, 205, "bad_code", "Non 200 HTTP status code"),
    row(Outcome::TimedOut, Verdict::Fail, 206, "timeout", "Healthcheck timed out"),
    row(Outcome::DoesNotFit, Verdict::Fail, 207, "too_big", "Contents could not fit read buffer"),
    row(Outcome::EarlyClose, Verdict::Fail, 208, "early_close", "Connection closed early"),
];

/// What the pages say of a peer without a finished probe.
pub const UNKNOWN_SENTENCE: &str = "Unknown state";
/// Its short code.
pub const UNKNOWN_CODE: &str = "unknown";

const fn row(
    outcome: Outcome,
    verdict: Verdict,
    number: u16,
    code: &'static str,
    sentence: &'static str,
) -> Row {
    Row { outcome, verdict, number, code, sentence }
}

impl Outcome {
    /// Every outcome, in the order of the table.
    pub fn all() -> impl Iterator<Item = Outcome> {
        TABLE.iter().map(|row| row.outcome)
    }

    /// The outcome a slot stores as `bits`; `None` for 0 (no probe finished yet) and for values
    /// that no outcome has.
    pub fn from_bits(bits: u8) -> Option<Outcome> {
        TABLE.get(usize::from(bits).checked_sub(1)?).map(|row| row.outcome)
    }

    /// What a slot stores: 1 to 63.
    pub fn bits(self) -> u8 {
        self as u8
    }

    /// Whether it counts for or against the peer.
    pub fn verdict(self) -> Verdict {
        self.row().map_or(Verdict::Fail, |row| row.verdict)
    }

    /// The original module's number: 100 for good, 200 to 208 for the rest.
    pub fn number(self) -> u16 {
        self.row().map_or(0, |row| row.number)
    }

    /// Short lower-case code for logs and JSON.
    pub fn code(self) -> &'static str {
        self.row().map_or(UNKNOWN_CODE, |row| row.code)
    }

    /// The sentence of the page and the log.
    pub fn sentence(self) -> &'static str {
        self.row().map_or(UNKNOWN_SENTENCE, |row| row.sentence)
    }

    fn row(self) -> Option<&'static Row> {
        TABLE.get(usize::from(self.bits()).checked_sub(1)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_stands_at_its_outcomes_place() {
        for (index, outcome) in Outcome::all().enumerate() {
            assert_eq!(usize::from(outcome.bits()), index + 1);
            assert_eq!(Outcome::from_bits(outcome.bits()), Some(outcome));
        }
        assert_eq!(Outcome::all().count(), TABLE.len());
        assert_eq!(Outcome::from_bits(0), None);
        assert_eq!(Outcome::from_bits(11), None);
    }

    #[test]
    fn only_ok_passes() {
        for outcome in Outcome::all() {
            assert_eq!(outcome.verdict() == Verdict::Pass, outcome == Outcome::Ok);
        }
    }
}
