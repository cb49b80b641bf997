//! The probe, driven as nginx's side drives it, but with scripted bytes instead of sockets.
//!
//! `events`, `header`, `body` and `chunked` state the rules one by one; `oracle` and `hostile` hold
//! the probe against a second, naive judge.

mod body;
mod chunked;
mod events;
mod header;
mod hostile;
mod naive;
mod oracle;
mod support;
