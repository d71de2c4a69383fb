//! A mail that a program hands over whole, to be answered: `original_email` of the API.

use isthmus_domain::{clock::Millis, delivery::Medium};
use isthmus_mail::mime;
use isthmus_store::{StoreError, TenantView, rows};

use isthmus_domain::service::{MailIn, Trust};

use crate::{
    batch::{Batch, Person, Talk},
    mail_in::{self, Filed},
};

impl Batch<'_> {
    /// The conversation of a mail that was given whole, with the mail filed in it, and its author.
    pub(crate) async fn talk_of_original(
        &mut self,
        tenant: &TenantView,
        transaction: &rows::Transaction,
        author: &Person,
        raw: &str,
    ) -> Result<Result<(Talk, Person), String>, StoreError> {
        let id = &tenant.tenant.id;
        let Some(octets) = self.router.store.of(id).blob(raw).await? else {
            return Ok(Err("the mail to answer is not there any more".into()));
        };
        // A text in JSON has whatever line ends its writer likes.
        let octets = match mime::with_crlf(&octets) {
            std::borrow::Cow::Borrowed(_) => octets,
            std::borrow::Cow::Owned(mended) => mended.into(),
        };
        let size = octets.len() as u64;
        let mut incoming = match mail_in::read(&self.router.store, id, octets).await? {
            Ok(incoming) => incoming,
            Err(why) => return Ok(Err(format!("the mail to answer cannot be read: {why}"))),
        };
        self.plan.set.once_blobs.append(&mut incoming.blobs);
        let from = &incoming.parsed.from;
        let to = Person::by_email(tenant, &from.email.key(), from.name.as_deref());
        if to.key == author.key {
            return Ok(Err("the mail to answer is your own".into()));
        }
        let mail = MailIn {
            mail_from: None,
            rcpts: vec![],
            raw: raw.to_owned(),
            size,
            trust: Trust::Unproven,
            verdict: format!("handed over by {}", author.key),
            identity: None,
        };
        // It may lie there already, because it also came by SMTP.
        if let Some(message_id) = &incoming.parsed.message_id
            && let Some(talk) =
                self.by_thread(id, std::slice::from_ref(message_id), &author.key, &to.key).await?
        {
            return Ok(Ok((talk, to)));
        }
        let thread = mime::thread_keys(&incoming.parsed);
        let mut talk = match self.by_thread(id, &thread, &author.key, &to.key).await? {
            Some(talk) => talk,
            None => {
                let subject = mime::base_subject(&incoming.parsed.subject);
                let at = Millis(transaction.at);
                self.open_talk(id, &subject, [author, &to], Medium::Email, at, &transaction.id)
            }
        };
        let filed = Filed { author: &to, held: None, part: "original", recipient: None };
        self.file_mail(tenant, transaction, &mail, &incoming, &mut talk, filed).await?;
        Ok(Ok((talk, to)))
    }
}
