//! Any bytes as a peer's response.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| healthcheck_fuzz::probe_http::TARGET.run(data));
