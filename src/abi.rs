//! The C interface: what balancers with peer lists of their own ask for, function by function as the
//! headers in abi/ describe it. The tables of these functions stand beside nginx's, in `module::api`.

pub(crate) mod bound;
pub(crate) mod chain;
pub(crate) mod healthcheck;
pub(crate) mod supervisord;

use nginx_sys::{ngx_http_upstream_srv_conf_t, ngx_int_t, NGX_ERROR, NGX_OK};

use crate::conf::complete::Block;
use crate::conf::registered;
use crate::nginx::upstream::Upstream;

/// `NGX_OK` as functions of the headers return it.
const OK: ngx_int_t = NGX_OK as ngx_int_t;
/// `NGX_ERROR` as functions of the headers return it.
const ERROR: ngx_int_t = NGX_ERROR as ngx_int_t;

/// What the two modules keep for an upstream block of the configuration that is being read; `None` while
/// none is read, for an implicit upstream and for NULL.
///
/// # Safety
/// `uscf` is NULL, or a block of the configuration that is being read, if one is.
unsafe fn block(uscf: *mut ngx_http_upstream_srv_conf_t) -> Option<Block> {
    let places = registered::reading()?;
    // SAFETY: passed on; both modules made their records before any block could be asked for.
    unsafe {
        let upstream = Upstream::new(uscf)?;
        Some(Block {
            upstream,
            health: upstream.srv_conf(places.health)?,
            programs: upstream.srv_conf(places.programs)?,
        })
    }
}
