//! Without the module: every nginx spreads requests alike, patched or not. The expectations are written
//! down here, so that what the other parts of tests/run prove for nginx as it is, holds for the patched.

use support::{Config, Nginx, Peer, Script};

/// The peers of so many requests, one after the other, each with its number as key.
fn sequence(nginx: &Nginx, count: u32) -> Vec<String> {
    let path = |number| format!("/backend/?k=key{number}");
    (0..count).map(|number| nginx.get(&path(number)).peer().to_owned()).collect()
}

/// As `ngx_crc32_update`, from a state that `ngx_crc32_init` began.
fn crc32(state: u32, bytes: &[u8]) -> u32 {
    bytes.iter().fold(state, |state, byte| {
        (0..8).fold(state ^ u32::from(*byte), |state, _| {
            (state >> 1) ^ if state & 1 == 1 { 0xedb8_8320 } else { 0 }
        })
    })
}

/// Peers with the weights 3, 1 and 2, with and without a zone, and the same text of their lines.
fn weighted(line: &str, zone: bool) -> (Nginx, Vec<(String, usize)>, Vec<Peer>) {
    let peers = Peer::start_many(3);
    let weights: Vec<(String, usize)> =
        peers.iter().zip([3, 1, 2]).map(|(peer, weight)| (peer.to_string(), weight)).collect();
    let servers: String =
        weights.iter().map(|(peer, weight)| format!("server {peer} weight={weight}; ")).collect();
    let zone = if zone { "zone backend 64k;" } else { "" };
    let config = Config::new().without_module();
    let nginx = Nginx::start(&config.upstream("backend", format!("{zone} {line} {servers}")));
    (nginx, weights, peers)
}

#[test]
fn round_robin_goes_by_the_weights() {
    for zone in [false, true] {
        let (nginx, weights, _peers) = weighted("", zone);
        let expected: Vec<&str> =
            [0, 2, 0, 1, 2, 0].iter().cycle().take(18).map(|&peer| &*weights[peer].0).collect();

        assert_eq!(sequence(&nginx, 18), expected, "zone {zone}");
    }
}

#[test]
fn hash_goes_by_the_key() {
    for zone in [false, true] {
        let (nginx, weights, _peers) = weighted("hash $arg_k;", zone);
        let shares: Vec<&str> =
            weights.iter().flat_map(|(peer, weight)| vec![&**peer; *weight]).collect();
        let expected: Vec<&str> = (0..40)
            .map(|number| {
                let hash = !crc32(!0, format!("key{number}").as_bytes());
                shares[(hash >> 16 & 0x7fff) as usize % shares.len()]
            })
            .collect();

        assert_eq!(sequence(&nginx, 40), expected, "zone {zone}");
    }
}

#[test]
fn consistent_hash_goes_by_the_points() {
    for zone in [false, true] {
        let (nginx, weights, _peers) = weighted("hash $arg_k consistent;", zone);
        let mut points = Vec::new();
        for (peer, weight) in &weights {
            let base = crc32(!0, peer.replace(':', "\0").as_bytes());
            let mut point = 0_u32;
            for _ in 0..weight * 160 {
                point = !crc32(base, &point.to_le_bytes());
                points.push((point, peer));
            }
        }
        points.sort();
        let expected: Vec<&String> = (0..40)
            .map(|number| {
                let hash = !crc32(!0, format!("key{number}").as_bytes());
                points[points.partition_point(|(point, _)| *point < hash) % points.len()].1
            })
            .collect();

        assert_eq!(sequence(&nginx, 40).iter().collect::<Vec<_>>(), expected, "zone {zone}");
    }
}

#[test]
fn peers_that_are_down_backups_and_failures_count_as_ever() {
    for line in ["", "hash $arg_k;", "hash $arg_k consistent;"] {
        let peers = Peer::start_many(4);
        for peer in &peers {
            peer.requests(Script::status(500, "broken"));
        }
        let backup = if line.is_empty() { "backup" } else { "down" };
        let body = format!(
            "{line} server {} max_fails=0; server {} down; server {} max_fails=0; \
             server {} max_fails=0 {backup};",
            peers[0], peers[1], peers[2], peers[3]
        );
        let location = "location /retried { proxy_pass http://backend; \
                        proxy_next_upstream http_500; }";
        let config = Config::new().without_module().server(location);
        let nginx = Nginx::start(&config.upstream("backend", body));

        for number in 0..6 {
            let answer = nginx.get(&format!("/retried?k={number}"));
            let mut asked: Vec<&str> = answer.peer().split(", ").collect();
            asked.sort_unstable();
            let mut expected: Vec<String> = vec![peers[0].to_string(), peers[2].to_string()];
            if line.is_empty() {
                expected.push(peers[3].to_string());
            }
            expected.sort_unstable();
            assert_eq!(
                (answer.status, asked),
                (500, expected.iter().map(|peer| &**peer).collect())
            );
        }
    }
}
