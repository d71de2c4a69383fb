//! What a batch knows: rows that were looked up or are about to be written, so that the second
//! transaction of a batch sees what the first one did.

use std::{collections::HashMap, sync::Arc};

use isthmus_domain::{
    clock::Millis,
    ids::{ConversationId, MessageId},
};
use isthmus_store::{Directory, StoreError, TenantView, rows};

use crate::{Router, plan::Plan};

/// One pair of people: who writes, and to whom.
#[derive(Clone, Debug)]
pub(crate) struct Person {
    /// Email address in lower case, or `network:address` of somebody known by that alone.
    pub(crate) key: String,
    /// Display name; the address where none is known.
    pub(crate) name: String,
    /// Set for members of the tenant.
    pub(crate) member: Option<rows::Member>,
}

impl Person {
    /// The email address, if the key is one.
    pub(crate) fn email(&self) -> Option<isthmus_domain::address::Email> {
        if self.key.contains(':') {
            return None;
        }
        isthmus_domain::address::Email::parse(&self.key).ok()
    }

    /// Looks a person up by email address; `said` is what their own mail calls them.
    pub(crate) fn by_email(tenant: &TenantView, key: &str, said: Option<&str>) -> Self {
        let name = tenant.name_of(key).or(said).unwrap_or(key).to_owned();
        Self { key: key.to_owned(), name, member: tenant.member(key).cloned() }
    }
}

/// A conversation with its two participants.
#[derive(Clone, Debug)]
pub(crate) struct Talk {
    pub(crate) row: rows::Conversation,
    pub(crate) people: Vec<rows::Participant>,
}

impl Talk {
    pub(crate) fn participant(&self, person: &str) -> Option<&rows::Participant> {
        self.people.iter().find(|p| p.person == person)
    }

    /// The other one of the pair; in a conversation with oneself, oneself.
    pub(crate) fn other(&self, person: &str) -> Option<&rows::Participant> {
        self.people.iter().find(|p| p.person != person).or_else(|| self.people.first())
    }

    /// Members who take part, for events.
    pub(crate) fn members(&self) -> Vec<String> {
        self.people.iter().filter_map(|p| p.member_id.clone()).collect()
    }
}

/// One run of the router over several transactions.
pub(crate) struct Batch<'r> {
    pub(crate) router: &'r Router,
    pub(crate) directory: Arc<Directory>,
    pub(crate) now: Millis,
    pub(crate) plan: Plan,
    seq: Arc<crate::run::Sequence>,
    talks: HashMap<String, Talk>,
    called: HashMap<(String, String), Vec<Known>>,
    last: HashMap<(String, String), String>,
    /// Conversations that this batch opened: nothing of them is in the database yet.
    fresh: std::collections::HashSet<String>,
    /// Transactions and the members who were told that theirs is forged.
    pub(crate) told_forged: std::collections::HashSet<(String, String)>,
    /// By tenant and domain.
    dkim: HashMap<(String, String), Option<rows::DkimKey>>,
}

/// A message that is known by its Message-ID.
#[derive(Clone, Debug)]
pub(crate) struct Known {
    pub(crate) conversation: String,
}

/// The name of a pair of people, the same from both sides.
pub(crate) fn pair(a: &str, b: &str) -> String {
    if a <= b { format!("{a} {b}") } else { format!("{b} {a}") }
}

impl<'r> Batch<'r> {
    pub(crate) fn new(router: &'r Router, seq: &Arc<crate::run::Sequence>) -> Self {
        Self {
            router,
            directory: router.store.directory(),
            now: router.clock.now(),
            plan: Plan::default(),
            seq: Arc::clone(seq),
            talks: HashMap::new(),
            called: HashMap::new(),
            last: HashMap::new(),
            fresh: std::collections::HashSet::new(),
            told_forged: std::collections::HashSet::new(),
            dkim: HashMap::new(),
        }
    }

    /// The key that signs a tenant's mails from one of its domains, looked up once.
    pub(crate) async fn dkim_key(
        &mut self,
        tenant: &TenantView,
        domain: &str,
    ) -> Result<Option<rows::DkimKey>, StoreError> {
        // A key outlives the day on which its domain went to somebody else.
        if !tenant.has_domain(domain) {
            return Ok(None);
        }
        let name = (tenant.tenant.id.clone(), domain.to_owned());
        if let Some(known) = self.dkim.get(&name) {
            return Ok(known.clone());
        }
        let key = self.router.store.of(&tenant.tenant.id).dkim_key(domain).await?;
        self.dkim.insert(name, key.clone());
        Ok(key)
    }

    /// The next position in any conversation: later is always larger.
    pub(crate) fn next_seq(&self) -> i64 {
        self.seq.next(self.now)
    }

    /// Looks several Message-IDs up at once, so that single look-ups are answered from memory.
    pub(crate) async fn prefetch(
        &mut self,
        tenant: &str,
        ids: &[String],
    ) -> Result<(), StoreError> {
        let wanted: Vec<String> = ids
            .iter()
            .filter(|id| !self.called.contains_key(&(tenant.to_owned(), (*id).clone())))
            .cloned()
            .collect();
        for chunk in wanted.chunks(200) {
            for (id, conversation) in self.router.store.of(tenant).conversations_of(chunk).await? {
                self.called
                    .entry((tenant.to_owned(), id))
                    .or_default()
                    .push(Known { conversation });
            }
            for id in chunk {
                self.called.entry((tenant.to_owned(), id.clone())).or_default();
            }
        }
        Ok(())
    }

    /// The messages that carry this Message-ID, one for each conversation they are in.
    pub(crate) async fn called(
        &mut self,
        tenant: &str,
        id: &str,
    ) -> Result<Vec<Known>, StoreError> {
        let key = (tenant.to_owned(), id.to_owned());
        if !self.called.contains_key(&key) {
            self.prefetch(tenant, std::slice::from_ref(&key.1)).await?;
        }
        Ok(self.called.get(&key).cloned().unwrap_or_default())
    }

    /// A conversation with its participants.
    pub(crate) async fn talk(
        &mut self,
        tenant: &str,
        id: &str,
    ) -> Result<Option<Talk>, StoreError> {
        if let Some(talk) = self.talks.get(id) {
            return Ok((talk.row.tenant_id == tenant).then(|| talk.clone()));
        }
        let scope = self.router.store.of(tenant);
        let Some(row) = scope.conversation(id).await? else { return Ok(None) };
        let people = scope.participants(&[id.to_owned()]).await?;
        let talk = Talk { row, people };
        self.talks.insert(id.to_owned(), talk.clone());
        Ok(Some(talk))
    }

    /// One look-up for the threads of all mails of a tenant.
    pub(crate) async fn prefetch_threads(&mut self, prepared: &[crate::run::Prepared]) {
        let mut threads: HashMap<&str, Vec<String>> = HashMap::new();
        for (row, ready) in prepared {
            if let crate::services::Ready::Mail(mail) = ready {
                let parsed = &mail.1.parsed;
                let ids = threads.entry(row.tenant_id.as_str()).or_default();
                ids.extend(isthmus_mail::mime::thread_keys(parsed));
                ids.extend(parsed.message_id.clone());
            }
        }
        for (tenant, ids) in threads {
            if let Err(error) = self.prefetch(tenant, &ids).await {
                tracing::error!(%error, "Threads cannot be looked up");
            }
        }
    }

    /// Looks several conversations up at once, so that single look-ups are answered from memory.
    pub(crate) async fn prefetch_talks(
        &mut self,
        tenant: &str,
        ids: &[String],
    ) -> Result<(), StoreError> {
        let mut wanted: Vec<String> =
            ids.iter().filter(|id| !self.talks.contains_key(*id)).cloned().collect();
        wanted.sort_unstable();
        wanted.dedup();
        let scope = self.router.store.of(tenant);
        for chunk in wanted.chunks(128) {
            let mut people: HashMap<String, Vec<rows::Participant>> = HashMap::new();
            for person in scope.participants(chunk).await? {
                people.entry(person.conversation_id.clone()).or_default().push(person);
            }
            for row in scope.conversations_by_id(chunk).await? {
                let people = people.remove(&row.id).unwrap_or_default();
                self.talks.insert(row.id.clone(), Talk { row, people });
            }
        }
        Ok(())
    }

    /// The conversation that a mail with these thread ids belongs to, between these two.
    /// All ids count, the nearest first; another pair's conversation never does.
    pub(crate) async fn by_thread(
        &mut self,
        tenant: &str,
        thread: &[String],
        a: &str,
        b: &str,
    ) -> Result<Option<Talk>, StoreError> {
        self.prefetch(tenant, thread).await?;
        let wanted = pair(a, b);
        for id in thread {
            for known in self.called(tenant, id).await? {
                if let Some(talk) = self.talk(tenant, &known.conversation).await?
                    && talk.row.pair == wanted
                {
                    return Ok(Some(talk));
                }
            }
        }
        Ok(None)
    }

    /// The conversation of two people that was active last.
    pub(crate) async fn last_between(
        &mut self,
        tenant: &str,
        a: &str,
        b: &str,
    ) -> Result<Option<Talk>, StoreError> {
        let wanted = pair(a, b);
        if let Some(id) = self.last.get(&(tenant.to_owned(), wanted.clone())).cloned() {
            return self.talk(tenant, &id).await;
        }
        match self.router.store.of(tenant).last_of_pair(&wanted).await? {
            Some(row) => self.talk(tenant, &row.id).await,
            None => Ok(None),
        }
    }

    /// A new conversation. `seed` makes its id: a second run of the same transaction finds the first.
    pub(crate) fn open_talk(
        &mut self,
        tenant: &str,
        subject: &str,
        people: [&Person; 2],
        medium: isthmus_domain::delivery::Medium,
        at: Millis,
        seed: &str,
    ) -> Talk {
        let [a, b] = people;
        let id: String =
            ConversationId::derived(at, &[seed.as_bytes(), a.key.as_bytes(), b.key.as_bytes()])
                .into();
        if let Some(talk) = self.talks.get(&id) {
            return talk.clone();
        }
        let row = rows::Conversation {
            id: id.clone(),
            tenant_id: tenant.to_owned(),
            subject: subject.to_owned(),
            pair: pair(&a.key, &b.key),
            created_at: at.0,
            last_at: at.0,
        };
        let mut people: Vec<rows::Participant> = Vec::new();
        for person in [a, b] {
            if people.iter().any(|p| p.person == person.key) {
                continue;
            }
            people.push(rows::Participant {
                conversation_id: id.clone(),
                tenant_id: tenant.to_owned(),
                person: person.key.clone(),
                name: person.name.clone(),
                member_id: person.member.as_ref().map(|m| m.id.clone()),
                token: self.router.chance.token_at(self.now),
                last_medium: medium.as_str().to_owned(),
                last_at: 0,
                read_seq: 0,
                told_seq: 0,
                history_seq: 0,
            });
        }
        for person in &people {
            self.name_alias(tenant, &person.person);
        }
        let talk = Talk { row, people };
        self.fresh.insert(talk.row.id.clone());
        self.put_talk(talk.clone());
        talk
    }

    /// Somebody whose address is too long for the bridge domain gets an alias there.
    fn name_alias(&mut self, tenant: &str, person: &str) {
        let Some(alias) = isthmus_store::alias_of(tenant, person) else { return };
        if self.directory.tenant(tenant).is_some_and(|t| t.alias(&alias).is_none()) {
            self.plan.set.once_aliases.push(rows::Alias {
                tenant_id: tenant.to_owned(),
                alias,
                email: person.to_owned(),
            });
        }
    }

    /// Takes back a conversation that this batch opened and in which nothing was said.
    pub(crate) fn forget_if_empty(&mut self, talk: &Talk) {
        let id = &talk.row.id;
        let said = self.plan.set.once_messages.iter().any(|m| &m.conversation_id == id);
        if said || !self.fresh.remove(id) {
            return;
        }
        let set = &mut self.plan.set;
        set.put_conversations.retain(|c| &c.id != id);
        set.put_participants.retain(|p| &p.conversation_id != id);
        self.talks.remove(id);
        let key = (talk.row.tenant_id.clone(), talk.row.pair.clone());
        let mut before = set.put_conversations.iter().rev();
        match before.find(|c| c.tenant_id == key.0 && c.pair == key.1) {
            Some(other) => self.last.insert(key, other.id.clone()),
            None => self.last.remove(&key),
        };
    }

    /// Whether this batch opened the conversation, so that no look-up can find anything.
    pub(crate) fn is_fresh(&self, conversation: &str) -> bool {
        self.fresh.contains(conversation)
    }

    /// Writes a conversation and its participants, and remembers them for the rest of the batch.
    pub(crate) fn put_talk(&mut self, talk: Talk) {
        self.plan.set.put_conversations.push(talk.row.clone());
        self.plan.set.put_participants.extend(talk.people.iter().cloned());
        self.last.insert((talk.row.tenant_id.clone(), talk.row.pair.clone()), talk.row.id.clone());
        self.talks.insert(talk.row.id.clone(), talk);
    }

    /// Adds a message to its conversation: the row, the activity, and the event.
    pub(crate) fn add_message(
        &mut self,
        talk: &mut Talk,
        message: rows::Message,
        files: Vec<rows::Attachment>,
    ) {
        talk.row.last_at = talk.row.last_at.max(message.at.max(self.now.0));
        if let Some(author) = talk.people.iter_mut().find(|p| p.person == message.from_person) {
            author.last_medium.clone_from(&message.medium);
            author.last_at = self.now.0;
            author.read_seq = author.read_seq.max(message.seq);
        }
        self.called
            .entry((message.tenant_id.clone(), message.message_id.clone()))
            .or_default()
            .push(Known { conversation: talk.row.id.clone() });
        self.plan.acts.push(crate::plan::Act::Publish {
            tenant: message.tenant_id.clone(),
            members: talk.members(),
            kind: "message",
            data: serde_json::json!({"conversation_id": talk.row.id, "message_id": message.id, "medium": message.medium}),
        });
        self.plan.set.once_messages.push(message);
        self.plan.set.once_attachments.extend(files);
        self.put_talk(talk.clone());
    }

    /// The id of a message that a transaction makes: the same at every run.
    pub(crate) fn message_id(&self, transaction: &rows::Transaction, part: &str) -> String {
        MessageId::derived(Millis(transaction.at), &[transaction.id.as_bytes(), part.as_bytes()])
            .into()
    }

    /// The rows for the files of a message.
    pub(crate) fn file_rows(
        &self,
        tenant: &str,
        message: &str,
        at: Millis,
        files: &[isthmus_domain::service::OutFileRef],
    ) -> Vec<rows::Attachment> {
        files
            .iter()
            .enumerate()
            .map(|(i, file)| rows::Attachment {
                id: isthmus_domain::ids::AttachmentId::derived(
                    at,
                    &[message.as_bytes(), &i.to_be_bytes()],
                )
                .into(),
                tenant_id: tenant.to_owned(),
                message_id: message.to_owned(),
                position: i64::try_from(i).unwrap_or(i64::MAX),
                name: file.name.clone(),
                media_type: file.media_type.clone(),
                size: file.size,
                hash: file.hash.clone(),
                content_id: file.content_id.clone(),
            })
            .collect()
    }
}
