//! The only place that turns nginx's raw pointers into Rust: each type says from when until when it
//! is valid. Nothing here knows of health checks.

pub(crate) mod address;
pub(crate) mod callbacks;
pub(crate) mod conf;
pub(crate) mod connection;
pub(crate) mod failures;
pub(crate) mod guard;
pub(crate) mod log;
pub(crate) mod peers;
pub(crate) mod pool;
pub(crate) mod process;
pub(crate) mod proxied;
pub(crate) mod request;
pub(crate) mod shm;
pub(crate) mod timer;
pub(crate) mod upgrade;
pub(crate) mod upstream;
