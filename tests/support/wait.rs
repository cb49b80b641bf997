//! Waiting for a condition, never for a fixed time.

use std::env;
use std::sync::OnceLock;
use std::thread::sleep;
use std::time::{Duration, Instant};

/// How long a test waits for what should take a fraction of a second: slow machines take longer,
/// and a test that passes never waits that long.
pub const LIMIT: Duration = Duration::from_secs(20);

const STEP: Duration = Duration::from_millis(10);

/// A limit times `TEST_PATIENCE` (1), by which tests/run tells that everything is slower there.
///
/// # Panics
/// If that is no number.
pub fn patient(limit: Duration) -> Duration {
    static PATIENCE: OnceLock<u32> = OnceLock::new();

    let patience = PATIENCE.get_or_init(|| {
        let text = env::var("TEST_PATIENCE").unwrap_or_else(|_| "1".to_owned());
        text.parse().unwrap_or_else(|_| panic!("TEST_PATIENCE is no number: {text}"))
    });
    limit.saturating_mul(*patience)
}

/// Returns once `condition` holds.
///
/// # Panics
/// If it does not within `limit`.
#[track_caller]
pub fn wait_until(limit: Duration, what: &str, mut condition: impl FnMut() -> bool) {
    wait_for(limit, what, || condition().then_some(()));
}

/// Returns what `attempt` yields as soon as it does.
///
/// # Panics
/// If it yields nothing within `limit`.
#[track_caller]
pub fn wait_for<T>(limit: Duration, what: &str, mut attempt: impl FnMut() -> Option<T>) -> T {
    let (start, limit) = (Instant::now(), patient(limit));

    loop {
        // This thread may stand still: the last attempt is one that began when the time was over.
        let is_last = start.elapsed() >= limit;
        if let Some(value) = attempt() {
            return value;
        }
        assert!(!is_last, "not within {limit:?}: {what}");
        sleep(STEP);
    }
}

/// Asserts that `condition` holds all through `period`.
///
/// # Panics
/// As soon as it does not.
#[track_caller]
pub fn holds_for(period: Duration, what: &str, mut condition: impl FnMut() -> bool) {
    let start = Instant::now();

    loop {
        let holds = condition();
        // This thread may stand still: what is seen after the period says nothing of it.
        let elapsed = start.elapsed();
        if elapsed >= period {
            return;
        }
        assert!(holds, "after {elapsed:?} no longer true: {what}");
        sleep(STEP);
    }
}
