//! The life of a configuration: complete, with its shared memory, running, gone.

use core::ffi::c_void;
use core::ptr::null_mut;

use nginx_sys::{
    ngx_conf_t, ngx_cycle_t, ngx_http_upstream_main_conf_t, ngx_int_t, ngx_shm_zone_t,
};

use super::healthcheck::{init_and_follow, init_peer, this};
use super::{api, create_conf, supervisord, upstream_module, ERROR, OK};
use crate::conf::command::CommandPages;
use crate::conf::complete::Block;
use crate::conf::registered::{self, Places};
use crate::conf::{complete, MainConf, SupervisordConf, UpstreamConf};
use crate::nginx::conf::{conf_log, cycle_main_conf, is_reload, main_conf};
use crate::nginx::guard::guard;
use crate::nginx::log::{log, Level};
use crate::nginx::process::{is_config_test, role, worker_processes, CycleId, ProcessLocal, Role};
use crate::nginx::request::upstreams_of;
use crate::nginx::shm::{self, SharedZone};
use crate::nginx::upgrade;
use crate::worker;

/// The name of the zone; longer than what anybody would call a zone of their own.
const ZONE_NAME: &[u8] = b"ngx_http_healthcheck_module";

/// The main configuration as nginx keeps it: when it goes, a worker that still uses it ends.
pub(crate) struct Main(pub(super) MainConf);

impl Default for Main {
    fn default() -> Main {
        api::begin();
        Main(MainConf::default())
    }
}

impl Drop for Main {
    fn drop(&mut self) {
        worker::life::stop_under(&self.0);
        registered::end(&self.0);
        api::end();
    }
}

/// Begins a configuration, for which balancers may register their peers from now on.
pub(super) unsafe extern "C" fn create_main_conf(cf: *mut ngx_conf_t) -> *mut c_void {
    guard("create_main_conf", null_mut(), || {
        // SAFETY: nginx passes its parser; `create_conf` makes the record.
        let (conf, is_reload) = unsafe { (create_conf::<Main>(cf), is_reload(cf)) };
        // SAFETY: it was just made.
        if let Some(Main(main)) = unsafe { conf.cast::<Main>().as_ref() } {
            let places =
                Places { health: this().ctx_index, programs: supervisord::this().ctx_index };
            registered::begin(main, places, is_reload);
        }
        conf
    })
}

/// Whether this process is nginx's only one and has begun its work.
static SINGLE: ProcessLocal<bool> = ProcessLocal::new(false);

/// Completes the configuration: every directive was read, every balancer is set up.
pub(super) unsafe extern "C" fn postconfiguration(cf: *mut ngx_conf_t) -> ngx_int_t {
    guard("postconfiguration", ERROR, || {
        // SAFETY: nginx passes its parser inside the `http` block; both modules made their records.
        let (main, upstreams) = unsafe {
            let conf = main_conf::<ngx_http_upstream_main_conf_t>(cf, upstream_module());
            (main_conf::<Main>(cf, this()), conf.map_or_else(Vec::new, |conf| upstreams_of(conf)))
        };
        let Some(Main(main)) = main else { return ERROR };
        registered::end(main);
        // SAFETY: `create_conf` made the records, which live as long as the cycle.
        let blocks = upstreams.iter().filter_map(|upstream| unsafe {
            Some(Block {
                upstream: *upstream,
                health: upstream.srv_conf::<UpstreamConf>(this().ctx_index)?,
                programs: upstream.srv_conf::<SupervisordConf>(supervisord::this().ctx_index)?,
            })
        });
        // SAFETY: `create_conf` made the record.
        let Some(pages) = (unsafe { main_conf::<CommandPages>(cf, supervisord::this()) }) else {
            return ERROR;
        };
        let is_managed = |upstream| blocks.clone().any(|block| block.is_managed(upstream));
        if let Err(error) = pages.resolve(&upstreams, is_managed) {
            // SAFETY: `cf` is this callback's.
            unsafe { conf_log(cf, Level::Emerg, &error) };
            return ERROR;
        }
        // SAFETY: `cf` is this callback's.
        let warn = |idle| unsafe { conf_log(cf, Level::Warn, &idle) };
        let watched = match complete::watched(blocks, warn) {
            Ok(watched) => watched,
            Err(unusable) => {
                // SAFETY: `cf` is this callback's.
                unsafe { conf_log(cf, Level::Emerg, &unusable) };
                return ERROR;
            }
        };
        for one in &watched {
            let uscf = one.upstream.as_ptr();
            // SAFETY: a live upstream whose balancer has set its `peer.init`.
            unsafe {
                let inner = (*uscf).peer.init;
                one.conf.gate.set_inner(inner, init_and_follow, one.conf.is_wrapped());
                (*uscf).peer.init = Some(init_peer);
            }
        }
        if watched.is_empty() {
            return OK;
        }
        main.set_watched(watched);
        // SAFETY: `cf` is this callback's; the configuration lives as long as the cycle.
        if unsafe { request_zone(cf, main) } {
            OK
        } else {
            ERROR
        }
    })
}

/// Asks nginx for the module's zone.
///
/// # Safety
/// `cf` is the argument of the configuration callback that is running.
unsafe fn request_zone(cf: *mut ngx_conf_t, main: &MainConf) -> bool {
    // SAFETY: passed on; `main` lives in the cycle's pool.
    unsafe {
        let (size, replace) = main.plan_zone(shm::old_zone(cf, ZONE_NAME, this()));
        let data = (&raw const *main).cast_mut().cast();
        shm::request_zone(cf, ZONE_NAME, size, this(), replace, init_zone, data)
    }
}

/// Fills the zone, which nginx has just mapped or kept.
unsafe extern "C" fn init_zone(zone: *mut ngx_shm_zone_t, _: *mut c_void) -> ngx_int_t {
    guard("zone init", ERROR, || {
        // SAFETY: nginx passes the zone that `request_zone` asked for.
        let (main, memory) = unsafe { (shm::requested::<MainConf>(zone), SharedZone::new(zone)) };
        let (Some(main), Some(memory)) = (main, memory) else { return ERROR };
        if let Err(error) = main.init_zone(memory) {
            log!(Level::Emerg, "healthcheck: {error}");
            return ERROR;
        }
        // SAFETY: `zone` is this callback's.
        unsafe { shm::settle_zone(zone) };
        OK
    })
}

/// The module's configuration in a cycle; `None` without an `http` block.
///
/// # Safety
/// `cycle` is a live cycle; the result is not used after it ended.
unsafe fn cycle_main<'a>(cycle: *mut ngx_cycle_t) -> Option<&'a MainConf> {
    // SAFETY: `create_conf` made the record.
    unsafe { cycle_main_conf::<Main>(cycle, this()) }.map(|Main(main)| main)
}

/// The new configuration is complete and can no longer fail.
pub(super) unsafe extern "C" fn init_module(cycle: *mut ngx_cycle_t) -> ngx_int_t {
    guard("init_module", ERROR, || {
        if is_config_test() {
            return OK;
        }
        // SAFETY: nginx passes the new cycle; the worker that gets its configuration is ended
        // before the cycle is (`Main::drop`).
        let main = unsafe { cycle_main(cycle) };
        if let Some(main) = main {
            // SAFETY: nginx passes the new cycle, which is complete.
            unsafe { upgrade::find_older_master(cycle) };
            main.commit();
            worker::monitors::tell_first(main);
        }
        // Without a master, `init_process` is not called again on a reload.
        if SINGLE.with(|is_running| *is_running) == Some(true) {
            // SAFETY: nginx passes the new cycle.
            unsafe { start_worker(cycle) };
        }
        OK
    })
}

/// A process begins its work.
pub(super) unsafe extern "C" fn init_process(cycle: *mut ngx_cycle_t) -> ngx_int_t {
    guard("init_process", OK, || {
        match role() {
            Role::Other => return OK,
            Role::Single => {
                SINGLE.with(|is_running| *is_running = true);
            }
            Role::Worker => {}
        }
        // SAFETY: nginx passes the process's cycle.
        unsafe { start_worker(cycle) };
        OK
    })
}

/// Starts this process's worker under the configuration of `cycle`.
///
/// # Safety
/// `cycle` is a live cycle.
unsafe fn start_worker(cycle: *mut ngx_cycle_t) {
    // SAFETY: the worker is ended before the cycle's pool is (`Main::drop`).
    match unsafe { (cycle_main(cycle), worker_processes(cycle)) } {
        (Some(main), workers) => worker::life::start(main, CycleId::of(cycle), workers),
        (None, _) => worker::life::stop(),
    }
}

/// A process ends.
pub(super) unsafe extern "C" fn exit_process(_: *mut ngx_cycle_t) {
    guard("exit_process", (), || {
        worker::life::stop();
        worker::drain::stop();
    });
}
