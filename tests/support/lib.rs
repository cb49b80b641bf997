//! What the end-to-end tests share: an nginx process, scripted peers, waiting with a limit.
//!
//! Threads and blocking sockets only, loopback only. It knows the directives' names and the shape
//! of the status pages, and nothing of how the module works.

mod arrival;
pub mod balancer;
pub mod command;
pub mod config;
pub mod consumer;
pub mod dns;
pub mod environment;
pub mod epoll;
pub mod http;
mod listener;
pub mod load;
pub mod nginx;
pub mod peer;
pub mod port;
pub mod process;
pub mod random;
pub mod rpc;
pub mod script;
pub mod scripted_supervisord;
pub mod spawn;
pub mod status;
pub mod supervisord;
pub mod swarm;
pub mod valgrind;
pub mod wait;
mod wire;

pub use command::Command;
pub use config::{check, servers, Config, CHECK};
pub use consumer::Consumer;
pub use environment::{can_measure_memory, say, skip, Environment};
pub use http::{Request, Response};
pub use load::{Load, Tally};
pub use nginx::Nginx;
pub use peer::Peer;
pub use port::Port;
pub use random::Random;
pub use rpc::Fault;
pub use script::{Script, Step};
pub use scripted_supervisord::{Reply, ScriptedSupervisord};
pub use status::{Page, ProgramRow, Row, Upstream};
pub use supervisord::{Program, Supervisord};
pub use wait::{holds_for, patient, wait_for, wait_until, LIMIT};
