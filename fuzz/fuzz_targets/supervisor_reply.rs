//! Any bytes as supervisord's reply, in one segment and in single bytes: each call must end the
//! same, and each complete reply get a verdict.
//!
//! The tests of healthcheck-core replay the corpus and compare the verdicts; this looks for panics.
#![no_main]

use healthcheck_core::probe::Event;
use healthcheck_core::supervisor::{
    command_result, info_result, max_response, Call, CallAction, Command, Limits,
};

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let ends = [data.len().max(1), 1].map(|size| {
        let mut call = Call::new(Vec::new(), max_response(1), Limits::default());
        call.start(0);
        for segment in data.chunks(size) {
            call.on_event(Event::Received(segment), 1);
        }
        let end = call.on_event(Event::Closed, 2);
        assert!(matches!(end, CallAction::Finish(_)));
        let _ = command_result(Command::Start, call.response());
        let _ = info_result(2, call.response());
        end
    });
    assert_eq!(ends[0], ends[1]);
});
