//! Any bytes as the XML of supervisord's reply.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| healthcheck_fuzz::xmlrpc_response::TARGET.run(data));
