//! Any bytes as a body in chunks.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| healthcheck_fuzz::chunked_body::TARGET.run(data));
