//! The XML-RPC client, driven as nginx's side drives it, but with scripted bytes instead of a
//! supervisord.
//!
//! `request` has the bytes sent, `captured` what real supervisords answered to them, `command` and
//! `info` the verdicts one by one, `call` the events and time limits, `framing` HTTP's part;
//! `hostile` holds all of it against a second judge.

mod call;
mod captured;
mod command;
mod framing;
mod hostile;
mod info;
mod naive;
mod request;
mod support;
