//! An http request that a content handler answers with one buffer.

use core::mem::size_of;
use core::ptr::{null_mut, NonNull};

use nginx_sys::{
    ngx_buf_t, ngx_chain_t, ngx_http_discard_request_body, ngx_http_output_filter,
    ngx_http_request_t, ngx_http_send_header, ngx_http_upstream_main_conf_t,
    ngx_http_upstream_srv_conf_t, ngx_int_t, ngx_list_push, ngx_module_t, ngx_pcalloc, ngx_str_t,
    ngx_table_elt_t, NGX_ERROR, NGX_HTTP_GET, NGX_HTTP_HEAD, NGX_HTTP_INTERNAL_SERVER_ERROR,
    NGX_HTTP_OK, NGX_HTTP_POST, NGX_OK,
};

use super::conf::{record, text};
use super::pool::keep;
use super::upstream::Upstream;

/// Methods that a page tells apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Method {
    /// GET
    Get,
    /// HEAD
    Head,
    /// POST
    Post,
    /// Any other.
    Other,
}

/// A request in its content handler; valid during the call.
pub(crate) struct Request(NonNull<ngx_http_request_t>);

impl Request {
    /// # Safety
    /// `r` is the argument of the content handler that is running.
    pub(crate) unsafe fn new(r: *mut ngx_http_request_t) -> Option<Request> {
        NonNull::new(r).map(Request)
    }

    /// nginx's record.
    fn raw(&self) -> &ngx_http_request_t {
        // SAFETY: `new`'s caller vouches for it.
        unsafe { self.0.as_ref() }
    }

    /// Whether the method is GET or HEAD.
    pub(crate) fn is_get_or_head(&self) -> bool {
        matches!(self.method(), Method::Get | Method::Head)
    }

    /// The method.
    pub(crate) fn method(&self) -> Method {
        match u32::try_from(self.raw().method) {
            Ok(NGX_HTTP_GET) => Method::Get,
            Ok(NGX_HTTP_HEAD) => Method::Head,
            Ok(NGX_HTTP_POST) => Method::Post,
            _ => Method::Other,
        }
    }

    /// The path, decoded.
    pub(crate) fn path(&self) -> &[u8] {
        // SAFETY: the request's pool, which lives through the handler.
        unsafe { text(&self.raw().uri) }
    }

    /// The first header field with this name.
    pub(crate) fn header(&self, name: &[u8]) -> Option<&[u8]> {
        self.headers(name).first().copied()
    }

    /// Every header field with this name.
    pub(crate) fn headers(&self, name: &[u8]) -> Vec<&[u8]> {
        let mut found = Vec::new();
        let mut part = &raw const self.raw().headers_in.headers.part;
        // SAFETY: nginx's list of the request's header fields, which lives through the handler;
        // each part has `nelts` fields.
        unsafe {
            while let Some(current) = part.as_ref() {
                if current.nelts > 0 {
                    let fields: &[ngx_table_elt_t] =
                        core::slice::from_raw_parts(current.elts.cast(), current.nelts);
                    let named =
                        fields.iter().filter(|field| text(&field.key).eq_ignore_ascii_case(name));
                    found.extend(named.map(|field| text(&field.value)));
                }
                part = current.next;
            }
        }
        found
    }

    /// Forbids caches to keep the response. `false` when nginx is out of memory.
    pub(crate) fn forbid_caching(&mut self) -> bool {
        let r = self.0.as_ptr();
        // SAFETY: nginx's list of the response's header fields; the texts are static, and a hash
        // that is not 0 makes nginx send the field.
        unsafe {
            let field = ngx_list_push(&raw mut (*r).headers_out.headers).cast::<ngx_table_elt_t>();
            let Some(field) = field.as_mut() else { return false };
            *field = core::mem::zeroed();
            field.hash = 1;
            field.key = static_str("Cache-Control");
            field.value = static_str("no-store");
        }
        true
    }

    /// The query string.
    pub(crate) fn query(&self) -> &[u8] {
        // SAFETY: part of the request's buffer, which lives through the handler.
        unsafe { text(&self.raw().args) }
    }

    /// The main configuration of `module`, of the configuration that the request came in under.
    ///
    /// # Safety
    /// `T` is what the module's `create_main_conf` made.
    pub(crate) unsafe fn main_conf<T>(&self, module: &ngx_module_t) -> Option<&T> {
        // SAFETY: passed on; the request holds its configuration.
        unsafe { record(self.raw().main_conf, module.ctx_index) }
    }

    /// The location configuration of `module`.
    ///
    /// # Safety
    /// `T` is what the module's `create_loc_conf` made.
    pub(crate) unsafe fn loc_conf<T>(&self, module: &ngx_module_t) -> Option<&T> {
        // SAFETY: passed on; the request holds its configuration.
        unsafe { record(self.raw().loc_conf, module.ctx_index) }
    }

    /// Every upstream of the configuration, explicit or implicit.
    /// `module` is nginx's http upstream module.
    pub(crate) fn upstreams(&self, module: &ngx_module_t) -> Vec<Upstream> {
        // SAFETY: the http upstream module is always there, and made this record.
        let conf = unsafe { self.main_conf(module) };
        // SAFETY: the array's elements are pointers to live upstream configurations.
        conf.map_or_else(Vec::new, |conf| unsafe { upstreams_of(conf) })
    }

    /// Reads and drops the request's body. An error is the status that the handler must return.
    pub(crate) fn discard_body(&mut self) -> Result<(), ngx_int_t> {
        // SAFETY: the request is in its content handler.
        let rc = unsafe { ngx_http_discard_request_body(self.0.as_ptr()) };
        if rc == NGX_OK as ngx_int_t {
            Ok(())
        } else {
            Err(rc)
        }
    }

    /// Answers 200 with `body`; a HEAD request gets the header. `content_type` may end in
    /// `; charset=...`. Returns what the handler must return.
    pub(crate) fn respond(&mut self, content_type: &'static str, body: Vec<u8>) -> ngx_int_t {
        let (mime, charset) = content_type.split_once("; charset=").unwrap_or((content_type, ""));
        let r = self.0.as_ptr();
        let length = body.len();
        // SAFETY: the request and its pool live until the response was sent; the body lives as
        // long as the pool; nginx only reads the strings, which are static.
        unsafe {
            (*r).headers_out.status = NGX_HTTP_OK as usize;
            (*r).headers_out.content_type = static_str(mime);
            (*r).headers_out.content_type_len = mime.len();
            (*r).headers_out.charset = static_str(charset);
            (*r).headers_out.content_length_n = i64::try_from(length).unwrap_or(-1);

            let rc = ngx_http_send_header(r);
            // nginx's own modules ask `header_only`, whose bit bindgen misplaces from 1.30 on, where
            // a 16-bit field stands before it. A filter may have made a 304 of the 200.
            let is_header_only = (*r).method & NGX_HTTP_HEAD as usize != 0
                || (*r).headers_out.status != NGX_HTTP_OK as usize;
            if rc == NGX_ERROR as ngx_int_t || rc > NGX_OK as ngx_int_t || is_header_only {
                return rc;
            }
            let buffer = ngx_pcalloc((*r).pool, size_of::<ngx_buf_t>()).cast::<ngx_buf_t>();
            let (Some(buffer), Some(mut body)) = (buffer.as_mut(), keep((*r).pool, body)) else {
                return NGX_HTTP_INTERNAL_SERVER_ERROR as ngx_int_t;
            };
            let range = body.as_mut().as_mut_ptr_range();
            buffer.pos = range.start;
            buffer.last = range.end;
            buffer.set_memory(u32::from(length > 0));
            buffer.set_last_buf(u32::from((*r).main == r));
            buffer.set_last_in_chain(1);
            let mut chain = ngx_chain_t { buf: buffer, next: null_mut() };
            ngx_http_output_filter(r, &raw mut chain)
        }
    }
}

/// Every upstream of an http configuration.
///
/// # Safety
/// `conf` is the upstream module's complete main configuration.
pub(crate) unsafe fn upstreams_of(conf: &ngx_http_upstream_main_conf_t) -> Vec<Upstream> {
    // SAFETY: the array's elements are pointers to upstream configurations of the same cycle.
    unsafe {
        let all: &[*mut ngx_http_upstream_srv_conf_t] = conf.upstreams.as_slice();
        all.iter().filter_map(|uscf| Upstream::new(*uscf)).collect()
    }
}

/// An nginx string over static text.
fn static_str(text: &'static str) -> ngx_str_t {
    ngx_str_t { len: text.len(), data: text.as_ptr().cast_mut() }
}
