//! Asking an IM address whether it belongs to the person it was claimed for. The answer comes as a
//! chat line to the bridge itself.

use isthmus_domain::service::Challenge;
use isthmus_store::{StoreError, TenantView, rows};

use crate::{batch::Batch, services::Outcome};

/// How long the question stands.
const OPEN_MS: i64 = 86_400_000;

impl Batch<'_> {
    /// The `challenge` service.
    pub(crate) async fn challenge(
        &mut self,
        tenant: &TenantView,
        transaction: &rows::Transaction,
        challenge: Challenge,
    ) -> Result<Outcome, StoreError> {
        let mapping =
            self.router.store.of(&tenant.tenant.id).mapping(&challenge.mapping_id).await?;
        let Some(mapping) = mapping else {
            return Ok(Outcome::refused("there is no such address"));
        };
        match mapping.state.as_str() {
            "verified" => return Ok(Outcome::refused("the address is verified already")),
            "revoked" => return Ok(Outcome::refused("the address was revoked")),
            _ => {}
        }
        if tenant.by_im(&mapping.im).is_some() {
            return Ok(Outcome::refused("the address is verified for somebody else"));
        }
        let asked = |m: &&rows::Mapping| {
            m.im == mapping.im && m.id != mapping.id && m.state == "challenged"
        };
        if tenant.all_mappings().filter(asked).any(|m| m.challenge_until > Some(self.now.0)) {
            return Ok(Outcome::refused("the address is being asked for somebody else"));
        }
        let text = format!(
            "Is {} your email address, at {}? Answer 1 for yes, 2 for no.",
            mapping.email, tenant.tenant.name
        );
        let im = mapping.im.clone();
        self.plan.set.put_mappings.push(rows::Mapping {
            state: "challenged".into(),
            challenge_until: Some(self.now.plus_ms(OPEN_MS).0),
            attempts: 0,
            ..mapping
        });
        self.system_line(tenant, &transaction.id, &im, None, text).await?;
        Ok(Outcome::Done)
    }
}
