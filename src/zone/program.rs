//! The record of one program.

use core::mem::size_of;
use core::sync::atomic::{AtomicU64, Ordering};

use healthcheck_core::failures::Failures;
use healthcheck_core::lease::Lease;
use healthcheck_core::program::Program;
use healthcheck_core::supervisor::{Command, ProcessState};
use healthcheck_core::Msec;

use super::table::{Entry, Record};

/// What the machine knows of one program. Every word may be written by any worker; what belongs
/// together is in one word.
#[repr(C, align(64))]
pub(crate) struct ProgramCell {
    /// Key: upstream and program number.
    entry: Entry,
    /// [`Program`]: state, cause, admin state and command epoch.
    program: AtomicU64,
    /// [`Lease`]: who carries out the command under way, until when.
    owner: AtomicU64,
    /// [`Failures`]: failed requests.
    failures: AtomicU64,
    /// The round of starts (see [`super::upstream::UpstreamCell`]) in which its start failed.
    failed_round: AtomicU64,
    /// When it is to be started again, monotonic ms; 0 = not.
    restart_at: AtomicU64,
    /// When it was last found or made up, monotonic ms; 0 = never.
    up_since: AtomicU64,
    /// Wall clock ms of the last change of state; 0 = never.
    changed: AtomicU64,
    /// What supervisord reported: bits 0-15 state plus 1, bits 32-63 pid. 0 = nothing yet.
    reported: AtomicU64,
    /// The last command: bits 0-7 kind plus 1, bits 8-63 its result. 0 = none yet.
    last: AtomicU64,
    /// Wall clock ms of the last command's beginning.
    last_at: AtomicU64,
}

const _: () = assert!(size_of::<ProgramCell>() == 128);

impl Record for ProgramCell {
    fn entry(&self) -> &Entry {
        &self.entry
    }
}

/// The last command that a program got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LastCommand {
    /// What was asked for.
    pub(crate) command: Command,
    /// How it ended, as the worker encodes it.
    pub(crate) result: u64,
    /// Wall clock ms of its beginning.
    pub(crate) at_ms: u64,
}

impl ProgramCell {
    /// Prepares a vacant record for a new program.
    pub(crate) fn reset(&self, first: Program) {
        // The epoch goes on: who still carries out a command of the last user cannot write.
        let mut program = first;
        if self.program().epoch() != 0 {
            let epoch = self.program().next_epoch().epoch() << 32;
            program = Program::from_bits(epoch | (first.bits() & u64::from(u32::MAX)));
        }
        self.program.store(program.bits(), Ordering::Relaxed);
        for word in self.words() {
            word.store(0, Ordering::Relaxed);
        }
    }

    /// Takes over what another zone knew of the same program. The command under way is nobody's: its
    /// result would go to the other zone.
    pub(crate) fn copy_from(&self, old: &ProgramCell) {
        self.program.store(old.program.load(Ordering::Acquire), Ordering::Relaxed);
        for (new, old) in self.words().into_iter().zip(old.words()) {
            new.store(old.load(Ordering::Relaxed), Ordering::Relaxed);
        }
        self.owner.store(0, Ordering::Relaxed);
    }

    /// Every word but the key and the state.
    fn words(&self) -> [&AtomicU64; 9] {
        [
            &self.owner,
            &self.failures,
            &self.failed_round,
            &self.restart_at,
            &self.up_since,
            &self.changed,
            &self.reported,
            &self.last,
            &self.last_at,
        ]
    }

    /// State, cause, admin state and command epoch.
    pub(crate) fn program(&self) -> Program {
        Program::from_bits(self.program.load(Ordering::Acquire))
    }

    /// Replaces `from` by `to`; `false` when it is no longer `from`.
    pub(crate) fn swap(&self, from: Program, to: Program) -> bool {
        let (from, to) = (from.bits(), to.bits());
        self.program.compare_exchange(from, to, Ordering::AcqRel, Ordering::Relaxed).is_ok()
    }

    /// Who carries out the command under way.
    pub(crate) fn owner(&self) -> Lease {
        Lease::from_bits(self.owner.load(Ordering::Acquire))
    }

    /// Notes who carries out the command under way, for who has just begun or taken it over.
    pub(crate) fn set_owner(&self, owner: Lease) {
        self.owner.store(owner.bits(), Ordering::Release);
    }

    /// Counts a failed request; `true` when `max_fails` are reached.
    pub(crate) fn count_failure(&self, now: Msec, max_fails: u32, fail_timeout: Msec) -> bool {
        let mut is_reached = false;
        let observe = |bits| {
            let (next, reached) = Failures::from_bits(bits).observe(now, max_fails, fail_timeout);
            is_reached = reached;
            Some(next.bits())
        };
        let _ = self.failures.fetch_update(Ordering::AcqRel, Ordering::Relaxed, observe);
        is_reached
    }

    /// Forgets failed requests: the program starts anew.
    pub(crate) fn forgive(&self) {
        self.failures.store(0, Ordering::Relaxed);
    }

    /// The round of starts in which its start failed.
    pub(crate) fn failed_round(&self) -> u64 {
        self.failed_round.load(Ordering::Relaxed)
    }

    /// Notes that its start failed in this round.
    pub(crate) fn set_failed_round(&self, round: u64) {
        self.failed_round.store(round, Ordering::Relaxed);
    }

    /// When it is to be started again, monotonic ms.
    pub(crate) fn restart_at(&self) -> Option<Msec> {
        Some(self.restart_at.load(Ordering::Relaxed)).filter(|at| *at != 0)
    }

    /// Sets when it is to be started again.
    pub(crate) fn set_restart_at(&self, at: Option<Msec>) {
        self.restart_at.store(at.unwrap_or(0), Ordering::Relaxed);
    }

    /// When it was last found or made up, monotonic ms.
    pub(crate) fn up_since(&self) -> Msec {
        self.up_since.load(Ordering::Relaxed)
    }

    /// Notes that it was found or made up.
    pub(crate) fn set_up_since(&self, now: Msec) {
        self.up_since.store(now, Ordering::Relaxed);
    }

    /// Notes when its state changed.
    pub(crate) fn set_changed(&self, wall_ms: u64) {
        self.changed.store(wall_ms, Ordering::Relaxed);
    }

    /// What supervisord last reported: state and pid.
    pub(crate) fn reported(&self) -> Option<(ProcessState, u32)> {
        let word = self.reported.load(Ordering::Relaxed);
        let state = u16::try_from(word & 0xffff).ok()?.checked_sub(1)?;
        Some((ProcessState::from_bits(state)?, u32::try_from(word >> 32).unwrap_or(0)))
    }

    /// Notes what supervisord reported; `None`: that it does not know the program.
    pub(crate) fn set_reported(&self, report: Option<(ProcessState, u32)>) {
        let word = report
            .map_or(0, |(state, pid)| (u64::from(state.to_bits()) + 1) | (u64::from(pid) << 32));
        self.reported.store(word, Ordering::Relaxed);
    }

    /// The last command and its result.
    pub(crate) fn last_command(&self) -> Option<LastCommand> {
        let word = self.last.load(Ordering::Relaxed);
        let command = match word & 0xff {
            1 => Command::Start,
            2 => Command::Stop,
            _ => return None,
        };
        Some(LastCommand {
            command,
            result: word >> 8,
            at_ms: self.last_at.load(Ordering::Relaxed),
        })
    }

    /// Notes a command and how it ended; `begun_ms` where it has just begun.
    pub(crate) fn set_last_command(&self, command: Command, result: u64, begun_ms: Option<u64>) {
        let kind = match command {
            Command::Start => 1,
            Command::Stop => 2,
        };
        self.last.store(kind | (result << 8), Ordering::Relaxed);
        if let Some(begun_ms) = begun_ms {
            self.last_at.store(begun_ms, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use healthcheck_core::program::{Begin, Cause, State};

    fn cell() -> ProgramCell {
        // SAFETY: a cell consists of atomics, for which zero is valid.
        unsafe { core::mem::zeroed() }
    }

    fn begun(cell: &ProgramCell) -> Program {
        match cell.program().begin(Command::Start, Cause::Url) {
            Begin::Run(program) => program,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn of_two_processes_that_begin_a_command_one_does() {
        let cell = cell();
        let (before, after) = (cell.program(), begun(&cell));
        assert!(cell.swap(before, after));
        assert!(!cell.swap(before, after));
        assert_eq!(cell.program().state(), State::Starting);
    }

    #[test]
    fn a_record_that_gets_a_new_program_goes_on_with_its_epochs() {
        let cell = cell();
        let after = begun(&cell);
        assert!(cell.swap(cell.program(), after));
        cell.set_reported(Some((ProcessState::Running, 77)));
        cell.reset(Program::initial(false, true));
        assert!(cell.program().epoch() > after.epoch() && cell.program().is_usable());
        assert!(cell.reported().is_none() && cell.last_command().is_none());
    }

    #[test]
    fn a_report_and_a_last_command_are_read_as_they_were_written() {
        let cell = cell();
        cell.set_reported(Some((ProcessState::Unknown, 4_000_000)));
        assert_eq!(cell.reported(), Some((ProcessState::Unknown, 4_000_000)));
        cell.set_last_command(Command::Stop, 0xff_00, Some(1_000));
        cell.set_last_command(Command::Stop, 0x12_34, None);
        let last = LastCommand { command: Command::Stop, result: 0x12_34, at_ms: 1_000 };
        assert_eq!(cell.last_command(), Some(last));
    }

    #[test]
    fn another_zone_takes_everything_over_but_the_owner_of_a_command() {
        let (old, new) = (cell(), cell());
        assert!(old.swap(old.program(), begun(&old)));
        old.set_owner(Lease::held(5, 100));
        old.set_restart_at(Some(7));
        new.copy_from(&old);
        assert_eq!((new.program(), new.owner().pid()), (old.program(), 0));
        assert_eq!(new.restart_at(), Some(7));
    }
}
