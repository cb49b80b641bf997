//! Any bytes as supervisord's reply.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| healthcheck_fuzz::supervisor_reply::TARGET.run(data));
