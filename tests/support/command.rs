//! What the start and stop pages say in JSON.

use std::fmt::Display;

use serde_json::Value;

use crate::http::{Request, Response};
use crate::nginx::Nginx;

/// The answer of a start or stop page; the names are the page's.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the page's documentation says what each field means")]
pub struct Command {
    pub command: String,
    pub upstream: String,
    pub program: Option<u64>,
    pub accepted: bool,
    pub reason: Option<String>,
    pub state: Option<String>,
}

impl Command {
    /// Reads the page's text.
    ///
    /// # Panics
    /// If it is not the documented page.
    pub fn parse(response: &Response) -> Command {
        let text = response.text();
        let value: Value =
            serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error} in {response}"));
        let field = |name: &str| {
            value.get(name).unwrap_or_else(|| panic!("no {name} in {response}")).clone()
        };
        let text = |name: &str| {
            let value = field(name);
            (!value.is_null()).then(|| value.as_str().expect("a text").to_owned())
        };

        Command {
            command: text("command").expect("a command"),
            upstream: text("upstream").expect("an upstream"),
            program: field("program").as_u64(),
            accepted: field("accepted").as_bool().expect("a flag"),
            reason: text("reason"),
            state: text("state"),
        }
    }
}

impl Nginx {
    /// Asks the start page of an upstream for a program, by its number or `any`.
    #[track_caller]
    pub fn start_page(&self, upstream: &str, program: impl Display) -> Command {
        self.command(&format!("/start/{upstream}/{program}"))
    }

    /// As [`Nginx::start_page`], to stop one.
    #[track_caller]
    pub fn stop_page(&self, upstream: &str, program: impl Display) -> Command {
        self.command(&format!("/stop/{upstream}/{program}"))
    }

    #[track_caller]
    fn command(&self, path: &str) -> Command {
        let request = Request::get(path).method("POST").header("Accept", "application/json");
        let response = self.send(&request);
        assert_eq!(response.status, 200, "{path}: {response}");
        Command::parse(&response)
    }
}
