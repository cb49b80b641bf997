//! Directives to plain data: what the operator wrote, checked when the whole configuration is read.

#![forbid(unsafe_code)]

pub(crate) mod command;
pub(crate) mod complete;
pub(crate) mod main;
pub(crate) mod monitors;
pub(crate) mod page;
pub(crate) mod registered;
pub(crate) mod supervisord;
pub(crate) mod upstream;

pub(crate) use main::MainConf;
pub(crate) use page::PageConf;
pub(crate) use supervisord::{Managed, SupervisordConf};
pub(crate) use upstream::{UpstreamConf, Watched};
