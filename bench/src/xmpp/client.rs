//! A client as its users run it, only faster: SASL PLAIN, presence, receipts when asked for.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use anyhow::{Context, Result};
use base64::Engine;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::tcp::{OwnedReadHalf, OwnedWriteHalf},
    sync::mpsc,
    task::JoinHandle,
    time::Instant,
};

use super::{
    inbox::{Inbox, State},
    scan::{Piece, Scanner, attribute},
    stream::Opening,
};

/// Written pieces that may wait for the socket.
const QUEUE: usize = 1_024;

/// A client that is online.
#[derive(Debug)]
pub(crate) struct Client {
    inbox: Arc<Inbox>,
    receipts: Arc<AtomicBool>,
    out: mpsc::Sender<Vec<u8>>,
    sent: AtomicU64,
    tasks: [JoinHandle<()>; 2],
}

impl Client {
    /// Signs `user@host` in and makes it available.
    ///
    /// # Errors
    /// What the server refused.
    pub(crate) async fn connect(
        addr: SocketAddr,
        user: &str,
        host: &str,
        password: &str,
    ) -> Result<Self> {
        let signed_in = sign_in(addr, user, host, password).await;
        let stream = signed_in.with_context(|| format!("{user}@{host} cannot sign in"))?;
        let (read, write) = stream.socket.into_split();
        let inbox = Arc::new(Inbox::default());
        let receipts = Arc::new(AtomicBool::new(true));
        let (out, queue) = mpsc::channel(QUEUE);
        let reader = Reader {
            read,
            scanner: stream.scanner,
            inbox: Arc::clone(&inbox),
            receipts: Arc::clone(&receipts),
            out: out.clone(),
        };
        let tasks = [tokio::spawn(reader.run()), tokio::spawn(write_all(write, queue))];
        Ok(Self { inbox, receipts, out, sent: AtomicU64::new(0), tasks })
    }

    /// What it has received.
    pub(crate) fn inbox(&self) -> &Inbox {
        &self.inbox
    }

    /// Leaves them unanswered from now on.
    pub(crate) fn withhold_receipts(&self) {
        self.receipts.store(false, Ordering::Relaxed);
    }

    /// Sends a chat message.
    pub(crate) async fn say(&self, to: &str, body: &str) {
        let number = self.sent.fetch_add(1, Ordering::Relaxed);
        let xml = format!(
            "<message to='{to}' type='chat' id='say{number}'><body>{body}</body></message>"
        );
        // A broken connection shows where the message is waited for.
        let _ = self.out.send(xml.into_bytes()).await;
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}

async fn sign_in(addr: SocketAddr, user: &str, host: &str, password: &str) -> Result<Opening> {
    const CLIENT: &str = "jabber:client";
    let mut stream = Opening::connect(addr).await?;
    stream.open(host, CLIENT).await?;
    stream.expect("PLAIN").await?;
    // RFC 4616 section 2: authorization identity, identity, password.
    let plain = base64::engine::general_purpose::STANDARD.encode(format!("\0{user}\0{password}"));
    let auth =
        format!("<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='PLAIN'>{plain}</auth>");
    stream.ask(&auth, "<success").await?;
    stream.open(host, CLIENT).await?;
    stream.expect("xmpp-bind").await?;
    let bind = "<iq type='set' id='bind'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'>\
                <resource>bench</resource></bind></iq>";
    stream.ask(bind, "<jid>").await?;
    let roster = "<iq type='get' id='roster'><query xmlns='jabber:iq:roster'/></iq>";
    stream.ask(roster, "jabber:iq:roster").await?;
    stream.write("<presence/>").await?;
    Ok(stream)
}

async fn write_all(mut socket: OwnedWriteHalf, mut queue: mpsc::Receiver<Vec<u8>>) {
    while let Some(octets) = queue.recv().await {
        if socket.write_all(&octets).await.is_err() {
            return;
        }
    }
}

struct Reader {
    read: OwnedReadHalf,
    scanner: Scanner,
    inbox: Arc<Inbox>,
    receipts: Arc<AtomicBool>,
    out: mpsc::Sender<Vec<u8>>,
}

impl Reader {
    async fn run(mut self) {
        let mut octets = vec![0; 256 * 1024];
        loop {
            let answers = self.take_in(Instant::now());
            self.inbox.tell();
            if !answers.is_empty() && self.out.send(answers).await.is_err() {
                return;
            }
            match self.read.read(&mut octets).await {
                Ok(0) | Err(_) => return,
                Ok(n) => self.scanner.feed(&octets[..n]),
            }
        }
    }

    /// Handles what is there whole; returns what is to be answered.
    fn take_in(&mut self, at: Instant) -> Vec<u8> {
        let mut answers = Vec::new();
        let with_receipts = self.receipts.load(Ordering::Relaxed);
        let mut state = self.inbox.state();
        while let Some(piece) = self.scanner.next() {
            let Piece::Stanza(range) = piece else { continue };
            let stanza = self.scanner.bytes(range);
            if stanza.starts_with(b"<message") {
                let id = attribute(stanza, "id");
                state.message(stanza, id, at);
                if with_receipts && let Some(id) = id {
                    receipt(stanza, id, &mut answers);
                }
            } else if stanza.starts_with(b"<presence") {
                presence(stanza, &mut state, &mut answers);
            }
        }
        answers
    }
}

/// XEP-0184 section 5.
fn receipt(stanza: &[u8], id: &str, answers: &mut Vec<u8>) {
    if memchr::memmem::find(stanza, b"<request").is_none() {
        return;
    }
    let Some(from) = attribute(stanza, "from") else { return };
    answers.extend_from_slice(
        format!(
            "<message to='{from}' type='chat' id='r-{id}'>\
             <received xmlns='urn:xmpp:receipts' id='{id}'/></message>"
        )
        .as_bytes(),
    );
}

/// Whoever wants to see our presence may (RFC 6121 section 3.1.4).
fn presence(stanza: &[u8], state: &mut State, answers: &mut Vec<u8>) {
    if attribute(stanza, "type") != Some("subscribe") {
        return;
    }
    let Some(from) = attribute(stanza, "from") else { return };
    state.watchers.insert(from.to_owned());
    answers.extend_from_slice(format!("<presence to='{from}' type='subscribed'/>").as_bytes());
}
