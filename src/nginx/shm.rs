//! A shared memory zone of our own: asking for it, finding the old cycle's, its memory, its lock.

use core::ffi::c_void;
use core::ptr::NonNull;

use nginx_sys::{
    ngx_conf_t, ngx_cycle_t, ngx_module_t, ngx_pagesize, ngx_shared_memory_add, ngx_shm_zone_t,
    ngx_shmtx_trylock, ngx_shmtx_unlock, ngx_slab_calloc, ngx_slab_pool_t, ngx_str_t,
};

/// What nginx calls to initialise a zone; the second argument is the old zone's data or NULL.
pub(crate) type InitZone = unsafe extern "C" fn(*mut ngx_shm_zone_t, *mut c_void) -> isize;

/// The running configuration's zone of the same name.
pub(crate) struct OldZone {
    /// Its size in bytes.
    pub(crate) size: usize,
    /// Whether nginx lets the new configuration have it: not if it is that of another file of the module.
    pub(crate) is_own: bool,
    /// Its memory.
    pub(crate) memory: SharedZone,
}

/// The zone `name` of `module`, or of another file of the module, in the configuration that `cf` is to
/// replace; `None` at the first start, in `nginx -t`, or when the running configuration has none.
///
/// # Safety
/// `cf` is the argument of the configuration callback that is running; nobody else has zones of this
/// name.
pub(crate) unsafe fn old_zone(
    cf: *mut ngx_conf_t,
    name: &[u8],
    module: &ngx_module_t,
) -> Option<OldZone> {
    let tag = (&raw const *module).cast_mut().cast::<c_void>();
    // SAFETY: `old_cycle` is the running cycle or main()'s zeroed one, whose list is empty; nginx
    // frees neither before the new configuration is complete.
    unsafe {
        let old: *mut ngx_cycle_t = (*(*cf).cycle).old_cycle;
        let mut part = &raw const old.as_ref()?.shared_memory.part;
        while let Some(current) = part.as_ref() {
            for index in 0..current.nelts {
                let zone = &*current.elts.cast::<ngx_shm_zone_t>().add(index);
                if super::conf::text(&zone.shm.name) == name {
                    let memory = SharedZone::from_data(zone.data)?;
                    let is_own = zone.tag == tag;
                    return Some(OldZone { size: zone.shm.size, is_own, memory });
                }
            }
            part = current.next;
        }
    }
    None
}

/// Asks nginx for a zone of `size` bytes. nginx keeps the running configuration's zone when name,
/// owner and size are the same and `replace` is false; with `replace` it always makes a new one.
/// `false` when nginx refuses, after logging why.
///
/// # Safety
/// `cf` is the argument of the configuration callback that is running; `data` outlives the cycle.
pub(crate) unsafe fn request_zone(
    cf: *mut ngx_conf_t,
    name: &'static [u8],
    size: usize,
    module: &'static ngx_module_t,
    replace: bool,
    init: InitZone,
    data: *mut c_void,
) -> bool {
    let mut name = ngx_str_t { len: name.len(), data: name.as_ptr().cast_mut() };
    let tag = (&raw const *module).cast_mut().cast::<c_void>();
    // SAFETY: nginx copies the name's pointer, which is static; it never writes through it.
    unsafe {
        let zone = ngx_shared_memory_add(cf, &raw mut name, size, tag);
        let Some(zone) = zone.as_mut() else { return false };
        zone.init = Some(init);
        zone.data = data;
        zone.noreuse = usize::from(replace);
    }
    true
}

/// The size of a zone from which one block of `bytes` can be had: the slab allocator's own pages,
/// page records and counters come on top.
pub(crate) fn zone_size(bytes: usize) -> usize {
    // SAFETY: nginx sets the page size before it reads a configuration.
    let page = unsafe { ngx_pagesize }.max(1);
    let pages = bytes.div_ceil(page);
    // A page record takes 24 bytes of each page's 4096; 32 leaves room for alignment.
    (pages + (pages * 32).div_ceil(page) + 8) * page
}

/// A zone in its init callback, or afterwards.
#[derive(Clone, Copy)]
pub(crate) struct SharedZone {
    /// nginx's slab pool at the start of the zone.
    pool: NonNull<ngx_slab_pool_t>,
}

impl SharedZone {
    /// The memory of `zone`.
    ///
    /// # Safety
    /// `zone` is the argument of its init callback. The result is valid while this process has the
    /// zone mapped: in workers for good, in the master until a reload replaced the zone.
    pub(crate) unsafe fn new(zone: *mut ngx_shm_zone_t) -> Option<SharedZone> {
        // SAFETY: nginx mapped the zone and put a slab pool at its start.
        unsafe { SharedZone::from_data((*zone).shm.addr.cast()) }
    }

    /// The memory that [`settle_zone`] left for the next configuration.
    ///
    /// # Safety
    /// `data` is NULL or what `settle_zone` left; for how long it is valid, see `new`.
    pub(crate) unsafe fn from_data(data: *mut c_void) -> Option<SharedZone> {
        Some(SharedZone { pool: NonNull::new(data.cast())? })
    }

    /// Makes the zone's one block: `bytes` zeroed bytes, aligned to a page. `None` when the zone
    /// is too small.
    pub(crate) fn allocate(self, bytes: usize) -> Option<NonNull<c_void>> {
        // SAFETY: the pool is mapped (see `new`); nginx takes its mutex itself, and leaves `data`
        // to the zone's owner.
        unsafe {
            let block = NonNull::new(ngx_slab_calloc(self.pool.as_ptr(), bytes))?;
            (*self.pool.as_ptr()).data = block.as_ptr();
            Some(block)
        }
    }

    /// The block that `allocate` made.
    pub(crate) fn block(self) -> Option<NonNull<c_void>> {
        // SAFETY: the pool is mapped (see `new`).
        NonNull::new(unsafe { (*self.pool.as_ptr()).data })
    }

    /// nginx's mutex of the zone, if nobody holds it. nginx frees it when its holder is killed.
    pub(crate) fn try_lock(self) -> Option<ZoneLock> {
        // SAFETY: the pool is mapped (see `new`).
        let taken = unsafe { ngx_shmtx_trylock(&raw mut (*self.pool.as_ptr()).mutex) };
        (taken != 0).then_some(ZoneLock { pool: self.pool })
    }
}

/// The mutex of a zone, held; dropping it, also by an unwind, gives it back.
pub(crate) struct ZoneLock {
    /// The pool that has the mutex.
    pool: NonNull<ngx_slab_pool_t>,
}

impl Drop for ZoneLock {
    fn drop(&mut self) {
        // SAFETY: `try_lock` took it in this process.
        unsafe { ngx_shmtx_unlock(&raw mut (*self.pool.as_ptr()).mutex) };
    }
}

/// Leaves the zone's memory for the next configuration's init callback, and lets nginx keep the
/// zone then.
///
/// nginx decides which old zones to unmap by the *old* zone's `noreuse`: one that was made with
/// `noreuse` and is kept by the next reload would be unmapped under the new configuration.
///
/// # Safety
/// `zone` is the argument of its init callback.
pub(crate) unsafe fn settle_zone(zone: *mut ngx_shm_zone_t) {
    // SAFETY: nginx's record of the zone is ours to fill in during init.
    unsafe {
        (*zone).data = (*zone).shm.addr.cast();
        (*zone).noreuse = 0;
    }
}

/// What `request_zone` was given as `data`.
///
/// # Safety
/// `zone` is the argument of its init callback, before `settle_zone`; `data` was a `T`.
pub(crate) unsafe fn requested<'a, T>(zone: *mut ngx_shm_zone_t) -> Option<&'a T> {
    // SAFETY: the caller vouches for the type.
    unsafe { (*zone).data.cast::<T>().as_ref() }
}
