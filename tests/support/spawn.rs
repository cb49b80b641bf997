//! Processes of a test, started so that they keep nothing open that another thread closes.
//!
//! Between fork and exec a new process has a copy of every descriptor of ours. A listener that is closed
//! meanwhile listens on until then, and its port can neither be refused nor bound again.

use std::io;
use std::process::{Child, Command, Output, Stdio};
use std::sync::{PoisonError, RwLock, RwLockReadGuard};

static FORKING: RwLock<()> = RwLock::new(());

/// Starts a process while nobody closes anything; it has only what it was given when this returns.
///
/// # Errors
/// Those of `Command::spawn`.
pub fn spawn(command: &mut Command) -> io::Result<Child> {
    // std returns when the process runs its program, or could not.
    let _alone = FORKING.write().unwrap_or_else(PoisonError::into_inner);
    command.spawn()
}

/// As `Command::output`.
///
/// # Errors
/// Those of `Command::output`.
pub fn output(command: &mut Command) -> io::Result<Output> {
    let command = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    spawn(command)?.wait_with_output()
}

/// Has the OS end a child when the test's thread goes without doing so; called between fork and exec.
///
/// # Errors
/// Those of `prctl`.
pub fn end_with_the_test() -> io::Result<()> {
    // SAFETY: no pointers.
    if unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGTERM) } == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// What is closed while this is held is closed for everybody. To be held for no longer than that.
pub(crate) fn closing() -> RwLockReadGuard<'static, ()> {
    FORKING.read().unwrap_or_else(PoisonError::into_inner)
}
