//! Ordinary mail to a member's own address: into the inbox, and to their chat if they are there.

use isthmus_domain::{
    address::Email,
    delivery::Reach,
    service::{MailIn, Trust},
};
use isthmus_mail::mime::Parsed;
use isthmus_store::{StoreError, TenantView, rows};

use crate::{
    batch::{Batch, Person, Talk},
    compose as words,
    history::addresses,
    mail_in::{Filed, Incoming, is_automatic},
    plan::{Rules, Wire, WireFile},
    services::Outcome,
    steps::NewIm,
};

/// Octets of text in one message in chat, escaped as networks send it: what they take (256 KiB)
/// without what goes around it.
const CHAT_TEXT: usize = 240 * 1024;
/// Recipients of a member's own mail that get a conversation each. A mail to more of them is an
/// announcement, and kept once.
const OWN_RECIPIENTS: usize = 50;

impl Batch<'_> {
    /// A mail to a member's own address.
    pub(crate) async fn for_member(
        &mut self,
        tenant: &TenantView,
        transaction: &rows::Transaction,
        mail: &MailIn,
        incoming: &Incoming,
        rcpt: &str,
    ) -> Result<Outcome, StoreError> {
        let Some(member) = tenant.member(rcpt).cloned() else { return Ok(Outcome::Done) };
        let parsed = &incoming.parsed;
        let author =
            Person::by_email(tenant, &parsed.from.email.key(), parsed.from.name.as_deref());
        let to = Person::by_email(tenant, &member.email, None);
        let proven = mail.trust.is_good() && parsed.upstream_verdict.is_none();
        if author.key == to.key
            && proven
            && self.own_mail(tenant, transaction, mail, incoming, &author).await?
        {
            return Ok(Outcome::Done);
        }
        if self.is_here(tenant, incoming, &author, &to).await? {
            return Ok(Outcome::Done);
        }
        let held = why_held(mail, parsed, &author);
        // What nothing proves may come, but not into a conversation in which the one it claims
        // to be from has spoken. What is held is shown to be held.
        let mut talk = if proven || held.is_some() {
            self.talk_for(tenant, transaction, incoming, &author, &to).await?
        } else {
            self.new_talk(tenant, transaction, incoming, &author, &to)
        };
        let filed = Filed { author: &author, held: held.clone(), part: &to.key, recipient: None };
        let message = self.file_mail(tenant, transaction, mail, incoming, &mut talk, filed).await?;
        if held.is_some() {
            if let Some(claimed) = author.member.as_ref().filter(|_| !proven) {
                self.tell_forged(tenant, transaction, mail, incoming, claimed).await?;
            }
            return Ok(Outcome::Done);
        }
        self.arrived(tenant, transaction, (mail, parsed), &mut talk, &message, &member).await?;
        Ok(Outcome::Done)
    }

    /// A mail that lies in a member's inbox is shown in their chat, too, if they are there.
    pub(crate) async fn arrived(
        &mut self,
        tenant: &TenantView,
        transaction: &rows::Transaction,
        (mail, parsed): (&MailIn, &Parsed),
        talk: &mut Talk,
        message: &rows::Message,
        member: &rows::Member,
    ) -> Result<(), StoreError> {
        let Some(address) = tenant.im_of(&member.email).map(|m| m.im.clone()) else {
            return Ok(());
        };
        if is_automatic(mail, parsed)
            || self.reach(&tenant.tenant.bridge_domain, &address) != Reach::Available
        {
            return Ok(());
        }
        let author = Person::by_email(tenant, &message.from_person, Some(&message.from_name));
        let to = Person::by_email(tenant, &member.email, None);
        let proven = mail.trust.is_good() && parsed.upstream_verdict.is_none();
        let mark = if proven { None } else { Some(&author) };
        let text = self.chat_text(talk, message, &to, mark);
        self.show_in_chat(tenant, transaction, talk, message, &author, &to, &address, text).await
    }

    /// A copy of what the member sent: it belongs into the conversations with those they wrote
    /// to. `false` if there are none. Mail to bridge addresses comes here by itself.
    async fn own_mail(
        &mut self,
        tenant: &TenantView,
        transaction: &rows::Transaction,
        mail: &MailIn,
        incoming: &Incoming,
        author: &Person,
    ) -> Result<bool, StoreError> {
        let parsed = &incoming.parsed;
        let all = || parsed.to.iter().chain(&parsed.cc);
        let on_bridge = |email: &Email| email.domain() == tenant.tenant.bridge_domain;
        let mut others: Vec<Person> = Vec::new();
        for mailbox in all().filter(|m| !on_bridge(&m.email)) {
            let other = Person::by_email(tenant, &mailbox.email.key(), mailbox.name.as_deref());
            if other.key != author.key && !others.iter().any(|o| o.key == other.key) {
                others.push(other);
            }
        }
        if others.len() > OWN_RECIPIENTS {
            return Ok(false);
        }
        for other in &others {
            // A colleague's copy comes by itself, and is what their chat shows.
            if other.member.is_some() || self.is_here(tenant, incoming, author, other).await? {
                continue;
            }
            let mut talk = self.talk_for(tenant, transaction, incoming, author, other).await?;
            let filed = Filed { author, held: None, part: &other.key, recipient: None };
            self.file_mail(tenant, transaction, mail, incoming, &mut talk, filed).await?;
        }
        Ok(!others.is_empty() || all().any(|m| on_bridge(&m.email)))
    }

    /// Ordinary mail as chat shows it: whole where it fits, else its beginning and a link to the
    /// rest. `unproven` is who it claims to be from.
    fn chat_text(
        &mut self,
        talk: &Talk,
        message: &rows::Message,
        to: &Person,
        unproven: Option<&Person>,
    ) -> String {
        let mut top = String::new();
        if let Some(author) = unproven {
            top = format!("⚠ Nothing proves that this mail is from {}.\n", author.key);
        }
        if !message.subject.is_empty() {
            top = format!("{top}✉ {}\n", message.subject);
        }
        let text = message.text.trim();
        let start = fitting(text, CHAT_TEXT - top.len().min(CHAT_TEXT / 2));
        if start.len() == text.len() {
            return format!("{top}{text}");
        }
        let seen = addresses(&message.to_list).into_iter().chain(addresses(&message.cc_list));
        let named = seen.into_iter().any(|(_, a)| a.eq_ignore_ascii_case(&to.key));
        let link = if named {
            self.conversation_link(talk, &to.key, message.seq)
        } else {
            // Who got a blind copy is not in the transcript's audience, but reads their own inbox.
            format!("{}/conversations/{}", self.router.config.public_url, talk.row.id)
        };
        format!("{top}{} […]\n\nThe whole mail: {link}", start.trim_end())
    }

    /// Ordinary mail shown in the chat of a member who is there. Nobody is asked about it.
    #[expect(clippy::too_many_arguments, reason = "two people, one message, where it goes")]
    async fn show_in_chat(
        &mut self,
        tenant: &TenantView,
        transaction: &rows::Transaction,
        talk: &mut Talk,
        message: &rows::Message,
        author: &Person,
        to: &Person,
        address: &str,
        text: String,
    ) -> Result<(), StoreError> {
        let files = if self.plan.set.once_messages.iter().any(|m| m.id == message.id) {
            self.files_in_plan(&message.id)
        } else {
            self.files_of(&tenant.tenant.id, std::slice::from_ref(message)).await?
        };
        let wire = Wire {
            text,
            from: author.email(),
            from_name: self.shown_name(author),
            bridge_domain: tenant.tenant.bridge_domain.clone(),
            files: files
                .iter()
                .zip(Self::file_refs(&files))
                .map(|(row, file)| WireFile { id: row.id.clone(), file })
                .collect(),
            rules: Rules::default(),
        };
        self.new_im(NewIm {
            tenant,
            transaction: &transaction.id,
            talk: Some(talk),
            message: &message.id,
            seq: message.seq,
            person: &to.key,
            address,
            member: None,
            source: "smtp",
            wire,
            delivery_id: None,
        })
        .await?;
        if let Some(p) = talk.people.iter_mut().find(|p| p.person == to.key) {
            p.history_seq = message.seq;
        }
        self.put_talk(talk.clone());
        Ok(())
    }
}

/// Why a mail to a member is held back. A member's name needs proof; anybody else's is as good
/// as in any mailbox, unless its domain or a mail server before us says that it is bad.
fn why_held(mail: &MailIn, parsed: &Parsed, author: &Person) -> Option<String> {
    if author.member.is_some() && !mail.trust.is_good() {
        return Some("the sender could not be proven".to_owned());
    }
    if let Some(why) = &parsed.upstream_verdict {
        return Some(words::excerpt(why, 300));
    }
    let forged = "the mail is not from where it says, as its sender's domain lets us know";
    (mail.trust == Trust::Bad).then(|| forged.to_owned())
}

/// The beginning of a text that takes no more than `limit` octets once it is escaped for XML.
fn fitting(text: &str, limit: usize) -> &str {
    let mut octets = 0;
    for (at, c) in text.char_indices() {
        octets += match c {
            '&' | '<' | '>' | '"' | '\'' => 6,
            '\r' => 5,
            c => c.len_utf8(),
        };
        if octets > limit {
            return &text[..at];
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::fitting;

    #[test]
    fn a_text_is_cut_only_where_the_network_would_not_take_it() {
        assert_eq!(fitting("Grüße", 7), "Grüße");
        assert_eq!(fitting("Grüße", 6), "Grüß");
        assert_eq!(fitting("a<b", 7), "a<");
        assert_eq!(fitting(&"x".repeat(200_000), super::CHAT_TEXT).len(), 200_000);
    }
}
