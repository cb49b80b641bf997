//! The newest supervisor, which differs from Debian's in its Python and its dependencies.

use support::{skip, Config, Environment, Nginx, Supervisord};

use super::two_settled;

#[test]
fn supervisor_4_3_starts_stops_and_reports() {
    let Some(launcher) = &Environment::get().supervisord_43 else {
        skip("there is no supervisor 4.3 here");
        return;
    };
    let setup = Supervisord::setup(two_settled("backend"));
    let setup = setup.account("user", "pass").launcher(launcher);
    let supervisord = setup.start();
    let body = format!("{} supervisord_poll 200;", supervisord.upstream());
    let config = Config::new().workers(2).upstream("backend", body).commands("backend");
    let nginx = Nginx::start(&config);

    assert_eq!(nginx.get("/backend/").text(), "backend0");
    supervisord.start_program("backend1").expect("it starts");
    nginx.wait_program("backend1", "up");
    assert!(nginx.stop_page("backend", 0).accepted);
    supervisord.wait_state("backend0", "STOPPED");
    nginx.wait_program("backend0", "down");
    let tally = nginx.tally(20, "backend");
    assert_eq!(tally.at(&supervisord.peer(1)), 20, "{tally:?}");
    assert!(nginx.log_lines("[error]").is_empty(), "{}", nginx.error_log());
}
