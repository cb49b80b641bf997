//! Changes of a program's state: who is told.

use core::fmt;
use core::sync::atomic::Ordering;

use healthcheck_core::program::{Cause, Program, State};

use super::Worker;
use crate::nginx::log::{log, Level};
use crate::nginx::process::{now, wall_clock_ms};

impl Worker {
    /// Tells nginx, the other processes and the log of a program's new state.
    pub(super) fn changed(
        &mut self,
        number: usize,
        program_number: usize,
        before: Program,
        after: Program,
    ) {
        let Some(watch) = self.watches.get(number) else { return };
        if let Some(cell) = watch.programs.as_ref().and_then(|one| one.cell(program_number)) {
            if before.state() != after.state() {
                cell.set_changed(wall_clock_ms());
            }
            if after.state() == State::Up && before.state() != State::Stopping {
                cell.set_up_since(now());
                cell.forgive();
            }
        }
        // Release: whoever reads the new generation reads the new state.
        watch.generation.fetch_add(1, Ordering::Release);
        let (cause, phrase) = (after.cause(), after.cause().phrase());
        let line = match (before.state(), after.state()) {
            (before, after) if before == after => None,
            // A stop that was taken back before it was sent has a new epoch.
            (State::Stopping, State::Up) if before.epoch() != after.epoch() => {
                Some((Level::Notice, "up: not stopped", ""))
            }
            (State::Starting, State::Down) if before.epoch() != after.epoch() => {
                Some((Level::Notice, "down: not started", ""))
            }
            // Why was logged with the command that failed.
            (State::Stopping, State::Up) | (State::Starting, State::Down) => None,
            (_, State::Up) => Some((Level::Notice, "up: started ", phrase)),
            (_, State::Down) => {
                let is_wanted = matches!(
                    cause,
                    Cause::Url | Cause::Load | Cause::Configuration | Cause::Balancer
                );
                let level = if is_wanted { Level::Notice } else { Level::Warn };
                Some((level, "down: stopped ", phrase))
            }
            (_, State::Starting | State::Stopping) => None,
        };
        if let Some((level, state, phrase)) = line {
            self.name_program(number, program_number, |name, upstream| {
                log!(
                    level,
                    "supervisord: program \"{name}\" of upstream \"{upstream}\" is {state}{phrase}"
                );
            });
        }
        let is_up = after.state() == State::Up;
        self.sync(number);
        if is_up {
            self.probe_awaited(number, program_number);
        }
    }

    /// Calls `write` with a program's name and its upstream's, as the log shows them.
    pub(super) fn name_program(
        &self,
        watch: usize,
        number: usize,
        write: impl FnOnce(&dyn fmt::Display, &dyn fmt::Display),
    ) {
        let Some(watch) = self.watches.get(watch) else { return };
        let Some(programs) = &watch.programs else { return };
        let name = programs.managed.rule.program_name(number);
        write(&name.escape_ascii(), &watch.upstream.name().escape_ascii());
    }
}
