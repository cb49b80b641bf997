//! Any bytes as names on the status pages.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| healthcheck_fuzz::page_names::TARGET.run(data));
