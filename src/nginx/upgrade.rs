//! Upgrades of the binary (`USR2`): which of the two nginxes that serve then a process belongs to.

use std::ffi::OsStr;
use std::fs;
use std::io::ErrorKind;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use healthcheck_core::programs::Generation;
use nginx_sys::{ngx_core_conf_t, ngx_core_module, ngx_cycle, ngx_cycle_t, ngx_parent, ngx_str_t};

use super::conf::{record, text};
use super::process::{is_alive, pid, ProcessLocal};

/// The master in whose place this process's master was started, or that of a process before them;
/// handed on to workers when they are born.
static OLDER: ProcessLocal<Option<u32>> = ProcessLocal::new(None);

/// Finds out, in a master that reads its configuration, whether another master has started it.
///
/// # Safety
/// `cycle` is complete.
pub(crate) unsafe fn find_older_master(cycle: *mut ngx_cycle_t) {
    // SAFETY: nginx sets this before it reads any configuration; the cycle is passed on.
    let (parent, named) = unsafe { (ngx_parent, files(cycle).and_then(|files| read(files.older))) };
    let older = named.filter(|named| u32::try_from(parent) == Ok(*named));
    OLDER.with(|place| *place = older);
}

/// Which of two generations this process belongs to, if the binary is being upgraded. It may look at
/// files, so it is not for each request.
pub(crate) fn generation() -> Generation {
    // SAFETY: nginx's running cycle is complete while it serves.
    let Some(files) = (unsafe { files(ngx_cycle) }) else { return Generation::Only };
    let older = OLDER.with(|older| *older).flatten();
    // Its file goes with it, and its pid may be another's then.
    if older.is_some_and(is_alive) && !is_gone(files.older) {
        return Generation::Newer;
    }
    if is_being_replaced(&files) {
        Generation::Older
    } else {
        Generation::Only
    }
}

/// Whether this process's master has started another one. It has renamed its pid file then, and the
/// other one writes a new one. Files that an nginx of another day has left behind say otherwise.
fn is_being_replaced(files: &Files<'_>) -> bool {
    let Some(older) = read(files.older) else { return false };
    // SAFETY: no pointers.
    let parent = u32::try_from(unsafe { libc::getppid() }).unwrap_or(0);
    let is_its = older == parent || older == pid();
    is_its && read(files.current) != Some(older)
}

/// The files that tell masters' pids.
struct Files<'a> {
    /// The one of the configuration.
    current: &'a Path,
    /// What it is called while another master has taken its name.
    older: &'a Path,
}

/// The files of a cycle.
///
/// # Safety
/// `cycle` is complete; the paths are not used after it ended.
unsafe fn files<'a>(cycle: *mut ngx_cycle_t) -> Option<Files<'a>> {
    // SAFETY: passed on; the core module's record is that of its index.
    let core: &ngx_core_conf_t =
        unsafe { record((*cycle).conf_ctx.cast(), ngx_core_module.index)? };
    // A path's length counts the NUL at its end, or not.
    let path = |path: &ngx_str_t| {
        // SAFETY: configuration memory of the cycle.
        let bytes = unsafe { text(path) }.split(|byte| *byte == 0).next()?;
        Some(Path::new(OsStr::from_bytes(bytes)))
    };
    Some(Files { current: path(&core.pid)?, older: path(&core.oldpid)? })
}

/// Whether there is no such file; one in a folder that this process may not look into is there.
fn is_gone(file: &Path) -> bool {
    fs::metadata(file).is_err_and(|error| error.kind() == ErrorKind::NotFound)
}

/// The pid that a file tells.
fn read(file: &Path) -> Option<u32> {
    fs::read_to_string(file).ok()?.trim().parse().ok()
}
