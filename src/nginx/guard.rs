//! Keeps a panic of ours from unwinding into nginx.

use std::panic::{catch_unwind, AssertUnwindSafe};

use super::log::{log, Level};

/// Runs `body`; if it panics, logs an alert that names `callback` and returns `fallback`.
///
/// The state that `body` was changing may be half changed afterwards. That is accepted: what other
/// processes read are single atomic words, and nginx's own lock is released by a guard.
pub(crate) fn guard<R>(callback: &str, fallback: R, body: impl FnOnce() -> R) -> R {
    catch_unwind(AssertUnwindSafe(body)).unwrap_or_else(|payload| {
        let reason = payload
            .downcast_ref::<&str>()
            .copied()
            .or_else(|| payload.downcast_ref::<String>().map(String::as_str))
            .unwrap_or("unknown reason");
        log!(Level::Alert, "healthcheck: internal error in {callback}: {reason}");
        fallback
    })
}
