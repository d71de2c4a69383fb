//! One SMTP session that sends mail after mail and notes when each was taken.

use std::{net::SocketAddr, time::Duration};

use anyhow::{Context, Result, bail};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    net::TcpStream,
    time::Instant,
};

/// How long the server may take for one reply.
const PATIENCE: Duration = Duration::from_secs(120);

/// A session after EHLO.
pub(crate) struct Session {
    stream: BufReader<TcpStream>,
    line: String,
}

impl Session {
    /// Connects and says EHLO.
    ///
    /// # Errors
    /// When the server is not there or does not want us.
    pub(crate) async fn connect(addr: SocketAddr) -> Result<Self> {
        let stream = TcpStream::connect(addr).await.context("the SMTP server is not there")?;
        stream.set_nodelay(true)?;
        let mut this = Self { stream: BufReader::new(stream), line: String::new() };
        this.reply("220").await?;
        this.write(b"EHLO bench.test\r\n").await?;
        this.reply("250").await?;
        Ok(this)
    }

    /// Sends a mail given in parts; returns when its `250` was read. Commands are pipelined
    /// (RFC 2920 section 3.1), the mail is not.
    ///
    /// # Errors
    /// What the server said instead.
    pub(crate) async fn send(&mut self, from: &str, to: &str, parts: &[&[u8]]) -> Result<Instant> {
        let commands = format!("MAIL FROM:<{from}>\r\nRCPT TO:<{to}>\r\nDATA\r\n");
        self.write(commands.as_bytes()).await?;
        for wanted in ["250", "250", "354"] {
            self.reply(wanted).await?;
        }
        if let [one] = parts {
            let mut whole = Vec::with_capacity(one.len() + 3);
            whole.extend_from_slice(one);
            whole.extend_from_slice(b".\r\n");
            self.write(&whole).await?;
        } else {
            for part in parts {
                self.write(part).await?;
            }
            self.write(b".\r\n").await?;
        }
        self.reply("250").await?;
        Ok(Instant::now())
    }

    async fn write(&mut self, octets: &[u8]) -> Result<()> {
        Ok(self.stream.get_mut().write_all(octets).await?)
    }

    async fn reply(&mut self, wanted: &str) -> Result<()> {
        loop {
            self.line.clear();
            let read = tokio::time::timeout(PATIENCE, self.stream.read_line(&mut self.line)).await;
            if read.context("the SMTP server does not answer")?? == 0 {
                bail!("the SMTP server closed the connection");
            }
            // The last line of a reply has a space after its code (RFC 5321 section 4.2.1).
            if self.line.as_bytes().get(3) == Some(&b'-') {
                continue;
            }
            if !self.line.starts_with(wanted) {
                bail!(
                    "the SMTP server said {:?} where {wanted} was hoped for",
                    self.line.trim_end()
                );
            }
            return Ok(());
        }
    }
}
