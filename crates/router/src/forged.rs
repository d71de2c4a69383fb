//! Telling a member that somebody wrote in their name: once a mail, and not without end.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
};

use isthmus_domain::{clock::Millis, service::MailIn};
use isthmus_store::{StoreError, TenantView, rows};

use crate::{
    answers,
    batch::Batch,
    mail_in::{Incoming, is_automatic},
};

/// Notices about forged mail that a member gets within an hour. What is forged beyond that is
/// held as well, and seen in the conversation.
const AN_HOUR: u32 = 5;

/// How many notices members got in the present hour.
#[derive(Debug, Default)]
pub struct NoticeBudget(Mutex<Spent>);

#[derive(Debug, Default)]
struct Spent {
    hour: i64,
    /// By member id; emptied every hour, so never more than there are members.
    notices: HashMap<String, u32>,
}

impl NoticeBudget {
    /// Whether one more is within the budget; if so, it is spent.
    fn spend(&self, member: &str, now: Millis) -> bool {
        let mut spent = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let hour = now.0.div_euclid(3_600_000);
        if spent.hour != hour {
            *spent = Spent { hour, notices: HashMap::new() };
        }
        let count = spent.notices.entry(member.to_owned()).or_default();
        *count = count.saturating_add(1);
        *count <= AN_HOUR
    }
}

impl Batch<'_> {
    /// Tells the member in whose name a mail was written that nothing proved it. A program that
    /// wrote it is not worth a word, and could go on for ever.
    pub(crate) async fn tell_forged(
        &mut self,
        tenant: &TenantView,
        transaction: &rows::Transaction,
        mail: &MailIn,
        incoming: &Incoming,
        claimed: &rows::Member,
    ) -> Result<(), StoreError> {
        let once = (transaction.id.clone(), claimed.id.clone());
        if is_automatic(mail, &incoming.parsed)
            || !self.told_forged.insert(once)
            || !self.router.notices.spend(&claimed.id, self.now)
        {
            return Ok(());
        }
        let (subject, body) =
            answers::forged(&claimed.name, &incoming.parsed.subject, &mail.verdict);
        self.notice_mail(tenant, claimed, &subject, &body, None).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_hour_has_room_for_a_few_notices_to_each_member() {
        let (budget, now) = (NoticeBudget::default(), Millis(1_767_268_920_000));
        let told = (0..100).filter(|_| budget.spend("mbr_a", now)).count();
        assert_eq!(told, 5);
        assert!(budget.spend("mbr_b", now));
        assert!(budget.spend("mbr_a", now.plus_ms(3_600_000)));
    }
}
