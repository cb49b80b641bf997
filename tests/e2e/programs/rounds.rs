//! Programs are started, stopped and killed at random under load, workers are killed, and the
//! configuration is loaded again: at the end all agree on what runs.
//!
//! `TEST_ROUNDS` sets the number of rounds (200), `TEST_SEED` repeats those of a seed.

use std::time::{Duration, Instant};

use support::random::number;
use support::{
    check, patient, process, say, wait_until, Config, Nginx, Program, Random, Request, Supervisord,
    LIMIT,
};

/// One that stays as it is, one that supervisord starts again, one that takes its time to stop.
const PROGRAMS: usize = 3;

fn name(number: usize) -> String {
    format!("backend{number}")
}

/// A page of any kind; its answer may be that there is nothing to do.
fn ask(nginx: &Nginx, command: &str, program: &str) {
    let path = format!("/{command}/backend/{program}");
    let answer = Request::get(&path).method("POST").send(nginx.address());
    assert!(answer.is_ok_and(|answer| answer.status == 200), "{path}");
}

/// One thing that happens, and what to call it.
fn act(
    random: &mut Random,
    supervisord: &mut Supervisord,
    nginx: &mut Nginx,
    config: &Config,
) -> String {
    let program = random.below(PROGRAMS);

    match random.below(12) {
        0..=2 => {
            ask(nginx, "start", &program.to_string());
            format!("start {program}")
        }
        3..=5 => {
            ask(nginx, "stop", &program.to_string());
            format!("stop {program}")
        }
        6 => {
            let command = if random.below(2) == 0 { "start" } else { "stop" };
            ask(nginx, command, "any");
            format!("{command} any")
        }
        7 => {
            let _ = supervisord.start_program(&name(program));
            format!("supervisorctl start {program}")
        }
        8 => {
            let _ = supervisord.stop_program(&name(program));
            format!("supervisorctl stop {program}")
        }
        9 if random.below(4) == 0 => {
            supervisord.kill9();
            supervisord.restart();
            "kill supervisord".to_owned()
        }
        9 => {
            let pid = supervisord.pid(&name(program));
            if pid > 0 {
                let _ = process::signal(pid, libc::SIGKILL);
            }
            format!("kill {program}")
        }
        10 => {
            let workers = nginx.workers();
            let worker = workers[random.below(workers.len())];
            nginx.kill9(worker);
            wait_until(LIMIT, "another worker", || {
                let workers = nginx.workers();
                workers.len() == 2 && !workers.contains(&worker)
            });
            "kill a worker".to_owned()
        }
        _ => {
            nginx.reload(config);
            "reload".to_owned()
        }
    }
}

/// Whether page, rotation and supervisord say the same.
fn agree(supervisord: &Supervisord, nginx: &Nginx) -> bool {
    let runs = |number: usize| supervisord.state(&name(number)) == "RUNNING";
    let states = |nginx: &Nginx| {
        let page = nginx.status();
        (0..PROGRAMS).map(|number| page.program(&name(number)).state).collect::<Vec<String>>()
    };
    let before = states(nginx);
    let expected: Vec<&str> =
        (0..PROGRAMS).map(|number| if runs(number) { "up" } else { "down" }).collect();
    if before != expected || !before.iter().any(|state| state == "up") {
        return false;
    }
    let tally = nginx.tally(30, "backend");
    let used = (0..PROGRAMS)
        .all(|number| (tally.at(&supervisord.peer(number)) > 0) == (before[number] == "up"));
    used && tally.with_status(200) == 30 && states(nginx) == before
}

/// The numbers for a test, after a remark that lets them be had again, and how many rounds to do.
fn begin() -> (Random, u64) {
    let random = Random::seeded();
    let rounds = number("TEST_ROUNDS").unwrap_or(200);
    let test = std::thread::current();
    say(&format!(
        "SEED: {}, {rounds} rounds of {}",
        random.seed(),
        test.name().unwrap_or("a test")
    ));

    (random, rounds)
}

/// Rounds with one more directive in the upstream.
fn rounds(more: &str) {
    let (mut random, rounds) = begin();
    let [plain, again, slow] = [0, 1, 2].map(|number| Program::new(&name(number)));
    let mut supervisord = Supervisord::start([
        plain,
        again.setting("autorestart", "true"),
        slow.behaves("linger 100"),
    ]);
    let body = format!(
        "{} supervisord_poll 200; supervisord_cooldown 300; supervisord_drain 1s; \
         supervisord_read_timeout 3s; queue 100 timeout=5s; {more}",
        supervisord.upstream().replace("max_fails=0", "max_fails=2 fail_timeout=1s"),
    );
    let config = Config::new().workers(2).upstream("backend", body).commands("backend");
    let mut nginx = Nginx::start(&config);
    let mut acts = Vec::new();

    let load = nginx.load(3, "backend/wait/10");
    for _ in 0..rounds {
        acts.push(act(&mut random, &mut supervisord, &mut nginx, &config));
        std::thread::sleep(Duration::from_millis(random.below(60) as u64));
    }
    let samples = load.stop();
    println!("{acts:#?}");

    // One that is left waiting lasts until its client gives up.
    let slowest = samples.iter().map(|sample| sample.finished - sample.started).max();
    assert!(
        slowest.expect("requests") < patient(Duration::from_secs(10)),
        "{slowest:?}: one was left waiting"
    );
    let kills = acts.iter().filter(|act| *act == "kill a worker").count();
    let unanswered = samples.iter().filter(|sample| sample.status.is_none()).count();
    assert!(unanswered <= 3 * kills, "{unanswered} without an answer, {kills} workers killed");
    let served = samples.iter().filter(|sample| sample.status == Some(200)).count();
    assert!(served > 0, "none of {} was served", samples.len());
    // A restart after a failure may be due yet: a moment of agreement before it is no end.
    let mut since = None;
    wait_until(LIMIT, "all agree for a second", || {
        if !agree(&supervisord, &nginx) {
            // One of them must run for that.
            nginx.get("/backend/");
            since = None;
            return false;
        }
        since.get_or_insert_with(Instant::now).elapsed() >= Duration::from_secs(1)
    });
    let page = nginx.status();
    assert!((0..PROGRAMS).all(|number| page.program(&name(number)).running == 0), "{page:#?}");
    assert_eq!(page.upstream("backend").held, 0);
}

#[test]
fn random_rounds_end_in_agreement() {
    rounds("");
}

#[test]
fn random_rounds_with_probes_end_in_agreement() {
    rounds(&check(100, 2000, 2));
}

#[test]
fn random_rounds_with_restarts_after_failures_end_in_agreement() {
    rounds("supervisord_on_failure restart;");
}

#[test]
fn no_request_fails_while_programs_are_started_and_stopped_at_random() {
    let (mut random, rounds) = begin();
    let supervisord = Supervisord::start(Program::many("backend", PROGRAMS));
    let body = format!(
        "{} supervisord_poll 200; supervisord_cooldown 100; {}",
        supervisord.upstream(),
        check(500, 2000, 2)
    );
    let config = Config::new().workers(2).upstream("backend", body).commands("backend");
    let mut nginx = Nginx::start(&config);
    let mut acts = Vec::new();

    let load = nginx.load(3, "backend/wait/10");
    for _ in 0..rounds {
        let program = random.below(PROGRAMS + 1).to_string().replace('3', "any");
        let command = if random.below(2) == 0 { "start" } else { "stop" };
        if random.below(20) == 0 {
            nginx.reload(&config);
            acts.push("reload".to_owned());
        } else {
            ask(&nginx, command, &program);
            acts.push(format!("{command} {program}"));
        }
        std::thread::sleep(Duration::from_millis(random.below(40) as u64));
    }
    let samples = load.stop();
    println!("{acts:#?}");

    let failed = samples.iter().filter(|sample| sample.status != Some(200)).count();
    assert_eq!(failed, 0, "of {}", samples.len());
    assert!(samples.len() > 100, "only {}", samples.len());
}
