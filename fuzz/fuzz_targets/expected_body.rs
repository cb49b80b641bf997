//! Any bytes as the expected body and as the one that comes.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| healthcheck_fuzz::expected_body::TARGET.run(data));
