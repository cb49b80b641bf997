//! The HTTP/1.x kind: a response passes with status 200 and, where demanded, one exact body.
//!
//! It follows no redirect, undoes no content coding and never uses a connection twice.

mod body;
mod chunks;
mod header;

use std::sync::Arc;

use crate::check::Check;
use crate::outcome::Outcome;

use super::{ProbeKind, Step};
use body::Body;
use header::HeaderReader;

/// The machine of one HTTP probe.
#[derive(Debug)]
pub(super) struct Http {
    check: Arc<Check>,
    header: HeaderReader,
    /// There from the end of the header on, if the check expects a body.
    body: Option<Body>,
}

impl Http {
    /// A machine with its header buffer, the one thing here that lies on the heap.
    pub(super) fn new(check: Arc<Check>) -> Http {
        let header = HeaderReader::new(check.buffer);

        Http { check, header, body: None }
    }

    /// As [`ProbeKind::on_bytes`], with a verdict against the peer as the error.
    fn take(&mut self, mut bytes: &[u8]) -> Result<Step, Outcome> {
        if let (Some(body), Some(expected)) = (&mut self.body, &self.check.expected) {
            return body.take(bytes, expected);
        }

        let Some(head) = self.header.take(&mut bytes)? else {
            return Ok(Step::NeedMore);
        };
        let Some(expected) = &self.check.expected else {
            return Ok(Step::Settled(Outcome::Ok));
        };

        // A response to HEAD ends with its header, whatever length it announces.
        let has_body = !self.check.request.starts_with(b"HEAD ");
        let body = Body::begin(&head, has_body, expected, self.check.buffer)?;
        self.body.insert(body).take(bytes, expected)
    }
}

impl ProbeKind for Http {
    fn request(&self) -> &[u8] {
        &self.check.request
    }

    fn restart(&mut self) {
        self.header.restart();
        self.body = None;
    }

    fn on_bytes(&mut self, bytes: &[u8]) -> Step {
        self.take(bytes).unwrap_or_else(Step::Settled)
    }

    fn on_close(&mut self) -> Outcome {
        match (&self.body, &self.check.expected) {
            (Some(body), Some(expected)) => body.at_close(expected),
            _ => Outcome::EarlyClose,
        }
    }
}
