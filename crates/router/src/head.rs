//! What the header of a mail says about who it is for, with people in place of bridge addresses.

use isthmus_domain::{
    address::{BridgeLocal, Email, read_bridge_local},
    ids::MessageId,
    service::MailIn,
};
use isthmus_mail::mime::{Mailbox, Parsed};
use isthmus_store::{StoreError, TenantView, rows};

use crate::{
    batch::{Batch, Person},
    history::{address_list, addresses},
    mail_in::Incoming,
};

/// Reply addresses of other conversations that are looked up for one mail.
const LOOKED_UP: usize = 20;

/// The fields of a mail that its message keeps.
#[derive(Clone, Debug)]
pub(crate) struct Head {
    pub(crate) to: String,
    pub(crate) cc: String,
    pub(crate) in_reply_to: Option<String>,
    pub(crate) refs: String,
    pub(crate) quoted: Option<String>,
    pub(crate) html: Option<String>,
    pub(crate) verdict: Option<String>,
}

impl Head {
    /// Of a text that came in no mail: it is for one person.
    pub(crate) fn bare(to: &Person) -> Self {
        Self {
            to: address_list([(to.name.as_str(), to.key.as_str())]),
            cc: "[]".into(),
            in_reply_to: None,
            refs: "[]".into(),
            quoted: None,
            html: None,
            verdict: None,
        }
    }

    /// The one whom the bridge hands the mail to is a recipient, whatever stood in the header.
    pub(crate) fn with_recipient(mut self, to: &Person) -> Self {
        self.to = with_recipient(&self.to, &self.cc, to);
        self
    }

    /// Without what lies below the new text. A forwarded mail is a message of its own, and what
    /// else was quoted with it was not written to whom the answer goes.
    pub(crate) fn without_quotes(self) -> Self {
        Self { quoted: None, html: None, ..self }
    }
}

/// The list of recipients, with this one in it unless either list has them.
pub(crate) fn with_recipient(to_list: &str, cc_list: &str, to: &Person) -> String {
    let (mut all, others) = (addresses(to_list), addresses(cc_list));
    if !all.iter().chain(&others).any(|(_, a)| a.eq_ignore_ascii_case(&to.key)) {
        all.push((to.name.clone(), to.key.clone()));
    }
    address_list(all.iter().map(|(name, address)| (name.as_str(), address.as_str())))
}

/// Name and key of a person.
type Named = (String, String);

impl Batch<'_> {
    /// The header of a mail that `author` wrote into a conversation.
    pub(crate) async fn head(
        &mut self,
        tenant: &TenantView,
        mail: &MailIn,
        incoming: &Incoming,
        author: &str,
        talk: &str,
    ) -> Result<Head, StoreError> {
        let parsed = &incoming.parsed;
        let quoted = [parsed.quoted.as_deref(), parsed.signature.as_deref()]
            .into_iter()
            .flatten()
            .collect::<Vec<_>>()
            .join("\n");
        Ok(Head {
            to: self.list(tenant, &parsed.to, author, talk).await?,
            cc: self.list(tenant, &parsed.cc, author, talk).await?,
            in_reply_to: self.answered_by(tenant, parsed, talk).await?,
            refs: serde_json::to_string(&parsed.references).unwrap_or_default(),
            quoted: Some(quoted).filter(|q| !q.is_empty()),
            html: incoming.html.clone(),
            verdict: Some(mail.verdict.clone()),
        })
    }

    /// The Message-ID that a mail says it answers, as the message has it in the conversation. One
    /// that nobody here knows stays as it is written.
    async fn answered_by(
        &mut self,
        tenant: &TenantView,
        parsed: &Parsed,
        talk: &str,
    ) -> Result<Option<String>, StoreError> {
        let written = &parsed.in_reply_to;
        // Some programs only keep the thread, whose last mail is the one that is answered.
        let last = parsed.references.last().filter(|_| written.is_empty());
        for id in written.iter().chain(last) {
            if let Some(found) = self.message_in(tenant, id, talk).await? {
                return Ok(Some(found));
            }
        }
        Ok(written.first().cloned())
    }

    /// The Message-ID of a message of this conversation that somebody may know under another one:
    /// as a mail of ours, it bears an id of ours.
    pub(crate) async fn message_in(
        &mut self,
        tenant: &TenantView,
        id: &str,
        talk: &str,
    ) -> Result<Option<String>, StoreError> {
        let (tenant_id, bridge) = (&tenant.tenant.id, &tenant.tenant.bridge_domain);
        if self.called(tenant_id, id).await?.iter().any(|known| known.conversation == talk) {
            return Ok(Some(id.to_owned()));
        }
        let ours = id.strip_suffix(bridge.as_str()).and_then(|id| id.strip_suffix('@'));
        let Some(own) = ours.filter(|own| own.parse::<MessageId>().is_ok()) else {
            return Ok(None);
        };
        let planned = self.plan.set.once_messages.iter().find(|m| m.id == own).cloned();
        let found = match planned {
            Some(message) => Some(message),
            None => self.router.store.of(tenant_id).message(own).await?,
        };
        Ok(found.filter(|m| m.conversation_id == talk).map(|m| m.message_id))
    }

    /// An address field as a message row keeps it.
    pub(crate) async fn list(
        &mut self,
        tenant: &TenantView,
        boxes: &[Mailbox],
        author: &str,
        talk: &str,
    ) -> Result<String, StoreError> {
        let people = self.people(tenant, boxes, author, talk).await?;
        Ok(address_list(people.iter().map(|(name, key)| (name.as_str(), key.as_str()))))
    }

    /// The people of an address field. What stands for nobody, such as `im@`, is left out; and so
    /// is a reply address of a conversation that is neither this one nor the author's own, since
    /// who is behind it is none of this conversation's business.
    async fn people(
        &mut self,
        tenant: &TenantView,
        boxes: &[Mailbox],
        author: &str,
        talk: &str,
    ) -> Result<Vec<Named>, StoreError> {
        let mut people: Vec<Named> = Vec::with_capacity(boxes.len());
        let mut looked_up = 0;
        for mailbox in boxes {
            let email = &mailbox.email;
            let said = mailbox.name.clone().unwrap_or_default();
            let named = if email.domain() != tenant.tenant.bridge_domain {
                Some((said, email.as_str().to_owned()))
            } else if let Some(BridgeLocal::Reply(token)) = read_bridge_local(email.local()) {
                looked_up += 1;
                if looked_up > LOOKED_UP {
                    continue;
                }
                let behind = self.behind_token(tenant, &token).await?;
                let fits = |owner: &rows::Participant| {
                    owner.conversation_id == talk || owner.person == author
                };
                behind.filter(|(owner, _)| fits(owner)).map(|(_, other)| (other.name, other.person))
            } else {
                named_address(tenant, email)
                    .map(|e| (tenant.name_of(&e.key()).map_or(said, ToOwned::to_owned), e.key()))
            };
            if let Some(named) = named
                && !people.iter().any(|(_, key)| key.eq_ignore_ascii_case(&named.1))
            {
                people.push(named);
            }
        }
        Ok(people)
    }

    /// Whom a reply address belongs to, and the person it stands for: the other one.
    async fn behind_token(
        &mut self,
        tenant: &TenantView,
        token: &str,
    ) -> Result<Option<(rows::Participant, rows::Participant)>, StoreError> {
        let found = self.router.store.participant_by_token(token).await?;
        let id = &tenant.tenant.id;
        let Some(owner) = found.filter(|p| p.tenant_id == *id) else { return Ok(None) };
        let talk = self.talk(id, &owner.conversation_id).await?;
        Ok(talk.and_then(|t| t.other(&owner.person).cloned()).map(|other| (owner, other)))
    }

    /// Who wrote the mail that was forwarded. Where the bridge itself had sent it, its From is a
    /// reply address, and whoever has the mail may know who is behind that.
    pub(crate) async fn forwarded_author(
        &mut self,
        tenant: &TenantView,
        incoming: &Incoming,
    ) -> Result<Option<Person>, StoreError> {
        let Some(from) = incoming.parsed.forwarded.as_ref().and_then(|f| f.from.as_ref()) else {
            return Ok(None);
        };
        let as_written = || Person::by_email(tenant, &from.email.key(), from.name.as_deref());
        if from.email.domain() != tenant.tenant.bridge_domain {
            return Ok(Some(as_written()));
        }
        if let Some(BridgeLocal::Reply(token)) = read_bridge_local(from.email.local()) {
            let behind = self.behind_token(tenant, &token).await?;
            return Ok(Some(behind.map_or_else(as_written, |(_, other)| {
                Person::by_email(tenant, &other.person, Some(&other.name))
            })));
        }
        Ok(Some(match named_address(tenant, &from.email) {
            Some(email) => Person::by_email(tenant, &email.key(), None),
            None => as_written(),
        }))
    }
}

/// The address that `bob=acme.test@` and aliases stand for.
fn named_address(tenant: &TenantView, email: &Email) -> Option<Email> {
    match read_bridge_local(email.local())? {
        BridgeLocal::Person(email) => Some(email),
        BridgeLocal::Alias(alias) => tenant.alias(&alias).and_then(|a| Email::parse(a).ok()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whom_the_bridge_hands_a_mail_to_is_among_its_recipients_once() {
        let bob = Person { key: "bob@acme.test".into(), name: "Bob".into(), member: None };
        let dave = address_list([("Dave", "dave@other.test")]);
        let cc = address_list([("", "Bob@acme.test")]);
        assert_eq!(with_recipient(&dave, &cc, &bob), dave);
        let both = addresses(&with_recipient(&dave, "[]", &bob));
        assert_eq!(both.len(), 2);
        assert_eq!(both[1], ("Bob".to_owned(), "bob@acme.test".to_owned()));
    }
}
