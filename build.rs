//! Tells the sources what this nginx can do, by capability and not by version.

use std::env;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rustc-check-cfg=cfg(ngx_upstream_resolve)");
    println!("cargo::rustc-check-cfg=cfg(ngx_peer_session)");
    println!("cargo::rustc-check-cfg=cfg(ngx_peer_sid)");
    println!("cargo::rustc-check-cfg=cfg(ngx_feature, values(any()))");

    let version: u64 = env::var("DEP_NGINX_VERSION_NUMBER")
        .ok()
        .and_then(|number| number.parse().ok())
        .expect("nginx-sys reports the version of the nginx it was built for");

    // 1.27.3: `server ... resolve`; `peers->config`, `peer->host` and `server.host` came with it.
    if version >= 1_027_003 {
        println!("cargo::rustc-cfg=ngx_upstream_resolve");
    }

    let features = env::var("DEP_NGINX_FEATURES").unwrap_or_default();
    for feature in features.split(',') {
        println!("cargo::rustc-cfg=ngx_feature=\"{feature}\"");
        // Only these have a peer's TLS session in `ngx_peer_connection_t`.
        if matches!(feature, "ssl" | "compat") {
            println!("cargo::rustc-cfg=ngx_peer_session");
        }
        // 1.29.6: `sticky`, whose fields every nginx with a common binary interface has.
        if feature == "compat" && version >= 1_029_006 {
            println!("cargo::rustc-cfg=ngx_peer_sid");
        }
    }
}
