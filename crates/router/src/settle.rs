//! What came back for messages that are on their way: from networks, from their recipients, from
//! mail servers.

use std::collections::HashMap;

use isthmus_domain::delivery::Happened;
use isthmus_queue::Signal;

use crate::{batch::Batch, live::Live, outbound};

/// Results that one turn of the loop takes note of. Planning them changes nothing here, so that
/// they can be planned again when the commit they were part of failed.
#[derive(Default)]
pub(crate) struct Settle {
    /// What networks said to messages, by wire id.
    pub(crate) handed: Vec<(String, Happened)>,
    /// What mail servers said.
    pub(crate) mails: Vec<outbound::Handed>,
    /// What networks noticed.
    pub(crate) signals: Vec<Signal>,
}

impl Settle {
    pub(crate) fn is_empty(&self) -> bool {
        self.handed.is_empty() && self.mails.is_empty() && self.signals.is_empty()
    }

    /// Plans the rows and acts that follow.
    pub(crate) async fn plan(&self, batch: &mut Batch<'_>, live: &Live) {
        self.prefetch(batch, live).await;
        for (wire_id, happened) in &self.handed {
            if let Some(row) = live.get(wire_id).cloned() {
                batch.happened_or_not(row, happened.clone(), "A message with a result").await;
            }
        }
        let mark = batch.plan.mark();
        if let Err(error) = batch.mails_handed(self.mails.clone()).await {
            tracing::error!(%error, "Results of outbound mail could not be recorded");
            batch.plan.back_to(&mark);
        }
        for signal in &self.signals {
            let mark = batch.plan.mark();
            if let Err(error) = batch.signal(live, signal).await {
                tracing::error!(%error, "A signal could not be handled");
                batch.plan.back_to(&mark);
            }
        }
    }

    /// The conversations of everything that was confirmed, with one look-up a tenant.
    async fn prefetch(&self, batch: &mut Batch<'_>, live: &Live) {
        let mut talks: HashMap<&str, Vec<String>> = HashMap::new();
        for signal in &self.signals {
            if let Signal::Receipt { id, .. } | Signal::Bounced { id, .. } = signal
                && let Some(row) = live.get(id).filter(|r| !r.conversation_id.is_empty())
            {
                talks.entry(&row.tenant_id).or_default().push(row.conversation_id.clone());
            }
        }
        for (tenant, ids) in talks {
            if let Err(error) = batch.prefetch_talks(tenant, &ids).await {
                tracing::error!(%error, "Conversations cannot be looked up");
            }
        }
    }
}
