//! Any bytes as what a request says to a page that starts and stops programs.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| healthcheck_fuzz::command_page::TARGET.run(data));
