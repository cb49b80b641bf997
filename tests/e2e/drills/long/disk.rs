//! The disk is full that nginx logs to.

use std::ffi::CString;
use std::fs::{self, File};
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use support::{wait_until, Config, LIMIT};

use crate::drills::crowd::Crowd;
use crate::drills::traffic::Traffic;
use crate::drills::{long_only, Drill};

/// A file system of 64 KiB, unmounted with the value.
struct SmallDisk(tempfile::TempDir);

impl SmallDisk {
    /// `None` where we may not mount.
    fn mount() -> Option<SmallDisk> {
        let disk = SmallDisk(tempfile::tempdir().expect("a folder"));
        let path = c_string(disk.path());
        // SAFETY: all are strings that end with a NUL and live until the call returns.
        let code = unsafe {
            libc::mount(
                c"tmpfs".as_ptr(),
                path.as_ptr(),
                c"tmpfs".as_ptr(),
                0,
                c"size=64k".as_ptr().cast(),
            )
        };
        (code == 0).then_some(disk)
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    /// Fills what is left.
    fn fill(&self) -> PathBuf {
        let path = self.path().join("filler");
        let mut file = File::create(&path).expect("a file");
        while file.write_all(&[b'x'; 512]).is_ok() {}
        path
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let path = c_string(self.path());
        // SAFETY: as above.
        unsafe { libc::umount2(path.as_ptr(), libc::MNT_DETACH) };
    }
}

fn c_string(path: &Path) -> CString {
    CString::new(path.as_os_str().as_bytes()).expect("a path without NUL")
}

#[test]
fn a_full_disk_costs_log_lines_and_nothing_else() {
    if !long_only() {
        return;
    }
    let drill = Drill::begin();
    let disk = SmallDisk::mount();
    let log =
        disk.as_ref().map_or(PathBuf::from("/dev/full"), |disk| disk.path().join("error.log"));
    let access =
        disk.as_ref().map_or(PathBuf::from("/dev/full"), |disk| disk.path().join("access"));
    let crowd = Crowd::start(20, 2);
    let config = Config::new()
        .workers(2)
        .shared_socket()
        .main(&format!("error_log {} info; events {{ worker_connections 2048; }}", log.display()))
        .server(&format!("access_log {};", access.display()))
        .upstream("backend", crowd.all("zone backend 256k;"));
    let mut nginx = crowd.nginx(&config);
    nginx.allow_in_log("while logging request");
    let is_logged = |text: &str| fs::read_to_string(&log).unwrap_or_default().contains(text);
    let filler = disk.as_ref().map(SmallDisk::fill);
    let workers = nginx.workers();
    let known = crowd.sick_requests();

    let traffic = Traffic::start(1_000, nginx.address(), "/backend/");
    let mut flips = 0;
    for round in 0..20 {
        let peer = 5 + round % 10;
        crowd.swarm.healthy(peer, false);
        nginx.wait_down(crowd.name(peer), true);
        crowd.swarm.healthy(peer, true);
        nginx.wait_down(crowd.name(peer), false);
        flips += 2;
    }
    assert_eq!(nginx.workers(), workers);
    nginx.reload(&config);
    crowd.wait_known(&nginx);
    let (least, most) = crowd.rate(0..20, Duration::from_secs(5));
    assert!(most < 1.5 && least > 0.5, "{least}..{most} probes a period");
    let served = traffic.stop();
    assert_eq!(served.failures(), 0, "{served}");
    assert_eq!(crowd.sick_requests(), known);
    assert_eq!(nginx.log_lines("healthcheck: peer").len(), flips + 2, "in the log that has room");

    // With room again, there are lines again.
    let mut again = "no room is made in /dev/full".to_owned();
    if let Some(filler) = filler {
        fs::remove_file(filler).expect("a file of ours");
        fs::write(&access, "").expect("a file of ours");
        std::thread::sleep(Duration::from_secs(2));
        // The last peer has not flipped before.
        crowd.swarm.healthy(19, false);
        nginx.wait_down(crowd.name(19), true);
        wait_until(LIMIT, "a line in the log that was full", || is_logged(&crowd.name(19)));
        again = "lines again with room again".to_owned();
    }
    nginx.quit_within(LIMIT);
    drill.end(format_args!(
        "{}: {flips} flips and a reload; {served}; {least:.2}..{most:.2} probes per peer and period; \
         {again}",
        if disk.is_some() { "tmpfs of 64 KiB, full" } else { "no right to mount, logs to /dev/full" }
    ));
}
