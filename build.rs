//! Tells the sources what this nginx can do, by capability and not by version.

use std::env;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rustc-check-cfg=cfg(ngx_upstream_resolve)");

    let version: u64 = env::var("DEP_NGINX_VERSION_NUMBER")
        .ok()
        .and_then(|number| number.parse().ok())
        .expect("nginx-sys reports the version of the nginx it was built for");

    // 1.27.3: `server ... resolve`; `peers->config`, `peer->host` and `server.host` came with it.
    if version >= 1_027_003 {
        println!("cargo::rustc-cfg=ngx_upstream_resolve");
    }
}
