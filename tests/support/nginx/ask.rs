//! What a test asks of a running nginx: requests, loads, the status page.

use std::time::{Duration, Instant};

use super::Nginx;
use crate::http::{Request, Response};
use crate::load::{Load, Tally};
use crate::status::{Page, ProgramRow, Row};
use crate::wait::{patient, wait_for, LIMIT};

impl Nginx {
    /// The answer to a GET.
    #[track_caller]
    pub fn get(&self, path: &str) -> Response {
        self.send(&Request::get(path))
    }

    /// The answer to any request.
    #[track_caller]
    pub fn send(&self, request: &Request<'_>) -> Response {
        request.send(self.address()).unwrap_or_else(|error| panic!("{request:?}: {error}"))
    }

    /// Sends requests to an upstream, one after the other.
    pub fn tally(&self, count: u8, upstream: &str) -> Tally {
        Tally::of(count, self.address(), &format!("/{upstream}/"))
    }

    /// Sends requests to an upstream until stopped.
    pub fn load(&self, threads: usize, upstream: &str) -> Load {
        Load::start(threads, self.address(), &format!("/{upstream}/"))
    }

    /// The status page.
    #[track_caller]
    pub fn status(&self) -> Page {
        let response = self.get("/status.json");
        assert_eq!(response.status, 200, "{response}");
        Page::parse(&response.text())
    }

    /// The row of a peer that is in one upstream only.
    #[track_caller]
    pub fn row(&self, peer: impl ToString) -> Row {
        self.status().row(peer)
    }

    /// Waits until the row of a peer is as wanted, and returns it.
    #[track_caller]
    pub fn wait_row(&self, peer: impl ToString, what: &str, wanted: impl Fn(&Row) -> bool) -> Row {
        let peer = peer.to_string();
        let start = Instant::now();

        loop {
            let row = self.row(&peer);
            if wanted(&row) {
                return row;
            }
            let waited = start.elapsed();
            assert!(waited < patient(LIMIT), "not within {waited:?}: {peer} {what}: {row:#?}");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Waits until a peer counts as down, or up again.
    #[track_caller]
    pub fn wait_down(&self, peer: impl ToString, down: bool) -> Row {
        self.wait_row(peer, if down { "is down" } else { "is up" }, |row| row.down == down)
    }

    /// Waits until the program of that name is in that state.
    #[track_caller]
    pub fn wait_program(&self, name: &str, state: &str) -> ProgramRow {
        let start = Instant::now();

        loop {
            let program = self.status().program(name);
            if program.state == state {
                return program;
            }
            let waited = start.elapsed();
            assert!(waited < patient(LIMIT), "not within {waited:?} {state}: {program:#?}");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Waits until every checked peer has had a probe.
    #[track_caller]
    pub fn wait_probed(&self) -> Page {
        wait_for(LIMIT, "every peer has been probed", || {
            let page = self.status();
            let probed = |row: &Row| !row.checked || row.admin_down || row.concurrent > 0;
            page.peers.iter().all(probed).then_some(page)
        })
    }
}
