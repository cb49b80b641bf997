//! The configuration is loaded again and again under load, with servers added, removed and reordered.

use support::{Config, Nginx, LIMIT};

use super::crowd::Crowd;
use super::traffic::Traffic;
use super::{either, Drill, Size};

/// Peers that there are; more than a first zone has room for.
const POOL: usize = 400;

/// Peers that fail their probes, and are in every configuration.
const SICK: usize = 3;

/// Peers that are in a configuration.
const LISTED: usize = 24;

/// Requests a second.
const RATE: u32 = 2_000;

/// Takes some peers out of the list, puts others in, and changes the order.
fn change(drill: &mut Drill, listed: &mut Vec<usize>) {
    let random = &mut drill.random;
    for _ in 0..random.below(4) {
        let place = random.below(listed.len());
        if listed[place] >= SICK {
            listed.swap_remove(place);
        }
    }
    while listed.len() < LISTED {
        let peer = random.below(POOL);
        if !listed.contains(&peer) {
            listed.push(peer);
        }
    }
    random.shuffle(listed);
}

/// What must not change, of the peers that are down: how often each was probed at the least, and when
/// each went down.
fn known(crowd: &Crowd, nginx: &Nginx) -> Vec<(String, Option<String>)> {
    let rows = nginx.status().peers.into_iter().filter(|row| row.down);
    let mut known: Vec<_> = rows.map(|row| (row.name, row.last_change)).collect();
    known.sort();
    assert_eq!(known.len(), SICK, "{known:?}");
    assert!(known.iter().all(|(name, _)| crowd.is_sick(name)), "{known:?}");
    known
}

fn reloads(zone: &str, reloads: usize) {
    let mut drill = Drill::begin();
    let crowd = Crowd::start(POOL, SICK);
    let base = Config::new()
        .workers(2)
        .shared_socket()
        .quiet()
        .main("worker_rlimit_nofile 4096; events { worker_connections 2048; }");
    let of = |listed: &[usize]| {
        base.clone().upstream("backend", crowd.upstream(zone, listed.iter().copied()))
    };
    let mut listed: Vec<usize> = (0..LISTED).collect();
    let mut nginx = crowd.nginx(&of(&listed));
    let before = known(&crowd, &nginx);
    let first = Size::of(&nginx).zone_bytes();
    let mut sizes = Vec::new();

    let traffic = Traffic::start(RATE, nginx.address(), "/backend/");
    for round in 0..reloads {
        change(&mut drill, &mut listed);
        nginx.reload(&of(&listed));
        assert_eq!(known(&crowd, &nginx), before, "after reload {round}");
        assert_eq!(crowd.sick_requests(), 0, "after reload {round}");
        // The allocator finds its level first.
        if round + 1 >= reloads / 4 && sizes.is_empty() {
            sizes.push(Size::of(&nginx));
        }
    }
    sizes.push(Size::of(&nginx));
    // Peers that were taken out keep their slots for a second or two: room for these may be made, not
    // for all that there ever were.
    let grown = sizes[1].zone_bytes();
    assert!(grown <= first + first / 2, "{grown} bytes of shared memory after {first}");
    sizes[0].zones = sizes[1].zones.clone();
    let served = traffic.stop();
    assert_eq!(served.failures(), 0, "{served}");
    assert_eq!(crowd.sick_requests(), 0, "requests to peers that were known to be down");
    assert_eq!(nginx.log_lines("is down").len(), SICK, "one flip each");
    assert!(nginx.log_lines("[error]").is_empty(), "{:#?}", nginx.log_lines("[error]"));

    // The last configuration's peers and no others, once a period each.
    crowd.wait_probed(listed.iter().copied(), 3);
    let (least, most) = crowd.settled_rate(listed.iter().copied());
    assert!(most < 1.5, "{most} probes a period: two configurations probe one peer");
    let others: Vec<usize> = (0..POOL).filter(|peer| !listed.contains(peer)).collect();
    let strangers = crowd.probes(others.into_iter());
    assert_eq!(strangers, 0, "a peer that no configuration lists is probed");
    let size = sizes[1].flat_since(&sizes[0], 1_000);
    nginx.quit_within(LIMIT);
    drill.end(format_args!(
        "{reloads} reloads; {served}; 0 requests to {SICK} peers known to be down, their health kept; \
         then {least:.2}..{most:.2} probes per peer and period; {size}"
    ));
}

#[test]
fn reloads_under_load_fail_no_request_and_forget_nothing() {
    reloads("", either(20, 1_000));
}

#[test]
fn reloads_of_an_upstream_with_a_zone_fail_no_request_and_forget_nothing() {
    reloads("zone backend 256k;", either(10, 200));
}
