//! Functions, zones, timers and connections, as a module that only looks sees them.

use support::{Config, Consumer, Nginx, Peer, CHECK};

/// What upstreams of every kind have in front of their servers, and their names.
const KINDS: [(&str, &str); 9] = [
    ("plain", ""),
    ("zoned", "zone zoned 64k;"),
    ("least", "least_conn;"),
    ("ip", "ip_hash;"),
    ("hashed", "hash $arg_k;"),
    ("ring", "hash $arg_k consistent;"),
    ("two", "random two least_conn;"),
    ("kept", "keepalive 4;"),
    ("kept_in_zone", "zone kept_in_zone 64k; least_conn; keepalive 4;"),
];

/// An upstream of each kind, one that is in no block, and what looks at them.
fn config(peers: &[Peer]) -> Config {
    let lines: String = peers.iter().map(|peer| format!("server {peer};")).collect();
    let server = format!(
        "location = /pointers {{ pointers; }}
         location /implicit/ {{ proxy_pass http://{}; }}
         proxy_http_version 1.1; proxy_set_header Connection '';
         add_header X-Pointers $upstream_pointers always;",
        peers[0]
    );
    let config = Config::new().server(&server).load_after(&Consumer::build("pointers"));

    KINDS.iter().fold(config.without_pages(), |config, (name, kind)| {
        config.upstream(name, format!("{kind} {lines}"))
    })
}

/// What the process says of itself, and what a request to each of these upstreams had.
fn seen(nginx: &Nginx) -> (String, Vec<String>) {
    let at_first = nginx.get("/pointers").text();
    let of_requests = KINDS.iter().map(|(name, _)| *name).chain(["implicit"]).map(|name| {
        let answer = nginx.get(&format!("/{name}/"));
        assert_eq!(answer.status, 200, "{answer}");
        let pointers = answer.header("X-Pointers").expect("the variable");
        assert!(pointers.starts_with("get=nginx+"), "{pointers}");
        format!("{name}: {pointers}")
    });
    let of_requests = of_requests.collect();
    let answer = nginx.get("/pointers");

    assert_eq!(answer.status, 200, "{answer}");
    (at_first + &answer.text(), of_requests)
}

#[test]
fn with_the_module_unused_a_process_has_the_same_functions_zones_timers_and_connections() {
    let peers = Peer::start_many(2);
    let config = config(&peers);
    let with = seen(&Nginx::start(&config));
    let without = seen(&Nginx::start(&config.without_module()));

    assert_eq!(with.0, without.0);
    assert_eq!(with.1, without.1);
    // Among them what a look at nothing would not have.
    for part in [
        "upstream plain init_upstream=none init=nginx+",
        "\nzone zoned 65536",
        "\nphase 5 ",
        "\ntimers 0\n",
    ] {
        assert!(with.0.contains(part), "{part}: {}", with.0);
    }
}

#[test]
fn an_upstream_without_our_directives_has_nginxs_own_functions_beside_one_that_has_some() {
    let peers = Peer::start_many(2);
    let config = config(&peers);
    let checked = config
        .clone()
        .upstream("checked", format!("{CHECK} server {};", peers[0]))
        .upstream("queued", format!("queue 10; {CHECK} server {};", peers[0]));
    // One after the other: they have the same port.
    let with = seen(&Nginx::start(&checked));
    let without = seen(&Nginx::start(&config.without_module()));

    assert_eq!(with.1, without.1);
    let lines = |text: &str, of: &str| -> Vec<String> {
        text.lines().filter(|line| line.starts_with(of)).map(str::to_owned).collect()
    };
    for of in ["phase ", "log phase ", "filters ", "events "] {
        assert_eq!(lines(&with.0, of), lines(&without.0, of));
    }
    for line in lines(&without.0, "upstream ") {
        assert!(with.0.lines().any(|own| own == line), "{line} is not in {}", with.0);
    }
    // Theirs are the module's, and a look can tell.
    for name in ["checked", "queued"] {
        let line = lines(&with.0, &format!("upstream {name} ")).concat();
        assert!(!line.contains("init=nginx+"), "{line}");
    }
}
