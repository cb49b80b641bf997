//! Whoever does not ask for checks gets the nginx of before.

mod identical;
mod idle;
mod pointers;

use support::{process, servers, wait_until, Config, Nginx, Peer, CHECK, LIMIT};

#[test]
fn upstreams_without_our_directives_keep_nginxs_own_behaviour() {
    let mut peers = Peer::start_many(2);
    let lines =
        format!("server {} max_fails=1 fail_timeout=1h; {}", peers[0], servers([&peers[1]]));
    let config = Config::new()
        .upstream("backend", format!("{CHECK} {}", servers(&peers)))
        .upstream("plain", lines.clone())
        .upstream("zoned", format!("zone zoned 64k; {lines}"));
    let mut nginx = Nginx::start(&config);
    let sick = peers[0].to_string();
    peers[0].healthy(false);
    wait_until(LIMIT, "down in the checked one", || {
        nginx.status().of("backend").iter().any(|row| row.down)
    });

    // Probes say sick, requests are answered: only the checked upstream cares.
    assert_eq!(nginx.tally(40, "backend").at(&sick), 0);
    for upstream in ["plain", "zoned"] {
        assert_eq!(nginx.tally(40, upstream).at(&sick), 20, "{upstream}");
    }
    // Passive checks go on as ever: one failed request, and the peer rests.
    peers[0].stop();
    for upstream in ["plain", "zoned"] {
        let tally = nginx.tally(40, upstream);
        assert_eq!((tally.with_status(502), tally.at(&sick)), (1, 1), "{upstream}: {tally:?}");
    }
    nginx.quit_within(LIMIT);
}

#[test]
fn implicit_and_variable_upstreams_work_as_ever() {
    let peer = Peer::start();
    let checked = Peer::start();
    let server = format!(
        "location /implicit/ {{ proxy_pass http://{peer}; }}\n\
         location /named/ {{ set $to backend; proxy_pass http://$to; }}\n\
         location /variable/ {{ set $to {peer}; proxy_pass http://$to; }}"
    );
    let body = format!("{CHECK} {} {}", servers([&checked]), servers([&peer]));
    let nginx = Nginx::start(&Config::new().upstream("backend", body).server(&server));
    nginx.wait_probed();

    for path in ["/implicit/", "/variable/"] {
        assert_eq!(nginx.get(path).peer(), peer.to_string(), "{path}");
    }
    checked.healthy(false);
    wait_until(LIMIT, "down", || nginx.status().of("backend")[0].down);
    for _ in 0..10 {
        assert_eq!(nginx.get("/named/").peer(), peer.to_string());
    }
    peer.healthy(false);
    wait_until(LIMIT, "all down", || nginx.status().of("backend").iter().all(|row| row.down));
    assert_eq!(nginx.get("/named/").status, 502);
    // The same address outside the upstream is nobody's business.
    for path in ["/implicit/", "/variable/"] {
        assert_eq!(nginx.get(path).status, 200, "{path}");
    }
}

#[test]
fn a_module_that_nobody_uses_costs_no_shared_memory_and_no_timer() {
    let peer = Peer::start();
    let config = Config::new().upstream("backend", servers([&peer]));
    let zones = |config: &Config| {
        let nginx = Nginx::start(config);
        assert!(nginx.log_lines("healthcheck").is_empty());
        assert_eq!(nginx.tally(20, "backend").with_status(200), 20);
        process::shared_mappings(nginx.pid())
    };

    assert_eq!(zones(&config.clone().without_pages()), zones(&config.without_module()));
    assert_eq!(peer.probe_count(), 0);
}

#[test]
fn checks_come_and_go_with_reloads() {
    let peer = Peer::start();
    let plain = Config::new().workers(2).upstream("backend", servers([&peer]));
    let checked = plain.clone().upstream("backend", format!("{CHECK} {}", servers([&peer])));
    let mut nginx = Nginx::start(&plain.clone().without_module());

    for _ in 0..3 {
        nginx.reload(&checked);
        let before = nginx.row(&peer).probes;
        nginx.wait_row(&peer, "is probed", |row| row.probes >= before + 3);
        nginx.reload(&plain.clone().without_module());
        peer.settle();
        let probes = peer.probe_count();
        assert_eq!(nginx.tally(20, "backend").with_status(200), 20);
        peer.settle();
        assert_eq!(peer.probe_count(), probes, "nobody probes any more");
    }
}
