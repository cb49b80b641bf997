//! Socket addresses: copied, compared, handed to connect.

use nginx_sys::{ngx_sock_ntop, sockaddr, socklen_t};

/// The largest socket address nginx has (`sockaddr_storage`).
const MAX_ADDRESS: usize = 128;

/// A socket address, copied.
#[derive(Clone, Copy)]
#[repr(C, align(8))]
pub(crate) struct Address {
    /// The `sockaddr` of some family.
    bytes: [u8; MAX_ADDRESS],
    /// How many bytes of it count.
    len: socklen_t,
}

impl Address {
    /// A copy; `None` for a NULL or oversized address.
    ///
    /// # Safety
    /// `sockaddr` is NULL or points to `len` readable bytes.
    pub(crate) unsafe fn copy(sockaddr: *const sockaddr, len: socklen_t) -> Option<Address> {
        // SAFETY: passed on.
        let source = unsafe { raw_address(sockaddr, len) };
        let mut bytes = [0; MAX_ADDRESS];
        bytes.get_mut(..source.len())?.copy_from_slice(source);
        (!source.is_empty()).then_some(Address { bytes, len })
    }

    /// The bytes of the `sockaddr`, as nginx has them.
    pub(crate) fn bytes(&self) -> &[u8] {
        usize::try_from(self.len).ok().and_then(|len| self.bytes.get(..len)).unwrap_or_default()
    }

    /// The address as text, with its port.
    pub(crate) fn text(&self) -> Box<[u8]> {
        let mut text = [0; MAX_ADDRESS];
        // SAFETY: nginx reads the address, whose memory has room for that of any family, and writes
        // `text` up to its length. It takes the address by a pointer to what it may change, and does
        // not change it.
        let len = unsafe {
            let address = self.bytes.as_ptr().cast_mut().cast();
            ngx_sock_ntop(address, self.len, text.as_mut_ptr(), text.len(), 1)
        };
        text.get(..len).unwrap_or_default().into()
    }

    /// For nginx's connect; it reads the address and copies what it keeps.
    pub(crate) fn as_sockaddr(&self) -> (*const sockaddr, socklen_t) {
        (self.bytes.as_ptr().cast(), self.len)
    }

    /// The part of the address that names the peer, whatever padding came with it.
    pub(crate) fn canonical(&self) -> &[u8] {
        canonical(self.bytes())
    }
}

/// Family, port and address of an internet address; the path of a unix socket up to its NUL.
pub(crate) fn canonical(bytes: &[u8]) -> &[u8] {
    let family = bytes.first_chunk::<2>().map_or(0, |raw| i32::from(u16::from_ne_bytes(*raw)));
    let end = match family {
        libc::AF_INET => 8,
        // Flow label and scope come with the address.
        libc::AF_INET6 => 28,
        libc::AF_UNIX => {
            let path = bytes.get(3..).unwrap_or_default();
            3 + path.iter().position(|byte| *byte == 0).unwrap_or(path.len())
        }
        _ => bytes.len(),
    };
    bytes.get(..end).unwrap_or(bytes)
}

/// The bytes of an address in nginx's memory; empty for NULL.
///
/// # Safety
/// `sockaddr` is NULL or points to `len` bytes that stay unchanged for `'a`.
pub(crate) unsafe fn raw_address<'a>(sockaddr: *const sockaddr, len: socklen_t) -> &'a [u8] {
    match usize::try_from(len) {
        // SAFETY: the caller vouches for the length.
        Ok(len) if !sockaddr.is_null() => unsafe {
            core::slice::from_raw_parts(sockaddr.cast(), len)
        },
        _ => &[],
    }
}
