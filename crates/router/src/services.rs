//! One transaction, run: its parameters are read and handed to the service they are for.

use std::panic::AssertUnwindSafe;

use futures::FutureExt;
use isthmus_store::{Ended, StoreError, rows};

use isthmus_domain::service::{
    Challenge, ChatIn, Code, ContactDeleted, Decision, MailIn, MailLetIn, Request,
};

use crate::{
    batch::{Batch, Person},
    mail_in::Incoming,
};

/// How a transaction ended.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// As asked.
    Done,
    /// Not possible; the words are for whoever asked.
    Refused(String),
    /// There is no verified IM address for this person.
    NoIm(Box<Person>),
}

impl Outcome {
    pub(crate) fn refused(why: &str) -> Self {
        Self::Refused(why.to_owned())
    }
}

/// A transaction with what had to be read for it, so that nothing slow happens inside a batch.
pub(crate) enum Ready {
    Mail(Box<(MailIn, Incoming)>),
    Chat(Box<ChatIn>),
    Request(Box<Request>),
    Decision(Box<Decision>),
    Code(Code),
    Challenge(Challenge),
    ContactDeleted(ContactDeleted),
    /// Something that was held back, let through by a member.
    Confirmed(Box<(rows::Confirmation, MailIn, Incoming)>),
    /// A mail that lay held back in an inbox, let in.
    LetIn(Box<(rows::Message, MailLetIn, MailIn, Incoming)>),
    /// It cannot be run at all.
    Unreadable(String),
    /// What it needs could not be read now; it is tried again.
    NotNow(StoreError),
}

impl Batch<'_> {
    /// The same, where code that gives up is an error of this one transaction.
    pub(crate) async fn run_caught(
        &mut self,
        transaction: &rows::Transaction,
        ready: Ready,
    ) -> Result<(), StoreError> {
        AssertUnwindSafe(self.run(transaction, ready)).catch_unwind().await.unwrap_or_else(|_| {
            // Whoever reads the log finds where above this line.
            Err(StoreError::Rule("running it went wrong".into()))
        })
    }

    /// Runs one transaction; what it decided is in the plan, its end included.
    pub(crate) async fn run(
        &mut self,
        transaction: &rows::Transaction,
        ready: Ready,
    ) -> Result<(), StoreError> {
        let directory = std::sync::Arc::clone(&self.directory);
        let outcome = match directory.tenant(&transaction.tenant_id) {
            None => Outcome::refused("the tenant was deleted"),
            Some(tenant) => match ready {
                Ready::Mail(mail) => self.mail_in(tenant, transaction, mail.0, mail.1).await?,
                Ready::Chat(chat) => self.chat_in(tenant, transaction, *chat).await?,
                Ready::Request(request) => self.request(tenant, transaction, *request).await?,
                Ready::Code(code) => self.send_code(tenant, transaction, code).await?,
                Ready::Challenge(challenge) => {
                    self.challenge(tenant, transaction, challenge).await?
                }
                Ready::ContactDeleted(gone) => self.contact_deleted(tenant, gone).await?,
                Ready::Decision(decision) => self.decision(tenant, transaction, *decision).await?,
                Ready::Confirmed(all) if self.is_confirmed(&all.0) => {
                    Outcome::refused("this was decided already")
                }
                Ready::Confirmed(all) => {
                    self.confirmed(tenant, transaction, all.0, all.1, all.2).await?
                }
                Ready::LetIn(all) => {
                    let (message, asked, mail, incoming) = *all;
                    self.mail_let_in(tenant, transaction, message, asked, mail, incoming).await?
                }
                Ready::Unreadable(why) => Outcome::Refused(why),
                Ready::NotNow(error) => return Err(error),
            },
        };
        let (state, reason) = match outcome {
            Outcome::Done => ("done", None),
            Outcome::Refused(why) => ("refused", Some(why)),
            Outcome::NoIm(person) => {
                ("refused", Some(format!("no verified IM address is known for {}", person.key)))
            }
        };
        let id = transaction.id.clone();
        self.plan.set.ended.push(Ended { id, state, reason, at: self.now.0 });
        Ok(())
    }

    /// Whether this batch has let it through already.
    fn is_confirmed(&self, held: &rows::Confirmation) -> bool {
        let planned = &self.plan.set.put_confirmations;
        planned.iter().any(|c| c.token == held.token && c.state != "open")
    }
}
