//! One function for each untrusted input of healthcheck-core: it takes any bytes for that input, and
//! panics where an answer is not what a second, naive judge or an invariant says.
//!
//! Two runners share them: libFuzzer's programs in `fuzz_targets/`, and `tests/targets.rs`, which needs
//! nothing but a stable toolchain. A new target is a file here, a line in [`TARGETS`], a program, a test,
//! and some inputs in `corpus/`; a test compares these lists.

pub mod chunked_body;
pub mod command_page;
pub mod directive_values;
pub mod expected_body;
pub mod page_names;
pub mod probe_http;
pub mod status_arguments;
pub mod supervisor_reply;
pub mod xmlrpc_request;
pub mod xmlrpc_response;

mod noise;
mod probed;
mod quoted;
mod runner;

// The naive judges, which healthcheck-core's own tests have too.
#[path = "../../core/tests/probe_http/naive.rs"]
mod naive_http;
#[path = "../../core/tests/supervisor/naive.rs"]
mod naive_xmlrpc;

pub use runner::{Runner, Tried};

/// One untrusted input.
#[derive(Debug)]
pub struct Target {
    /// Its name: also that of its program and of the folder of its corpus.
    pub name: &'static str,
    /// How many mutated inputs are tried unless the environment says otherwise; about two seconds' worth.
    inputs: usize,
    /// What means something in such inputs: the mutations use them.
    words: &'static [&'static [u8]],
    check: fn(&[u8]),
}

impl Target {
    /// Tries one input.
    ///
    /// # Panics
    /// If the answer to it is wrong.
    pub fn run(&self, input: &[u8]) {
        (self.check)(input);
    }
}

/// Every target, one line each.
pub static TARGETS: &[&Target] = &[
    &chunked_body::TARGET,
    &command_page::TARGET,
    &directive_values::TARGET,
    &expected_body::TARGET,
    &page_names::TARGET,
    &probe_http::TARGET,
    &status_arguments::TARGET,
    &supervisor_reply::TARGET,
    &xmlrpc_request::TARGET,
    &xmlrpc_response::TARGET,
];
