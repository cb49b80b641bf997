//! What a response to the question for states is worth, rule by rule.

use healthcheck_core::supervisor::{
    info_result, CallError, Fault, Flaw, ProcessInfo, ProcessState,
};

use crate::support::{fault, fault_struct, response, value};

type Entries = Vec<Result<ProcessInfo, Fault>>;

/// The verdict over these values of the array.
fn info(programs: usize, entries: &[&str]) -> Result<Entries, CallError> {
    let entries: String = entries.iter().map(|entry| format!("<value>{entry}</value>\n")).collect();
    info_result(programs, &response(&value(&format!("<array><data>\n{entries}</data></array>"))))
}

/// A process as supervisord describes it, with less around it.
fn process(state: &str, pid: &str) -> String {
    format!(
        "<struct>\n<member><name>name</name><value><string>a</string></value></member>\n\
         <member><name>state</name><value>{state}</value></member>\n\
         <member><name>statename</name><value><string>RUNNING</string></value></member>\n\
         <member><name>pid</name><value>{pid}</value></member>\n</struct>"
    )
}

#[test]
fn every_state_has_supervisords_number_and_name() {
    let states = [
        (0, "STOPPED", ProcessState::Stopped),
        (10, "STARTING", ProcessState::Starting),
        (20, "RUNNING", ProcessState::Running),
        (30, "BACKOFF", ProcessState::Backoff),
        (40, "STOPPING", ProcessState::Stopping),
        (100, "EXITED", ProcessState::Exited),
        (200, "FATAL", ProcessState::Fatal),
        (1000, "UNKNOWN", ProcessState::Unknown),
    ];

    assert_eq!(ProcessState::all().count(), states.len());
    for (number, name, state) in states {
        assert_eq!((state.to_bits(), state.name()), (number, name));
        assert_eq!(ProcessState::from_bits(number), Some(state));
        let entry = process(&format!("<int>{number}</int>"), "<int>7</int>");
        assert_eq!(info(1, &[&entry]), Ok(vec![Ok(ProcessInfo { state, pid: 7 })]));
    }
    assert_eq!(ProcessState::from_bits(1), None);
    assert_eq!(ProcessState::from_bits(u16::MAX), None);
}

#[test]
fn a_number_that_no_state_has_is_unknown() {
    for number in ["1", "-1", "65536", "9223372036854775807"] {
        let entry = process(&format!("<i8>{number}</i8>"), "<int>0</int>");
        let unknown = ProcessInfo { state: ProcessState::Unknown, pid: 0 };
        assert_eq!(info(1, &[&entry]), Ok(vec![Ok(unknown)]));
    }
}

#[test]
fn an_entry_may_lie_in_an_array_of_one() {
    let entry = process("<i4>20</i4>", "<i4>12</i4>");
    let wrapped = format!("<array><data><value>{entry}</value></data></array>");
    let running = Ok(ProcessInfo { state: ProcessState::Running, pid: 12 });

    assert_eq!(info(2, &[&entry, &wrapped]), Ok(vec![running.clone(), running]));
}

#[test]
fn faults_and_states_stand_side_by_side() {
    let process = process("<int>200</int>", "<int>0</int>");
    let fault = fault_struct("<i4>10</i4>", "BAD_NAME: x");

    assert_eq!(
        info(3, &[&fault, &process, &fault]),
        Ok(vec![
            Err(Fault::new(10, "BAD_NAME: x")),
            Ok(ProcessInfo { state: ProcessState::Fatal, pid: 0 }),
            Err(Fault::new(10, "BAD_NAME: x")),
        ])
    );
}

#[test]
fn there_must_be_one_entry_for_each_program() {
    let entry = process("<int>20</int>", "<int>1</int>");

    for (programs, entries) in [(1, 0), (0, 1), (2, 1), (1, 2), (usize::MAX, 1)] {
        let entries = vec![entry.as_str(); entries];
        assert_eq!(info(programs, &entries), Err(Flaw::Entries.into()));
    }
    for other in ["", "<string>x</string>", "<boolean>1</boolean>", &entry] {
        let result = info_result(1, &response(&value(other)));
        assert_eq!(result, Err(Flaw::Entries.into()), "{other}");
    }
}

#[test]
fn an_entry_that_is_neither_spoils_the_response() {
    let good = process("<int>20</int>", "<int>1</int>");
    for bad in [
        String::new(),
        "<boolean>1</boolean>".to_owned(),
        "<struct></struct>".to_owned(),
        "<array><data></data></array>".to_owned(),
        format!("<array><data><value>{good}</value><value>{good}</value></data></array>"),
        process("20", "<int>1</int>"),
        process("<int>20</int>", "<string>1</string>"),
        process("<int>20</int>", "<int>-1</int>"),
        process("<int>20</int>", "<i8>4294967296</i8>"),
        good.replace("<name>pid</name>", "<name>state</name>"),
        fault_struct("<string>10</string>", "x"),
    ] {
        assert_eq!(info(2, &[&good, &bad]), Err(Flaw::Entry.into()), "{bad}");
    }
}

#[test]
fn a_fault_of_the_whole_call_is_the_result() {
    let result = info_result(3, &response(&fault("<int>1</int>", "UNKNOWN_METHOD")));

    assert_eq!(result, Err(CallError::Fault(Fault::new(1, "UNKNOWN_METHOD"))));
}

#[test]
fn a_thousand_programs_fit_with_room_to_spare() {
    let filler = "x".repeat(2_000);
    let entry = process("<int>20</int>", "<int>1</int>")
        .replace("<string>a</string>", &format!("<string>{filler}</string>"));
    let entries = vec![entry.as_str(); 1_000];

    assert_eq!(info(1_000, &entries).unwrap().len(), 1_000);
    assert!(entry.len() * 1_000 < healthcheck_core::supervisor::max_response(1_000));
}
