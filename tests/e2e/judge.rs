//! Many peers at once, each with an answer of its own.

use support::{servers, Config, Nginx, Peer, Row, Script};

/// What the page says of peers that give these answers to every probe of an upstream with this
/// check, after two probes each.
pub(crate) fn judge(check: &str, answers: impl IntoIterator<Item = Script>) -> Vec<Row> {
    let peers: Vec<Peer> = answers
        .into_iter()
        .map(|answer| {
            let peer = Peer::start();
            peer.probes(answer);
            peer
        })
        .collect();
    let body = format!("{check} {}", servers(&peers));
    let nginx = Nginx::start(&Config::new().upstream("backend", body));

    peers
        .iter()
        .map(|peer| nginx.wait_row(peer, "has two verdicts", |row| row.concurrent >= 2))
        .collect()
}

/// The short codes of what [`judge`] found.
pub(crate) fn codes(check: &str, answers: impl IntoIterator<Item = Script>) -> Vec<String> {
    judge(check, answers).into_iter().map(|row| row.code).collect()
}
