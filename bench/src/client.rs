//! One client that keeps its connection.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// How long an answer may take; servers under valgrind are slow.
const PATIENCE: Duration = Duration::from_secs(60);

/// A connection over which one request after the other goes.
pub struct Client {
    stream: BufReader<TcpStream>,
}

impl Client {
    /// Connects.
    ///
    /// # Errors
    /// Those of `connect`.
    pub fn connect(to: SocketAddr) -> io::Result<Client> {
        let stream = TcpStream::connect(to)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        Ok(Client { stream: BufReader::with_capacity(1 << 20, stream) })
    }

    /// Asks for a path, and returns the length of the body.
    ///
    /// # Errors
    /// Those of the connection; `InvalidData` if the answer is not 200 with a length.
    pub fn get(&mut self, path: &str) -> io::Result<usize> {
        let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n");
        self.stream.get_mut().write_all(request.as_bytes())?;

        let status = self.line()?;
        let mut length = None;
        loop {
            let line = self.line()?.to_ascii_lowercase();
            if line.is_empty() {
                break;
            }
            if let Some(value) = line.strip_prefix("content-length:") {
                length = value.trim().parse::<usize>().ok();
            }
        }
        let Some(length) = length.filter(|_| status.starts_with("HTTP/1.1 200 ")) else {
            return Err(io::Error::new(io::ErrorKind::InvalidData, status));
        };
        let read = io::copy(&mut (&mut self.stream).take(length as u64), &mut io::sink())?;
        if read == length as u64 {
            Ok(length)
        } else {
            Err(io::ErrorKind::UnexpectedEof.into())
        }
    }

    fn line(&mut self) -> io::Result<String> {
        let mut line = String::new();
        self.stream.read_line(&mut line)?;
        Ok(line.trim_end().to_owned())
    }
}
