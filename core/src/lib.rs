//! Everything about health checks that can be thought through without nginx.
//!
//! No I/O, no clock, no random numbers, no `unsafe`: time and randomness come in as arguments, the
//! next deadline goes out. nginx's side of the module turns these decisions into sockets, timers
//! and shared memory.
#![forbid(unsafe_code)]
#![cfg_attr(
    not(test),
    deny(
        missing_docs,
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::indexing_slicing
    )
)]

pub mod check;
pub mod command_page;
pub mod ending;
pub mod failures;
pub mod health;
pub mod key;
pub mod lease;
pub mod outcome;
pub mod probe;
pub mod program;
pub mod programs;
pub mod queue;
pub mod report;
pub mod schedule;
pub mod status;
pub mod supervision;
pub mod supervisor;
pub mod value;
pub mod wheel;

/// Milliseconds on a monotonic clock that all processes of the machine share (nginx's
/// `ngx_current_msec`), or a distance on it; which of the two is said where it is used.
pub type Msec = u64;
