//! The end of a contact: what still waits for their addresses.

use isthmus_domain::{delivery::Happened, service::ContactDeleted};
use isthmus_store::{StoreError, TenantView, rows};

use crate::{batch::Batch, services::Outcome};

impl Batch<'_> {
    /// The `contact.delete` service: what waits is not sent any more, and its sender is told. What
    /// has left already is not called back.
    pub(crate) async fn contact_deleted(
        &mut self,
        tenant: &TenantView,
        gone: ContactDeleted,
    ) -> Result<Outcome, StoreError> {
        let scope = self.router.store.of(&tenant.tenant.id);
        for row in scope.waiting_at(&gone.addresses).await? {
            let row = self.newest_of(row);
            // They may be a contact again by now, and have confirmed the address.
            let again = |m: &rows::Mapping| m.im == row.address && m.state == "verified";
            let theirs =
                row.person == gone.email && !tenant.mappings(&gone.email).iter().any(again);
            if theirs && row.state != "sending" {
                let reason = "the contact was deleted".to_owned();
                self.happened(row, Happened::GivenUp { reason }).await?;
            }
        }
        Ok(Outcome::Done)
    }
}
