//! The processes that are no workers.

use std::collections::BTreeSet;
use std::time::Duration;

use support::{check, holds_for, process, servers, wait_until, Config, Nginx, Peer, LIMIT};

#[test]
fn check_25_the_cache_manager_and_loader_never_own_a_peer() {
    let peers = Peer::start_many(8);
    let body = format!("{} {}", check(100, 2000, 2), servers(&peers));
    let cache = "proxy_cache_path cache keys_zone=cache:1m;";
    let config = Config::new().workers(2).http(cache).upstream("backend", body);
    let mut nginx = Nginx::start(&config);

    wait_until(LIMIT, "both helpers run", || nginx.helpers().len() == 2);
    nginx.wait_probed();
    let helpers: BTreeSet<u32> = nginx.helpers().into_iter().collect();
    let owned_by_helper =
        |nginx: &Nginx| nginx.status().peers.iter().any(|row| helpers.contains(&row.owner_pid));
    holds_for(Duration::from_secs(2), "only workers own", || !owned_by_helper(&nginx));

    // Every peer is up for grabs now, and the helpers would be the first to see it.
    for worker in nginx.workers() {
        nginx.kill9(worker);
        wait_until(LIMIT, "the worker is dead", || !process::is_alive(worker));
    }
    wait_until(LIMIT, "new workers", || nginx.workers().len() == 2);
    holds_for(Duration::from_secs(3), "only workers own", || !owned_by_helper(&nginx));
    wait_until(LIMIT, "the new workers own all", || {
        let workers = nginx.workers();
        nginx.status().peers.iter().all(|row| workers.contains(&row.owner_pid))
    });
}
