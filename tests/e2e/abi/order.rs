//! A consumer is loaded before the module, after it, or without it.

use support::{
    servers, skip, wait_until, Config, Consumer, Environment, Nginx, Peer, CHECK, LIMIT,
};

use super::{asked, balanced, First};

/// A page that says what `is_down` says of an index.
fn pages() -> Config {
    Config::new().server("location /is_down { ask_is_down $arg_index; }")
}

#[test]
fn a_consumer_asks_the_module_whichever_of_them_is_loaded_first() {
    let asking = Consumer::build("asking");
    for config in [pages().load_before(&asking), pages().load_after(&asking)] {
        let mut nginx = Nginx::start(&config);
        nginx.allow_in_log("Invalid index to is_down");

        assert_eq!(nginx.get("/is_down?index=0").text(), "0");
        assert!(nginx.log_lines("[crit]").is_empty());
        assert_eq!(nginx.get("/is_down?index=9999").text(), "0");
        let lines = nginx.log_lines("[crit]");
        assert!(lines[0].contains("healthcheck: Invalid index to is_down: 9999"), "{lines:?}");
    }
}

#[test]
fn without_the_module_no_peer_is_down_and_nothing_is_logged() {
    if Environment::get().module.is_none() {
        return skip("the module is inside of nginx");
    }
    let nginx = Nginx::start(&pages().load_after(&Consumer::build("asking")).without_module());

    assert_eq!(nginx.get("/is_down?index=9999").text(), "0");
    assert!(nginx.log_lines("is_down").is_empty());
}

#[test]
fn the_nginx_binary_itself_asks_a_module_that_is_inside_of_it() {
    if !Environment::get().build.contains("consumers/inside") {
        return skip("no consumer is inside of nginx");
    }
    let peers = Peer::start_many(2);
    let base = Config::new().workers(2).server("location /inside { inside_is_down $arg_index; }");
    let body = format!("{} {CHECK}", servers(&peers));
    let mut nginx = Nginx::start(&balanced(&base, First::Ours, &body));
    nginx.allow_in_log("Invalid index to is_down");
    peers[1].healthy(false);
    wait_until(LIMIT, "it is down", || asked(&nginx)[1].down == 1);

    for one in asked(&nginx) {
        let inside = nginx.get(&format!("/inside?index={}", one.index));
        assert_eq!(inside.text(), one.down.to_string());
    }
    assert_eq!(nginx.get("/inside?index=9999").text(), "0");
    assert_eq!(nginx.log_lines("[crit]").len(), 1);
}
