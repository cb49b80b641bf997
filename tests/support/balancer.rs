//! Balancers of others, as the environment names them: examples/balancer and the patched upstream_fair.

use std::env;
use std::path::PathBuf;

use crate::consumer::Consumer;
use crate::environment::skip;

/// What stands in place of a path where the balancer is part of nginx's binary.
const INSIDE: &str = "inside";

/// `TEST_RENDEZVOUS`: that of examples/balancer; `None`, with a remark, where there is none.
pub fn rendezvous() -> Option<Consumer> {
    named("TEST_RENDEZVOUS")
}

/// `TEST_FAIR`: upstream_fair with the patch of patches/; `None`, with a remark, where there is none.
pub fn fair() -> Option<Consumer> {
    named("TEST_FAIR")
}

/// Whether a balancer is part of nginx's binary, where nothing is loaded before or after.
pub fn is_inside(balancer: &Consumer) -> bool {
    balancer.path.as_os_str() == INSIDE
}

fn named(variable: &str) -> Option<Consumer> {
    let path = PathBuf::from(env::var_os(variable).unwrap_or_default());

    if path.as_os_str().is_empty() {
        skip(&format!("{variable} is empty: the balancer is not built for this nginx"));
        return None;
    }
    Some(Consumer { path })
}
