//! The pages that start and stop programs.

use healthcheck_core::command_page::{html, json, target_of, wants_json, Sender};
use healthcheck_core::programs::{Asked, Target};
use healthcheck_core::supervisor::Command;

use crate::nginx::log::{log, Level};
use crate::nginx::request::{Method, Request};
use crate::nginx::upstream::Upstream;

/// The command may not be given from there.
const FORBIDDEN: isize = 403;
/// There is no such program.
const NOT_FOUND: isize = 404;
/// Another method than GET, HEAD or POST.
const NOT_ALLOWED: isize = 405;
/// This process has no worker.
const INTERNAL_ERROR: isize = 500;

/// Answers a request for `command` on a program of `upstream`; GET and POST give it to `execute`.
/// Returns what the content handler must return.
pub(crate) fn serve(
    request: &mut Request,
    command: Command,
    upstream: Upstream,
    nginx_version: &str,
    execute: impl FnOnce(Command, Target) -> Option<Asked>,
) -> isize {
    let method = request.method();
    if method == Method::Other {
        return NOT_ALLOWED;
    }
    if let Err(status) = request.discard_body() {
        return status;
    }
    let Some(target) = target_of(request.path(), upstream.line_settings().len()) else {
        return NOT_FOUND;
    };
    let sender = Sender {
        host: request.header(b"host"),
        origins: request.headers(b"origin"),
        fetch_sites: request.headers(b"sec-fetch-site"),
        purposes: [request.headers(b"purpose"), request.headers(b"sec-purpose")].concat(),
    };
    if let Some(objection) = sender.objection() {
        let name = upstream.name().escape_ascii();
        let verb = command.verb();
        log!(
            Level::Warn,
            "supervisord: {verb} in upstream \"{name}\" was not allowed: {objection}"
        );
        return FORBIDDEN;
    }
    let is_json = wants_json(request.header(b"accept"));
    let asked = if method == Method::Head {
        None
    } else {
        let Some(asked) = execute(command, target) else { return INTERNAL_ERROR };
        Some(asked)
    };
    if !request.forbid_caching() {
        return INTERNAL_ERROR;
    }
    match asked {
        Some(asked) if is_json => match json(command, upstream.name(), &asked) {
            Ok(body) => request.respond("application/json", body),
            Err(_) => INTERNAL_ERROR,
        },
        _ => {
            let body = html(command, target, nginx_version).into_bytes();
            request.respond("text/html", body)
        }
    }
}
