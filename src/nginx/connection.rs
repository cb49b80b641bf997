//! One outgoing connection of ours in nginx's event loop.

use core::ffi::c_void;
use core::ptr::NonNull;
use std::io;

use nginx_sys::{
    ngx_close_connection, ngx_connection_t, ngx_event_actions, ngx_event_t, ngx_handle_read_event,
    ngx_handle_write_event, NGX_AGAIN, NGX_OK,
};

use super::address::Address;
use super::guard::guard;

mod connect;

/// Who is told what happens to a connection; `token` is what [`PeerConnection::open`] was given.
pub(crate) trait Observer {
    /// Bytes, the end of the stream or an error can be read.
    fn readable(token: usize);
    /// The connection was made, or has room to write.
    fn writable(token: usize);
    /// nginx is closing idle connections since the process is to end.
    fn closing(token: usize);
}

/// Why a connection could not be begun.
#[derive(Debug)]
pub(crate) enum OpenError {
    /// The peer cannot be connected to: refused, no such socket, unreachable, or of an address
    /// family that this machine does not have. A request would fare no better.
    Peer(io::Error),
    /// This machine has no port left for a connection to that address; others are not concerned.
    Port(io::Error),
    /// No peer can be connected to: no descriptor, connection or memory.
    Local(io::Error),
}

/// What a read brought.
pub(crate) enum Read {
    /// That many bytes are in the buffer.
    Bytes(usize),
    /// The peer ended its side.
    End,
    /// Nothing now.
    Nothing,
    /// The connection is broken.
    Failed,
}

/// What a write took.
pub(crate) enum Write {
    /// That many bytes.
    Bytes(usize),
    /// Nothing now.
    Nothing,
    /// The connection is broken, or was never made.
    Failed,
}

/// A connection to a peer; dropping it closes it. Valid in the process that opened it, until
/// nginx's event loop ends.
pub(crate) struct PeerConnection(NonNull<ngx_connection_t>);

impl PeerConnection {
    /// Begins a connection to `address`; the flag says whether it stands already. Nothing is observed
    /// before [`watch`](Self::watch). `delays_ack` spares a packet where bytes are sent at once; a peer
    /// that waits for the acknowledgement of its first bytes before it sends more then waits for 40 ms
    /// or longer.
    pub(crate) fn open<O: Observer>(
        address: &Address,
        token: usize,
        delays_ack: bool,
    ) -> Result<(PeerConnection, bool), OpenError> {
        let (connection, is_connected) = connect::connect(address, delays_ack)?;
        let opened = PeerConnection(connection);
        let (read, write) = opened.events();
        // SAFETY: nginx just made the connection and its two events; the token is a number that
        // nginx only carries.
        unsafe {
            let c = connection.as_ptr();
            (*c).data = core::ptr::without_provenance_mut::<c_void>(token);
            (*c).set_idle(1);
            (*read).handler = Some(on_read::<O>);
            (*write).handler = Some(on_write::<O>);
        }
        Ok((opened, is_connected))
    }

    /// Its read and its write event.
    fn events(&self) -> (*mut ngx_event_t, *mut ngx_event_t) {
        // SAFETY: an open connection has both events.
        unsafe { (self.0.as_ref().read, self.0.as_ref().write) }
    }

    /// Makes the next read ask the system, also when no event announced anything: an interrupted
    /// wait lets timers run before the events that came meanwhile.
    pub(crate) fn expect_bytes(&mut self) {
        let (read, _) = self.events();
        // SAFETY: the read event of an open connection; nginx's receive function takes -1 for
        // "unknown, ask".
        unsafe {
            (*read).available = -1;
            (*read).set_ready(1);
        }
    }

    /// Reads what is there.
    pub(crate) fn read(&mut self, buffer: &mut [u8]) -> Read {
        let c = self.0.as_ptr();
        // SAFETY: nginx's own receive function for this open connection, into memory that is ours
        // through the call.
        let received =
            unsafe { (*c).recv.map_or(-1, |recv| recv(c, buffer.as_mut_ptr(), buffer.len())) };
        match usize::try_from(received) {
            Ok(0) => Read::End,
            Ok(count) => Read::Bytes(count),
            Err(_) if received == NGX_AGAIN as isize => Read::Nothing,
            Err(_) => Read::Failed,
        }
    }

    /// Writes what fits.
    pub(crate) fn write(&mut self, bytes: &[u8]) -> Write {
        let c = self.0.as_ptr();
        // SAFETY: nginx's own send function for this open connection; it only reads the bytes.
        let sent =
            unsafe { (*c).send.map_or(-1, |send| send(c, bytes.as_ptr().cast_mut(), bytes.len())) };
        match usize::try_from(sent) {
            Ok(count) if count > 0 => Write::Bytes(count),
            Err(_) if sent == NGX_AGAIN as isize => Write::Nothing,
            _ => Write::Failed,
        }
    }

    /// Writes what fits without waiting for the connection to stand: with a peer on this machine it
    /// does as soon as it has begun. Where it does not, that is [`Write::Nothing`].
    pub(crate) fn write_early(&mut self, bytes: &[u8]) -> Write {
        let (_, write) = self.events();
        // SAFETY: the write event of an open connection. nginx, too, takes room for granted in a new
        // connection; its send function says otherwise where there is none.
        unsafe { (*write).set_ready(1) };
        self.write(bytes)
    }

    /// Ends this side of the connection: the peer sees the end of the stream, and ends its own.
    pub(crate) fn end(&mut self) {
        // SAFETY: the descriptor of an open connection. An error is the peer's end, which a read
        // tells.
        unsafe { libc::shutdown(self.0.as_ref().fd, libc::SHUT_WR) };
    }

    /// Has nginx watch the connection, or go on: [`Observer::readable`] will be called, and
    /// [`Observer::writable`] where a write found no room or none was tried; `false` when it cannot.
    pub(crate) fn watch(&mut self) -> bool {
        let (read, write) = self.events();
        // SAFETY: the events of an open connection, and nginx's own functions for them.
        unsafe {
            match ngx_event_actions.add_conn {
                // Both in one system call.
                Some(add) if (*read).active() == 0 && (*write).ready() == 0 => {
                    add(self.0.as_ptr()) == NGX_OK as isize
                }
                _ => {
                    ngx_handle_read_event(read, 0) == NGX_OK as isize
                        && ngx_handle_write_event(write, 0) == NGX_OK as isize
                }
            }
        }
    }
}

impl Drop for PeerConnection {
    fn drop(&mut self) {
        // SAFETY: opened by us and closed nowhere else; nginx ends the events with it.
        unsafe { ngx_close_connection(self.0.as_ptr()) };
    }
}

/// nginx's call when a connection of ours is readable, or is to be closed.
unsafe extern "C" fn on_read<O: Observer>(event: *mut ngx_event_t) {
    guard("read event", (), || {
        // SAFETY: nginx calls with an event of a connection that `open` prepared.
        let (token, is_closing) = unsafe { addressee(event) };
        if is_closing {
            O::closing(token);
        } else {
            O::readable(token);
        }
    });
}

/// nginx's call when a connection of ours is writable.
unsafe extern "C" fn on_write<O: Observer>(event: *mut ngx_event_t) {
    guard("write event", (), || {
        // SAFETY: as in `on_read`.
        let (token, _) = unsafe { addressee(event) };
        O::writable(token);
    });
}

/// The token of the connection that an event belongs to, and whether nginx wants it closed.
///
/// # Safety
/// `event` is an event of a connection that `open` prepared.
unsafe fn addressee(event: *mut ngx_event_t) -> (usize, bool) {
    // SAFETY: `event.data` is the connection.
    unsafe {
        let c = (*event).data.cast::<ngx_connection_t>();
        ((*c).data.addr(), (*c).close() != 0)
    }
}
