//! What a scripted peer does on one connection.

use std::sync::Arc;
use std::time::Instant;

use super::{Seen, Shared, PROBE_PATH};
use crate::script::Script;
use crate::wire::{After, Wire, SLICE};

/// One connection of a peer, in a thread of its own.
pub(super) struct Connection {
    wire: Wire,
    shared: Arc<Shared>,
}

impl Connection {
    pub(super) fn new(wire: Wire, shared: Arc<Shared>) -> Connection {
        Connection { wire, shared }
    }

    /// Reads requests and answers them until either side ends.
    pub(super) fn serve(mut self) {
        let script = self.shared.state().on_accept.clone();
        if let Some(script) = script {
            self.wire.run(&script);
            return;
        }
        while let Some(raw) = self.wire.read_head() {
            let index = self.record(&raw);
            let after = match self.choose(is_probe(&raw)) {
                Some(script) => self.wire.run(&script),
                None => After::Close,
            };
            self.shared.state().seen[index].ended = Some(Instant::now());
            if after == After::Close || !wants_more(&raw) {
                return;
            }
        }
    }

    fn record(&self, raw: &[u8]) -> usize {
        let seen =
            Seen { at: Instant::now(), ended: None, raw: raw.to_vec(), probe: is_probe(raw) };
        let mut state = self.shared.state();
        state.seen.push(seen);
        state.seen.len() - 1
    }

    /// The script for a request; `None` if the other side or the test ended before there was one.
    fn choose(&mut self, probe: bool) -> Option<Script> {
        let shared = Arc::clone(&self.shared);
        let mut state = shared.state();
        if !probe {
            return Some(state.request.clone());
        }

        loop {
            if let Some(script) = state.queue.pop_front() {
                return Some(script);
            }
            if !state.held {
                return Some(state.probe.clone());
            }
            state = shared.changed.wait_timeout(state, SLICE).expect("no peer thread panics").0;
            if !self.wire.is_alive() || self.wire.is_gone() {
                return None;
            }
        }
    }
}

fn is_probe(raw: &[u8]) -> bool {
    raw.split(|&byte| byte == b' ').nth(1) == Some(PROBE_PATH.as_bytes())
}

fn wants_more(raw: &[u8]) -> bool {
    let text = String::from_utf8_lossy(raw).to_ascii_lowercase();
    text.contains(" http/1.1\r\n") && !text.contains("connection: close")
}
