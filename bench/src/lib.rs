//! What health checks cost, and how soon they see: the parts of `bench/run` and what they share.
//!
//! A part measures one thing and tells its report: tables, and the figures that must hold. It is a
//! file here and a line in `main.rs`. Servers run as processes of their own; peers, clients and the
//! clock are this process.

pub mod client;
pub mod cpu;
pub mod detect;
pub mod floor;
pub mod haproxy;
pub mod hold;
pub mod load;
pub mod numbers;
pub mod page;
pub mod path;
pub mod probe;
pub mod reload;
pub mod report;
pub mod server;
pub mod socket;
pub mod spin;
