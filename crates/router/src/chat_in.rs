//! An instant message for a bridge contact: a command, an answer to a question, or simply the
//! next line of a conversation.

use isthmus_domain::{
    address::Email,
    clock::Millis,
    command::{Chat, read_chat},
    delivery::{Choice, Medium},
};
use isthmus_store::{StoreError, TenantView, rows};

use isthmus_domain::service::ChatIn;

use crate::{
    batch::{Batch, Person, Talk},
    compose as words,
    decisions::is_open,
    requests::Outgoing,
    services::Outcome,
};

/// Wrong answers to a challenge until it must be asked for anew.
const CHALLENGE_ATTEMPTS: i64 = 5;

impl Batch<'_> {
    /// The `im.in` service.
    pub(crate) async fn chat_in(
        &mut self,
        tenant: &TenantView,
        transaction: &rows::Transaction,
        chat: ChatIn,
    ) -> Result<Outcome, StoreError> {
        let author = match tenant.author_by_im(&chat.from) {
            Some(mapping) => Person::by_email(tenant, &mapping.email, None),
            None => Person { key: chat.from.clone(), name: short_name(&chat.from), member: None },
        };
        let Some(to) = &chat.to else {
            return self.for_the_bridge(tenant, transaction, &author, &chat).await;
        };
        let to = Person::by_email(tenant, &to.key(), None);
        let asked = self.open_question(&author, Some(&to)).await?;
        let contact = self.contact(&to);
        // A number answers a question only; while a message is merely tried again it is a text.
        let numbers = asked.as_ref().is_some_and(|row| row.state == "awaiting_decision");
        match read_chat(&chat.body, numbers) {
            Chat::Help => {
                self.line(tenant, transaction, &chat, contact, words::help(&to.name)).await
            }
            Chat::Stop => self.stop(tenant, transaction, &chat, contact).await,
            Chat::Mistyped(word) => {
                let text =
                    format!("There is no command !{word}, so nothing was sent. !help lists them.");
                self.line(tenant, transaction, &chat, contact, text).await
            }
            Chat::History => self.send_history(tenant, transaction, &chat, &author, &to).await,
            Chat::Decide(choice) => match asked {
                Some(row) => self.decided(tenant, transaction, &chat, row, choice, &author).await,
                None => {
                    let text = "Nothing is open that could be decided.".to_owned();
                    self.line(tenant, transaction, &chat, contact, text).await
                }
            },
            Chat::Email { subject, text } if text.is_empty() && chat.files.is_empty() => {
                match asked {
                    Some(row) => {
                        self.decided(tenant, transaction, &chat, row, Choice::Email, &author).await
                    }
                    None => {
                        let _ = subject;
                        let text = "Write your text on the lines below !email, in the same message: \
                                    most clients begin a line with Shift+Enter. The commands of this \
                                    contact have a form for it."
                            .to_owned();
                        self.line(tenant, transaction, &chat, contact, text).await
                    }
                }
            }
            Chat::Email { subject, text } => {
                self.chat_out(tenant, transaction, &chat, &author, &to, Some(subject), text).await
            }
            Chat::Text(text) => {
                self.chat_out(tenant, transaction, &chat, &author, &to, None, text).await
            }
        }
    }

    /// The text goes to the person behind the contact. `by_email` is set for `!email`, with its subject.
    #[expect(clippy::too_many_arguments, reason = "the parts of one chat line")]
    async fn chat_out(
        &mut self,
        tenant: &TenantView,
        transaction: &rows::Transaction,
        chat: &ChatIn,
        author: &Person,
        to: &Person,
        by_email: Option<Option<String>>,
        text: String,
    ) -> Result<Outcome, StoreError> {
        // Only people of the tenant, or somebody who has been written to, may write to others here.
        let known = self.last_between(&tenant.tenant.id, &author.key, &to.key).await?;
        let contact = self.contact(to);
        if author.member.is_none() && to.member.is_none() && known.is_none() {
            let text = format!("{} cannot be written to from here.", to.key);
            return self.line(tenant, transaction, chat, contact, text).await;
        }
        let subject = by_email.clone().flatten();
        let mut talk = match known {
            Some(talk) if subject.as_ref().is_none_or(|s| same_subject(&talk, s)) => talk,
            _ => self.open_talk(
                &tenant.tenant.id,
                subject.as_deref().unwrap_or_default(),
                [author, to],
                Medium::Im,
                Millis(transaction.at),
                &transaction.id,
            ),
        };
        let mut text = text;
        for link in &chat.links {
            text.push_str(&format!("\n{link}"));
        }
        let via = self.best_medium(tenant, &talk, author, to, by_email.is_some());
        let outgoing = Outgoing {
            tenant,
            transaction,
            author,
            to,
            via,
            subject,
            text,
            files: chat.files.clone(),
            asker: author.member.as_ref(),
            delivery_id: None,
            raw: None,
            message_id: None,
            head: None,
            written_in: Medium::Im,
            may_gather: by_email.is_none(),
        };
        self.send_out(&mut talk, outgoing).await
    }

    /// How a person is reached who was written to in chat.
    fn best_medium(
        &self,
        tenant: &TenantView,
        talk: &Talk,
        author: &Person,
        to: &Person,
        forced_email: bool,
    ) -> Medium {
        let address = self.im_address(tenant, to);
        let Some(address) = address.filter(|_| !forced_email) else { return Medium::Email };
        // A member's wish to write in chat is taken as it is: presence and the question follow.
        if author.member.is_some() || to.email().is_none() {
            return Medium::Im;
        }
        let wrote_last =
            talk.participant(&to.key).filter(|p| p.last_at > 0).map(|p| p.last_medium.as_str());
        let there = self.reach(&tenant.tenant.bridge_domain, &address)
            == isthmus_domain::delivery::Reach::Available;
        if there && wrote_last != Some("email") { Medium::Im } else { Medium::Email }
    }

    /// What this member can decide about messages to this person, or to anybody: an open question
    /// before a retry, and the newest of either.
    async fn open_question(
        &mut self,
        author: &Person,
        to: Option<&Person>,
    ) -> Result<Option<rows::Delivery>, StoreError> {
        let Some(member) = &author.member else { return Ok(None) };
        let open = self.router.store.of(&member.tenant_id).open_questions(&member.id).await?;
        Ok(open
            .into_iter()
            .map(|row| self.newest_of(row))
            .filter(|d| is_open(d) && to.is_none_or(|to| d.person == to.key))
            .max_by_key(|d| (d.state == "awaiting_decision", d.seq)))
    }

    async fn decided(
        &mut self,
        tenant: &TenantView,
        transaction: &rows::Transaction,
        chat: &ChatIn,
        row: rows::Delivery,
        choice: Choice,
        author: &Person,
    ) -> Result<Outcome, StoreError> {
        let to = Person::by_email(tenant, &row.person, None);
        let contact = self.contact(&to);
        let text = match self.decide(row, choice, &author.name).await? {
            Ok(()) => match choice {
                Choice::Retry => format!("We keep trying until {} is back.", to.name),
                Choice::Abort => "It is not sent.".to_owned(),
                Choice::Email => "It goes out as an email.".to_owned(),
            },
            Err(why) => format!("That is not possible: {why}."),
        };
        self.line(tenant, transaction, chat, contact, text).await
    }

    async fn send_history(
        &mut self,
        tenant: &TenantView,
        transaction: &rows::Transaction,
        chat: &ChatIn,
        author: &Person,
        to: &Person,
    ) -> Result<Outcome, StoreError> {
        let contact = self.contact(to);
        let Some(talk) = self.last_between(&tenant.tenant.id, &author.key, &to.key).await? else {
            let text = "There is no conversation yet.".to_owned();
            return self.line(tenant, transaction, chat, contact, text).await;
        };
        let history = self.history_for(&talk, &author.key, i64::MAX).await?;
        let (quoted, left_out) = words::quoted(&history, self.now, &tenant.tenant.time_zone);
        let link = self.conversation_link(&talk, &author.key, i64::MAX);
        let text = words::history_chat(&quoted, left_out, &link);
        self.line(tenant, transaction, chat, contact, text).await
    }

    /// A correspondent wants no more messages from here: the mapping is revoked.
    async fn stop(
        &mut self,
        tenant: &TenantView,
        transaction: &rows::Transaction,
        chat: &ChatIn,
        contact: Option<(Email, String)>,
    ) -> Result<Outcome, StoreError> {
        let theirs: Vec<_> = tenant.all_mappings().filter(|m| m.im == chat.from).collect();
        let text = if theirs.is_empty() {
            self.plan.set.once_suppressions.push(rows::Suppression {
                tenant_id: tenant.tenant.id.clone(),
                address: chat.from.clone(),
                reason: "asked for it in chat".into(),
                at: self.now.0,
            });
            "No messages are sent to you from here unless you write first."
        } else {
            "You get no more messages from here. Mail still reaches you."
        };
        // What is merely claimed goes too: nobody asks there again.
        self.plan.set.put_mappings.extend(theirs.into_iter().map(|mapping| rows::Mapping {
            state: "revoked".into(),
            how: Some(isthmus_store::DECLINED.to_owned()),
            revoked_at: Some(self.now.0),
            ..mapping.clone()
        }));
        self.line(tenant, transaction, chat, contact, text.to_owned()).await
    }

    /// What was written to the bridge itself: the answer to a challenge, or a call for help.
    async fn for_the_bridge(
        &mut self,
        tenant: &TenantView,
        transaction: &rows::Transaction,
        author: &Person,
        chat: &ChatIn,
    ) -> Result<Outcome, StoreError> {
        let challenged =
            tenant.all_mappings().find(|m| m.im == chat.from && m.state == "challenged").cloned();
        let asked = self.open_question(author, None).await?;
        let numbers = challenged.is_none()
            && asked.as_ref().is_some_and(|row| row.state == "awaiting_decision");
        let text = match (challenged, read_chat(&chat.body, numbers)) {
            (Some(mapping), Chat::Text(answer)) => self.challenge_answer(mapping, answer.trim()),
            (_, Chat::Stop) => return self.stop(tenant, transaction, chat, None).await,
            (_, Chat::Decide(choice)) => {
                return self.decided_here(tenant, transaction, chat, asked, choice, author).await;
            }
            (_, Chat::Email { subject: None, text }) if text.is_empty() => {
                let choice = Choice::Email;
                return self.decided_here(tenant, transaction, chat, asked, choice, author).await;
            }
            (_, Chat::Email { .. }) => {
                "Send !email to the contact whom you want to write to: here nobody reads it."
                    .to_owned()
            }
            _ => words::help_of_the_bridge(&tenant.tenant.bridge_domain),
        };
        self.line(tenant, transaction, chat, None, text).await
    }

    /// A decision told to the bridge itself: about whatever was asked last.
    async fn decided_here(
        &mut self,
        tenant: &TenantView,
        transaction: &rows::Transaction,
        chat: &ChatIn,
        asked: Option<rows::Delivery>,
        choice: Choice,
        author: &Person,
    ) -> Result<Outcome, StoreError> {
        match asked {
            Some(row) => self.decided(tenant, transaction, chat, row, choice, author).await,
            None => {
                let text = "Nothing is open that could be decided.".to_owned();
                self.line(tenant, transaction, chat, None, text).await
            }
        }
    }

    fn challenge_answer(&mut self, mapping: rows::Mapping, answer: &str) -> String {
        let expired = mapping.challenge_until.is_some_and(|until| until < self.now.0);
        let email = mapping.email.clone();
        let mut next = mapping;
        let words = if expired || next.attempts >= CHALLENGE_ATTEMPTS {
            "claimed".clone_into(&mut next.state);
            "This question has expired. Ask for a new one on your settings page.".to_owned()
        } else if answer == "1" {
            "verified".clone_into(&mut next.state);
            next.verified_at = Some(self.now.0);
            next.how = Some("answered in chat".to_owned());
            format!("Thank you. Messages for {email} can reach you here now.")
        } else if answer == "2" {
            "revoked".clone_into(&mut next.state);
            next.revoked_at = Some(self.now.0);
            next.how = Some(isthmus_store::DECLINED.to_owned());
            "Sorry for the disturbance. You will not be asked again.".to_owned()
        } else {
            next.attempts += 1;
            format!("Is {email} your email address? Answer 1 for yes, 2 for no.")
        };
        self.plan.set.put_mappings.push(next);
        words
    }

    pub(crate) fn contact(&self, person: &Person) -> Option<(Email, String)> {
        person.email().map(|email| (email, self.shown_name(person)))
    }

    async fn line(
        &mut self,
        tenant: &TenantView,
        transaction: &rows::Transaction,
        chat: &ChatIn,
        contact: Option<(Email, String)>,
        text: String,
    ) -> Result<Outcome, StoreError> {
        self.system_line(tenant, &transaction.id, &chat.from, contact, text).await?;
        Ok(Outcome::Done)
    }
}

fn same_subject(talk: &Talk, subject: &str) -> bool {
    talk.row.subject.is_empty()
        || isthmus_mail::mime::base_subject(&talk.row.subject)
            .eq_ignore_ascii_case(&isthmus_mail::mime::base_subject(subject))
}

/// `xmpp:dave@chat.test` is called dave.
fn short_name(im: &str) -> String {
    let address = im.split_once(':').map_or(im, |(_, a)| a);
    address.split('@').next().unwrap_or(address).to_owned()
}
