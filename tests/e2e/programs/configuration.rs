//! What the configuration may say of programs, and how it is refused.

use support::{Config, Nginx, Peer};

const TWO: &str = "server 127.0.0.1:1; server 127.0.0.1:2;";

/// A configuration with this upstream and its pages.
fn with(body: &str) -> Config {
    Config::new().upstream("backend", format!("{TWO} {body}")).commands("backend")
}

#[track_caller]
fn accepted(config: &Config) -> String {
    let tested = Nginx::test(config);
    assert!(tested.ok, "{}", tested.output);
    tested.output
}

#[track_caller]
fn refused(config: &Config, reason: &str) {
    let tested = Nginx::test(config);
    assert!(!tested.ok, "accepted instead of: {reason}");
    assert!(tested.output.contains(reason), "{reason:?} is not in {}", tested.output);
}

#[test]
fn check_47_a_second_supervisord_is_refused_with_the_first_ones_address() {
    let both = "supervisord 127.0.0.1:9001; supervisord none;";
    refused(&with(both), "supervisord already set to \"127.0.0.1:9001\"");
    let both = "supervisord none; supervisord 127.0.0.1:9001;";
    refused(&with(both), "supervisord already set to \"none\"");
    let both = "supervisord unix:/tmp/a; supervisord unix:/tmp/a;";
    refused(&with(both), "supervisord already set to \"unix:/tmp/a\"");
}

#[test]
fn check_47_a_second_name_is_refused_with_the_first_one() {
    let both = "supervisord none; supervisord_name app; supervisord_name other;";
    refused(&with(both), "supervisord_name already set to \"app\"");
}

#[test]
fn check_47_a_bad_address_is_refused_with_its_reason() {
    for (address, reason) in [
        ("127.0.0.1:99999", "invalid port"),
        ("127.0.0.1:port", "invalid port"),
        ("127.0.0.1", "no port"),
        (":9001", "no host"),
        ("unix:", "no path in the unix domain socket"),
        ("[::1]", "no port"),
    ] {
        let config = with(&format!("supervisord {address};"));
        refused(&config, &format!("{reason} in supervisord \"{address}\""));
    }
    refused(&with("supervisord nonesuch;"), "in supervisord \"nonesuch\"");
    refused(&with("supervisord 127.0.0.1:9001/RPC2;"), "in supervisord \"127.0.0.1:9001/RPC2\"");
    refused(&with("supervisord;"), "invalid number of arguments in \"supervisord\"");
    refused(&with("supervisord none a b;"), "invalid number of arguments in \"supervisord\"");
}

#[test]
fn every_form_of_address_is_accepted() {
    for address in [
        "none",
        "none user:pass",
        "127.0.0.1:9001",
        "127.0.0.1:9001 user:pass",
        "localhost:9001",
        "[::1]:9001",
        "unix:/tmp/supervisor.sock",
        "unix:/tmp/supervisor.sock user:p:a:ss",
    ] {
        accepted(&with(&format!("supervisord {address};")));
    }
}

#[test]
fn check_47_two_commands_in_one_location_are_refused() {
    let both = |first: &str, second: &str| {
        let location = format!("location /x/ {{ {first} backend; {second} backend; }}");
        Config::new().upstream("backend", format!("{TWO} supervisord none;")).server(&location)
    };
    let collides = |own: &str, other: &str| {
        format!("\"{own}\" directive is either duplicate or collides with \"{other}\"")
    };
    let (start, stop) = ("supervisord_start", "supervisord_stop");

    refused(&both(start, start), &collides(start, stop));
    refused(&both(stop, start), &collides(start, stop));
    refused(&both(start, stop), &collides(stop, start));
    refused(&both(stop, stop), &collides(stop, start));
}

#[test]
fn check_47_an_unknown_upstream_is_refused_and_a_later_one_is_not() {
    let none = Config::new().commands("nowhere");
    refused(&none, "supervisord_start refers to non-existing upstream \"nowhere\"");
    let stop = Config::new().server("location /x/ { supervisord_stop nowhere; }");
    refused(&stop, "supervisord_stop refers to non-existing upstream \"nowhere\"");

    let upstream = format!("upstream late {{ {TWO} supervisord none; }}");
    let port = support::Port::reserve();
    let late = format!(
        "server {{ listen {port}; location /a/ {{ supervisord_start late; }} }} {upstream}"
    );
    accepted(&Config::new().http(&late));
}

#[test]
fn a_page_of_an_upstream_without_supervisord_is_refused() {
    let config = Config::new().upstream("backend", TWO);
    let config = config.server("location /x/ { supervisord_start backend; }");
    let tested = Nginx::test(&config);

    assert!(!tested.ok);
    let line = tested.output.lines().find(|line| line.contains("[emerg]")).unwrap_or_default();
    assert!(line.contains("supervisord_start") && line.contains("\"backend\""), "{line}");
}

#[test]
fn check_47_directives_are_refused_outside_of_their_context() {
    let upstream = format!("{TWO} supervisord none;");
    let config = Config::new().upstream("backend", upstream);
    let refused_here = |config: &Config, name: &str| {
        refused(config, &format!("\"{name}\" directive is not allowed here"));
    };

    refused_here(&config.clone().server("supervisord_start backend;"), "supervisord_start");
    refused_here(&config.clone().server("supervisord_stop backend;"), "supervisord_stop");
    refused_here(&config.clone().http("supervisord none;"), "supervisord");
    for block in ["if ($arg_x)", "limit_except GET"] {
        let location = format!("location /x/ {{ {block} {{ supervisord_start backend; }} }}");
        refused_here(&config.clone().server(&location), "supervisord_start");
    }
    for (name, argument) in [
        ("supervisord_name", "a"),
        ("supervisord_poll", "1s"),
        ("supervisord_on_failure", "stop"),
        ("queue", "1"),
    ] {
        refused_here(&config.clone().server(&format!("{name} {argument};")), name);
    }
}

#[test]
fn times_numbers_and_words_are_refused_with_the_directives_name() {
    let times = [
        "supervisord_connect_timeout",
        "supervisord_send_timeout",
        "supervisord_read_timeout",
        "supervisord_poll",
        "supervisord_drain",
        "supervisord_cooldown",
        "supervisord_load_interval",
    ];
    for name in times {
        for good in ["250", "250ms", "5s", "1m"] {
            accepted(&with(&format!("supervisord none; {name} {good};")));
        }
        for bad in ["x", "-1", "''", "99999999999999999999", "5x"] {
            let config = with(&format!("supervisord none; {name} {bad};"));
            let tested = Nginx::test(&config);
            assert!(!tested.ok && tested.output.contains(name), "{name} {bad}: {}", tested.output);
        }
        refused(&with(&format!("supervisord none; {name} 1s; {name} 1s;")), "duplicate");
    }
    for (name, bad) in [
        ("supervisord_load_threshold", "0"),
        ("supervisord_load_threshold", "x"),
        ("supervisord_min_servers", "-1"),
        ("supervisord_on_failure", "panic"),
        ("queue", "x"),
        ("queue", "10 timeout=x"),
        ("queue", "10 time=1s"),
        ("supervisord_queue", "-3"),
        ("supervisord_inherit_backend_status", "on"),
    ] {
        let tested = Nginx::test(&with(&format!("supervisord none; {name} {bad};")));
        assert!(!tested.ok && tested.output.contains(name), "{name} {bad}: {}", tested.output);
    }
}

#[test]
fn what_may_be_said_in_any_order_and_twice() {
    let repeated = "supervisord_inherit_backend_status; supervisord_inherit_backend_status;";
    accepted(&with(&format!("{repeated} supervisord none;")));
    accepted(&with("supervisord_name app; queue 10 timeout=1s; supervisord 127.0.0.1:9001;"));
    accepted(&with("supervisord none; supervisord_queue 10; least_conn; keepalive 4;"));
    let refused = Nginx::test(&with("supervisord none; queue 10; supervisord_queue 10;"));
    assert!(!refused.ok && refused.output.contains("duplicate"), "{}", refused.output);
}

#[test]
fn two_lines_of_one_address_are_refused_where_programs_are_managed() {
    let twice = "server 127.0.0.1:3; server 127.0.0.1:3;";
    let tested = Nginx::test(&with(&format!("{twice} supervisord none;")));

    assert!(!tested.ok && tested.output.contains("127.0.0.1:3"), "{}", tested.output);
    accepted(&Config::new().upstream("backend", twice));
}

#[test]
fn check_48_the_upstreams_own_zone_may_have_its_name() {
    let peers = Peer::start_many(2);
    let body = format!(
        "zone backend 64k; supervisord none; supervisord_inherit_backend_status; {}",
        support::servers(&peers)
    );
    let config = Config::new().workers(2).upstream("backend", body).commands("backend");
    let nginx = Nginx::start(&config);

    assert_eq!(nginx.tally(10, "backend").with_status(200), 10);
    assert!(nginx.stop_page("backend", 0).accepted);
    assert_eq!(nginx.tally(20, "backend").at(&peers[1].to_string()), 20);
}
