//! Tells the sources what this nginx can do, by capability and not by version, and gives them the
//! types of the C headers in src/abi.

use std::env;
use std::path::PathBuf;

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

    // A new file of the module may be loaded beside the old one; each has to mean its own records.
    println!("cargo::rustc-link-arg-cdylib=-Wl,-Bsymbolic");

    bind_headers();
}

/// Reads the C headers as nginx's compiler would: with what nginx-sys found in nginx's Makefile.
fn bind_headers() {
    const HEADERS: [&str; 2] =
        ["src/abi/ngx_http_healthcheck_module.h", "src/abi/ngx_supervisord.h"];

    let folders = env::var_os("DEP_NGINX_INCLUDE").unwrap_or_default();
    let folders = env::split_paths(&folders).map(|folder| format!("-I{}", folder.display()));
    let defines = env::var("DEP_NGINX_CFLAGS").unwrap_or_default();
    let defines = defines.split_whitespace().map(str::to_owned);

    let mut builder = bindgen::Builder::default();
    for header in HEADERS {
        println!("cargo::rerun-if-changed={header}");
        builder = builder.header(header);
    }
    let bindings = builder
        .clang_args(folders.chain(defines))
        .allowlist_type("ngx_http_healthcheck_.*|ngx_supervisord_.*")
        .allowlist_var("NGX_HTTP_HEALTHCHECK_.*|NGX_SUPERVISORD_.*")
        // nginx's own types are those of nginx-sys.
        .allowlist_recursively(false)
        .raw_line("use nginx_sys::*;")
        .layout_tests(false)
        .use_core()
        .generate()
        .expect("the C headers are read");
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"));
    bindings.write_to_file(out.join("abi.rs")).expect("OUT_DIR can be written to");
}
