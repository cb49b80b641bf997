//! Content handlers.

#![forbid(unsafe_code)]

pub(crate) mod status;
