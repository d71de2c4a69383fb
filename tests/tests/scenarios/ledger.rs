//! What clients sent, whether it was acknowledged, and what other clients saw: reconciled.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use isthmus_tests::{SinkMail, SmtpClient};
use serde_json::Value;

use super::world::{Mail, body};

/// A message in one lane: a lane is a conversation, in which one waits for the other.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Token {
    pub(super) lane: String,
    pub(super) n: usize,
}

impl std::fmt::Display for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "tok {} {}", self.lane, self.n)
    }
}

impl Token {
    /// Reads a line that is nothing but a token.
    fn read(line: &str) -> Option<Self> {
        let (lane, n) = line.trim().strip_prefix("tok ")?.split_once(' ')?;
        Some(Self { lane: lane.into(), n: n.parse().ok()? })
    }
}

/// What was acknowledged, by whatever means the protocol has.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    acknowledged: Mutex<Vec<Token>>,
    in_flight: AtomicUsize,
    tries: AtomicUsize,
}

/// A message as it was seen at the far end, with the id that it had there.
pub(super) type Seen = (Token, String);

impl Ledger {
    pub(super) fn acknowledge(&self, token: Token) {
        self.acknowledged.lock().unwrap_or_else(PoisonError::into_inner).push(token);
    }

    pub(super) fn acknowledged(&self) -> Vec<Token> {
        self.acknowledged.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Requests begun and not answered.
    pub(super) fn in_flight(&self) -> usize {
        self.in_flight.load(Ordering::SeqCst)
    }

    /// How often anything was sent, repetitions included.
    pub(super) fn tries(&self) -> usize {
        self.tries.load(Ordering::SeqCst)
    }

    /// Sends a mail over and over, same Message-ID, until it gets its `250`.
    pub(super) async fn mail(&self, server: std::net::SocketAddr, mail: &Mail, token: Token) {
        loop {
            self.tries.fetch_add(1, Ordering::SeqCst);
            self.in_flight.fetch_add(1, Ordering::SeqCst);
            let code = once(server, mail).await;
            self.in_flight.fetch_sub(1, Ordering::SeqCst);
            if code == 250 {
                return self.acknowledge(token);
            }
            assert!(code < 500, "a mail was refused: {code}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Acknowledged messages that were never seen.
    pub(super) fn missing(&self, seen: &[Seen]) -> Vec<Token> {
        let there: std::collections::HashSet<_> = seen.iter().map(|(token, _)| token).collect();
        self.acknowledged().into_iter().filter(|token| !there.contains(token)).collect()
    }
}

/// One attempt; 0 when the server went away.
async fn once(server: std::net::SocketAddr, mail: &Mail) -> u16 {
    let Ok(mut client) = SmtpClient::try_connect(server).await else { return 0 };
    for step in ["", "EHLO client.test"] {
        let reply = if step.is_empty() { client.reply().await } else { client.line(step).await };
        if reply.code / 100 != 2 {
            return reply.code;
        }
    }
    client.mail(&mail.from, &[&mail.to], &mail.raw()).await.code
}

/// Message `n` of a lane as a mail from a member to somebody's chat, in the lane's thread.
pub(super) fn lane_mail(to: &str, lane: &str, n: usize) -> (Mail, Token) {
    let token = Token { lane: lane.into(), n };
    let mut mail = Mail::new(to, &format!("lane{lane}n{n}"), &token.to_string());
    if n > 0 {
        mail = mail.answers(&format!("lane{lane}n0@client.test"));
    }
    (mail, token)
}

/// What a chat client heard, in order.
pub(super) fn seen_in_chat(events: &[Value]) -> Vec<Seen> {
    let messages = events.iter().filter(|e| e["ev"] == "message");
    let seen = messages.filter_map(|e| {
        let token = Token::read(body(e).lines().next()?)?;
        Some((token, e["id"].as_str().unwrap_or_default().to_owned()))
    });
    seen.collect()
}

/// What a mail sink took, in order. Quoted lines are history, and HTML says the same again.
pub(super) fn seen_by_mail(mails: &[SinkMail]) -> Vec<Seen> {
    let mut seen = Vec::new();
    for mail in mails {
        let id = mail.header("Message-ID").unwrap_or_default();
        let text = mail.text();
        let plain = text.split("text/html").next().unwrap_or_default();
        seen.extend(plain.lines().filter_map(Token::read).map(|token| (token, id.clone())));
    }
    seen
}

/// Nothing came under two ids, and nothing overtook what was before it in its lane.
pub(super) fn check(seen: &[Seen]) {
    let mut ids: HashMap<&Token, &str> = HashMap::new();
    let mut last: HashMap<&str, usize> = HashMap::new();
    let mut wrong = Vec::new();
    for (token, id) in seen {
        match ids.insert(token, id) {
            // The same id again is a repetition that clients recognise.
            Some(before) if before == id => continue,
            Some(before) => wrong.push(format!("{token} came as {before} and as {id}")),
            None => {}
        }
        if let Some(before) = last.insert(&token.lane, token.n)
            && before > token.n
        {
            wrong.push(format!("{token} came after number {before}"));
        }
    }
    assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong.join("\n"));
}

/// A small generator of our own: the same seed gives the same run.
#[derive(Debug)]
pub(super) struct Dice(u64);

impl Dice {
    /// From this seed.
    pub(super) fn seeded(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    /// `ISTHMUS_SEED`, else the process's number.
    pub(super) fn seed() -> u64 {
        let given = std::env::var("ISTHMUS_SEED").ok().and_then(|s| s.parse().ok());
        given.unwrap_or_else(|| u64::from(std::process::id()))
    }

    /// Below `limit`.
    pub(super) fn below(&mut self, limit: u64) -> u64 {
        // xorshift64 (Marsaglia 2003)
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }
}

/// Keeps `lanes` lanes of mail to `to` going until `stop`; returns the senders.
pub(super) fn keep_mailing(
    ledger: &Arc<Ledger>,
    server: std::net::SocketAddr,
    to: &str,
    lanes: usize,
    stop: &tokio::sync::watch::Receiver<bool>,
) -> Vec<tokio::task::JoinHandle<()>> {
    let sender = |lane: usize| {
        let (ledger, stop, to) = (Arc::clone(ledger), stop.clone(), to.to_owned());
        tokio::spawn(async move {
            let mut n = 0;
            while !*stop.borrow() {
                let (mail, token) = lane_mail(&to, &format!("m{lane}"), n);
                ledger.mail(server, &mail, token).await;
                n += 1;
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        })
    };
    (0..lanes).map(sender).collect()
}
