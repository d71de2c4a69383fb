//! Messages that go out as a mail: the text, the exchange so far, its files, and the mail's place
//! in the recipient's thread.

use std::collections::HashSet;

use isthmus_domain::address::Email;
use isthmus_mail::mime::{self, Mailbox};
use isthmus_store::{StoreError, rows};

use crate::{
    batch::{Batch, Talk},
    compose as words,
    history::{History, LINK_MS, addresses, was_part_of},
    requests::{Mail, Written},
};

/// Octets of files that go along in one mail; more of them go as links.
const MAIL_FILES: i64 = 20_000_000;
/// Files that go along in one mail, and as many links besides.
const MOST_FILES: usize = 50;
/// Messages at the start of a long conversation among which its first mail is looked for.
const FIRST: u64 = 50;

/// The files of one mail: as many as there is room for go along, the others are linked.
#[derive(Default)]
struct Packed {
    attached: Vec<mime::OutAttachment>,
    octets: i64,
    /// What became of each file, by its id, in the words of the transcript.
    fate: Vec<(String, String)>,
    /// Content and name of all of them: the same file is not sent twice in a mail.
    seen: HashSet<(String, String)>,
}

impl Batch<'_> {
    /// Composes the mail itself.
    pub(crate) async fn write_mail(
        &mut self,
        talk: &Talk,
        mail: &Mail<'_>,
        to: &Email,
        messages: &[rows::Message],
        files: &[rows::Attachment],
        message_id: &str,
    ) -> Result<Written, StoreError> {
        let tenant = &mail.tenant.tenant;
        let before = messages.first().map_or(i64::MAX, |m| m.seq);
        let history = self.look_back(talk, &mail.to.key, before).await?;
        let known =
            self.deliveries_to(&mail.to.key, &talk.row.tenant_id, &history.messages).await?;
        let answered = messages.iter().rev().find_map(|m| m.in_reply_to.as_deref());
        let thread = self.thread(talk, mail, &history, &known, answered).await?;
        let mut packed = Packed::default();
        let links = self.pack(&mut packed, mail, files).await?;
        let mut body = words::MailText {
            text: messages.iter().map(|m| m.text.trim_end()).collect::<Vec<_>>().join("\n\n"),
            links,
            footer: words::footer(&mail.author.name, &mail.author.key, &tenant.name),
            ..Default::default()
        };
        if !history.messages.is_empty() {
            self.add_history(talk, mail, &history, &known, &mut packed, &mut body, before).await?;
        }
        let text = body.write();
        let subject = subject_of(talk, mail, &history);
        let token = talk.participant(&mail.to.key).map(|p| p.token.clone()).unwrap_or_default();
        let reply_address = Email::parse(&format!("r-{token}@{}", tenant.bridge_domain))
            .map_err(|e| StoreError::Rule(e.to_string()))?;
        let from = self.from(mail, &reply_address).await?;
        let domain = from.email.domain().to_owned();
        let raw = mime::compose(&mime::Outgoing {
            from,
            sender: None,
            reply_to: Some(reply_address),
            to: vec![Mailbox::named(&mail.to.name, to.clone())],
            cc: vec![],
            subject: subject.clone(),
            message_id: message_id.to_owned(),
            in_reply_to: thread.last().cloned(),
            references: thread,
            date: self.now,
            html: Some(mime::text_to_html(&text)),
            text,
            attachments: packed.attached,
            auto_submitted: None,
            loop_mark: self.router.config.installation.clone(),
        })
        .map_err(|e| StoreError::Rule(format!("the mail could not be written: {e}")))?;
        Ok(Written { domain, message_id: message_id.to_owned(), subject, raw })
    }

    /// From whom a mail comes: a member whose domain's key is ours writes under their own address,
    /// anybody else under the reply address, since only that passes DMARC.
    async fn from(
        &mut self,
        mail: &Mail<'_>,
        reply_address: &Email,
    ) -> Result<Mailbox, StoreError> {
        let author = mail.author;
        if let Some(own) = author.member.as_ref().and_then(|m| Email::parse(&m.email).ok())
            && self.dkim_key(mail.tenant, own.domain()).await?.is_some()
        {
            return Ok(Mailbox::named(&author.name, own));
        }
        let name = format!("{} (via {})", author.name, mail.tenant.tenant.name);
        Ok(Mailbox::named(&name, reply_address.clone()))
    }

    /// The exchange so far: quoted below the text, whole in a transcript, its files that the
    /// recipient was not sent before, and a link to all of it.
    #[expect(
        clippy::too_many_arguments,
        reason = "what was found, and the two things it goes into"
    )]
    async fn add_history(
        &mut self,
        talk: &Talk,
        mail: &Mail<'_>,
        history: &History,
        known: &[rows::Delivery],
        packed: &mut Packed,
        body: &mut words::MailText,
        before: i64,
    ) -> Result<(), StoreError> {
        let tenant = &mail.tenant.tenant;
        let all = self.files_of(&tenant.id, &history.messages).await?;
        let fresh: Vec<rows::Attachment> = history
            .messages
            .iter()
            .rev()
            .filter(|m| !has_files_of(m, &mail.to.key, known, &tenant.bridge_domain))
            .flat_map(|m| all.iter().filter(|f| f.message_id == m.id))
            .cloned()
            .collect();
        let own = packed.attached.len();
        body.earlier_links = self.pack(packed, mail, &fresh).await?;
        let (quoted, left_out) = words::quoted_in_mail(&history.messages, &tenant.time_zone);
        let whole = self.conversation_link(talk, &mail.to.key, before);
        let transcript = words::Transcript {
            subject: &talk.row.subject,
            messages: &history.messages,
            files: &all,
            fate: &packed.fate,
            zone: &tenant.time_zone,
            bridge_domain: &tenant.bridge_domain,
            cut: history.cut.then_some(whole.as_str()),
        };
        let transcript = mime::OutAttachment {
            name: "conversation.txt".into(),
            media_type: "text/plain".into(),
            data: transcript.write().into_bytes().into(),
        };
        packed.attached.insert(own, transcript);
        (body.quoted, body.left_out, body.whole) = (quoted, left_out, Some(whole));
        Ok(())
    }

    /// Puts files into a mail; returns the lines of those that are linked instead.
    async fn pack(
        &self,
        packed: &mut Packed,
        mail: &Mail<'_>,
        files: &[rows::Attachment],
    ) -> Result<Vec<String>, StoreError> {
        let tenant = &mail.tenant.tenant;
        let until = words::day(self.now.plus_ms(LINK_MS), &tenant.time_zone);
        let mut links = Vec::new();
        for file in files {
            if !packed.seen.insert((file.hash.clone(), file.name.clone())) {
                packed.fate.push((file.id.clone(), "attached".to_owned()));
                continue;
            }
            let fits =
                packed.octets + file.size <= MAIL_FILES && packed.attached.len() < MOST_FILES;
            let data = if fits { self.octets(&tenant.id, &file.hash).await? } else { None };
            if let Some(data) = data {
                packed.octets += file.size;
                packed.fate.push((file.id.clone(), "attached".to_owned()));
                packed.attached.push(mime::OutAttachment {
                    name: file.name.clone(),
                    media_type: file.media_type.clone(),
                    data,
                });
            } else if links.len() < MOST_FILES {
                let link = format!("{} (until {until})", self.file_link(&tenant.id, &file.id));
                links.push(format!("📎 {} · {} · {link}", file.name, words::size(file.size)));
                packed.fate.push((file.id.clone(), link));
            }
        }
        Ok(links)
    }

    /// What became of messages on their way to somebody; what this batch plans counts.
    async fn deliveries_to(
        &self,
        person: &str,
        tenant: &str,
        messages: &[rows::Message],
    ) -> Result<Vec<rows::Delivery>, StoreError> {
        let ids: Vec<String> = messages.iter().map(|m| m.id.clone()).collect();
        let mut found = self.router.store.of(tenant).deliveries_for(&ids).await?;
        for planned in &self.plan.set.put_deliveries {
            if ids.contains(&planned.message_id) {
                found.retain(|d| d.id != planned.id);
                found.push(planned.clone());
            }
        }
        found.retain(|d| d.person == person);
        Ok(found)
    }

    /// The References of a mail (RFC 5322 section 3.6.4), whose last one is the mail it answers:
    /// only mails that its recipient knows, the first of the thread whatever its length.
    async fn thread(
        &self,
        talk: &Talk,
        mail: &Mail<'_>,
        history: &History,
        known: &[rows::Delivery],
        answered: Option<&str>,
    ) -> Result<Vec<String>, StoreError> {
        let (person, bridge) = (&mail.to.key, &mail.tenant.tenant.bridge_domain);
        let mut thread: Vec<(&rows::Message, String)> = history
            .messages
            .iter()
            .filter_map(|m| Some((m, id_in_mail(m, person, known, bridge)?)))
            .collect();
        let named = thread
            .iter()
            .position(|(m, id)| answered.is_some_and(|a| a == m.message_id || a == id));
        let theirs = thread.iter().rposition(|(m, _)| &m.from_person == person);
        if let Some(last) = named.or(theirs) {
            thread.truncate(last + 1);
        }
        let mut ids: Vec<String> = thread.into_iter().map(|(_, id)| id).collect();
        if history.cut
            && let Some(first) = self.first_mail(talk, person, bridge).await?
        {
            ids.retain(|id| *id != first);
            ids.insert(0, first);
        }
        Ok(ids)
    }

    /// The first mail of a conversation that is longer than what is looked at.
    async fn first_mail(
        &self,
        talk: &Talk,
        person: &str,
        bridge: &str,
    ) -> Result<Option<String>, StoreError> {
        let tenant = &talk.row.tenant_id;
        let mut first = self.router.store.of(tenant).first_messages(&talk.row.id, FIRST).await?;
        first.retain(|m| was_part_of(m, person));
        let known = self.deliveries_to(person, tenant, &first).await?;
        Ok(first.iter().find_map(|m| id_in_mail(m, person, &known, bridge)))
    }
}

/// A new thread keeps its subject, an answer says that it is one.
fn subject_of(talk: &Talk, mail: &Mail<'_>, history: &History) -> String {
    let own = mail.subject.as_deref().filter(|s| !s.trim().is_empty());
    let base = own.unwrap_or(&talk.row.subject);
    match (base.trim().is_empty(), history.messages.is_empty()) {
        (true, _) => format!("Message from {}", mail.author.name),
        (false, true) => base.to_owned(),
        (false, false) => mime::reply_subject(base),
    }
}

/// Whether a delivery brought something to its recipient, or may still.
fn counts(delivery: &rows::Delivery) -> bool {
    !matches!(delivery.state.as_str(), "failed" | "aborted" | "became_email")
}

/// The Message-ID under which somebody has a message as a mail in their own mailbox.
fn id_in_mail(
    message: &rows::Message,
    person: &str,
    known: &[rows::Delivery],
    bridge: &str,
) -> Option<String> {
    let ours = known
        .iter()
        .find(|d| d.message_id == message.id && d.medium == "email" && counts(d))
        .map(|d| d.wire_id.clone());
    // An id that we gave to what is no mail is known to nobody.
    let made_up = message.message_id.strip_prefix(&message.id) == Some(&format!("@{bridge}"));
    let wrote = message.from_person == person;
    // What has a verdict came as a mail to the people it names; but what somebody asked us to
    // deliver to them came to the bridge in their place.
    let asked = known.iter().any(|d| d.message_id == message.id && d.member_id.is_some());
    let came = message.verdict.is_some()
        && !asked
        && [&message.to_list, &message.cc_list]
            .iter()
            .any(|list| addresses(list).iter().any(|(_, a)| a.eq_ignore_ascii_case(person)));
    ours.or_else(|| {
        let known = message.medium == "email" && !made_up && (wrote || came);
        known.then(|| message.message_id.clone())
    })
}

/// Whether somebody has the files of an earlier message: from its mail, from chat, or because
/// they went along with a later mail to them.
fn has_files_of(
    message: &rows::Message,
    person: &str,
    known: &[rows::Delivery],
    bridge: &str,
) -> bool {
    id_in_mail(message, person, known, bridge).is_some()
        || known.iter().filter(|d| counts(d)).any(|d| {
            let itself = d.message_id == message.id && d.state == "delivered";
            itself || (d.medium == "email" && d.seq >= message.seq)
        })
}
