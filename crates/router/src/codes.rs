//! The one-time code in front of a conversation's transcript: made here, sent to the
//! participant's own address and nowhere else.

use isthmus_domain::{address::Email, service::Code};
use isthmus_store::{StoreError, TenantView, blob_hash, rows};

use crate::{batch::Batch, services::Outcome};

/// How long a code counts.
const CODE_MS: i64 = 10 * 60_000;
/// Codes for one link until an hour of silence.
const CODES: i64 = 5;
/// After this long without a code the count starts anew.
const PAUSE_MS: i64 = 3_600_000;

impl Batch<'_> {
    /// The `code` service.
    pub(crate) async fn send_code(
        &mut self,
        tenant: &TenantView,
        transaction: &rows::Transaction,
        wanted: Code,
    ) -> Result<Outcome, StoreError> {
        let link = self.router.store.link(&wanted.link).await?;
        let link = link.filter(|l| l.tenant_id == tenant.tenant.id && l.expires_at > self.now.0);
        let Some(link) = link else {
            return Ok(Outcome::refused("this link does not work any more"));
        };
        let last = link.code_until.map_or(0, |until| until - CODE_MS);
        let sent = if self.now.0 - last > PAUSE_MS { 0 } else { link.sent };
        if sent >= CODES {
            return Ok(Outcome::refused("too many codes were sent; please try again in an hour"));
        }
        let code = self.router.chance.code(6);
        self.plan.set.put_links.push(rows::Link {
            // Hashed with the link's token, so that a thief of the database cannot look it up.
            code_hash: Some(blob_hash(format!("{}:{code}", link.token).as_bytes())),
            code_until: Some(self.now.plus_ms(CODE_MS).0),
            attempts: 0,
            sent: sent + 1,
            ..link.clone()
        });
        let text = format!(
            "{code} is your code to read the conversation that you took part in. It works for ten minutes. \
             If you did not ask for it, somebody else has opened your link: they see nothing without the code."
        );
        match Email::parse(&link.address) {
            Ok(email) if !link.address.contains(':') => {
                let name = tenant.name_of(&link.person).unwrap_or(&link.person).to_owned();
                let subject = format!("{code} is your code");
                self.notice_to(tenant, &email, &name, &subject, &format!("{text}\n"), None).await?;
            }
            _ => self.system_line(tenant, &transaction.id, &link.address, None, text).await?,
        }
        Ok(Outcome::Done)
    }
}
