//! Failed requests of a program, counted over all workers in one 64-bit word.

use crate::Msec;

/// Failed requests of a program, counted as nginx counts a peer's: `max_fails` within
/// `fail_timeout`.
///
/// Bits 0-15: failures. Bits 16-63: when the last one was, ms on the machine's monotonic clock. Zero
/// is valid: none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Failures(u64);

impl Failures {
    /// The word as shared memory keeps it.
    pub const fn from_bits(bits: u64) -> Failures {
        Failures(bits)
    }

    /// What shared memory keeps.
    pub const fn bits(self) -> u64 {
        self.0
    }

    /// One more at `now`; the flag says that `max_fails` are reached, and the count begins anew.
    /// `max_fails` 0 means never. As in nginx, a failure more than `fail_timeout` ms after the one
    /// before begins a new count.
    pub fn observe(self, now: Msec, max_fails: u32, fail_timeout: Msec) -> (Failures, bool) {
        if max_fails == 0 {
            return (Failures(0), false);
        }
        let stale = now.saturating_sub(self.0 >> 16) > fail_timeout;
        let count = if stale { 0 } else { self.0 & 0xffff } + 1;
        if count >= u64::from(max_fails) {
            return (Failures(0), true);
        }
        (Failures((now << 16) | count.min(0xffff)), false)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_count_within_fail_timeout_and_begin_anew_when_reached() {
        let (one, reached) = Failures::default().observe(5_000, 2, 10_000);
        assert!(!reached);
        assert_eq!(one.observe(9_000, 2, 10_000), (Failures(0), true));
        assert!(!one.observe(16_000, 2, 10_000).1, "too late to count with the first");
        assert!(Failures::default().observe(5_000, 1, 10_000).1);
        assert!(!Failures::default().observe(5_000, 0, 10_000).1);
    }
}
