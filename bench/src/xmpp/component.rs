//! A bare component (XEP-0114) that does nothing but send: what the server alone can carry.

use std::{net::SocketAddr, time::Duration};

use anyhow::{Context, Result};
use sha1::{Digest, Sha1};
use tokio::{io::AsyncWriteExt, time::Instant};

use super::{inbox::Inbox, scan::attribute, stream::Opening};

/// How long the client may go without a message.
const PATIENCE: Duration = Duration::from_secs(20);
/// Stanzas written at once.
const BATCH: u32 = 64;

/// A component in session.
pub(crate) struct Component {
    stream: Opening,
    domain: String,
    sent: u64,
}

impl Component {
    /// Connects as `domain`.
    ///
    /// # Errors
    /// What the server refused.
    pub(crate) async fn connect(addr: SocketAddr, domain: &str, secret: &str) -> Result<Self> {
        let mut stream = Opening::connect(addr).await?;
        let opened = stream.open(domain, "jabber:component:accept").await?;
        let id = attribute(&opened, "id").context("the server gave the stream no id")?;
        // XEP-0114 section 3.
        let proof = hex::encode(Sha1::digest(format!("{id}{secret}")));
        stream.ask(&format!("<handshake>{proof}</handshake>"), "<handshake").await?;
        Ok(Self { stream, domain: domain.to_owned(), sent: 0 })
    }

    /// Sends `count` messages with `inside` to `to`, with at most `window` of them on their way,
    /// and returns how many a second reached the inbox.
    ///
    /// # Errors
    /// When not all of them do.
    pub(crate) async fn rate(
        &mut self,
        to: &str,
        inside: &str,
        count: u32,
        window: u32,
        inbox: &Inbox,
    ) -> Result<f64> {
        inbox.clear();
        let start = Instant::now();
        let mut written = 0;
        while written < count {
            let room = window.saturating_sub(written - inbox.state().filled.min(written));
            let now = room.min(BATCH).min(count - written);
            if now == 0 {
                tokio::time::sleep(Duration::from_millis(1)).await;
                if start.elapsed() > PATIENCE * 3 {
                    break;
                }
                continue;
            }
            let mut xml = String::with_capacity(now as usize * (inside.len() + 200));
            for _ in 0..now {
                self.sent += 1;
                xml.push_str(&format!(
                    "<message from='ann@{}' to='{to}' type='chat' id='bare{}'>{inside}</message>",
                    self.domain, self.sent
                ));
            }
            self.stream.socket.write_all(xml.as_bytes()).await?;
            written += now;
        }
        inbox.until("bare stanzas", PATIENCE, |state| state.filled >= count).await?;
        let last = inbox.state().last.context("no stanza came")?;
        Ok(f64::from(count) / (last - start).as_secs_f64())
    }
}
