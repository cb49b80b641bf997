//! The pages that start and stop programs: what a request asks for, whether it may, and the answer.

use serde::Serialize;

use crate::programs::{Asked, Target};
use crate::supervisor::Command;
use crate::value::integer;

/// The program that a request's (decoded) path names by its last segment: `any`, or the number of
/// one of `programs`.
pub fn target_of(path: &[u8], programs: usize) -> Option<Target> {
    let segment = path.rsplit(|byte| *byte == b'/').next().unwrap_or_default();
    if segment == b"any" {
        return Some(Target::Any);
    }
    let number = usize::try_from(integer(segment)?).ok()?;
    (number < programs).then_some(Target::Number(number))
}

/// Header fields that tell who made a browser send a request; all lines of each, since any of them may
/// be the one that the browser wrote.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sender<'a> {
    /// `Host`, where there is one.
    pub host: Option<&'a [u8]>,
    /// `Origin`
    pub origins: Vec<&'a [u8]>,
    /// `Sec-Fetch-Site`
    pub fetch_sites: Vec<&'a [u8]>,
    /// `Purpose` and `Sec-Purpose`
    pub purposes: Vec<&'a [u8]>,
}

impl Sender<'_> {
    /// Why a command must not be carried out: another site made the browser send it, or the browser
    /// only looks ahead. `None` for requests of scripts and of the site's own pages.
    pub fn objection(&self) -> Option<&'static str> {
        let has = |values: &[&[u8]], words: &[&str]| {
            // Some are structured fields, such as `prefetch;prerender`.
            let parts = values
                .iter()
                .flat_map(|value| value.split(|byte| matches!(byte, b';' | b',')))
                .map(<[u8]>::trim_ascii);
            let is_one =
                |part: &[u8]| words.iter().any(|word| part.eq_ignore_ascii_case(word.as_bytes()));
            parts.into_iter().any(is_one)
        };
        if has(&self.fetch_sites, &["cross-site", "same-site"]) {
            return Some("the request comes from a page of another site");
        }
        if !self.origins.iter().all(|origin| self.is_own(origin)) {
            return Some("the request comes from a page of another origin");
        }
        if has(&self.purposes, &["prefetch", "prerender"]) {
            return Some("the request is a prefetch");
        }
        None
    }

    /// Whether an origin, `scheme://host[:port]`, is the host that the request is for. A default port
    /// may be written or left out.
    fn is_own(&self, origin: &[u8]) -> bool {
        let origin = origin.trim_ascii();
        let (default, authority) = if let Some(rest) = origin.strip_prefix(b"http://") {
            (&b":80"[..], rest)
        } else if let Some(rest) = origin.strip_prefix(b"https://") {
            (&b":443"[..], rest)
        } else {
            return false;
        };
        let short = |text| <[u8]>::strip_suffix(text, default).unwrap_or(text);
        self.host
            .is_some_and(|host| short(host.trim_ascii()).eq_ignore_ascii_case(short(authority)))
    }
}

/// Whether an `Accept` header names JSON.
pub fn wants_json(accept: Option<&[u8]>) -> bool {
    accept.is_some_and(|accept| {
        accept.split(|byte| *byte == b',').any(|range| {
            let mut parts = range.split(|byte| *byte == b';').map(<[u8]>::trim_ascii);
            let is_json =
                parts.next().is_some_and(|name| name.eq_ignore_ascii_case(b"application/json"));
            let is_refusal = |part: &[u8]| {
                part.strip_prefix(b"q=0")
                    .is_some_and(|rest| rest.iter().all(|byte| matches!(byte, b'.' | b'0')))
            };
            is_json && !parts.any(is_refusal)
        })
    })
}

/// The original's page: 200 means accepted, or nothing to do.
pub fn html(command: Command, target: Target, nginx_version: &str) -> String {
    let method = short_method(command);
    let program = match target {
        Target::Number(number) => number.to_string(),
        Target::Any | Target::Load => "any".to_owned(),
    };
    [
        "<html>",
        "<head><title>Command executed successfully</title></head>",
        "<body bgcolor=\"white\">",
        "<center><h1>Command executed successfully</h1>",
        &format!("<br>Command: {method}"),
        &format!("<br>Backend: {program}"),
        "</center>",
        &format!("<hr><center>nginx/{nginx_version}</center>"),
        "</body>",
        "</html>",
        "",
    ]
    .join("\r\n")
}

/// The page in JSON: also says which program was chosen, how it is, and why nothing was done.
///
/// # Errors
/// None; the serializer's signature has one.
pub fn json(command: Command, upstream: &[u8], asked: &Asked) -> serde_json::Result<Vec<u8>> {
    #[derive(Serialize)]
    struct Page<'a> {
        command: &'static str,
        upstream: &'a str,
        program: Option<usize>,
        accepted: bool,
        reason: Option<&'static str>,
        state: Option<&'static str>,
    }

    let mut page = serde_json::to_vec(&Page {
        command: short_method(command),
        upstream: &String::from_utf8_lossy(upstream),
        program: asked.number,
        accepted: asked.refusal.is_none(),
        reason: asked.refusal.map(|refusal| refusal.sentence()),
        state: asked.state.map(|state| state.name()),
    })?;
    page.push(b'\n');
    Ok(page)
}

/// The name of a command's method without its namespace.
fn short_method(command: Command) -> &'static str {
    let method = command.method();
    method.rsplit('.').next().unwrap_or(method)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::program::State;
    use crate::programs::Refusal;

    #[test]
    fn only_the_last_segment_counts_and_must_be_any_or_a_programs_number() {
        let target = |path: &str| target_of(path.as_bytes(), 3);
        assert_eq!(target("/_start/any"), Some(Target::Any));
        assert_eq!(target("/_start/x/y/1"), Some(Target::Number(1)));
        assert_eq!(target("/_start/00"), Some(Target::Number(0)));
        let refused =
            ["/_start/3", "/_start/", "/_start/x", "/_start/-1", "/_start/1a", "/anything"];
        assert!(refused.iter().all(|path| target(path).is_none()));
        assert_eq!(target("/_start/99999999999999999999999"), None);
    }

    #[test]
    fn requests_of_scripts_and_of_the_own_pages_may_command() {
        let host = Some(&b"admin.example:8080"[..]);
        let plain = Sender { host, ..Sender::default() };
        assert_eq!(plain.objection(), None);
        let own = Sender { origins: vec![b"http://admin.example:8080"], ..plain.clone() };
        assert_eq!(own.objection(), None);
        let typed = Sender { fetch_sites: vec![b"none"], ..plain.clone() };
        assert_eq!(typed.objection(), None);
        let same = Sender { fetch_sites: vec![b"same-origin"], ..plain };
        assert_eq!(same.objection(), None);
        let default_port = Sender {
            host: Some(b"admin.example"),
            origins: vec![b"http://admin.example:80"],
            ..Sender::default()
        };
        assert_eq!(default_port.objection(), None);
    }

    #[test]
    fn requests_that_another_site_caused_and_prefetches_may_not() {
        let plain = Sender { host: Some(b"a.example"), ..Sender::default() };
        for sender in [
            Sender { fetch_sites: vec![b"cross-site"], ..plain.clone() },
            Sender { fetch_sites: vec![b"same-site"], ..plain.clone() },
            Sender { fetch_sites: vec![b"same-origin", b"cross-site"], ..plain.clone() },
            Sender { origins: vec![b"http://b.example"], ..plain.clone() },
            Sender { origins: vec![b"http://a.example.b"], ..plain.clone() },
            Sender { origins: vec![b"http://a.example:8080"], ..plain.clone() },
            Sender { origins: vec![b"http://a.example", b"http://b.example"], ..plain.clone() },
            Sender { origins: vec![b"null"], ..plain.clone() },
            Sender { purposes: vec![b"prefetch"], ..plain.clone() },
            Sender { purposes: vec![b"prefetch;prerender"], ..plain },
        ] {
            assert!(sender.objection().is_some(), "{sender:?}");
        }
    }

    #[test]
    fn json_is_given_to_who_names_it() {
        assert!(wants_json(Some(b"text/html, application/json;q=0.9")));
        assert!(!wants_json(Some(b"*/*")) && !wants_json(Some(b"application/jsonl")));
        assert!(!wants_json(None));
        assert!(!wants_json(Some(b"application/json;q=0")));
        assert!(!wants_json(Some(b"application/json; q=0.00, text/html")));
    }

    #[test]
    fn the_page_is_the_originals() {
        let page = html(Command::Start, Target::Number(1), "1.28.3");
        let lines: Vec<_> = page.split("\r\n").collect();
        assert_eq!(lines.len(), 11);
        assert_eq!(lines[4..6], ["<br>Command: startProcess", "<br>Backend: 1"]);
        assert_eq!(lines[7], "<hr><center>nginx/1.28.3</center>");
        assert!(
            html(Command::Stop, Target::Any, "1").contains("stopProcess\r\n<br>Backend: any\r\n")
        );
    }

    #[test]
    fn the_json_page_says_what_was_chosen_and_why_not() {
        let done = Asked { number: Some(2), state: Some(State::Starting), refusal: None };
        let page: serde_json::Value =
            serde_json::from_slice(&json(Command::Start, b"u", &done).expect("page"))
                .expect("JSON");
        assert_eq!(page["command"], "startProcess");
        assert_eq!((&page["program"], &page["accepted"]), (&2.into(), &true.into()));
        assert_eq!((&page["state"], &page["reason"]), (&"starting".into(), &().into()));
        let refused = Asked { number: None, state: None, refusal: Some(Refusal::Cooldown) };
        let page: serde_json::Value =
            serde_json::from_slice(&json(Command::Stop, b"u", &refused).expect("page"))
                .expect("JSON");
        assert_eq!(page["accepted"], false);
        assert!(page["reason"].as_str().is_some_and(|why| why.contains("supervisord_cooldown")));
    }
}
