//! A balancer that keeps peers of its own and asks nobody.

use support::{servers, wait_until, Config, Consumer, Nginx, Peer, CHECK, LIMIT};

use super::{asked, hashed};

fn blind(peers: &[Peer], directives: &str) -> Config {
    let body = format!("ask_hash $arg_k blind; {} {directives}", servers(peers));
    Config::new().upstream("backend", body).load_after(&Consumer::build("hash"))
}

#[test]
fn a_balancer_that_asks_nobody_cannot_have_our_directives() {
    let peers = Peer::start_many(2);
    let supervisord = "supervisord none; supervisord_inherit_backend_status;";
    for (directive, text) in
        [("healthcheck_enabled", CHECK), ("supervisord", supervisord), ("queue", "queue 10;")]
    {
        let tested = Nginx::test(&blind(&peers, text));
        assert!(!tested.ok, "{directive}: {tested:?}");
        let message = format!(
            "\"{directive}\" in upstream \"backend\": the balancer of this upstream keeps a peer list \
             of its own, which health checks do not reach; use one of nginx's own balancers, or a \
             balancer that was patched to ask the module"
        );
        assert!(tested.output.contains(&message), "{tested:?}");
    }
}

#[test]
fn a_balancer_that_is_told_of_programs_has_to_ask_for_health_itself() {
    let peers = Peer::start_many(2);
    let told = |directives: &str| {
        let none = "supervisord none; supervisord_inherit_backend_status;";
        let body = format!("ask_hash $arg_k blind monitor; {} {none}", servers(&peers));
        Config::new()
            .upstream("backend", format!("{body} {directives}"))
            .load_after(&Consumer::build("hash"))
    };
    let tested = Nginx::test(&told(CHECK));
    assert!(!tested.ok, "{tested:?}");
    assert!(tested.output.contains("keeps a peer list of its own"), "{tested:?}");

    // Its peers are those of its server lines.
    let nginx = Nginx::start(&told(""));
    assert_eq!(nginx.tally(20, "backend").with_status(200), 20);
    let page = nginx.status();
    assert!(page.peers.iter().all(|row| row.program.is_some()), "{page:#?}");
    assert_eq!((page.peers.len(), page.upstreams[0].requests), (2, 20));
}

#[test]
fn a_balancer_that_asks_nobody_serves_as_ever_without_our_directives() {
    let peers = Peer::start_many(2);
    let nginx = Nginx::start(&blind(&peers, ""));
    assert_eq!(nginx.tally(20, "backend").with_status(200), 20);
    assert_eq!(nginx.status().peers.len(), 2);
}

#[test]
fn a_reload_that_is_refused_leaves_the_running_configuration_alone() {
    let peers = Peer::start_many(2);
    let config = hashed(&peers, CHECK);
    let mut nginx = Nginx::start(&config);
    nginx.allow_in_log("keeps a peer list of its own");
    peers[0].healthy(false);
    nginx.wait_down(&peers[0], true);
    let before = asked(&nginx);

    let body = format!("ask_hash $arg_k blind; {} {CHECK}", servers(&peers));
    nginx.signal_reload(&config.upstream("blind", body));
    wait_until(LIMIT, "refused", || !nginx.log_lines("keeps a peer list of its own").is_empty());
    assert_eq!(asked(&nginx), before);
    assert_eq!(nginx.tally(40, "backend").at(&peers[0].to_string()), 0);
}
