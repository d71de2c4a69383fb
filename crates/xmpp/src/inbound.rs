//! Every stanza that comes in passes here: who may have sent it, and what becomes of it.

use std::sync::Arc;

use isthmus_domain::address::ImAddress;
use isthmus_im::{Event, InMessage};
use minidom::Element;
use tokio::sync::oneshot;

use crate::{
    answers,
    jid::{Jid, Target},
    link::Link,
    ns, presence,
    stanza::{
        error::StanzaError,
        message_in::{self, Kind, Message, Text},
        message_out,
    },
    stream::{Echoes, Out, Read},
};

/// What a handler needs to know of the session.
pub(crate) struct Session {
    pub(crate) link: Arc<Link>,
    pub(crate) out: Out,
    pub(crate) echoes: Arc<Echoes>,
}

impl Session {
    /// Handles one stanza. Waits where the gateway or the server is slower than the sender.
    pub(crate) async fn handle(&self, read: Read) {
        let (Read::Whole(stanza) | Read::TooBig(stanza)) = &read;
        if !stanza.has_ns(ns::COMPONENT) {
            return;
        }
        let is_echo = stanza.name() == "iq"
            && stanza.attr("from") == Some(self.link.domain.as_str())
            && stanza.attr("id").is_some_and(|id| self.echoes.came_back(id));
        if is_echo {
            return;
        }
        let Some((from, to)) = self.parties(stanza) else { return };
        if let Read::TooBig(stanza) = &read {
            return self.refuse_size(stanza).await;
        }
        match stanza.name() {
            "message" => self.message(stanza, &from, &to).await,
            "presence" => presence::handle(&self.link, &self.out, stanza, &from, &to).await,
            "iq" => self.iq(stanza, &from, &to).await,
            _ => {}
        }
    }

    /// Sender and recipient. Servers assert them, so what claims to come from one of our own
    /// addresses or is meant for another server was made up on the way.
    fn parties(&self, stanza: &Element) -> Option<(Jid, Jid)> {
        let from = Jid::parse(stanza.attr("from")?)?;
        let to = Jid::parse(stanza.attr("to")?)?;
        if to.domain != self.link.domain || self.link.shared.is_served(&from.domain) {
            tracing::warn!(
                xmpp.domain = %self.link.domain, xmpp.from_domain = %from.domain,
                "a stanza with a sender or recipient that cannot be was dropped"
            );
            return None;
        }
        Some((from, to))
    }

    async fn refuse_size(&self, stanza: &Element) {
        let name = match stanza.name() {
            "message" => "message",
            "iq" => "iq",
            _ => return,
        };
        // RFC 6120 section 8.3.1: an error or a result is never answered with an error.
        if matches!(stanza.attr("type"), Some("error" | "result")) {
            return;
        }
        let error =
            StanzaError::policy_violation("This is too large to be passed on. Nothing of it was.");
        self.answer_error(name, stanza, &error).await;
    }

    async fn answer_error(&self, name: &'static str, stanza: &Element, error: &StanzaError) {
        let attr = |name| stanza.attr(name).unwrap_or_default();
        self.out.push(error.answer(name, attr("id"), attr("to"), attr("from"))).await;
    }

    async fn iq(&self, stanza: &Element, from: &Jid, to: &Jid) {
        let kind = match stanza.attr("type") {
            Some("get") => answers::Kind::Get,
            Some("set") => answers::Kind::Set,
            Some("result" | "error") => {
                let asked = stanza.attr("from").unwrap_or_default();
                return self.link.requests.answered(asked, stanza.clone());
            }
            _ => {
                let error = StanzaError::bad_request("A request is a get or a set.");
                return self.answer_error("iq", stanza, &error).await;
            }
        };
        let Some(permit) = self.link.busy_with_request() else {
            let error =
                StanzaError::resource_constraint("Too much at once. Please try again in a moment.");
            return self.answer_error("iq", stanza, &error).await;
        };
        let (link, out) = (Arc::clone(&self.link), self.out.clone());
        let (stanza, from, to) = (stanza.clone(), from.clone(), to.clone());
        self.link.shared.tasks.spawn(async move {
            out.push(answers::answer(&link, &stanza, kind, &from, &to).await).await;
            drop(permit);
        });
    }

    async fn message(&self, stanza: &Element, from: &Jid, to: &Jid) {
        // Servers speak too (RFC 6121 section 5.1), but not as somebody one can answer.
        let Some(who) = from.im() else { return };
        let Message { id, receipts, kind } = message_in::read(stanza);
        let bridge_domain = || self.link.domain.clone();
        for id in receipts.into_iter().filter(|id| !message_out::is_file_of_a_message(id)) {
            let (bridge_domain, from) = (bridge_domain(), who.clone());
            self.link.shared.tell(Event::Receipt { bridge_domain, from, id }).await;
        }
        match kind {
            Kind::Nothing => {}
            // Its message comes back too, and speaks for both.
            Kind::Bounce(_) if id.is_empty() || message_out::is_file_of_a_message(&id) => {}
            Kind::Bounce(error) => {
                let event = Event::Bounced {
                    bridge_domain: bridge_domain(),
                    to: who,
                    id,
                    temporary: error.temporary,
                    reason: error.reason,
                };
                self.link.shared.tell(event).await;
            }
            _ if self.link.target(to) == Target::Nobody => {
                let text = "There is no such contact. Its address is an email address with \\40 in place of the @.";
                self.answer_error("message", stanza, &StanzaError::item_not_found(text)).await;
            }
            Kind::Encrypted(by) => self.encrypted(by, who, from, to).await,
            Kind::Text(text) => self.text(id, text, who, from, to).await,
        }
    }

    async fn encrypted(&self, by: &str, who: ImAddress, from: &Jid, to: &Jid) {
        let shared = &self.link.shared;
        if !shared.notices.is_due(&self.link.domain, &who, shared.clock.now()) {
            return;
        }
        let text = format!(
            "Your message was encrypted ({by}), which email cannot carry, so nobody has read it. \
             Please switch encryption off for this contact and send it again."
        );
        self.out
            .push(message_out::line(&shared.own_id("enc"), &to.bare(), &full(from), &text))
            .await;
        let bridge_domain = self.link.domain.clone();
        shared.tell(Event::Encrypted { bridge_domain, from: who }).await;
    }

    /// Hands the message over and, in the background, sends the receipt once it is committed.
    async fn text(&self, id: String, text: Text, who: ImAddress, from: &Jid, to: &Jid) {
        let Some(permit) = self.link.busy_with_message().await else { return };
        let wants_receipt = text.wants_receipt;
        let message = InMessage {
            bridge_domain: self.link.domain.clone(),
            from: who,
            from_resource: from.resource.clone(),
            to: self.link.target(to).email(),
            id: id.clone(),
            body: text.body,
            thread: text.thread,
            files: text.files,
            sent_at: text.sent_at,
            wants_receipt,
        };
        let (acknowledge, acknowledged) = oneshot::channel();
        self.link.shared.tell(Event::Message(message, acknowledge)).await;
        let (link, own, their) = (Arc::clone(&self.link), to.bare(), full(from));
        self.link.shared.tasks.spawn(async move {
            let shared = &link.shared;
            let acknowledged = tokio::select! {
                acknowledged = acknowledged => acknowledged,
                () = link.is_over() => return,
            };
            let answer = match acknowledged {
                Ok(Ok(())) if wants_receipt => {
                    Some(message_out::receipt(&shared.own_id("rcpt"), &id, &own, &their))
                }
                Ok(Err(text)) => {
                    Some(message_out::line(&shared.own_id("err"), &own, &their, &text))
                }
                // Not committed: the missing receipt says so.
                Ok(Ok(())) | Err(_) => None,
            };
            if let Some(answer) = answer {
                // The session it came in on may have been replaced by now.
                link.push(answer).await;
            }
            drop(permit);
        });
    }
}

/// The address with its resource, where an answer to one client goes.
fn full(jid: &Jid) -> String {
    match &jid.resource {
        Some(resource) => format!("{}/{resource}", jid.bare()),
        None => jid.bare(),
    }
}
