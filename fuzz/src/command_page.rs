//! What a request says to a page that starts and stops programs: which program, who sent it, and which
//! answer it wants.

use healthcheck_core::command_page::{html, json, target_of, wants_json, Sender};
use healthcheck_core::program::State;
use healthcheck_core::programs::{Asked, Refusal, Target as Program};
use healthcheck_core::supervisor::Command;
use serde_json::Value;

use crate::noise::Noise;
use crate::Target;

/// The input's lines: the path, `Host`, `Origin`, `Sec-Fetch-Site`, `Purpose`, `Accept`; the path names
/// the upstream too.
pub static TARGET: Target = Target {
    name: "command_page",
    inputs: 150_000,
    words: &[
        b"\n",
        b"/",
        b"any",
        b"/start/backend/",
        b"0",
        b"18446744073709551616",
        b"http://",
        b"https://",
        b"admin.example",
        b":80",
        b":443",
        b"null",
        b"cross-site",
        b"same-origin",
        b"prefetch",
        b";",
        b",",
        b"application/json",
        b";q=0",
        b".0",
        b"text/html",
    ],
    check: run,
};

fn run(input: &[u8]) {
    let mut lines = input.splitn(6, |byte| *byte == b'\n');
    let [path, host, origin, site, purpose, accept] =
        [(); 6].map(|()| lines.next().unwrap_or_default());
    let programs = Noise::of(path).below(12);
    let target = target_of(path, programs);

    assert_eq!(target, named(path, programs));
    sender(host, origin, site, purpose);
    assert!(!wants_json(Some(accept)) || has(accept, "application/json"));
    assert!(wants_json(Some(&[b"application/json,", accept].concat())));
    if let Some(target) = target {
        answers(target, path);
    }
}

/// As [`target_of`]: all behind the last slash, read by the standard library.
fn named(path: &[u8], programs: usize) -> Option<Program> {
    let path = String::from_utf8_lossy(path);
    let segment = path.rsplit_once('/').map_or(&*path, |(_, segment)| segment);
    let digits = segment.trim_start_matches('0');

    match segment {
        "any" => Some(Program::Any),
        "" => None,
        _ if !segment.bytes().all(|byte| byte.is_ascii_digit()) || digits.len() > 10 => None,
        _ => format!("0{digits}").parse().ok().filter(|it| *it < programs).map(Program::Number),
    }
}

/// Only what the own pages and scripts send may command, whatever stands beside it.
fn sender(host: &[u8], origin: &[u8], site: &[u8], purpose: &[u8]) {
    let plain = Sender { host: Some(host), ..Sender::default() };
    assert_eq!(plain.objection(), None, "a script sends none of these fields");

    let own = is_own(host, origin);
    let with_origin = Sender { origins: vec![origin], ..plain.clone() };
    assert_eq!(with_origin.objection().is_none(), own, "{with_origin:?}");
    let of_two = Sender { origins: vec![origin, b"http://other.example"], ..plain.clone() };
    assert!(of_two.objection().is_some() || is_own(host, b"http://other.example"));

    let with_site = Sender { fetch_sites: vec![site], ..plain.clone() };
    assert_eq!(with_site.objection().is_some(), is_listed(site, &["cross-site", "same-site"]));
    let with_purpose = Sender { purposes: vec![b"", purpose], ..plain };
    assert_eq!(with_purpose.objection().is_some(), is_listed(purpose, &["prefetch", "prerender"]));

    let all = Sender { origins: vec![origin], fetch_sites: vec![site], ..with_purpose.clone() };
    let any = [&with_origin, &with_site, &with_purpose].iter().any(|it| it.objection().is_some());
    assert_eq!(all.objection().is_some(), any, "{all:?}");
}

/// Both with a port, they are the same.
fn is_own(host: &[u8], origin: &[u8]) -> bool {
    let origin = origin.trim_ascii();
    let (scheme, port) = if origin.starts_with(b"https://") { (8, ":443") } else { (7, ":80") };
    if scheme == 7 && !origin.starts_with(b"http://") {
        return false;
    }
    let full = |text: &[u8]| {
        let mut text = text.to_ascii_lowercase();
        if !text.ends_with(port.as_bytes()) {
            text.extend(port.bytes());
        }
        text
    };
    full(host.trim_ascii()) == full(&origin[scheme..])
}

fn is_listed(value: &[u8], words: &[&str]) -> bool {
    let lower = value.to_ascii_lowercase();
    let mut parts = lower.split(|byte| b",;".contains(byte));

    parts.any(|part| words.iter().any(|word| part.trim_ascii() == word.as_bytes()))
}

fn has(value: &[u8], word: &str) -> bool {
    let lower = value.to_ascii_lowercase();
    lower.windows(word.len()).any(|window| window == word.as_bytes())
}

/// The page is well-formed whatever the upstream is called.
fn answers(target: Program, upstream: &[u8]) {
    let page = html(Command::Start, target, "1.28.3");
    assert_eq!(page.split("\r\n").count(), 11);

    let asked =
        Asked { number: Some(3), state: Some(State::Up), refusal: Some(Refusal::AlreadySo) };
    let page = json(Command::Stop, upstream, &asked).expect("a page");
    let line = page.strip_suffix(b"\n").expect("a line");
    assert!(line.iter().all(|byte| *byte >= b' '), "{}", page.escape_ascii());
    let page: Value = serde_json::from_slice(line).expect("JSON");
    assert_eq!(page["upstream"].as_str(), Some(&*String::from_utf8_lossy(upstream)));
}
