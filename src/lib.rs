//! `ngx_http_healthcheck_module`: active health checks for the upstreams of an unmodified nginx.
//!
//! `module` holds nginx's tables and callbacks; `conf` reads directives, `worker` probes,
//! `balancer` takes sick peers out of nginx's rotation, `http` serves the status page, `abi` answers
//! balancers with peer lists of their own; all of them stand on `zone` (shared memory) and `nginx`
//! (the only place that follows nginx's pointers).
//! What can be decided without nginx is in the crate `healthcheck-core`.
#![cfg_attr(
    not(test),
    deny(
        clippy::missing_docs_in_private_items,
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::indexing_slicing
    )
)]

mod abi;
mod balancer;
mod conf;
mod http;
mod module;
mod nginx;
mod worker;
mod zone;
