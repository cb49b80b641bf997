//! Response headers that nginx's balancer has added to a request: with `sticky cookie`, it adds one
//! for each peer that it picks anew after it has begun anew.

use nginx_sys::{ngx_http_request_t, ngx_list_part_t, ngx_table_elt_t, ngx_uint_t};

/// The end of a request's list of response headers at some time. Valid as long as the request.
#[derive(Clone, Copy)]
pub(super) struct HeadersEnd {
    /// The list's last part; NULL: nothing is taken back.
    part: *mut ngx_list_part_t,
    /// How many headers that part had.
    count: ngx_uint_t,
}

impl HeadersEnd {
    /// The end now.
    ///
    /// # Safety
    /// `r` is a live request whose list of response headers has been made.
    pub(super) unsafe fn of(r: *mut ngx_http_request_t) -> HeadersEnd {
        // SAFETY: passed on.
        unsafe {
            let part = (*r).headers_out.headers.last;
            HeadersEnd { part, count: part.as_ref().map_or(0, |part| part.nelts) }
        }
    }

    /// Takes back what was added since: nginx does not send headers whose hash is 0.
    ///
    /// # Safety
    /// The request is alive, and nginx has not begun to answer it.
    pub(super) unsafe fn retract(self) {
        let HeadersEnd { mut part, mut count } = self;
        // SAFETY: passed on; a part has `nelts` headers, and the list only grows.
        unsafe {
            while let Some(current) = part.as_ref() {
                let headers = current.elts.cast::<ngx_table_elt_t>();
                for at in count..current.nelts {
                    (*headers.add(at)).hash = 0;
                }
                count = 0;
                part = current.next;
            }
        }
    }
}
