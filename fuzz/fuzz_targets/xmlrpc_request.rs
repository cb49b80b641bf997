//! Any bytes as names of programs and as credentials.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| healthcheck_fuzz::xmlrpc_request::TARGET.run(data));
