//! Numbers that look random and are the same for one seed.

use std::env;
use std::time::{SystemTime, UNIX_EPOCH};

/// xorshift64*.
#[derive(Clone, Debug)]
pub struct Random {
    seed: u64,
    state: u64,
}

impl Random {
    /// Those of the seed that `TEST_SEED` names, else of one that changes from run to run.
    ///
    /// # Panics
    /// If `TEST_SEED` is no number.
    pub fn seeded() -> Random {
        let clock = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
        let seed = number("TEST_SEED").unwrap_or_else(|| u64::from(clock.subsec_nanos()));

        // From 0 it would never get away.
        Random { seed: seed | 1, state: seed | 1 }
    }

    /// What to give as `TEST_SEED` to have the same numbers again.
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// The next number, below `limit`.
    pub fn below(&mut self, limit: usize) -> usize {
        self.state ^= self.state >> 12;
        self.state ^= self.state << 25;
        self.state ^= self.state >> 27;
        let high = self.state.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 32;
        usize::try_from(high).expect("32 bits") % limit
    }

    /// Puts a list into another order.
    pub fn shuffle<T>(&mut self, list: &mut [T]) {
        for last in (1..list.len()).rev() {
            list.swap(last, self.below(last + 1));
        }
    }
}

/// The number that a variable of the environment holds.
///
/// # Panics
/// If it holds anything else.
pub fn number(name: &str) -> Option<u64> {
    env::var(name).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{name}: a number")))
}
