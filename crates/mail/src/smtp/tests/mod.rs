//! Sessions, spoken from the side of the peer.

mod abuse;
mod dialogue;
mod listener;
pub(crate) mod tls;

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use isthmus_domain::address::Email;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream};
use tokio_util::sync::CancellationToken;

use super::body::{Spool, open_in};
use super::session::Shared;
use super::*;

/// One mail as the host got it.
#[derive(Debug)]
pub(crate) struct Got {
    pub(crate) from: Option<String>,
    pub(crate) to: Vec<Recipient>,
    pub(crate) mail: Vec<u8>,
    pub(crate) in_file: bool,
    pub(crate) sha256: String,
    pub(crate) session: Session,
    pub(crate) envid: Option<String>,
}

/// Takes mail for acme.test from anybody, and for others from who signed in.
#[derive(Default)]
pub(crate) struct TestHost {
    pub(crate) got: Mutex<Vec<Got>>,
}

impl TestHost {
    /// The texts of the mails taken so far.
    pub(crate) fn mails(&self) -> Vec<String> {
        let got = self.got.lock().unwrap();
        got.iter().map(|g| String::from_utf8_lossy(&g.mail).into_owned()).collect()
    }
}

#[async_trait]
impl Host for TestHost {
    fn hostname(&self) -> &'static str {
        "mx.acme.test"
    }

    async fn authenticate(&self, _: &Session, user: &str, password: &str) -> Result<String, Reply> {
        if password == "right" {
            Ok(user.to_owned())
        } else {
            Err(Reply::new(535, "5.7.8", "Wrong"))
        }
    }

    async fn sender(&self, _: &Session, from: &ReversePath) -> Result<(), Reply> {
        assert!(from.email().is_none_or(|e| e.local() != "panic"), "asked to panic");
        match from.email().map(Email::local) {
            Some("banned") => Err(Reply::perm("5.7.1", "Not you")),
            _ => Ok(()),
        }
    }

    async fn recipient(&self, s: &Session, _: &ReversePath, to: &Email) -> Result<(), Reply> {
        if to.local() == "nobody" {
            Err(Reply::perm("5.1.1", "No such person"))
        } else if to.local() == "later" {
            Err(Reply::temp("4.2.1", "Not now"))
        } else if to.domain().ends_with("acme.test") || s.identity.is_some() {
            Ok(())
        } else {
            Err(Reply::perm("5.7.1", "Not a relay"))
        }
    }

    async fn accept(&self, session: &Session, mail: ReceivedMail) -> Reply {
        let (bytes, in_file) = match &mail.body {
            Body::Memory(bytes) => (bytes.to_vec(), false),
            Body::File { path, .. } => (std::fs::read(path).unwrap(), true),
        };
        assert_eq!(mail.body.size(), bytes.len() as u64);
        if bytes.starts_with(b"X-Answer: ") {
            let code = std::str::from_utf8(&bytes[10..13]).unwrap().parse().unwrap();
            return Reply::new(code, "", "As asked");
        }
        self.got.lock().unwrap().push(Got {
            from: mail.from.map(String::from),
            to: mail.to,
            mail: bytes,
            in_file,
            sha256: mail.sha256,
            session: session.clone(),
            envid: mail.envid,
        });
        Reply::ok("Taken")
    }
}

/// A server without a listener.
pub(super) struct Rig {
    pub(super) host: Arc<TestHost>,
    pub(super) shared: Arc<Shared>,
    pub(super) dir: tempfile::TempDir,
}

impl Rig {
    pub(super) fn new() -> Self {
        Self::with(Limits::default(), TlsMode::None)
    }

    pub(super) fn with(limits: Limits, tls: TlsMode) -> Self {
        let host = Arc::new(TestHost::default());
        let dir = tempfile::tempdir().unwrap();
        let spool = Spool { dir: dir.path().to_owned(), open: open_in };
        let stop = CancellationToken::new();
        let shared = Arc::new(Shared { tls, host: host.clone(), limits, spool, stop });
        Self { host, shared, dir }
    }

    /// A connection whose banner has not been read.
    pub(super) fn dial(&self) -> Peer<DuplexStream> {
        let (ours, theirs) = tokio::io::duplex(1 << 20);
        let shared = self.shared.clone();
        tokio::spawn(async move {
            server::converse(theirs, "192.0.2.9:5000".parse().unwrap(), &shared).await;
        });
        Peer::new(ours)
    }

    /// A connection after EHLO.
    pub(super) async fn hello(&self) -> Peer<DuplexStream> {
        let mut peer = self.dial();
        peer.expect("220").await;
        peer.ask("EHLO client.test\r\n", "250").await;
        peer
    }
}

/// The client side.
pub(super) struct Peer<S> {
    pub(super) stream: S,
    buffer: Vec<u8>,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Peer<S> {
    pub(super) fn new(stream: S) -> Self {
        Self { stream, buffer: Vec::new() }
    }

    pub(super) async fn send(&mut self, text: &str) {
        self.stream.write_all(text.as_bytes()).await.unwrap();
    }

    /// The next whole reply, lines joined by LF; `None` when the server has hung up.
    pub(super) async fn reply(&mut self) -> Option<String> {
        let mut lines = Vec::new();
        loop {
            let Some(end) = self.buffer.windows(2).position(|w| w == b"\r\n") else {
                if self.stream.read_buf(&mut self.buffer).await.unwrap_or(0) == 0 {
                    return None;
                }
                continue;
            };
            let line: Vec<u8> = self.buffer.drain(..end + 2).collect();
            let line = String::from_utf8(line).unwrap().trim_end().to_owned();
            let last = line.as_bytes().get(3) != Some(&b'-');
            lines.push(line);
            if last {
                return Some(lines.join("\n"));
            }
        }
    }

    /// The next reply, which must begin like this.
    pub(super) async fn expect(&mut self, start: &str) -> String {
        let reply = self.reply().await.unwrap_or_else(|| panic!("hung up instead of {start}"));
        assert!(reply.starts_with(start), "{reply} instead of {start}");
        reply
    }

    pub(super) async fn ask(&mut self, text: &str, start: &str) -> String {
        self.send(text).await;
        self.expect(start).await
    }

    /// The server must have nothing more to say, and have closed the connection.
    pub(super) async fn expect_closed(&mut self) {
        assert_eq!(self.reply().await, None);
    }

    /// Up to the 354 of one mail to bob.
    pub(super) async fn begin_mail(&mut self) {
        self.ask("MAIL FROM:<a@x.test>\r\n", "250 2.1.0").await;
        self.ask("RCPT TO:<bob@acme.test>\r\n", "250 2.1.5").await;
        self.ask("DATA\r\n", "354").await;
    }

    /// One whole mail; the content comes with its end. The legitimate twin of many tests.
    pub(super) async fn mail(&mut self, content: &str, start: &str) -> String {
        self.begin_mail().await;
        self.ask(content, start).await
    }
}
