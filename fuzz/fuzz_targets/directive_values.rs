//! Any bytes as arguments of directives.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| healthcheck_fuzz::directive_values::TARGET.run(data));
