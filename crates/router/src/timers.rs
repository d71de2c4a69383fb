//! What time and the networks bring: silence that has lasted, receipts, bounces, presence.

use isthmus_domain::{
    address::Email,
    delivery::{Evidence, Happened, Reach},
};
use isthmus_mail::mime;
use isthmus_queue::Signal;
use isthmus_store::{StoreError, rows};

use crate::{
    batch::Batch,
    live::Live,
    notices::{unwritten, written},
    outbound,
    steps::StepError,
};

impl Batch<'_> {
    /// A step that nobody asked for: what is not possible any more is simply late.
    pub(crate) async fn happened(
        &mut self,
        row: rows::Delivery,
        what: Happened,
    ) -> Result<(), StoreError> {
        match self.advance(row, what).await {
            Ok(_) | Err(StepError::NotPossible(_)) => Ok(()),
            Err(StepError::Store(error)) => Err(error),
        }
    }

    /// The same where the others of the batch go on: nothing of a step that fails halfway is
    /// written. Whether it was taken.
    pub(crate) async fn happened_or_not(
        &mut self,
        row: rows::Delivery,
        what: Happened,
        about: &'static str,
    ) -> bool {
        let mark = self.plan.mark();
        let id = row.id.clone();
        match self.happened(row, what).await {
            Ok(()) => true,
            Err(error) => {
                tracing::error!(delivery = %id, %error, "{about} could not be moved on");
                self.plan.back_to(&mark);
                false
            }
        }
    }

    /// The newest row of a delivery: of this batch, in memory, or in the database.
    async fn newest(
        &self,
        live: &Live,
        wire_id: &str,
        address: &str,
    ) -> Result<Option<rows::Delivery>, StoreError> {
        let planned = self.plan.set.put_deliveries.iter().rev().find(|d| d.wire_id == wire_id);
        if let Some(row) = planned.or_else(|| live.get(wire_id)) {
            return Ok(Some(row.clone()).filter(|r| r.address == address));
        }
        let found = self.router.store.im_sent_as(wire_id).await?;
        Ok(found.filter(|d| d.address == address))
    }

    /// What a network noticed.
    pub(crate) async fn signal(&mut self, live: &Live, signal: &Signal) -> Result<(), StoreError> {
        match signal {
            Signal::Receipt { address, id } => {
                self.router.receipts.came_from(address);
                if let Some(row) = self.newest(live, id, address).await? {
                    self.happened(row, Happened::Evidence(Evidence::Receipt)).await?;
                }
            }
            Signal::Bounced { address, id, temporary, reason } => {
                if let Some(row) = self.newest(live, id, address).await? {
                    let (temporary, reason) = (*temporary, reason.clone());
                    self.happened(row, Happened::Bounced { temporary, reason }).await?;
                }
            }
            Signal::Presence { bridge_domain, address, reach } => {
                self.presence(bridge_domain, address, *reach).await?;
            }
            // These concern what is on its way, not what is written about it.
            Signal::Up { .. } | Signal::Down { .. } => {}
        }
        Ok(())
    }

    async fn presence(
        &mut self,
        bridge_domain: &str,
        address: &str,
        reach: Reach,
    ) -> Result<(), StoreError> {
        let directory = std::sync::Arc::clone(&self.directory);
        let Some(tenant) = directory.by_bridge(bridge_domain) else { return Ok(()) };
        for row in self.router.store.deliveries_waiting_for(address).await? {
            if row.tenant_id == tenant.tenant.id {
                let row = self.newest_of(row);
                self.happened(row, Happened::Presence(reach)).await?;
            }
        }
        if let Some(mapping) = tenant.by_im(address) {
            self.plan.acts.push(crate::plan::Act::Publish {
                tenant: tenant.tenant.id.clone(),
                members: tenant.members().map(|m| m.id.clone()).collect(),
                kind: "presence",
                data: serde_json::json!({"address": mapping.email, "available": reach == Reach::Available}),
            });
        }
        Ok(())
    }

    /// A mail that we took for a tenant and that its own server will not have: its sender is told
    /// (RFC 5321 section 6.1), unless it is itself a notification.
    async fn returned(&mut self, row: &rows::Outbound) -> Result<(), StoreError> {
        let directory = std::sync::Arc::clone(&self.directory);
        let Some(tenant) = directory.tenant(&row.tenant_id) else { return Ok(()) };
        let (Ok(sender), Ok(recipient)) = (Email::parse(&row.mail_from), Email::parse(&row.rcpt))
        else {
            return Ok(());
        };
        let reply = row.last_reply.clone().unwrap_or_else(|| "nothing more".into());
        let subject = format!("Not delivered: {}", row.subject);
        let body = format!(
            "Your mail to {} was not delivered. The server there says:\n\n{reply}\n",
            row.rcpt
        );
        let returned = self.octets(&row.tenant_id, &row.raw_hash).await?.unwrap_or_default();
        let bridge = &tenant.tenant.bridge_domain;
        let failure =
            mime::DeliveryFailure { reporting_mta: bridge.clone(), recipient, reply, returned };
        let mail = self.notice(tenant, &sender, "", &subject, &body, None)?;
        let raw = mime::compose_failure(&mail, &failure).map_err(unwritten)?;
        self.queue_mail(tenant, "notice", None, &sender, written(mail, raw)).await
    }

    /// What relays said about mails.
    pub(crate) async fn mails_handed(
        &mut self,
        handed: Vec<outbound::Handed>,
    ) -> Result<(), StoreError> {
        for outbound::Handed { mut row, what } in handed {
            row.attempts += 1;
            let happened = match what {
                outbound::What::Sent { reply } => {
                    "sent".clone_into(&mut row.state);
                    row.last_reply = Some(reply);
                    Some(Happened::Evidence(Evidence::Smtp))
                }
                outbound::What::Kept => {
                    "kept".clone_into(&mut row.state);
                    Some(Happened::Evidence(Evidence::Kept))
                }
                outbound::What::Later { reply, next } => {
                    row.last_reply = Some(reply);
                    row.next_at = Some(next.0);
                    None
                }
                outbound::What::Refused { reply, permanent_address } => {
                    "failed".clone_into(&mut row.state);
                    if permanent_address {
                        self.plan.set.once_suppressions.push(rows::Suppression {
                            tenant_id: row.tenant_id.clone(),
                            address: row.rcpt.to_ascii_lowercase(),
                            reason: reply.clone(),
                            at: self.now.0,
                        });
                    }
                    row.last_reply = Some(reply.clone());
                    Some(Happened::Bounced {
                        temporary: false,
                        reason: format!("the mail server refused it: {reply}"),
                    })
                }
            };
            // A forged mail is of another kind, and ends in silence.
            if row.state == "failed" && row.kind == "forward" {
                self.returned(&row).await?;
            }
            if row.state != "queued" {
                row.next_at = None;
                row.ended_at = Some(self.now.0);
            }
            if let (Some(happened), Some(id)) = (happened, &row.delivery_id)
                && let Some(delivery) = self.router.store.of(&row.tenant_id).delivery(id).await?
            {
                let delivery = self.newest_of(delivery);
                self.happened(delivery, happened).await?;
            }
            self.plan.set.put_outbound.push(row);
        }
        Ok(())
    }
}
