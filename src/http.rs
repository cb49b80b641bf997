//! Content handlers.

#![forbid(unsafe_code)]

pub(crate) mod command;
pub(crate) mod status;
