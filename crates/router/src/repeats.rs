//! Mail that lies here already: it came over two paths, or as a copy beside the mail itself.

use isthmus_domain::delivery::Medium;
use isthmus_store::{StoreError, TenantView, rows};

use crate::{
    batch::{Batch, Person, Talk},
    mail_in::Incoming,
    requests::Outgoing,
    services::Outcome,
};

impl Batch<'_> {
    /// The rows of this very mail, if `author` wrote it to `to` and it lies here already.
    pub(crate) async fn filed_before(
        &mut self,
        tenant: &TenantView,
        incoming: &Incoming,
        author: &str,
        to: &str,
    ) -> Result<Vec<rows::Message>, StoreError> {
        let id = &tenant.tenant.id;
        let Some(message_id) = &incoming.parsed.message_id else { return Ok(Vec::new()) };
        if self.called(id, message_id).await?.is_empty() {
            return Ok(Vec::new());
        }
        let ids = std::slice::from_ref(message_id);
        let mut all = self.router.store.of(id).messages_called(ids).await?;
        for planned in &self.plan.set.once_messages {
            let same = planned.tenant_id == *id && planned.message_id == *message_id;
            if same && !all.iter().any(|m| m.id == planned.id) {
                all.push(planned.clone());
            }
        }
        let wanted = crate::batch::pair(author, to);
        let mut found = Vec::new();
        for message in all.into_iter().filter(|m| m.held.is_none() && m.from_person == author) {
            let talk = self.talk(id, &message.conversation_id).await?;
            if talk.is_some_and(|t| t.row.pair == wanted) {
                found.push(message);
            }
        }
        Ok(found)
    }

    /// Whether any of these messages has a delivery.
    pub(crate) async fn is_on_its_way(
        &self,
        tenant: &TenantView,
        messages: &[rows::Message],
    ) -> Result<bool, StoreError> {
        let ids: Vec<String> = messages.iter().map(|m| m.id.clone()).collect();
        let planned = &self.plan.set.put_deliveries;
        if planned.iter().any(|d| ids.contains(&d.message_id)) {
            return Ok(true);
        }
        Ok(!self.router.store.of(&tenant.tenant.id).deliveries_for(&ids).await?.is_empty())
    }

    /// Whether this very mail of `author` to `to` was sent on already, however it came.
    pub(crate) async fn is_sent(
        &mut self,
        tenant: &TenantView,
        incoming: &Incoming,
        author: &str,
        to: &str,
    ) -> Result<bool, StoreError> {
        let before = self.filed_before(tenant, incoming, author, to).await?;
        self.is_on_its_way(tenant, &before).await
    }

    /// Sends a mail on that lies in its conversation already.
    #[expect(clippy::too_many_arguments, reason = "one message, two people, one conversation")]
    pub(crate) async fn send_filed(
        &mut self,
        tenant: &TenantView,
        transaction: &rows::Transaction,
        talk: &mut Talk,
        author: &Person,
        to: &Person,
        asker: Option<&rows::Member>,
        via: Medium,
        message: rows::Message,
    ) -> Result<Outcome, StoreError> {
        let files = self.files_of(&tenant.tenant.id, std::slice::from_ref(&message)).await?;
        let address = self.im_address(tenant, to);
        let out = Outgoing {
            tenant,
            transaction,
            author,
            to,
            via,
            subject: Some(message.subject.clone()),
            text: message.text.clone(),
            files: Vec::new(),
            asker,
            delivery_id: None,
            raw: None,
            message_id: None,
            head: None,
            written_in: Medium::Email,
            may_gather: false,
        };
        self.go_out(talk, &out, &message, &files, address).await?;
        self.put_talk(talk.clone());
        Ok(Outcome::Done)
    }

    /// Whether a mail with this Message-ID lies in a conversation, held or not.
    pub(crate) async fn is_in(
        &mut self,
        tenant: &TenantView,
        incoming: &Incoming,
        talk: &Talk,
    ) -> Result<bool, StoreError> {
        let Some(id) = &incoming.parsed.message_id else { return Ok(false) };
        let known = self.called(&tenant.tenant.id, id).await?;
        Ok(known.iter().any(|k| k.conversation == talk.row.id))
    }
}
