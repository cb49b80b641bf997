//! Commands whose worker is gone, or has not ended them in time: another worker carries them out.

use healthcheck_core::supervisor::Command;

use super::Worker;
use crate::nginx::log::{log, Level};
use crate::nginx::process::{is_alive, now};

impl Worker {
    /// Takes over commands whose worker is gone, or has not ended them in time. Each must have been
    /// seen so twice: a command that was accepted a moment ago has no owner yet.
    pub(super) fn take_over(&mut self) {
        for watch in 0..self.watches.len() {
            let count = self.programs(watch).map_or(0, |programs| programs.count());
            for number in 0..count {
                self.try_take_over(watch, number);
            }
        }
    }

    /// Takes over a program's command, if that is allowed.
    fn try_take_over(&mut self, watch: usize, number: usize) {
        let (pid, now) = (self.pid, now());
        if self.tasks.of_program(watch, number).is_some() {
            return;
        }
        let Some(programs) = self.programs_mut(watch) else { return };
        let Some(cell) = programs.cell(number) else { return };
        let program = cell.program();
        let owner = cell.owner();
        let is_gone = program.command().is_some()
            && (owner.pid() == 0
                || owner.pid() == pid
                || now > owner.time()
                || !is_alive(owner.pid()));
        let mark = if is_gone { Some(program.epoch()) } else { None };
        let Some(seen) = programs.orphans.get_mut(number) else { return };
        let before = core::mem::replace(seen, mark);
        if mark.is_none() || before != mark {
            return;
        }
        let next = program.next_epoch();
        if cell.swap(program, next) {
            let command = program.command().map_or("start", Command::verb);
            self.name_program(watch, number, |name, upstream| {
                log!(
                    Level::Warn,
                    "supervisord: the worker that was to {command} \"{name}\" of upstream \
                     \"{upstream}\" is gone, another one does it"
                );
            });
            self.carry_out(watch, number, next, None);
        }
    }

    /// Whether a command on a program of a watch is under way, and its worker is there.
    pub(super) fn has_command(&self, watch: usize) -> bool {
        let Some(programs) = self.programs(watch) else { return false };
        let cells = (0..programs.count()).filter_map(|number| programs.cell(number));
        let owned =
            cells.filter(|cell| cell.program().command().is_some()).map(|cell| cell.owner());
        let now = now();
        owned
            .into_iter()
            .any(|owner| owner.pid() != 0 && now <= owner.time() && is_alive(owner.pid()))
    }
}
