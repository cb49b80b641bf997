//! What a real supervisord answered: 4.2.5, and 4.3.0 the same but for dates, pids and log files.

use healthcheck_core::probe::Event;
use healthcheck_core::supervisor::{
    command_result, info_result, max_response, Accepted, CallError, Command, ProcessInfo,
    ProcessState,
};

use crate::support::{captured, run_in_any_segments};

/// How the log would name the answer to that command, and whether it is the program's fault.
fn refusal(command: Command, name: &str) -> (String, bool) {
    let error = command_result(command, &captured(name)).unwrap_err();
    (error.to_string(), error.is_of_program())
}

#[test]
fn boolean_1_is_a_success() {
    for command in [Command::Start, Command::Stop] {
        assert_eq!(command_result(command, &captured("started")), Ok(Accepted::Done));
    }
}

#[test]
fn already_started_is_a_success_of_start_alone() {
    let response = captured("already_started");

    assert_eq!(command_result(Command::Start, &response), Ok(Accepted::Already));
    assert_eq!(
        refusal(Command::Stop, "already_started"),
        ("fault 60 ALREADY_STARTED: ALREADY_STARTED: backend0".to_owned(), true)
    );
}

#[test]
fn not_running_is_a_success_of_stop_alone() {
    let response = captured("not_running");

    assert_eq!(command_result(Command::Stop, &response), Ok(Accepted::Already));
    assert_eq!(
        refusal(Command::Start, "not_running"),
        ("fault 70 NOT_RUNNING: NOT_RUNNING: backend1".to_owned(), true)
    );
}

#[test]
fn other_faults_are_failures_in_supervisords_words() {
    let faults = [
        ("bad_name", "fault 10 BAD_NAME: BAD_NAME: backend9", true),
        ("no_file", "fault 20 NO_FILE: NO_FILE: can't find command '/nonexistent/app'", true),
        (
            "abnormal_termination",
            "fault 40 ABNORMAL_TERMINATION: ABNORMAL_TERMINATION: backend1",
            true,
        ),
        ("spawn_error", "fault 50 SPAWN_ERROR: SPAWN_ERROR: backend2", true),
        ("shutdown", "fault 6 SHUTDOWN_STATE: SHUTDOWN_STATE", false),
        ("unauthorized", "unauthorized connection", false),
    ];

    for (name, text, is_of_program) in faults {
        for command in [Command::Start, Command::Stop] {
            assert_eq!(refusal(command, name), (text.to_owned(), is_of_program));
        }
    }
}

#[test]
fn states_and_faults_come_in_the_order_of_the_question() {
    let entries = info_result(4, &captured("info")).unwrap();

    assert_eq!(entries[0], Ok(ProcessInfo { state: ProcessState::Running, pid: 31_704 }));
    let fault = entries[1].as_ref().unwrap_err();
    assert_eq!(fault.to_string(), "fault 10 BAD_NAME: BAD_NAME: backend9");
    assert_eq!(entries[2], Ok(ProcessInfo { state: ProcessState::Stopped, pid: 0 }));
    assert_eq!(entries[3], Ok(ProcessInfo { state: ProcessState::Backoff, pid: 0 }));

    assert_eq!(info_result(0, &captured("info_of_none")), Ok(Vec::new()));
}

#[test]
fn a_supervisord_that_shuts_down_says_so_for_each_program() {
    let entries = info_result(2, &captured("info_in_shutdown")).unwrap();

    for entry in entries {
        let fault = entry.unwrap_err();
        assert_eq!((fault.code, fault.is_of_program()), (6, false));
    }
}

#[test]
fn the_other_calls_response_is_none() {
    let error = command_result(Command::Start, &captured("info")).unwrap_err();
    assert_eq!(error.to_string(), "malformed reply: result is not the boolean 1");

    let error = info_result(1, &captured("started")).unwrap_err();
    assert_eq!(error.to_string(), "malformed reply: not one entry for each program");
}

#[test]
fn each_arrives_whole_in_any_segments() {
    for name in ["started", "already_started", "bad_name", "shutdown", "info_in_shutdown"] {
        let sent = captured(name);
        for end in [Event::Closed, Event::Failed, Event::Deadline] {
            assert_eq!(run_in_any_segments(max_response(1), &sent, end).as_ref(), Ok(&sent));
        }
    }
    for end in [Event::Closed, Event::Failed, Event::Deadline] {
        let result = run_in_any_segments(max_response(1), &captured("unauthorized"), end);
        assert_eq!(result, Err(CallError::Unauthorized));
    }
}
