//! What every network has to do, as checks that run against a real one.
//!
//! A network's tests build a [`Bench`] (the network, its events, and a [`Peer`] that drives a
//! real client at the other side) and call [`everything`], or single checks. The checks panic
//! with a sentence when the network does not hold what `ImNetwork` promises.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use isthmus_domain::address::{Email, ImAddress};
use tokio::{sync::mpsc, time::timeout};

use crate::{Event, ImNetwork, InMessage, Names, OutFile, OutMessage, Presence, Sent};

/// Longest wait for something that must happen.
const SOON: Duration = Duration::from_secs(10);
/// Wait for something that must not happen.
const A_WHILE: Duration = Duration::from_millis(400);

/// A message as it reached the peer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Got {
    /// The contact it came from; `None` is the bridge itself.
    pub from: Option<Email>,
    /// Its text; empty if it is only a file.
    pub body: String,
    /// The id that it was sent under.
    pub id: String,
    /// Addresses of its files.
    pub files: Vec<String>,
}

/// A user of the network with one client, who confirms what they receive.
#[async_trait]
pub trait Peer: Send {
    /// Their address.
    fn address(&self) -> ImAddress;

    /// The client comes on line, if it is not.
    async fn online(&mut self);

    /// The client goes off line.
    async fn offline(&mut self);

    /// Lets the bridge see their presence, as soon as it asked.
    async fn accept_subscription(&mut self);

    /// Writes to a contact (`None`: the bridge itself) and returns the message's id without
    /// waiting for it to be accepted.
    async fn send(&mut self, to: Option<&Email>, body: &str) -> String;

    /// The next message, if one comes within `wait`.
    async fn next_message(&mut self, wait: Duration) -> Option<Got>;

    /// The id of the next message of theirs that is shown as accepted, if one is within `wait`.
    async fn next_receipt(&mut self, wait: Duration) -> Option<String>;

    /// What a contact is called in their client.
    async fn name_of(&mut self, contact: &Email) -> Option<String>;
}

/// A network and a user of it.
pub struct Bench<P> {
    /// The network, serving [`Bench::bridge_domain`].
    pub network: Arc<dyn ImNetwork>,
    /// What it tells.
    pub events: mpsc::Receiver<Event>,
    /// The user, on line.
    pub peer: P,
    /// The bridge domain.
    pub bridge_domain: String,
    /// A contact that exists there.
    pub contact: Email,
    /// How the contact is called.
    pub contact_name: String,
}

/// The [`Names`] of a bench: one contact.
pub struct OneName(pub Email, pub String);

#[async_trait]
impl Names for OneName {
    async fn name(
        &self,
        _bridge_domain: &str,
        email: &Email,
        _asker: Option<&ImAddress>,
    ) -> Option<String> {
        (*email == self.0).then(|| self.1.clone())
    }

    fn alias(&self, _bridge_domain: &str, _name: &str) -> Option<Email> {
        None
    }
}

/// Runs all checks, in an order in which they do not disturb one another.
pub async fn everything<P: Peer>(bench: &mut Bench<P>) {
    presence_of_strangers_is_unknown(bench).await;
    a_message_arrives_under_its_id_and_is_confirmed(bench).await;
    the_bridge_itself_can_write(bench).await;
    order_is_kept(bench).await;
    text_survives_whatever_it_holds(bench).await;
    files_arrive_as_addresses(bench).await;
    a_message_in_is_accepted_only_after_its_commit(bench).await;
    a_message_that_was_not_committed_is_never_accepted(bench).await;
    a_refused_message_shows_why(bench).await;
    contacts_have_names(bench).await;
    presence_follows_the_subscription(bench).await;
    foreign_addresses_are_refused(bench).await;
}

impl<P: Peer> Bench<P> {
    /// Waits for the event that `pick` accepts; others are dropped.
    pub async fn event<T>(&mut self, what: &str, mut pick: impl FnMut(Event) -> Option<T>) -> T {
        let wait = async {
            loop {
                let event = self.events.recv().await;
                let event = event.unwrap_or_else(|| panic!("the network ended before: {what}"));
                if let Some(picked) = pick(event) {
                    return picked;
                }
            }
        };
        timeout(SOON, wait).await.unwrap_or_else(|_| panic!("did not happen in time: {what}"))
    }

    /// A message from the contact to the peer.
    #[must_use]
    pub fn message(&self, id: &str, body: &str) -> OutMessage {
        OutMessage {
            id: id.to_owned(),
            bridge_domain: self.bridge_domain.clone(),
            from: Some(self.contact.clone()),
            from_name: self.contact_name.clone(),
            to: self.peer.address(),
            body: body.to_owned(),
            thread: None,
            written_at: None,
            files: Vec::new(),
        }
    }

    async fn deliver(&mut self, message: OutMessage) -> Sent {
        let id = message.id.clone();
        self.network
            .send(message)
            .await
            .unwrap_or_else(|error| panic!("{id} was not sent: {error}"))
    }

    async fn got(&mut self, what: &str) -> Got {
        let got = self.peer.next_message(SOON).await;
        got.unwrap_or_else(|| panic!("nothing came in time: {what}"))
    }

    async fn confirmed(&mut self, id: &str) {
        let peer = self.peer.address();
        let confirmed = self.event("the receipt", |event| match event {
            Event::Receipt { from, id, .. } => Some((from, id)),
            _ => None,
        });
        assert_eq!(confirmed.await, (peer, id.to_owned()), "somebody confirmed something else");
    }

    async fn arriving(&mut self) -> (InMessage, tokio::sync::oneshot::Sender<Result<(), String>>) {
        self.event("the message coming in", |event| match event {
            Event::Message(message, acknowledge) => Some((message, acknowledge)),
            _ => None,
        })
        .await
    }

    async fn presence_becomes(&mut self, wanted: Presence) {
        let peer = self.peer.address();
        let event = self.event("a change of presence", |event| match event {
            Event::Presence { of, presence, .. } if of == peer => Some(presence),
            _ => None,
        });
        assert_eq!(event.await, wanted, "the presence that was told is wrong");
        assert_eq!(self.network.presence(&self.bridge_domain, &self.peer.address()), wanted);
    }
}

/// Somebody who was never watched is neither there nor away.
pub async fn presence_of_strangers_is_unknown<P: Peer>(bench: &mut Bench<P>) {
    let name = bench.network.name();
    let stranger = ImAddress::parse(&format!("{name}:stranger@nowhere.test")).expect("an address");
    assert_eq!(bench.network.presence(&bench.bridge_domain, &stranger), Presence::Unknown);
}

/// Id, sender and text arrive, and the receipt names the id.
pub async fn a_message_arrives_under_its_id_and_is_confirmed<P: Peer>(bench: &mut Bench<P>) {
    let sent = bench.deliver(bench.message("conf-1", "Approved, go ahead.")).await;
    let got = bench.got("a message").await;
    let body = "Approved, go ahead.".to_owned();
    let (from, id) = (Some(bench.contact.clone()), "conf-1".to_owned());
    assert_eq!(got, Got { from, body, id, files: Vec::new() });
    if sent == Sent::Written {
        bench.confirmed("conf-1").await;
    }
}

/// A message from nobody in particular comes from the bridge.
pub async fn the_bridge_itself_can_write<P: Peer>(bench: &mut Bench<P>) {
    let message = OutMessage { from: None, ..bench.message("conf-bridge", "Is this you?") };
    bench.deliver(message).await;
    let got = bench.got("the bridge's message").await;
    assert_eq!((got.from, got.body.as_str()), (None, "Is this you?"));
}

/// Messages that are awaited one after the other arrive in that order.
pub async fn order_is_kept<P: Peer>(bench: &mut Bench<P>) {
    for n in 0..20 {
        bench.deliver(bench.message(&format!("conf-order-{n}"), &format!("line {n}"))).await;
    }
    for n in 0..20 {
        assert_eq!(bench.got("a line").await.body, format!("line {n}"));
    }
}

/// Nothing in a text can break the protocol, and nothing that it can carry is lost.
pub async fn text_survives_whatever_it_holds<P: Peer>(bench: &mut Bench<P>) {
    let text = "a < b && c > \"d\" 'e' ]]> </body>\n\n\ttab &amp; 🙂 é \u{5d0}\u{202e}x";
    bench.deliver(bench.message("conf-text", text)).await;
    assert_eq!(bench.got("a difficult text").await.body, text);
    let control = "before\u{0}\u{7}\u{fffe}after";
    bench.deliver(bench.message("conf-control", control)).await;
    assert_eq!(bench.got("a text with control characters").await.body, "beforeafter");
}

/// Each file is at an address that the peer is given.
pub async fn files_arrive_as_addresses<P: Peer>(bench: &mut Bench<P>) {
    let file = OutFile {
        name: "offer.pdf".to_owned(),
        media_type: "application/pdf".to_owned(),
        size: 4,
        // There is no such file, so that only the link can be sent.
        path: std::path::PathBuf::from("/nonexistent/offer.pdf"),
        link: "https://bridge.example/f/1?x=1&y=2".to_owned(),
    };
    let link = file.link.clone();
    bench.deliver(OutMessage { files: vec![file], ..bench.message("conf-file", "See this") }).await;
    let mut got = bench.got("the text of a message with a file").await;
    assert_eq!(got.body, "See this");
    if got.files.is_empty() {
        got = bench.got("the file").await;
    }
    assert_eq!(got.files, [link]);
}

/// The sender sees a message as accepted only once it is committed here.
pub async fn a_message_in_is_accepted_only_after_its_commit<P: Peer>(bench: &mut Bench<P>) {
    while bench.peer.next_receipt(Duration::ZERO).await.is_some() {}
    let contact = bench.contact.clone();
    let id = bench.peer.send(Some(&contact), "Thank you!").await;
    let (message, acknowledge) = bench.arriving().await;
    assert_eq!(message.bridge_domain, bench.bridge_domain);
    assert_eq!((message.from, message.to), (bench.peer.address(), Some(contact)));
    assert_eq!((message.id.as_str(), message.body.as_str()), (id.as_str(), "Thank you!"));
    let early = bench.peer.next_receipt(A_WHILE).await;
    assert_eq!(early, None, "it was accepted before it was committed");
    acknowledge.send(Ok(())).expect("the network waits for the commit");
    assert_eq!(bench.peer.next_receipt(SOON).await, Some(id));

    bench.peer.send(None, "1").await;
    let (message, acknowledge) = bench.arriving().await;
    assert_eq!((message.to, message.body.as_str()), (None, "1"));
    acknowledge.send(Ok(())).expect("the network waits for the commit");
    bench.peer.next_receipt(SOON).await.expect("a receipt from the bridge itself");
}

/// When the gateway dies with a message in its hands, the sender is not told otherwise.
pub async fn a_message_that_was_not_committed_is_never_accepted<P: Peer>(bench: &mut Bench<P>) {
    let contact = bench.contact.clone();
    bench.peer.send(Some(&contact), "lost").await;
    let (_, acknowledge) = bench.arriving().await;
    drop(acknowledge);
    assert_eq!(bench.peer.next_receipt(A_WHILE).await, None, "a lost message was accepted");
}

/// A message that is not taken is answered with the reason, by whom it was sent to.
pub async fn a_refused_message_shows_why<P: Peer>(bench: &mut Bench<P>) {
    let contact = bench.contact.clone();
    bench.peer.send(Some(&contact), "too much").await;
    let (_, acknowledge) = bench.arriving().await;
    acknowledge.send(Err("This is too long.".to_owned())).expect("the network waits");
    let got = bench.got("the reason").await;
    assert_eq!((got.from, got.body.as_str()), (Some(contact), "This is too long."));
    assert_eq!(bench.peer.next_receipt(A_WHILE).await, None, "a refused message was accepted");
}

/// People are shown by name, and those who do not exist are not.
pub async fn contacts_have_names<P: Peer>(bench: &mut Bench<P>) {
    let contact = bench.contact.clone();
    assert_eq!(bench.peer.name_of(&contact).await, Some(bench.contact_name.clone()));
    let nobody = Email::parse("nobody@elsewhere.test").expect("an address");
    assert_eq!(bench.peer.name_of(&nobody).await, None);
}

/// Unknown until allowed, then as it is, and told once per change.
pub async fn presence_follows_the_subscription<P: Peer>(bench: &mut Bench<P>) {
    let peer = bench.peer.address();
    assert_eq!(bench.network.presence(&bench.bridge_domain, &peer), Presence::Unknown);
    bench.network.watch(&bench.bridge_domain, &peer, "To know when you can be reached.").await;
    bench.peer.accept_subscription().await;
    bench.presence_becomes(Presence::Available).await;
    bench.peer.offline().await;
    bench.presence_becomes(Presence::Unavailable).await;
    bench.peer.online().await;
    bench.presence_becomes(Presence::Available).await;
    // Asking again changes nothing that is known.
    bench.network.watch(&bench.bridge_domain, &peer, "To know when you can be reached.").await;
    bench.network.unwatch(&bench.bridge_domain, &peer).await;
    assert_eq!(bench.network.presence(&bench.bridge_domain, &peer), Presence::Unknown);
}

/// A network does not send to addresses of another, nor for a domain that it does not serve.
pub async fn foreign_addresses_are_refused<P: Peer>(bench: &mut Bench<P>) {
    let to = ImAddress::parse("other:bob@chat.test").expect("an address");
    let message = OutMessage { to, ..bench.message("conf-foreign", "x") };
    let refused = bench.network.send(message).await;
    assert!(matches!(refused, Err(crate::SendError::Refused(_))), "{refused:?}");
    let bridge_domain = "not-served.test".to_owned();
    let message = OutMessage { bridge_domain, ..bench.message("conf-unserved", "x") };
    let not_connected = bench.network.send(message).await;
    assert!(
        matches!(not_connected, Err(crate::SendError::NotConnected(_))),
        "sent for a domain that is not served: {not_connected:?}"
    );
}
