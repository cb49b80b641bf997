//! nginx with patches/: its own balancers ask the module for each candidate.

mod absent;
mod busy;
mod health;
mod kept;
mod programs;
mod sticky;

/// The lines of the balancers that the patches change, as far as this nginx has them; a remark says
/// what is left out.
fn patched_balancers() -> Vec<&'static str> {
    let environment = support::Environment::get();
    let mut lines = Vec::new();

    if environment.patched("round_robin") {
        lines.push("");
    }
    if environment.patched("hash") {
        lines.extend(["hash $arg_k;", "hash $arg_k consistent;"]);
    }
    lines
}
