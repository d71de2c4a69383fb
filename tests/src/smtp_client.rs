//! A raw SMTP client: sends exactly the bytes it is given, and reads replies.

use std::{
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    net::{TcpSocket, TcpStream},
};

/// How long a reply may take.
const REPLY_LIMIT: Duration = Duration::from_secs(30);

/// One reply, all of its lines.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SmtpReply {
    /// Three digits; 0 when the server closed the connection instead.
    pub code: u16,
    /// The text of each line, after the code.
    pub lines: Vec<String>,
}

impl SmtpReply {
    /// All lines as one text.
    #[must_use]
    pub fn text(&self) -> String {
        self.lines.join("\n")
    }

    /// Asserts the code.
    ///
    /// # Panics
    /// When it is another one.
    #[must_use = "the reply can be looked at further"]
    pub fn expect(self, code: u16) -> Self {
        assert_eq!(self.code, code, "the server answered: {}", self.text());
        self
    }
}

/// A connection to an SMTP server.
#[derive(Debug)]
pub struct SmtpClient {
    stream: BufReader<TcpStream>,
}

impl SmtpClient {
    /// Connects and reads the greeting.
    ///
    /// # Panics
    /// When nobody listens, or the greeting is not 220.
    pub async fn connect(server: SocketAddr) -> Self {
        let mut this = Self::connect_silent(server).await;
        let _ = this.reply().await.expect(220);
        this
    }

    /// Connects from another loopback address, as a server that is trusted differently, and
    /// reads the greeting.
    ///
    /// # Panics
    /// When that address is not ours, nobody listens, or the greeting is not 220.
    pub async fn connect_from(source: IpAddr, server: SocketAddr) -> Self {
        let socket = TcpSocket::new_v4().expect("a socket can be made");
        socket.bind((source, 0).into()).unwrap_or_else(|e| panic!("{source} is not ours: {e}"));
        let stream = socket.connect(server).await;
        let stream = stream.unwrap_or_else(|e| panic!("no SMTP server at {server}: {e}"));
        let mut this = Self { stream: BufReader::new(stream) };
        let _ = this.reply().await.expect(220);
        this
    }

    /// Connects to a server that may be away.
    ///
    /// # Errors
    /// When nobody listens.
    pub async fn try_connect(server: SocketAddr) -> std::io::Result<Self> {
        let stream = TcpStream::connect(server).await?;
        stream.set_nodelay(true)?;
        Ok(Self { stream: BufReader::new(stream) })
    }

    /// Connects and reads nothing.
    ///
    /// # Panics
    /// When nobody listens.
    pub async fn connect_silent(server: SocketAddr) -> Self {
        let stream = TcpStream::connect(server)
            .await
            .unwrap_or_else(|e| panic!("no SMTP server at {server}: {e}"));
        stream.set_nodelay(true).expect("a TCP option can be set");
        Self { stream: BufReader::new(stream) }
    }

    /// Writes exactly these bytes; a connection that the server closed shows in the next reply.
    pub async fn bytes(&mut self, bytes: &[u8]) {
        // An error means the server has closed: the reply says so.
        let _ = self.stream.get_mut().write_all(bytes).await;
    }

    /// Sends one command line and reads its reply.
    pub async fn line(&mut self, line: &str) -> SmtpReply {
        self.bytes(format!("{line}\r\n").as_bytes()).await;
        self.reply().await
    }

    /// Reads one reply; code 0 when the connection was closed.
    ///
    /// # Panics
    /// When none comes within 30 s, or it is not a reply.
    pub async fn reply(&mut self) -> SmtpReply {
        let mut lines = Vec::new();
        loop {
            let mut line = String::new();
            let read = tokio::time::timeout(REPLY_LIMIT, self.stream.read_line(&mut line))
                .await
                .unwrap_or_else(|_| panic!("no SMTP reply within {REPLY_LIMIT:?}"));
            if !matches!(read, Ok(1..)) {
                lines.push("(connection closed)".into());
                return SmtpReply { code: 0, lines };
            }
            let line = line.trim_end();
            let code = line.get(..3).and_then(|c| c.parse().ok());
            let code: u16 = code.unwrap_or_else(|| panic!("not an SMTP reply: {line:?}"));
            lines.push(line.get(4..).unwrap_or_default().to_owned());
            if line.as_bytes().get(3) != Some(&b'-') {
                return SmtpReply { code, lines };
            }
        }
    }

    /// EHLO, then MAIL, RCPT and DATA for one mail; returns the first refusal or the last reply.
    ///
    /// `raw` is brought to CRLF line ends and dot-stuffed (RFC 5321 section 4.5.2).
    pub async fn mail(&mut self, from: &str, to: &[&str], raw: &str) -> SmtpReply {
        let mut commands = vec![format!("MAIL FROM:<{from}>")];
        commands.extend(to.iter().map(|to| format!("RCPT TO:<{to}>")));
        for command in &commands {
            let reply = self.line(command).await;
            if reply.code / 100 != 2 {
                return reply;
            }
        }
        let reply = self.line("DATA").await;
        if reply.code != 354 {
            return reply;
        }
        self.bytes(stuffed(raw).as_bytes()).await;
        self.reply().await
    }
}

/// Sends one mail over a connection of its own and returns the last reply.
pub async fn send_mail(server: SocketAddr, from: &str, to: &[&str], raw: &str) -> SmtpReply {
    let mut client = SmtpClient::connect(server).await;
    let _ = client.line("EHLO client.test").await.expect(250);
    let reply = client.mail(from, to, raw).await;
    client.bytes(b"QUIT\r\n").await;
    reply
}

/// CRLF line ends, dots doubled, and the final dot.
fn stuffed(raw: &str) -> String {
    let mut out = String::with_capacity(raw.len() + raw.len() / 32 + 8);
    for line in raw.lines() {
        if line.starts_with('.') {
            out.push('.');
        }
        out.push_str(line);
        out.push_str("\r\n");
    }
    out.push_str(".\r\n");
    out
}
