//! The C interface: what balancers with peer lists of their own ask for, function by function as the
//! headers in abi/ describe it. The tables of these functions stand beside nginx's, in `module::api`.

pub(crate) mod bound;
pub(crate) mod healthcheck;
pub(crate) mod supervisord;

use nginx_sys::{ngx_int_t, NGX_ERROR, NGX_OK};

/// `NGX_OK` as functions of the headers return it.
const OK: ngx_int_t = NGX_OK as ngx_int_t;
/// `NGX_ERROR` as functions of the headers return it.
const ERROR: ngx_int_t = NGX_ERROR as ngx_int_t;
