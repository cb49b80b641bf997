//! A consumer is loaded before the module, after it, or without it.

use support::{Config, Consumer, Nginx};

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
    let nginx = Nginx::start(&pages().load_after(&Consumer::build("asking")).without_module());

    assert_eq!(nginx.get("/is_down?index=9999").text(), "0");
    assert!(nginx.log_lines("is_down").is_empty());
}
