//! Reading what a transaction needs, before it is run: nothing slow happens inside a batch.

use std::{panic::AssertUnwindSafe, sync::Arc};

use futures::FutureExt;

use isthmus_domain::service::{
    Challenge, ChatIn, Code, Confirm, ContactDeleted, Decision, MailIn, MailLetIn, Request,
};
use isthmus_queue::Hint;
use isthmus_store::{StoreError, rows};

use crate::{
    mail_in,
    run::{Loop, Prepared, TRIES},
    services::Ready,
};

/// Octets of large mails that may be read into memory at once.
pub(crate) const LARGE_AT_ONCE: u32 = 32 * 1024 * 1024;

impl Loop {
    /// Reads what a transaction needs. A large mail is read beside the loop and comes back later.
    pub(crate) async fn prepare(&mut self, hint: &Hint) -> Option<Prepared> {
        let store = self.router.store.clone();
        let carried = hint.carried.as_ref();
        let (row, raw) =
            match carried.and_then(|c| c.downcast_ref::<(rows::Transaction, bytes::Bytes)>()) {
                Some((row, raw)) => (row.clone(), Some(raw.clone())),
                None => match carried.and_then(|c| c.downcast_ref::<rows::Transaction>()) {
                    Some(row) => (row.clone(), None),
                    None => match store.of(&hint.tenant).transaction(&hint.transaction).await {
                        Ok(Some(row)) if row.ended_at.is_none() => (row, None),
                        _ => {
                            self.router.queue.finished(&hint.transaction);
                            return None;
                        }
                    },
                },
            };
        if row.attempts >= TRIES {
            return Some((
                row,
                Ready::Unreadable("it failed every time it was tried and was set aside".into()),
            ));
        }
        let ready = match row.service.as_str() {
            "mail.in" => return self.prepare_mail(row, raw).await,
            "im.in" => parse::<ChatIn>(&row).map(|c| Ready::Chat(Box::new(c))),
            "decision" if row.params.contains("\"confirmation\"") => match parse::<Confirm>(&row) {
                Ok(confirm) => return self.prepare_confirmed(row, confirm).await,
                Err(why) => Err(why),
            },
            "mail.allow" => match parse::<MailLetIn>(&row) {
                Ok(asked) => return Some(self.prepare_let_in(row, asked).await),
                Err(why) => Err(why),
            },
            "challenge" => parse::<Challenge>(&row).map(Ready::Challenge),
            "contact.delete" => parse::<ContactDeleted>(&row).map(Ready::ContactDeleted),
            "code" => parse::<Code>(&row).map(Ready::Code),
            "decision" => parse::<Decision>(&row).map(|d| Ready::Decision(Box::new(d))),
            "reply.im" | "reply.email" | "message.im" | "message.email" => {
                parse::<Request>(&row).map(|r| Ready::Request(Box::new(r)))
            }
            other => Err(format!("there is no service {other}")),
        };
        Some((row, ready.unwrap_or_else(Ready::Unreadable)))
    }

    async fn prepare_mail(
        &mut self,
        row: rows::Transaction,
        raw: Option<bytes::Bytes>,
    ) -> Option<Prepared> {
        let mail = match parse::<MailIn>(&row) {
            Ok(mail) => mail,
            Err(why) => return Some((row, Ready::Unreadable(why))),
        };
        if mail.size > 256 * 1024 {
            let (store, large, back) =
                (self.router.store.clone(), Arc::clone(&self.large), self.ready.clone());
            let tenant: Arc<str> = row.tenant_id.as_str().into();
            self.router.queue.hold(&tenant);
            *self.reading.entry(tenant).or_default() += 1;
            tokio::spawn(async move {
                let octets = u32::try_from(mail.size.saturating_mul(3))
                    .unwrap_or(u32::MAX)
                    .min(LARGE_AT_ONCE);
                let Ok(_room) = large.acquire_many(octets).await else { return };
                let read = AssertUnwindSafe(read_mail(&store, &row, mail, None)).catch_unwind();
                let ready = read.await.unwrap_or_else(|_| {
                    Ready::NotNow(StoreError::Rule("reading it went wrong".into()))
                });
                let _ = back.send((row, ready)).await;
            });
            return None;
        }
        let read = AssertUnwindSafe(read_mail(&self.router.store, &row, mail, raw)).catch_unwind();
        let ready = read
            .await
            .unwrap_or_else(|_| Ready::NotNow(StoreError::Rule("reading it went wrong".into())));
        Some((row, ready))
    }

    /// What a member let through: the mail that was held back is read again.
    async fn prepare_confirmed(
        &self,
        row: rows::Transaction,
        confirm: Confirm,
    ) -> Option<Prepared> {
        let store = &self.router.store;
        let held = match store.confirmation(&confirm.confirmation).await {
            Ok(held) => held.filter(|h| h.tenant_id == row.tenant_id && h.state == "open"),
            Err(error) => return Some((row, Ready::NotNow(error))),
        };
        let Some(held) = held else {
            return Some((row, Ready::Unreadable("this was decided already".into())));
        };
        let mail = match serde_json::from_str::<MailIn>(&held.data) {
            Ok(mail) => mail,
            Err(error) => return Some((row, Ready::Unreadable(error.to_string()))),
        };
        match read_mail(store, &row, mail, None).await {
            Ready::Mail(mail) => Some((row, Ready::Confirmed(Box::new((held, mail.0, mail.1))))),
            other => Some((row, other)),
        }
    }

    /// A mail that lies in an inbox is read again when it is let in.
    async fn prepare_let_in(&self, row: rows::Transaction, asked: MailLetIn) -> Prepared {
        let ready = match self.held_mail(&row.tenant_id, &asked.message_id).await {
            Err(error) => Ready::NotNow(error),
            Ok(None) => Ready::Unreadable("the mail is not there any more".into()),
            Ok(Some((message, mail))) => {
                match read_mail(&self.router.store, &row, mail, None).await {
                    Ready::Mail(mail) => Ready::LetIn(Box::new((message, asked, mail.0, mail.1))),
                    other => other,
                }
            }
        };
        (row, ready)
    }

    /// A message, and the mail that it came as.
    async fn held_mail(
        &self,
        tenant: &str,
        message: &str,
    ) -> Result<Option<(rows::Message, MailIn)>, StoreError> {
        let scope = self.router.store.of(tenant);
        let Some(message) = scope.message(message).await? else { return Ok(None) };
        let origin = scope.transaction(&message.transaction_id).await?;
        let mail = origin.and_then(|t| serde_json::from_str::<MailIn>(&t.params).ok());
        Ok(mail.map(|mail| (message, mail)))
    }
}

fn parse<T: serde::de::DeserializeOwned>(row: &rows::Transaction) -> Result<T, String> {
    serde_json::from_str(&row.params).map_err(|e| format!("its parameters cannot be read: {e}"))
}

async fn read_mail(
    store: &isthmus_store::Store,
    row: &rows::Transaction,
    mail: MailIn,
    raw: Option<bytes::Bytes>,
) -> Ready {
    let raw = match raw {
        Some(raw) => Ok(Some(raw)),
        None => store.of(&row.tenant_id).blob(&mail.raw).await,
    };
    let raw = match raw {
        Ok(Some(raw)) => raw,
        Ok(None) => return Ready::Unreadable("the mail is not there any more".into()),
        Err(error) => return Ready::NotNow(error),
    };
    match mail_in::read(store, &row.tenant_id, raw).await {
        Ok(Ok(incoming)) => Ready::Mail(Box::new((mail, incoming))),
        Ok(Err(why)) => Ready::Unreadable(why),
        Err(error) => Ready::NotNow(error),
    }
}
