//! The `supervisord_start` and `supervisord_stop` directives of a location.

use core::cell::{Cell, OnceCell, RefCell};
use core::fmt;

use healthcheck_core::supervisor::Command;

use crate::nginx::upstream::Upstream;

/// What a location says.
#[derive(Default)]
pub(crate) struct CommandConf {
    /// The command and the name of its upstream; unset without the directive.
    command: OnceCell<(Command, Box<[u8]>)>,
    /// The upstream, once the whole configuration was read.
    upstream: Cell<Option<Upstream>>,
}

/// Every location with a command.
#[derive(Default)]
pub(crate) struct CommandPages(RefCell<Vec<&'static CommandConf>>);

/// Why a directive is refused.
#[derive(Debug)]
pub(crate) enum CommandError {
    /// The location has a command already.
    Collides(Command),
    /// There is no such upstream.
    NoUpstream(Command, Box<[u8]>),
    /// The upstream has no `supervisord`.
    NotManaged(Command, Box<[u8]>),
}

/// The directive of a command.
fn directive(command: Command) -> &'static str {
    match command {
        Command::Start => "supervisord_start",
        Command::Stop => "supervisord_stop",
    }
}

impl fmt::Display for CommandError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CommandError::Collides(command) => {
                let other = match command {
                    Command::Start => Command::Stop,
                    Command::Stop => Command::Start,
                };
                let (this, other) = (directive(*command), directive(other));
                write!(f, "\"{this}\" directive is either duplicate or collides with \"{other}\"")
            }
            CommandError::NoUpstream(command, name) => {
                let (this, name) = (directive(*command), name.escape_ascii());
                write!(f, "{this} refers to non-existing upstream \"{name}\"")
            }
            CommandError::NotManaged(command, name) => {
                let (this, name) = (directive(*command), name.escape_ascii());
                write!(f, "{this} refers to upstream \"{name}\", which has no \"supervisord\"")
            }
        }
    }
}

impl CommandConf {
    /// Reads the directive of `command`: the name of an upstream, which may be defined later.
    pub(crate) fn set(&self, command: Command, args: &[&[u8]]) -> Result<(), CommandError> {
        let name = args.first().copied().unwrap_or_default();
        self.command
            .set((command, name.into()))
            .map_err(|(command, _)| CommandError::Collides(command))
    }

    /// The command and its upstream; `None` without the directive.
    pub(crate) fn command(&self) -> Option<(Command, Upstream)> {
        let (command, _) = self.command.get()?;
        Some((*command, self.upstream.get()?))
    }
}

impl CommandPages {
    /// Notes a location with a command.
    pub(crate) fn add(&self, page: &'static CommandConf) {
        self.0.borrow_mut().push(page);
    }

    /// Finds the upstreams that the locations name. As in nginx, case does not count.
    pub(crate) fn resolve(
        &self,
        upstreams: &[Upstream],
        is_managed: impl Fn(Upstream) -> bool,
    ) -> Result<(), CommandError> {
        for page in self.0.borrow().iter() {
            let Some((command, name)) = page.command.get() else { continue };
            let is_named = |one: &&Upstream| one.name().eq_ignore_ascii_case(name);
            let blocks = || upstreams.iter().filter(|one| one.is_block());
            let found = blocks().find(is_named).or_else(|| upstreams.iter().find(is_named));
            let Some(upstream) = found else {
                return Err(CommandError::NoUpstream(*command, name.clone()));
            };
            if !is_managed(*upstream) {
                return Err(CommandError::NotManaged(*command, name.clone()));
            }
            page.upstream.set(Some(*upstream));
        }
        Ok(())
    }
}
