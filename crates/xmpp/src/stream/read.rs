//! The reading side of a connection, which also notices when it is dead.

use std::{sync::Arc, time::Duration};

use bytes::BytesMut;
use minidom::Element;
use tokio::{io::AsyncReadExt, net::tcp::OwnedReadHalf, time::timeout};

use super::{
    Echoes, Lost,
    parse::{Incoming, StanzaParser},
};
use crate::ns;

/// A buffer larger than this is given back once it was emptied.
const BUFFER_KEPT: usize = 64 * 1024;

/// Reads stanzas from one connection.
pub(crate) struct Reader {
    pub(crate) socket: OwnedReadHalf,
    pub(crate) parser: StanzaParser,
    pub(crate) buffer: BytesMut,
    pub(crate) echoes: Arc<Echoes>,
    pub(crate) idle: Duration,
}

/// A stanza, and whether it could be read in full.
pub(crate) enum Read {
    /// All of it.
    Whole(Element),
    /// Only its start tag, since it passed a bound.
    TooBig(Element),
}

impl Reader {
    /// The next stanza.
    pub(crate) async fn next(&mut self) -> Result<Read, Lost> {
        loop {
            match self.parser.next(&mut self.buffer)? {
                Some(Incoming::Stanza(error)) if error.is("error", ns::STREAM) => {
                    return Err(Lost::from_stream_error(&error));
                }
                Some(Incoming::Stanza(stanza)) => return Ok(Read::Whole(stanza)),
                Some(Incoming::Refused(start)) => return Ok(Read::TooBig(start)),
                Some(Incoming::Footer) => return Err(Lost::Closed),
                Some(Incoming::Header { .. }) => {}
                None => self.fill().await?,
            }
        }
    }

    /// Waits for octets. Only time spent in here counts as silence: while a consumer is busy
    /// nothing is read, and that says nothing about the server.
    async fn fill(&mut self) -> Result<(), Lost> {
        if self.buffer.is_empty() && self.buffer.capacity() > BUFFER_KEPT {
            self.buffer = BytesMut::new();
        }
        self.buffer.reserve(16 * 1024);
        let read = match timeout(self.idle, self.socket.read_buf(&mut self.buffer)).await {
            Ok(read) => read,
            Err(_) => {
                self.echoes.test();
                let last = self.socket.read_buf(&mut self.buffer);
                timeout(self.idle.mul_f32(0.5), last).await.map_err(|_| Lost::Silent)?
            }
        }?;
        self.acknowledge();
        if read == 0 { Err(Lost::Closed) } else { Ok(()) }
    }

    /// Acknowledges at once what was read. Servers hold a stanza back until the one before it is
    /// acknowledged (Nagle's algorithm, on in Prosody as it comes), and we would wait 40 ms with
    /// that for something to send.
    fn acknowledge(&self) {
        // The kernel forgets it after a while, so it is said each time; where it cannot be said
        // all is as it was.
        #[cfg(target_os = "linux")]
        let _ = rustix::net::sockopt::set_tcp_quickack(self.socket.as_ref(), true);
    }

    /// Reads on for a moment after an error was written: a socket that is closed with unread
    /// octets takes the error back.
    pub(crate) async fn drain(&mut self) {
        let mut nothing = [0; 16 * 1024];
        let drain = async { while matches!(self.socket.read(&mut nothing).await, Ok(1..)) {} };
        // Whoever never stops writing has had the time to read.
        drop(timeout(Duration::from_millis(500), drain).await);
    }
}
