//! Whether a request that finds no peer has an answer in nginx's cache.

use nginx_sys::ngx_http_request_t;

/// Whether nginx serves the request from its cache, although the entry is stale, when there is no
/// peer: then the request must not wait for one.
///
/// # Safety
/// `r` is a live request with an upstream.
#[cfg(ngx_feature = "http_cache")]
pub(super) unsafe fn may_serve_stale(r: *mut ngx_http_request_t) -> bool {
    use nginx_sys::{ngx_uint_t, NGX_HTTP_CACHE_EXPIRED, NGX_HTTP_UPSTREAM_FT_NOLIVE};

    // SAFETY: passed on; the upstream's configuration lives as long as the cycle.
    unsafe {
        let u = &*(*r).upstream;
        let says_so = (*u.conf).cache_use_stale & NGX_HTTP_UPSTREAM_FT_NOLIVE as ngx_uint_t != 0
            || (*r).cache.as_ref().is_some_and(|cache| cache.stale_error() != 0);
        u.cache_status() == NGX_HTTP_CACHE_EXPIRED && says_so
    }
}

/// As above, of an nginx without a cache.
///
/// # Safety
/// Never unsafe.
#[cfg(not(ngx_feature = "http_cache"))]
pub(super) unsafe fn may_serve_stale(_: *mut ngx_http_request_t) -> bool {
    false
}
