//! Any bytes as a peer's response, in one segment and in single bytes: each probe must end.
//!
//! The tests of healthcheck-core replay the corpus and compare the outcomes; this looks for panics.
#![no_main]

use std::sync::Arc;

use healthcheck_core::check::CheckDraft;
use healthcheck_core::probe::{Action, Event, Probe};

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    for expected in [None, Some(&b""[..]), Some(b"hello")] {
        let draft = CheckDraft { expected: expected.map(Box::from), ..CheckDraft::default() };
        let mut probe = Probe::new(Arc::new(draft.finish(b"fuzz")));
        for size in [data.len().max(1), 1] {
            probe.start(0);
            for segment in data.chunks(size) {
                probe.on_event(Event::Received(segment), 1);
            }
            assert!(matches!(probe.on_event(Event::Closed, 2), Action::Finish(_)));
        }
    }
});
