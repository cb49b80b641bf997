//! The state of a program in one 64-bit word, and the rules by which commands and reports change it.
//!
//! A program is the supervisord process behind a server line. The word is what shared memory keeps;
//! every change is one compare-and-swap on it. This file maps an old word to a new one, and neither
//! talks to supervisord nor reads a clock.

use crate::supervisor::{Command, ProcessState};
use crate::Msec;

const STATE_MASK: u64 = 0b11;
const CONFIGURED_DOWN: u64 = 1 << 5;
const ADMIN_DOWN: u64 = 1 << 6;
const TURN: u64 = 1 << 7;
const RESTARTS_SHIFT: u32 = 8;
const RESTARTS_MASK: u64 = 0xff;
const KNOWN: u64 = 1 << 16;
const CAUSE_SHIFT: u32 = 17;
const CAUSE_MASK: u64 = 0b1111;
const EPOCH_SHIFT: u32 = 32;

/// Restarts in a row after which a program that keeps failing is left down.
pub const MAX_RESTARTS: u32 = 5;

/// A program that was up for so long has recovered: its restarts are counted anew.
pub const RECOVERED_AFTER: Msec = 60_000;

/// The longest wait before a restart.
const MAX_RESTART_DELAY: Msec = 60_000;

/// Where a program is. Only [`State::Up`] gets requests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum State {
    /// It does not run, or is not to be used.
    #[default]
    Down,
    /// A start command is on its way.
    Starting,
    /// It runs.
    Up,
    /// It gets no new requests, and will be or is being stopped.
    Stopping,
}

impl State {
    /// The word for pages and logs.
    pub fn name(self) -> &'static str {
        match self {
            State::Down => "down",
            State::Starting => "starting",
            State::Up => "up",
            State::Stopping => "stopping",
        }
    }
}

/// Why a program is in its state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Cause {
    /// The configuration says so.
    #[default]
    Configuration,
    /// A request found no usable program.
    Request,
    /// An operator asked for it.
    Url,
    /// The load asked for it.
    Load,
    /// Failed requests or probes.
    Failure,
    /// supervisord reported it.
    Report,
    /// Its probes pass again.
    Recovery,
    /// It was stopped by a failure, and is tried again.
    Restart,
    /// The upstream's balancer asked for it.
    Balancer,
}

impl Cause {
    const ALL: [Cause; 9] = [
        Cause::Configuration,
        Cause::Request,
        Cause::Url,
        Cause::Load,
        Cause::Failure,
        Cause::Report,
        Cause::Recovery,
        Cause::Restart,
        Cause::Balancer,
    ];

    /// What follows "started" or "stopped" in the log.
    pub fn phrase(self) -> &'static str {
        match self {
            Cause::Configuration => "by configuration",
            Cause::Request => "by request",
            Cause::Url => "by URL",
            Cause::Load => "by load",
            Cause::Failure => "by failure",
            Cause::Report => "outside of nginx",
            Cause::Recovery => "by passing probes",
            Cause::Restart => "by restart after failure",
            Cause::Balancer => "by its balancer",
        }
    }
}

/// State, cause, admin state and command epoch of one program.
///
/// Bits 0-1: [`State`]. Bit 5: the configuration marks the line `down`. Bit 6: administratively down.
/// Bit 7: the opposite command follows the one under way. Bits 8-15: restarts in a row. Bit 16: the
/// word was initialised. Bits 17-20: [`Cause`]. Bits 32-63: the epoch, which counts commands and
/// takeovers of commands. Zero is valid: a program that is down.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Program(u64);

/// What became of a command that was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Begin {
    /// Accepted: the new word, under whose epoch the command has to be carried out.
    Run(Program),
    /// Accepted: the new word; whoever carries out the opposite command turns round after it.
    Turn(Program),
    /// Nothing to do: it is, or soon will be, what was asked for.
    Nothing,
}

/// What follows a command that has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ended {
    /// The new word.
    pub program: Program,
    /// A command to carry out next, under the new word's epoch.
    pub next: Option<Command>,
}

impl Program {
    /// The word as shared memory keeps it.
    pub const fn from_bits(bits: u64) -> Program {
        Program(bits)
    }

    /// What shared memory keeps.
    pub const fn bits(self) -> u64 {
        self.0
    }

    /// A program whose line is marked `down` in the configuration or not. With `inherit`
    /// (`supervisord_inherit_backend_status`) one that is not starts as up; all others as down.
    pub fn initial(configured_down: bool, inherit: bool) -> Program {
        Program(KNOWN).configured(configured_down, inherit)
    }

    /// The word under a new configuration: a changed `down` flag wins over the kept state, an
    /// unchanged one changes nothing.
    pub fn reconfigured(self, configured_down: bool, inherit: bool) -> Program {
        if self.0 & KNOWN == 0 {
            Program::initial(configured_down, inherit)
        } else if configured_down == self.is_configured_down() {
            self
        } else {
            self.configured(configured_down, inherit)
        }
    }

    fn configured(self, down: bool, inherit: bool) -> Program {
        let flags = if down { CONFIGURED_DOWN | ADMIN_DOWN } else { 0 };
        let word = Program((self.0 & !(CONFIGURED_DOWN | ADMIN_DOWN)) | flags);
        match word.state() {
            State::Down if !down && inherit => word.with(State::Up, Cause::Configuration),
            _ => word,
        }
    }

    /// Where the program is.
    pub fn state(self) -> State {
        match self.0 & STATE_MASK {
            1 => State::Starting,
            2 => State::Up,
            3 => State::Stopping,
            _ => State::Down,
        }
    }

    /// Why.
    pub fn cause(self) -> Cause {
        let index = usize::try_from((self.0 >> CAUSE_SHIFT) & CAUSE_MASK).unwrap_or(0);
        Cause::ALL.get(index).copied().unwrap_or_default()
    }

    /// Whether the configuration marks its line `down`: no request starts it.
    pub const fn is_configured_down(self) -> bool {
        self.0 & CONFIGURED_DOWN != 0
    }

    /// Whether it gets no requests though it may run: its line is marked `down`, and nobody has
    /// started it since.
    pub const fn is_admin_down(self) -> bool {
        self.0 & ADMIN_DOWN != 0
    }

    /// Whether requests may go to it, as far as the program is concerned.
    pub fn is_usable(self) -> bool {
        self.state() == State::Up && !self.is_admin_down()
    }

    /// The command under way, if any.
    pub fn command(self) -> Option<Command> {
        match self.state() {
            State::Starting => Some(Command::Start),
            State::Stopping => Some(Command::Stop),
            State::Down | State::Up => None,
        }
    }

    /// Whether the opposite command is to follow the one under way.
    pub const fn is_turning(self) -> bool {
        self.0 & TURN != 0
    }

    /// Restarts in a row, at most 255.
    pub fn restarts(self) -> u32 {
        u32::try_from((self.0 >> RESTARTS_SHIFT) & RESTARTS_MASK).unwrap_or(0)
    }

    /// Counts commands and their takeovers, modulo 2^32. A result is only written under the epoch
    /// its command was begun in, so a worker that was held up cannot write an old one.
    pub const fn epoch(self) -> u64 {
        self.0 >> EPOCH_SHIFT
    }

    /// The word with another state and cause, nothing to follow.
    fn with(self, state: State, cause: Cause) -> Program {
        let state = match state {
            State::Down => 0,
            State::Starting => 1,
            State::Up => 2,
            State::Stopping => 3,
        };
        let cause = Cause::ALL.iter().position(|one| *one == cause).unwrap_or(0);
        let cause = u64::try_from(cause).unwrap_or(0) << CAUSE_SHIFT;
        let cleared = self.0 & !(STATE_MASK | (CAUSE_MASK << CAUSE_SHIFT) | TURN);
        Program(cleared | state | cause)
    }

    fn with_cause(self, cause: Cause) -> Program {
        let turn = self.0 & TURN;
        Program(self.with(self.state(), cause).0 | turn)
    }

    fn with_restarts(self, restarts: u32) -> Program {
        let restarts = u64::from(restarts).min(RESTARTS_MASK) << RESTARTS_SHIFT;
        Program((self.0 & !(RESTARTS_MASK << RESTARTS_SHIFT)) | restarts)
    }

    /// The same under the next epoch: another process carries the command out from here on.
    pub fn next_epoch(self) -> Program {
        let epoch = (self.epoch() + 1) & (u64::MAX >> EPOCH_SHIFT);
        Program((self.0 & ((1 << EPOCH_SHIFT) - 1)) | (epoch << EPOCH_SHIFT))
    }

    /// A command is asked for. One that contradicts the one under way is carried out after it, so
    /// that supervisord never has two at a time.
    pub fn begin(self, command: Command, cause: Cause) -> Begin {
        // Who asks by name wants the program used, whatever the configuration says.
        let word = match (command, cause) {
            (Command::Start, Cause::Url | Cause::Balancer) => Program(self.0 & !ADMIN_DOWN),
            _ => self,
        };
        let run = |state| Begin::Run(word.with(state, cause).next_epoch());
        let turned = Program(word.with_cause(cause).0 ^ TURN);
        match (command, self.state(), self.is_turning()) {
            (Command::Start, State::Down, _) => run(State::Starting),
            (Command::Stop, State::Up, _) => run(State::Stopping),
            (Command::Start, State::Stopping, false) | (Command::Stop, State::Starting, false) => {
                Begin::Turn(turned)
            }
            (Command::Start, State::Starting, true) | (Command::Stop, State::Stopping, true) => {
                Begin::Turn(turned)
            }
            (Command::Start, State::Up, _) if word != self => {
                Begin::Run(word.with(State::Starting, cause).next_epoch())
            }
            _ => Begin::Nothing,
        }
    }

    /// The command under way has ended. The program is what was asked for when it succeeded, what
    /// it was before when it failed; then a command that was asked for meanwhile follows.
    pub fn ended(self, succeeded: bool) -> Option<Ended> {
        let command = self.command()?;
        let cause = self.cause();
        let runs = (command == Command::Start) == succeeded;
        let program = self.with(if runs { State::Up } else { State::Down }, cause);
        let wanted = match (self.is_turning(), command) {
            (true, Command::Start) => Command::Stop,
            (true, Command::Stop) => Command::Start,
            (false, _) => return Some(Ended { program, next: None }),
        };
        Some(match program.begin(wanted, cause) {
            Begin::Run(program) => Ended { program, next: Some(wanted) },
            Begin::Turn(program) => Ended { program, next: None },
            Begin::Nothing => Ended { program, next: None },
        })
    }

    /// A command that was not sent yet is no longer wanted: the program stays what it was. `None`
    /// unless the opposite was asked for meanwhile.
    pub fn spared(self) -> Option<Program> {
        let before = match self.command().filter(|_| self.is_turning())? {
            Command::Start => State::Down,
            Command::Stop => State::Up,
        };
        Some(self.with(before, self.cause()).next_epoch())
    }

    /// supervisord reports its state. `None` when that changes nothing. A command under way has ended
    /// when supervisord reports what it was for: its worker may be held up. Its epoch ends too, so
    /// that its own result changes nothing any more.
    pub fn reported(self, process: ProcessState) -> Option<Program> {
        let runs = process == ProcessState::Running;
        let has_ended =
            matches!(process, ProcessState::Stopped | ProcessState::Exited | ProcessState::Fatal);
        match self.state() {
            State::Down if runs => Some(self.with(State::Up, Cause::Report)),
            State::Up if !runs => Some(self.with(State::Down, Cause::Report)),
            State::Starting if runs && !self.is_turning() => {
                Some(self.with(State::Up, self.cause()).next_epoch())
            }
            State::Stopping if has_ended && !self.is_turning() => {
                Some(self.with(State::Down, self.cause()).next_epoch())
            }
            _ => None,
        }
    }

    /// The word with one more restart counted, and how long to wait before it; `None` when there
    /// have been too many in a row. `up_for` is how long the program was up before it failed.
    pub fn restarted(self, up_for: Msec) -> Option<(Program, Msec)> {
        let before = if up_for >= RECOVERED_AFTER { 0 } else { self.restarts() };
        if before >= MAX_RESTARTS {
            return None;
        }
        let delay = (1_000_u64 << before).min(MAX_RESTART_DELAY);
        Some((self.with_restarts(before + 1), delay))
    }

    /// The word with its restarts forgotten.
    pub fn rested(self) -> Program {
        self.with_restarts(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn up() -> Program {
        Program::initial(false, true)
    }

    fn down() -> Program {
        Program::initial(false, false)
    }

    fn run(program: Program, command: Command, cause: Cause) -> Program {
        match program.begin(command, cause) {
            Begin::Run(program) => program,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn zero_is_down_and_unusable() {
        let program = Program::from_bits(0);
        assert_eq!((program.state(), program.command()), (State::Down, None));
        assert!(!program.is_usable() && !program.is_admin_down());
    }

    #[test]
    fn the_first_state_follows_the_configuration_only_with_inherit() {
        assert_eq!(Program::initial(false, true).state(), State::Up);
        assert_eq!(Program::initial(true, true).state(), State::Down);
        assert_eq!(Program::initial(false, false).state(), State::Down);
        assert_eq!(Program::initial(true, false).state(), State::Down);
    }

    #[test]
    fn a_command_is_visible_at_once_and_its_result_decides() {
        let starting = run(down(), Command::Start, Cause::Request);
        assert_eq!((starting.state(), starting.epoch()), (State::Starting, 1));
        let ended = |ok| starting.ended(ok).map(|ended| ended.program.state());
        assert_eq!((ended(true), ended(false)), (Some(State::Up), Some(State::Down)));
        let stopping = run(up(), Command::Stop, Cause::Url);
        assert!(!stopping.is_usable());
        let ended = |ok| stopping.ended(ok).map(|ended| ended.program.state());
        assert_eq!((ended(true), ended(false)), (Some(State::Down), Some(State::Up)));
    }

    #[test]
    fn a_command_for_what_already_is_changes_nothing() {
        assert_eq!(up().begin(Command::Start, Cause::Url), Begin::Nothing);
        assert_eq!(down().begin(Command::Stop, Cause::Url), Begin::Nothing);
        let starting = run(down(), Command::Start, Cause::Request);
        assert_eq!(starting.begin(Command::Start, Cause::Url), Begin::Nothing);
    }

    #[test]
    fn a_start_during_a_stop_follows_it() {
        let stopping = run(up(), Command::Stop, Cause::Url);
        let Begin::Turn(turning) = stopping.begin(Command::Start, Cause::Url) else { panic!() };
        assert_eq!((turning.state(), turning.epoch()), (State::Stopping, stopping.epoch()));
        let ended = turning.ended(true).expect("a command");
        assert_eq!((ended.program.state(), ended.next), (State::Starting, Some(Command::Start)));
        assert!(!ended.program.is_turning() && ended.program.epoch() > turning.epoch());
        // A stop that failed leaves it running, which is what was asked for.
        let ended = turning.ended(false).expect("a command");
        assert_eq!((ended.program.state(), ended.next), (State::Up, None));
    }

    #[test]
    fn a_stop_during_a_start_follows_it() {
        let starting = run(down(), Command::Start, Cause::Request);
        let Begin::Turn(turning) = starting.begin(Command::Stop, Cause::Url) else { panic!() };
        let ended = turning.ended(true).expect("a command");
        assert_eq!((ended.program.state(), ended.next), (State::Stopping, Some(Command::Stop)));
    }

    #[test]
    fn asking_back_takes_a_turn_back() {
        let stopping = run(up(), Command::Stop, Cause::Url);
        let Begin::Turn(turning) = stopping.begin(Command::Start, Cause::Url) else { panic!() };
        let Begin::Turn(back) = turning.begin(Command::Stop, Cause::Url) else { panic!() };
        assert!(!back.is_turning());
    }

    #[test]
    fn a_stop_that_was_not_sent_can_be_spared() {
        let stopping = run(up(), Command::Stop, Cause::Url);
        assert_eq!(stopping.spared(), None);
        let Begin::Turn(turning) = stopping.begin(Command::Start, Cause::Url) else { panic!() };
        assert_eq!(turning.spared().map(Program::state), Some(State::Up));
    }

    #[test]
    fn a_start_that_was_not_sent_can_be_spared() {
        let starting = run(down(), Command::Start, Cause::Balancer);
        assert_eq!(starting.spared(), None);
        let Begin::Turn(turning) = starting.begin(Command::Stop, Cause::Url) else { panic!() };
        let spared = turning.spared().expect("a change");
        assert_eq!((spared.state(), spared.cause()), (State::Down, Cause::Url));
        assert!(spared.epoch() > starting.epoch());
    }

    #[test]
    fn every_cause_is_read_as_it_was_written() {
        for cause in Cause::ALL {
            let marked = Program::initial(true, false).with_restarts(255);
            let program = marked.with(State::Stopping, cause);
            assert_eq!((program.state(), program.cause()), (State::Stopping, cause));
            assert!(program.is_admin_down() && program.restarts() == 255);
        }
    }

    #[test]
    fn a_line_marked_down_is_used_once_it_was_started_by_name() {
        let marked = Program::initial(true, false);
        let found = marked.reported(ProcessState::Running).expect("a change");
        assert!(found.state() == State::Up && !found.is_usable());
        for by_name in [Cause::Url, Cause::Balancer] {
            let started = run(found, Command::Start, by_name).ended(true).expect("a command");
            assert!(started.program.is_usable());
        }
    }

    #[test]
    fn a_report_between_commands_decides() {
        assert_eq!(down().reported(ProcessState::Stopped), None);
        assert_eq!(up().reported(ProcessState::Running), None);
        assert_eq!(up().reported(ProcessState::Fatal).map(Program::state), Some(State::Down));
        assert_eq!(down().reported(ProcessState::Running).map(Program::state), Some(State::Up));
    }

    #[test]
    fn a_report_of_what_a_command_was_for_ends_it() {
        let starting = run(down(), Command::Start, Cause::Request);
        assert_eq!(starting.reported(ProcessState::Starting), None);
        assert_eq!(
            starting.reported(ProcessState::Stopped),
            None,
            "it may not have come there yet"
        );
        let up = starting.reported(ProcessState::Running).expect("a change");
        assert!(up.is_usable() && up.epoch() > starting.epoch());
        let stopping = run(up, Command::Stop, Cause::Url);
        assert_eq!(stopping.reported(ProcessState::Running), None);
        let down = stopping.reported(ProcessState::Exited).expect("a change");
        assert_eq!((down.state(), down.cause()), (State::Down, Cause::Url));
    }

    #[test]
    fn a_changed_down_flag_wins_over_the_kept_state_and_an_unchanged_one_does_not() {
        let stopped = run(up(), Command::Stop, Cause::Url).ended(true).expect("a command").program;
        assert_eq!(stopped.reconfigured(false, true), stopped);
        assert!(!up().reconfigured(true, true).is_usable());
        assert!(Program::initial(true, true).reconfigured(false, true).is_usable());
        assert_eq!(Program::from_bits(0).reconfigured(false, true).state(), State::Up);
    }

    #[test]
    fn restarts_wait_longer_each_time_and_end() {
        let mut program = up();
        let mut waits = Vec::new();
        while let Some((next, wait)) = program.restarted(0) {
            program = next;
            waits.push(wait);
        }
        assert_eq!(waits, [1_000, 2_000, 4_000, 8_000, 16_000]);
        assert!(program.restarted(RECOVERED_AFTER).is_some());
        assert_eq!(program.rested().restarts(), 0);
    }
}
