//! A server's side of a component stream, which says what a test tells it to.

use std::{net::SocketAddr, time::Duration};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    time::timeout,
};

use crate::support::{DOMAIN, SECRET, SOON};

/// Waits for components.
pub(crate) struct FakeServer(TcpListener);

impl FakeServer {
    pub(crate) async fn start() -> Self {
        Self(TcpListener::bind("127.0.0.1:0").await.expect("a free port"))
    }

    pub(crate) fn addr(&self) -> SocketAddr {
        self.0.local_addr().expect("it listens")
    }

    /// The next connection, before its handshake is answered.
    pub(crate) async fn connection(&self) -> Fake {
        let (socket, _) = timeout(SOON, self.0.accept()).await.expect("in time").expect("a socket");
        let mut fake = Fake { socket, text: String::new(), echoes: true };
        fake.until("<stream:stream ").await;
        fake.until(">").await;
        fake.write(&format!(
            "<?xml version='1.0'?><stream:stream xmlns='jabber:component:accept' \
             xmlns:stream='http://etherx.jabber.org/streams' from='{DOMAIN}' id='stream-1'>"
        ))
        .await;
        // SHA-1 of "stream-1" and the secret.
        let proof = format!("<handshake>{}</handshake>", sha1(&format!("stream-1{SECRET}")));
        assert_eq!(fake.stanza().await, proof);
        fake
    }

    /// The next connection, let in.
    pub(crate) async fn session(&self) -> Fake {
        let mut fake = self.connection().await;
        fake.write("<handshake/>").await;
        fake
    }
}

fn sha1(text: &str) -> String {
    use sha1::Digest;
    hex::encode(sha1::Sha1::digest(text.as_bytes()))
}

/// One connection.
pub(crate) struct Fake {
    socket: TcpStream,
    text: String,
    /// Whether stanzas that the component sends to itself come back.
    pub(crate) echoes: bool,
}

impl Fake {
    pub(crate) async fn write(&mut self, text: &str) {
        self.socket.write_all(text.as_bytes()).await.expect("the component reads");
    }

    /// Writes without minding that the component hangs up.
    pub(crate) async fn try_write(&mut self, text: &str) {
        drop(self.socket.write_all(text.as_bytes()).await);
    }

    /// The next stanza; pings of the component to itself come back to it.
    pub(crate) async fn stanza(&mut self) -> String {
        loop {
            let stanza = self.any_stanza().await;
            let own = format!("from='{DOMAIN}' to='{DOMAIN}'");
            if !stanza.contains(&own) {
                return stanza;
            }
            if self.echoes {
                self.write(&stanza).await;
            }
        }
    }

    /// Plays the server for a while: echoes, and drops everything else.
    pub(crate) async fn idle(&mut self, time: Duration) {
        let nothing = timeout(time, self.stanza()).await;
        assert!(nothing.is_err(), "the component said {nothing:?}");
    }

    /// Reads until nothing more comes for so long, and counts.
    pub(crate) async fn octets_until_quiet(&mut self, quiet: Duration) -> usize {
        let (mut bytes, mut sum) = (vec![0; 64 * 1024], self.text.len());
        while let Ok(read) = timeout(quiet, self.socket.read(&mut bytes)).await {
            sum += read.expect("the component writes");
        }
        sum
    }

    async fn any_stanza(&mut self) -> String {
        let head = self.until(">").await;
        if head.ends_with("/>") || head.starts_with("</") {
            return head;
        }
        let name: String =
            head[1..].chars().take_while(|c| c.is_ascii_lowercase() || *c == ':').collect();
        // No stanza holds another of its name.
        head + &self.until(&format!("</{name}>")).await
    }

    /// Takes the text up to and with `end`.
    pub(crate) async fn until(&mut self, end: &str) -> String {
        loop {
            if let Some(at) = self.text.find(end) {
                let rest = self.text.split_off(at + end.len());
                return std::mem::replace(&mut self.text, rest);
            }
            let mut bytes = vec![0; 64 * 1024];
            let read = timeout(SOON, self.socket.read(&mut bytes)).await;
            let read = read.unwrap_or_else(|_| panic!("no {end:?} in time, only {:?}", self.text));
            let read = read.expect("the component writes");
            assert!(read > 0, "the component hung up with {:?}", self.text);
            self.text.push_str(std::str::from_utf8(&bytes[..read]).expect("UTF-8"));
        }
    }
}
