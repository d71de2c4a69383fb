//! Mail of tenants whose door Isthmus is (`mail_mode = "mx"`): passed on to their own server,
//! octet by octet, from the same queue as all outbound mail.

use isthmus_domain::{clock::Millis, ids::OutboundId};
use isthmus_store::{TenantView, rows};

use isthmus_domain::service::{MailIn, Trust};

use crate::batch::Batch;

impl Batch<'_> {
    /// Queues a mail for the tenant's own server, once for each recipient there.
    pub(crate) fn pass_on(
        &mut self,
        tenant: &TenantView,
        transaction: &rows::Transaction,
        mail: &MailIn,
        subject: &str,
    ) {
        let tenant = &tenant.tenant;
        let (Some(route), "mx") = (&tenant.forward_to, tenant.mail_mode.as_str()) else { return };
        // Whoever is named as the sender of a forged mail had no part in it: should it not be
        // taken over there, nobody is told (RFC 5321 section 6.2; see `timers`).
        let kind = if mail.trust == Trust::Bad { "forward.silent" } else { "forward" };
        for rcpt in mail.rcpts.iter().filter(|r| r.domain() != tenant.bridge_domain) {
            let id: String = OutboundId::derived(
                Millis(transaction.at),
                &[transaction.id.as_bytes(), rcpt.key().as_bytes()],
            )
            .into();
            let seq = self.next_seq();
            self.plan.set.once_outbound.push(rows::Outbound {
                id,
                tenant_id: tenant.id.clone(),
                seq,
                delivery_id: None,
                kind: kind.into(),
                mail_from: mail.mail_from.as_ref().map(ToString::to_string).unwrap_or_default(),
                rcpt: rcpt.as_str().to_owned(),
                subject: subject.to_owned(),
                message_id: String::new(),
                raw_hash: mail.raw.clone(),
                route: Some(route.clone()),
                state: "queued".into(),
                attempts: 0,
                next_at: Some(self.now.0),
                last_reply: None,
                created_at: self.now.0,
                ended_at: None,
            });
        }
    }
}
