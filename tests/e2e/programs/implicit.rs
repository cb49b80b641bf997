//! Ways to an upstream other than its plain name.

use std::time::Duration;

use support::{servers, Config, Nginx, Peer, ScriptedSupervisord};

#[test]
fn check_50_implicit_upstreams_and_variables_work() {
    let supervisord = ScriptedSupervisord::start();
    supervisord.delay("backend0", Duration::from_millis(200));
    let peers = Peer::start_many(3);
    let body = format!("supervisord {supervisord}; {}", servers(&peers[..2]));
    let implicit = peers[2].to_string();
    let config = Config::new()
        .workers(2)
        .upstream("backend", body)
        .server(&format!("location /implicit/ {{ proxy_pass http://{implicit}/; }}"))
        .server("location /variable/ { set $u backend; proxy_pass http://$u; }")
        .server(&format!("location /address/ {{ set $a {implicit}; proxy_pass http://$a; }}"));
    let nginx = Nginx::start(&config);

    assert_eq!(nginx.get("/implicit/").peer(), implicit);
    assert_eq!(nginx.get("/address/").peer(), implicit);
    let answer = nginx.get("/variable/");
    assert_eq!((answer.status, answer.peer()), (200, peers[0].to_string().as_str()), "{answer}");
    assert_eq!(supervisord.starts("backend0"), 1);
    for _ in 0..10 {
        assert_eq!(nginx.get("/variable/").status, 200);
        assert_eq!(nginx.get("/implicit/").status, 200);
    }
}

#[test]
fn an_upstream_without_our_directives_is_left_alone() {
    let supervisord = ScriptedSupervisord::start();
    let peers = Peer::start_many(3);
    let managed = format!("supervisord {supervisord}; {}", servers(&peers[..1]));
    let config = Config::new().upstream("backend", managed);
    let config = config.upstream("plain", servers(&peers[1..]));
    let nginx = Nginx::start(&config);

    assert_eq!(nginx.tally(20, "plain").with_status(200), 20);
    assert!(nginx.status().of("plain").iter().all(|row| row.program.is_none()));
    assert!(supervisord.calls_of(support::scripted_supervisord::START).is_empty());
}
