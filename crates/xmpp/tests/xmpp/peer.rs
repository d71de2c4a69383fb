//! slixmpp as the user of the conformance suite.

use std::time::Duration;

use async_trait::async_trait;
use isthmus_domain::address::{Email, ImAddress, jid_local, read_jid_local};
use isthmus_im::conformance::{Got, Peer};
use isthmus_tests::XmppClient;
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::support::{DOMAIN, SOON};

pub(crate) struct SlixmppPeer {
    pub(crate) client: XmppClient,
    sent: u32,
}

impl SlixmppPeer {
    pub(crate) fn new(client: XmppClient) -> Self {
        Self { client, sent: 0 }
    }

    /// The first event that fits, if one comes within `wait`.
    async fn take(&mut self, wait: Duration, fits: impl Fn(&Value) -> bool) -> Option<Value> {
        let end = Instant::now() + wait;
        while !self.client.heard().iter().any(&fits) {
            if Instant::now() >= end {
                return None;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        Some(self.client.expect("what was just seen", SOON, fits).await)
    }

    /// Gives a command and returns its result, or the reason why there is none.
    pub(crate) async fn ask(&mut self, mut command: Value) -> Result<Value, String> {
        self.sent += 1;
        let number = self.sent;
        command["ref"] = json!(number);
        self.client.command(command).await;
        let answer = self.client.expect("an answer", SOON, |event| event["ref"] == number).await;
        if answer["ev"] == "result" { Ok(answer) } else { Err(answer.to_string()) }
    }
}

/// The address of a contact on the bridge domain.
pub(crate) fn jid(contact: Option<&Email>) -> String {
    contact.map_or(DOMAIN.to_owned(), |email| format!("{}@{DOMAIN}", jid_local(email)))
}

#[async_trait]
impl Peer for SlixmppPeer {
    fn address(&self) -> ImAddress {
        ImAddress::parse(&format!("xmpp:{}", self.client.jid())).expect("an address")
    }

    async fn online(&mut self) {
        self.client.go_online().await;
    }

    async fn offline(&mut self) {
        self.client.go_offline().await;
    }

    async fn accept_subscription(&mut self) {
        // The client accepts by itself.
        let asked = self.client.expect("a subscription request", SOON, |e| e["ev"] == "subscribe");
        let asked = asked.await;
        assert_eq!((&asked["from"], asked["status"].is_string()), (&json!(DOMAIN), true));
    }

    async fn send(&mut self, to: Option<&Email>, body: &str) -> String {
        self.sent += 1;
        let id = format!("peer-{}", self.sent);
        self.client.send(&jid(to), body, &id).await;
        id
    }

    async fn next_message(&mut self, wait: Duration) -> Option<Got> {
        let message = self.take(wait, |event| event["ev"] == "message").await?;
        let text = |key: &str| message[key].as_str().unwrap_or_default().to_owned();
        let from = text("from");
        let from = from.strip_suffix(DOMAIN).expect("from the bridge");
        let files = message["oob"].as_array().into_iter().flatten();
        Some(Got {
            from: from.strip_suffix('@').and_then(read_jid_local),
            body: text("body"),
            id: text("id"),
            files: files.filter_map(Value::as_str).map(str::to_owned).collect(),
        })
    }

    async fn next_receipt(&mut self, wait: Duration) -> Option<String> {
        let receipt = self.take(wait, |event| event["ev"] == "receipt").await?;
        receipt["id"].as_str().map(str::to_owned)
    }

    async fn name_of(&mut self, contact: &Email) -> Option<String> {
        let card = self.ask(json!({"do": "vcard", "to": jid(Some(contact))})).await.ok()?;
        card["fn"].as_str().map(str::to_owned)
    }
}
