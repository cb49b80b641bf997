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
    number: usize,
}

impl Connection {
    /// `number` is that of [`State::admit`].
    pub(super) fn new(wire: Wire, shared: Arc<Shared>, number: usize) -> Connection {
        Connection { wire, shared, number }
    }

    /// Reads requests and answers them until either side ends.
    pub(super) fn serve(mut self) {
        let script = {
            let mut state = self.shared.state();
            let script = state.on_accept.clone();
            if script.is_some() {
                state.unread.remove(&self.number);
            }
            script
        };
        if let Some(script) = script {
            self.wire.run(&script, || {});
            return;
        }
        while let Some(raw) = self.wire.read_head() {
            let (index, script) = self.begin(&raw);
            let shared = Arc::clone(&self.shared);
            let on_last = || shared.state().seen[index].answered = Some(Instant::now());
            let after = match script.or_else(|| self.await_script(is_probe(&raw))) {
                Some(script) => self.wire.run(&script, on_last),
                None => After::Close,
            };
            self.shared.state().seen[index].end();
            if after == After::Close || !wants_more(&raw) {
                return;
            }
        }
    }

    /// Records a request. Its script is chosen at the same moment, if there is one: a test that has seen
    /// the request cannot change that any more.
    fn begin(&self, raw: &[u8]) -> (usize, Option<Script>) {
        let (at, probe) = (self.wire.arrived(), is_probe(raw));
        let seen = Seen { at, answered: None, ended: None, raw: raw.to_vec(), probe };
        let mut state = self.shared.state();

        state.unread.remove(&self.number);
        state.seen.push(seen);
        (state.seen.len() - 1, state.script(probe))
    }

    /// The script for a request; `None` if the other side or the test ended before there was one.
    fn await_script(&self, probe: bool) -> Option<Script> {
        let mut state = self.shared.state();

        loop {
            if let Some(script) = state.script(probe) {
                return Some(script);
            }
            let waited = self.shared.changed.wait_timeout(state, SLICE);
            state = waited.expect("no peer thread panics").0;
            if !self.wire.is_alive() || self.wire.is_gone() {
                return None;
            }
        }
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        // Another thread's panic is told by that one.
        if let Ok(mut state) = self.shared.state.lock() {
            state.unread.remove(&self.number);
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
