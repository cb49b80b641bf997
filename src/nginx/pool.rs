//! Rust values that live as long as an nginx pool.

use core::ffi::c_void;
use core::ptr::NonNull;

use nginx_sys::{ngx_pool_cleanup_add, ngx_pool_t};

/// Moves `value` to the heap and drops it when nginx destroys `pool`. `None` when nginx is out of
/// memory; the value is dropped then.
///
/// # Safety
/// `pool` is a live pool. The pointer must not be used after the pool was destroyed.
pub(crate) unsafe fn keep<T>(pool: *mut ngx_pool_t, value: T) -> Option<NonNull<T>> {
    // SAFETY: the caller vouches for the pool.
    let cleanup = NonNull::new(unsafe { ngx_pool_cleanup_add(pool, 0) })?.as_ptr();
    let kept = NonNull::from(Box::leak(Box::new(value)));
    // SAFETY: nginx just made the record and reads it only when it destroys the pool.
    unsafe {
        (*cleanup).data = kept.as_ptr().cast();
        (*cleanup).handler = Some(drop_kept::<T>);
    }
    Some(kept)
}

/// nginx's call for a kept value when its pool ends.
unsafe extern "C" fn drop_kept<T>(data: *mut c_void) {
    // SAFETY: `data` is the box that `keep` leaked for this record; nginx calls each record once.
    let value = unsafe { Box::from_raw(data.cast::<T>()) };
    super::guard::guard("pool cleanup", (), || drop(value));
}
