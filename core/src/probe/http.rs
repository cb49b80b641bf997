//! The HTTP/1.x kind: a response passes with status 200 and, where demanded, one exact body.
//!
//! It does not retry, follow redirects or reuse connections.

use std::sync::Arc;

use crate::check::Check;
use crate::outcome::Outcome;

use super::{ProbeKind, Step};

/// The machine of one HTTP probe.
#[derive(Debug)]
pub(super) struct Http {
    check: Arc<Check>,
}

impl Http {
    pub(super) fn new(check: Arc<Check>) -> Http {
        Http { check }
    }
}

impl ProbeKind for Http {
    fn request(&self) -> &[u8] {
        &self.check.request
    }

    fn restart(&mut self) {}

    fn on_bytes(&mut self, _bytes: &[u8]) -> Step {
        Step::NeedMore
    }

    fn on_close(&mut self) -> Outcome {
        Outcome::EarlyClose
    }
}
