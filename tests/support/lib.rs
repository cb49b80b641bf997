//! What the end-to-end tests share: an nginx process, scripted peers, waiting with a limit.
//!
//! Threads and blocking sockets only, loopback only. It knows the directives' names and the shape
//! of the status pages, and nothing of how the module works.

pub mod config;
pub mod dns;
pub mod environment;
pub mod http;
pub mod load;
pub mod nginx;
pub mod peer;
pub mod port;
pub mod process;
pub mod script;
pub mod status;
pub mod swarm;
pub mod wait;

pub use config::{check, servers, Config, CHECK};
pub use environment::{skip, Environment};
pub use http::{Request, Response};
pub use load::{Load, Tally};
pub use nginx::Nginx;
pub use peer::Peer;
pub use port::Port;
pub use script::{Script, Step};
pub use status::{Page, Row};
pub use wait::{holds_for, wait_for, wait_until, LIMIT};
