//! What the module shows to the rest of nginx's process.

use std::collections::BTreeSet;
use std::fs;
use std::process::Command;

use support::spawn::output;
use support::{skip, Environment};

/// The global names of the version script.
fn listed(script: &str) -> BTreeSet<String> {
    let lines = script.lines().filter(|line| !line.trim_start().starts_with('#'));
    let text = lines.collect::<Vec<_>>().join("\n");
    let global = text.split("global:").nth(1).and_then(|rest| rest.split("local:").next());
    let names = global.expect("a part that begins with global:").split(';').map(str::trim);

    names.filter(|name| !name.is_empty()).map(str::to_owned).collect()
}

#[test]
fn the_module_exports_exactly_what_the_version_script_lists() {
    let environment = Environment::get();
    let Some(module) = &environment.module else { return skip("the module is inside of nginx") };
    let script = environment.checkout.join("src/build/exported.map");
    let listed = listed(&fs::read_to_string(script).expect("the version script"));
    assert!(listed.contains("ngx_modules"), "{listed:?}");

    let nm = output(Command::new("nm").args(["-D", "--defined-only"]).arg(module));
    let output = nm.expect("nm starts");
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8_lossy(&output.stdout);
    let exported = text.lines().filter_map(|line| line.split_whitespace().last());
    let exported: BTreeSet<String> = exported.map(str::to_owned).collect();
    assert_eq!(exported, listed);
}
