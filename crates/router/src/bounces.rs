//! What came back to the return address of a mail of ours: reports, plain bounces, vacation notices.

use isthmus_domain::{
    address::{BridgeLocal, read_bridge_local},
    delivery::{Evidence, Happened},
    service::MailIn,
};
use isthmus_mail::mime::{Action, Kind, RecipientReport, Report};
use isthmus_store::{StoreError, TenantView, rows};

use crate::{
    batch::{Batch, Person},
    compose as words,
    mail_in::{Filed, Incoming},
    services::Outcome,
};

/// What a report says about the one recipient of a mail of ours.
struct About<'r> {
    recipient: &'r RecipientReport,
    /// Final- or Original-Recipient is whom we had sent to. Another address is one that ours was
    /// forwarded to: the mail did not arrive, but nothing is known of our address.
    ours: bool,
}

impl Batch<'_> {
    /// A mail to `b-TOKEN@`, the return address of one mail of ours.
    pub(crate) async fn came_back(
        &mut self,
        tenant: &TenantView,
        transaction: &rows::Transaction,
        mail: &MailIn,
        incoming: &Incoming,
        token: &str,
    ) -> Result<Outcome, StoreError> {
        let Some(outbound) = self.sent_as(tenant, &format!("out_{token}")).await? else {
            return Ok(Outcome::refused("something about a mail that is not ours"));
        };
        // RFC 5321 section 4.5.5: notifications have the null sender. Others may say what they
        // like, nothing follows from it.
        let returned = mail.mail_from.is_none();
        match &incoming.parsed.kind {
            Kind::Bounce(report) if returned && !report.recipients.is_empty() => {
                return self.reported(tenant, &outbound, report).await;
            }
            // RFC 3834 section 5: what answers by itself says so. What does not, and has no
            // sender, is a mail server's way of saying that it could not deliver.
            Kind::Ordinary | Kind::Bounce(_) if returned => {
                let subject = words::excerpt(&incoming.parsed.subject, 200);
                self.failed_there(tenant, &outbound, format!("it came back with: {subject}"))
                    .await?;
            }
            _ => {}
        }
        self.file_beside(tenant, transaction, mail, incoming, &outbound).await?;
        Ok(Outcome::Done)
    }

    /// A report that names our ENVID (RFC 3461 section 4.4) but did not come to the return
    /// address, because a relay between had put its own there.
    pub(crate) async fn reported_by_envelope_id(
        &mut self,
        tenant: &TenantView,
        mail: &MailIn,
        incoming: &Incoming,
    ) -> Result<(), StoreError> {
        let to_token = mail
            .rcpts
            .iter()
            .any(|r| matches!(read_bridge_local(r.local()), Some(BridgeLocal::Bounce(_))));
        if let Kind::Bounce(report) = &incoming.parsed.kind
            && mail.mail_from.is_none()
            && !to_token
            && let Some(id) = report.envelope_id.as_deref().filter(|id| id.starts_with("out_"))
            && let Some(outbound) = self.sent_as(tenant, id).await?
        {
            self.reported(tenant, &outbound, report).await?;
        }
        Ok(())
    }

    /// The mail that went out under this id. A Message-ID, which everybody knows who ever got the
    /// mail or a quote of it, is not enough.
    async fn sent_as(
        &self,
        tenant: &TenantView,
        id: &str,
    ) -> Result<Option<rows::Outbound>, StoreError> {
        let found = self.router.store.outbound_called(id).await?;
        Ok(found.filter(|o| o.id == id && o.tenant_id == tenant.tenant.id))
    }

    /// A report by a mail server (RFC 3464).
    async fn reported(
        &mut self,
        tenant: &TenantView,
        outbound: &rows::Outbound,
        report: &Report,
    ) -> Result<Outcome, StoreError> {
        let Some(about) = about(report, &outbound.rcpt) else {
            return Ok(Outcome::refused("a notification about somebody we had not written to"));
        };
        let recipient = about.recipient;
        match recipient.action {
            Action::Failed => {
                let said = recipient.diagnostic.as_ref().unwrap_or(&recipient.status);
                let said = words::excerpt(said, 300);
                if about.ours && is_no_address(&recipient.status) {
                    self.plan.set.once_suppressions.push(rows::Suppression {
                        tenant_id: tenant.tenant.id.clone(),
                        address: outbound.rcpt.to_ascii_lowercase(),
                        reason: said.clone(),
                        at: self.now.0,
                    });
                }
                let reason = format!("the recipient's server returned it: {said}");
                self.failed_there(tenant, outbound, reason).await?;
            }
            Action::Delivered if about.ours => {
                self.moved(tenant, outbound, Happened::Evidence(Evidence::Dsn)).await?;
            }
            _ => {}
        }
        Ok(Outcome::Done)
    }

    async fn failed_there(
        &mut self,
        tenant: &TenantView,
        outbound: &rows::Outbound,
        reason: String,
    ) -> Result<(), StoreError> {
        self.moved(tenant, outbound, Happened::Bounced { temporary: false, reason }).await
    }

    async fn moved(
        &mut self,
        tenant: &TenantView,
        outbound: &rows::Outbound,
        happened: Happened,
    ) -> Result<(), StoreError> {
        let Some(id) = &outbound.delivery_id else { return Ok(()) };
        match self.router.store.of(&tenant.tenant.id).delivery(id).await? {
            Some(row) => {
                let row = self.newest_of(row);
                self.happened(row, happened).await
            }
            None => Ok(()),
        }
    }

    /// Keeps what came back where the mail that it is about lies, for the one who wrote that.
    async fn file_beside(
        &mut self,
        tenant: &TenantView,
        transaction: &rows::Transaction,
        mail: &MailIn,
        incoming: &Incoming,
        outbound: &rows::Outbound,
    ) -> Result<(), StoreError> {
        let id = &tenant.tenant.id;
        let Some(delivery) = &outbound.delivery_id else { return Ok(()) };
        let Some(row) = self.router.store.of(id).delivery(delivery).await? else { return Ok(()) };
        let Some(mut talk) = self.talk(id, &row.conversation_id).await? else { return Ok(()) };
        let parsed = &incoming.parsed;
        if let Some(message_id) = &parsed.message_id
            && self.called(id, message_id).await?.iter().any(|k| k.conversation == talk.row.id)
        {
            return Ok(());
        }
        let author =
            Person::by_email(tenant, &parsed.from.email.key(), parsed.from.name.as_deref());
        let writer = talk.other(&row.person).cloned();
        let writer = writer.map(|p| Person::by_email(tenant, &p.person, Some(&p.name)));
        // Whoever else got the mail knows its return address: only what is proven is theirs.
        let claims = talk.participant(&author.key).is_some() || author.member.is_some();
        let proven = mail.trust.is_good() && parsed.upstream_verdict.is_none();
        let held = (claims && !proven).then(|| "the sender could not be proven".to_owned());
        let part = talk.row.id.clone();
        let filed = Filed { author: &author, held, part: &part, recipient: writer.as_ref() };
        self.file_mail(tenant, transaction, mail, incoming, &mut talk, filed).await?;
        Ok(())
    }
}

/// What a report says about `rcpt`. Each of our mails has one recipient and a return address of
/// its own, so where the report has a single recipient too, it is about that one.
fn about<'r>(report: &'r Report, rcpt: &str) -> Option<About<'r>> {
    let is_ours = |r: &RecipientReport| {
        [&r.recipient, &r.original]
            .into_iter()
            .flatten()
            .any(|email| email.as_str().eq_ignore_ascii_case(rcpt))
    };
    if let Some(recipient) = report.recipients.iter().find(|r| is_ours(r)) {
        return Some(About { recipient, ours: true });
    }
    match report.recipients.as_slice() {
        [recipient] => Some(About { recipient, ours: false }),
        _ => None,
    }
}

/// Whether the status says for good that the recipient's address is none (RFC 3463 section 3.2).
/// A full mailbox or a policy passes; 5.1.7 and 5.1.8 are about the sender's address.
fn is_no_address(status: &str) -> bool {
    status.starts_with("5.1.") && !matches!(status, "5.1.7" | "5.1.8")
}

#[cfg(test)]
mod tests {
    use isthmus_domain::address::Email;

    use super::*;

    fn failed(recipient: &str, original: Option<&str>) -> RecipientReport {
        RecipientReport {
            recipient: Email::parse(recipient).ok(),
            original: original.and_then(|o| Email::parse(o).ok()),
            action: Action::Failed,
            status: "5.1.1".into(),
            diagnostic: None,
        }
    }

    fn ours(recipients: Vec<RecipientReport>) -> Option<bool> {
        let report = Report { recipients, ..Report::default() };
        about(&report, "carol@customer.test").map(|a| a.ours)
    }

    #[test]
    fn a_report_counts_against_an_address_only_if_it_names_it() {
        assert_eq!(ours(vec![failed("Carol@customer.test", None)]), Some(true));
        assert_eq!(ours(vec![failed("c@far.test", Some("carol@customer.test"))]), Some(true));
        let second = vec![failed("x@far.test", None), failed("carol@customer.test", None)];
        assert_eq!(ours(second), Some(true));
        assert_eq!(ours(vec![failed("c@far.test", None)]), Some(false));
        assert_eq!(ours(vec![failed("x@far.test", None), failed("y@far.test", None)]), None);
    }

    #[test]
    fn only_an_address_that_is_none_is_given_up() {
        assert!(is_no_address("5.1.1") && is_no_address("5.1.10"));
        for status in ["5.2.2", "5.7.1", "5.1.8", "5.0.0", "4.1.1", ""] {
            assert!(!is_no_address(status), "{status}");
        }
    }
}
