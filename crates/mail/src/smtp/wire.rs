//! The connection: lines in, replies out, encrypted or not.

use std::ops::Range;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use memchr::memchr2;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::time::{Instant, timeout, timeout_at};
use tokio_rustls::server::TlsStream;

use super::Reply;

/// Octets read at once; also the longest command line that can be taken.
const INPUT: usize = 16 * 1024;
/// Replies that wait for more input are written out beyond this.
const OUTPUT: usize = 16 * 1024;

/// A stream that may become encrypted.
pub(crate) enum MaybeTls<S> {
    Plain(S),
    Tls(Box<TlsStream<S>>),
    /// Between the two, and after a handshake that failed.
    Gone,
}

/// Why there is no line.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum BadLine {
    /// A CR or LF that stands alone (RFC 5321 section 2.3.8).
    Stray,
    /// Longer than allowed.
    TooLong,
}

/// A buffered connection.
pub(crate) struct Wire<S> {
    stream: MaybeTls<S>,
    input: Box<[u8]>,
    unread: Range<usize>,
    output: Vec<u8>,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Wire<S> {
    pub(crate) fn new(stream: MaybeTls<S>) -> Self {
        Self { stream, input: vec![0; INPUT].into(), unread: 0..0, output: Vec::new() }
    }

    /// Octets that were read and not used yet.
    pub(crate) fn unread(&self) -> &[u8] {
        &self.input[self.unread.clone()]
    }

    /// The octets of a line that [`Wire::take_line`] found; valid until the next read.
    pub(crate) fn line(&self, line: Range<usize>) -> &[u8] {
        &self.input[line]
    }

    /// Marks octets as used.
    pub(crate) fn consume(&mut self, count: usize) {
        self.unread.start += count;
        debug_assert!(self.unread.start <= self.unread.end, "consumed more than was read");
    }

    /// Throws away what was read.
    pub(crate) fn discard(&mut self) {
        self.unread = 0..0;
    }

    /// The next line without its CRLF, if it is there completely. `max` counts the CRLF.
    pub(crate) fn take_line(&mut self, max: usize) -> Option<Result<Range<usize>, BadLine>> {
        let unread = self.unread();
        let end = match memchr2(b'\r', b'\n', unread) {
            None if unread.len() >= max.min(INPUT) => return Some(Err(BadLine::TooLong)),
            None => return None,
            Some(end) => end,
        };
        if end + 2 > max {
            return Some(Err(BadLine::TooLong));
        }
        match (unread[end], unread.get(end + 1)) {
            (b'\r', None) => None,
            (b'\r', Some(b'\n')) => {
                let start = self.unread.start;
                self.consume(end + 2);
                Some(Ok(start..start + end))
            }
            _ => Some(Err(BadLine::Stray)),
        }
    }

    /// Reads once; zero is the end of the stream.
    pub(crate) async fn fill(&mut self) -> std::io::Result<usize> {
        if self.unread.is_empty() {
            self.unread = 0..0;
        } else if self.unread.end == self.input.len() {
            self.input.copy_within(self.unread.clone(), 0);
            self.unread = 0..self.unread.len();
        }
        let count = self.stream.read(&mut self.input[self.unread.end..]).await?;
        self.unread.end += count;
        Ok(count)
    }

    /// Queues a reply; it goes out before the next wait for input, in one write with its neighbours.
    pub(crate) fn say(&mut self, reply: &Reply) {
        reply.write(&mut self.output);
    }

    /// Whether so many replies are queued that they should go out now.
    pub(crate) fn is_full(&self) -> bool {
        self.output.len() >= OUTPUT
    }

    /// Writes what is queued; an error also if the peer does not take it in time.
    pub(crate) async fn flush(&mut self, limit: Duration) -> std::io::Result<()> {
        if self.output.is_empty() {
            return Ok(());
        }
        let write = async {
            self.stream.write_all(&self.output).await?;
            self.stream.flush().await
        };
        timeout(limit, write).await??;
        self.output.clear();
        Ok(())
    }

    /// Encrypts the connection from here on (RFC 3207).
    pub(crate) async fn start_tls(
        &mut self,
        config: std::sync::Arc<rustls::ServerConfig>,
        limit: Duration,
    ) -> std::io::Result<()> {
        let MaybeTls::Plain(plain) = std::mem::replace(&mut self.stream, MaybeTls::Gone) else {
            return Err(std::io::Error::other("the connection is encrypted already"));
        };
        let accept = tokio_rustls::TlsAcceptor::from(config).accept(plain);
        self.stream = MaybeTls::Tls(Box::new(timeout(limit, accept).await??));
        Ok(())
    }

    /// Says what is queued and closes, so that the peer gets to read it: a socket that is closed
    /// with unread input is reset, and the reset may overtake our last words.
    pub(crate) async fn close(&mut self, limit: Duration) {
        if self.flush(limit).await.is_err() {
            return;
        }
        let linger = Instant::now() + Duration::from_secs(1).min(limit);
        let mut left: usize = 1024 * 1024;
        let drain = async {
            let _ = self.stream.shutdown().await;
            while let Ok(count @ 1..) = self.stream.read(&mut self.input).await {
                left = left.saturating_sub(count);
                if left == 0 {
                    break;
                }
            }
        };
        let _ = timeout_at(linger, drain).await;
    }

    /// Says what is queued and closes at once; for peers that expect it.
    pub(crate) async fn hang_up(&mut self, limit: Duration) {
        if self.flush(limit).await.is_ok() {
            let _ = timeout(limit, self.stream.shutdown()).await;
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for MaybeTls<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        match self.get_mut() {
            Self::Plain(s) => Pin::new(s).poll_read(cx, buf),
            Self::Tls(s) => Pin::new(s).poll_read(cx, buf),
            Self::Gone => Poll::Ready(Ok(())),
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for MaybeTls<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(s) => Pin::new(s).poll_write(cx, buf),
            Self::Tls(s) => Pin::new(s).poll_write(cx, buf),
            Self::Gone => Poll::Ready(Err(std::io::ErrorKind::NotConnected.into())),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        match self.get_mut() {
            Self::Plain(s) => Pin::new(s).poll_flush(cx),
            Self::Tls(s) => Pin::new(s).poll_flush(cx),
            Self::Gone => Poll::Ready(Ok(())),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        match self.get_mut() {
            Self::Plain(s) => Pin::new(s).poll_shutdown(cx),
            Self::Tls(s) => Pin::new(s).poll_shutdown(cx),
            Self::Gone => Poll::Ready(Ok(())),
        }
    }
}
