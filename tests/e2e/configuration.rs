//! Directives: what is accepted, and what the refusals say.

use support::nginx::Tested;
use support::{Config, Nginx};

/// What `nginx -t` says of an upstream with these directives.
fn upstream(directives: &str) -> Tested {
    Nginx::test(&Config::new().upstream("backend", format!("server 127.0.0.1:9; {directives}")))
}

/// What it says of this text in the server block.
fn server(text: &str) -> Tested {
    Nginx::test(&Config::new().server(text))
}

#[track_caller]
fn accepts(tested: &Tested) {
    assert!(tested.ok, "{}", tested.output);
    assert!(!tested.output.contains("[warn]"), "{}", tested.output);
}

/// Refused, with each of these words in one line of level emerg.
#[track_caller]
fn refuses(tested: &Tested, words: &[&str]) {
    assert!(!tested.ok, "accepted: {}", tested.output);
    let found = tested
        .output
        .lines()
        .any(|line| line.contains("[emerg]") && words.iter().all(|word| line.contains(word)));
    assert!(found, "no line with {words:?} in {}", tested.output);
}

#[test]
fn every_directive_is_accepted_in_any_order() {
    accepts(&Nginx::test(&Config::new().upstream(
        "backend",
        "healthcheck_buffer 2k; healthcheck_expected 'I am'; healthcheck_failcount 3; \
         server 127.0.0.1:9; healthcheck_send 'GET / HTTP/1.0'; least_conn; \
         healthcheck_timeout 1s; healthcheck_delay 1m30s; healthcheck_enabled;",
    )));
}

#[test]
fn times_are_milliseconds_or_carry_a_suffix() {
    for time in ["1", "250", "500ms", "10s", "1m", "1h", "1d", "1m30s"] {
        accepts(&upstream(&format!(
            "healthcheck_enabled; healthcheck_fast_delay {time}; healthcheck_delay 1d;"
        )));
        for directive in ["healthcheck_delay", "healthcheck_timeout"] {
            accepts(&upstream(&format!("healthcheck_enabled; {directive} {time};")));
        }
    }
}

#[test]
fn check_23_bad_times_are_refused_with_the_accepted_range() {
    for directive in ["healthcheck_delay", "healthcheck_fast_delay", "healthcheck_timeout"] {
        for value in ["0", "0s", "-1", "abc", "1.5", "10x", "25h", "2d", "1s30m", "''", "' 1'"]
            .into_iter()
            .chain(["99999999999999999999999", "18446744073709551617", "4294967297"])
        {
            let tested = upstream(&format!("healthcheck_enabled; {directive} {value};"));
            let quoted = format!("\"{}\"", value.trim_matches('\''));
            refuses(&tested, &[directive, &quoted, "1ms", "1d"]);
        }
    }
}

#[test]
fn a_fast_delay_that_is_longer_than_the_delay_is_refused() {
    let fast = |value: &str| upstream(&format!("healthcheck_enabled; {value}"));

    refuses(
        &fast("healthcheck_fast_delay 2s; healthcheck_delay 1s;"),
        &["healthcheck_fast_delay", "\"backend\"", "2000ms", "healthcheck_delay", "1000ms"],
    );
    refuses(&fast("healthcheck_fast_delay 10001;"), &["10001ms", "10000ms"]);
    accepts(&fast("healthcheck_fast_delay 10s;"));
    accepts(&fast("healthcheck_delay 1; healthcheck_fast_delay 1;"));
    refuses(
        &fast("healthcheck_fast_delay 1s; healthcheck_fast_delay 1s;"),
        &["healthcheck_fast_delay", "is duplicate"],
    );
}

#[test]
fn check_23_bad_counts_are_refused_with_the_accepted_range() {
    for value in ["0", "-1", "abc", "1.5", "1001", "99999999999999999999", "fall=0", "rise=x"]
        .into_iter()
        .chain(["fall=", "drop=1", "fall=1001", "''"])
    {
        let tested = upstream(&format!("healthcheck_enabled; healthcheck_failcount {value};"));
        refuses(&tested, &["healthcheck_failcount", value.trim_matches('\''), "1 to 1000"]);
    }
    for values in ["1 2", "1 rise=2", "fall=1 fall=2", "rise=1 rise=1"] {
        let tested = upstream(&format!("healthcheck_enabled; healthcheck_failcount {values};"));
        refuses(&tested, &["healthcheck_failcount"]);
    }
    for values in ["1", "1000", "fall=3 rise=2", "rise=2 fall=3", "fall=3", "rise=1000"] {
        accepts(&upstream(&format!("healthcheck_enabled; healthcheck_failcount {values};")));
    }
}

#[test]
fn check_23_bad_sizes_are_refused_with_the_accepted_range() {
    for value in ["0", "-1", "abc", "1.5k", "17m", "1g", "99999999999999999999", "''"] {
        let tested = upstream(&format!("healthcheck_enabled; healthcheck_buffer {value};"));
        refuses(&tested, &["healthcheck_buffer", value.trim_matches('\''), "1 to 16m"]);
    }
    for value in ["1", "1000", "4k", "4K", "16m", "16M"] {
        accepts(&upstream(&format!("healthcheck_enabled; healthcheck_buffer {value};")));
    }
}

#[test]
fn check_23_wrong_numbers_of_arguments_are_refused() {
    let invalid = "invalid number of arguments";
    for directive in [
        "healthcheck_enabled on",
        "healthcheck_delay",
        "healthcheck_delay 1 2",
        "healthcheck_timeout",
        "healthcheck_timeout 1 2",
        "healthcheck_failcount",
        "healthcheck_failcount 1 2 3",
        "healthcheck_send",
        "healthcheck_expected",
        "healthcheck_expected a b",
        "healthcheck_buffer",
        "healthcheck_buffer 1 2",
    ] {
        let name = directive.split(' ').next().expect("a name");
        refuses(&upstream(&format!("{directive};")), &[invalid, name]);
    }
    refuses(&server("healthcheck_status html json;"), &[invalid, "healthcheck_status"]);
}

#[test]
fn check_23_an_unknown_page_format_is_refused_with_those_that_exist() {
    for format in ["xml", "JSON", "on", "''"] {
        let tested = server(&format!("location /x {{ healthcheck_status {format}; }}"));
        let quoted = format!("\"{}\"", format.trim_matches('\''));
        refuses(&tested, &["healthcheck_status", &quoted, "html", "json"]);
    }
    for format in ["", "html", "json"] {
        accepts(&server(&format!("location /x {{ healthcheck_status {format}; }}")));
    }
}

#[test]
fn check_23_directives_are_refused_outside_an_upstream() {
    for directive in [
        "healthcheck_enabled",
        "healthcheck_delay 1000",
        "healthcheck_timeout 1000",
        "healthcheck_failcount 1",
        "healthcheck_send x",
        "healthcheck_expected x",
        "healthcheck_buffer 1000",
    ] {
        let name = directive.split(' ').next().expect("a name");
        let words = ["is not allowed here", name];
        refuses(&Nginx::test(&Config::new().http(&format!("{directive};"))), &words);
        refuses(&server(&format!("{directive};")), &words);
        refuses(&server(&format!("location /x {{ {directive}; }}")), &words);
    }
}

#[test]
fn the_page_is_for_servers_and_locations_only() {
    let words = ["\"healthcheck_status\" directive is not allowed here"];

    refuses(&Nginx::test(&Config::new().http("healthcheck_status;")), &words);
    refuses(&upstream("healthcheck_status;"), &words);
    refuses(&server("location /x { if ($arg_x) { healthcheck_status; } }"), &words);
    accepts(&server("healthcheck_status;"));
}

#[test]
fn duplicates_are_refused() {
    for directive in [
        "healthcheck_enabled",
        "healthcheck_delay 1000",
        "healthcheck_timeout 1000",
        "healthcheck_failcount 1",
        "healthcheck_send x",
        "healthcheck_expected x",
        "healthcheck_buffer 1000",
    ] {
        let name = directive.split(' ').next().expect("a name");
        let tested = upstream(&format!("healthcheck_enabled; {directive}; {directive};"));
        refuses(&tested, &["is duplicate", name]);
    }
    let twice = "location /x { healthcheck_status; healthcheck_status json; }";
    refuses(&server(twice), &["is duplicate", "healthcheck_status"]);
}

#[test]
fn a_setting_without_checks_is_a_warning() {
    for setting in [
        "healthcheck_delay 1000",
        "healthcheck_timeout 1000",
        "healthcheck_failcount 1",
        "healthcheck_send x",
        "healthcheck_expected x",
        "healthcheck_buffer 1000",
    ] {
        let tested = upstream(&format!("{setting};"));
        assert!(tested.ok, "{}", tested.output);
        let warned = |line: &str| {
            line.contains("[warn]")
                && line.contains("backend")
                && line.contains("healthcheck_enabled")
        };
        assert!(tested.output.lines().any(warned), "{setting}: {}", tested.output);
    }
}

#[test]
fn a_test_of_the_configuration_probes_nobody_and_leaves_no_trace() {
    let peer = support::Peer::start();
    let body = format!("{} {}", support::CHECK, support::servers([&peer]));

    accepts(&Nginx::test(&Config::new().upstream("backend", body)));
    assert_eq!(peer.connection_count(), 0);
}
