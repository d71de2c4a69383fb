//! The stream under lettre's client, with a bound on what a relay may say at once.

use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};

use lettre::transport::smtp::client::AsyncTokioStream;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

/// Octets that may come between two writes of ours: replies and TLS handshakes are far shorter,
/// and a relay that never ends its line would fill the memory otherwise.
const READ_MAX: usize = 512 * 1024;

/// A connection to a relay.
#[derive(Debug)]
pub(crate) struct Socket<S> {
    stream: S,
    peer: SocketAddr,
    read_since_write: usize,
}

impl Socket<TcpStream> {
    /// Over plain TCP.
    pub(crate) fn plain(stream: TcpStream) -> std::io::Result<Self> {
        // Commands and the end of a mail are short writes that must not wait for each other.
        stream.set_nodelay(true)?;
        Ok(Self { peer: stream.peer_addr()?, stream, read_since_write: 0 })
    }

    /// Over TLS from the start.
    pub(crate) async fn encrypted(
        self,
        connector: tokio_rustls::TlsConnector,
        name: rustls::pki_types::ServerName<'static>,
    ) -> std::io::Result<Socket<TlsStream<TcpStream>>> {
        let stream = connector.connect(name, self.stream).await?;
        Ok(Socket { stream, peer: self.peer, read_since_write: 0 })
    }
}

impl<S> AsyncTokioStream for Socket<S>
where
    S: AsyncRead + AsyncWrite + Send + Sync + Unpin + std::fmt::Debug,
{
    fn peer_addr(&self) -> std::io::Result<SocketAddr> {
        Ok(self.peer)
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Socket<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        let before = buf.filled().len();
        let polled = Pin::new(&mut self.stream).poll_read(cx, buf);
        self.read_since_write += buf.filled().len() - before;
        if self.read_since_write > READ_MAX {
            return Poll::Ready(Err(std::io::Error::other("the relay's reply does not end")));
        }
        polled
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Socket<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        self.read_since_write = 0;
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
