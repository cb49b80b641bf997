//! Any bytes as the query of a status page.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| healthcheck_fuzz::status_arguments::TARGET.run(data));
