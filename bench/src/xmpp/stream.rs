//! Opening streams, and asking one thing after the other until a stream is ready for use.

use std::{net::SocketAddr, time::Duration};

use anyhow::{Context, Result, bail};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use super::scan::{Piece, Scanner};

/// How long the server may take for one answer.
const PATIENCE: Duration = Duration::from_secs(20);

/// A stream while it is set up.
pub(crate) struct Opening {
    pub(crate) socket: TcpStream,
    pub(crate) scanner: Scanner,
}

impl Opening {
    pub(crate) async fn connect(addr: SocketAddr) -> Result<Self> {
        let socket = TcpStream::connect(addr).await.context("the XMPP server is not there")?;
        socket.set_nodelay(true)?;
        Ok(Self { socket, scanner: Scanner::default() })
    }

    /// Opens the stream; after SASL it begins anew (RFC 6120 section 6.4.6). Returns the
    /// server's opening tag.
    pub(crate) async fn open(&mut self, to: &str, namespace: &str) -> Result<Vec<u8>> {
        self.scanner = Scanner::default();
        self.write(&format!(
            "<?xml version='1.0'?><stream:stream to='{to}' version='1.0' xmlns='{namespace}' \
             xmlns:stream='http://etherx.jabber.org/streams'>"
        ))
        .await?;
        match self.piece().await? {
            Piece::Open(range) => Ok(self.scanner.bytes(range).to_vec()),
            other => bail!("the server did not open a stream: {other:?}"),
        }
    }

    pub(crate) async fn write(&mut self, xml: &str) -> Result<()> {
        Ok(self.socket.write_all(xml.as_bytes()).await?)
    }

    /// Writes `xml` and reads until a stanza holds `wanted`.
    pub(crate) async fn ask(&mut self, xml: &str, wanted: &str) -> Result<()> {
        self.write(xml).await?;
        self.expect(wanted).await
    }

    /// Reads until a stanza holds `wanted`.
    pub(crate) async fn expect(&mut self, wanted: &str) -> Result<()> {
        loop {
            let Piece::Stanza(range) = self.piece().await? else {
                bail!("the stream ended before {wanted} came")
            };
            let stanza = self.scanner.bytes(range);
            let has = |part: &str| memchr::memmem::find(stanza, part.as_bytes()).is_some();
            if has(wanted) {
                return Ok(());
            }
            if has("<failure") || has("<stream:error") || has("type='error'") {
                bail!("the XMPP server refused: {}", String::from_utf8_lossy(stanza));
            }
        }
    }

    async fn piece(&mut self) -> Result<Piece> {
        let mut octets = vec![0; 16 * 1024];
        loop {
            if let Some(piece) = self.scanner.next() {
                return Ok(piece);
            }
            let read = tokio::time::timeout(PATIENCE, self.socket.read(&mut octets)).await;
            let read = read.context("the XMPP server does not answer")??;
            if read == 0 {
                bail!("the XMPP server closed the connection");
            }
            self.scanner.feed(&octets[..read]);
        }
    }
}
