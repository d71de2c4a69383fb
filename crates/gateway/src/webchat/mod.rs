//! The built-in web chat: an IM network that needs no server. Its users sit in front of a
//! browser; what they get is a row that is committed, so a message that was sent is stored.
//!
//! It takes no shortcut past the router: what is typed becomes an [`Event::Message`] like that of
//! any other network, and is shown as sent only once that was committed.

mod pages;
mod presence;
mod say;
#[cfg(test)]
pub(crate) mod tests;

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicI64, Ordering},
    },
};

use async_trait::async_trait;
use isthmus_domain::{
    address::{Email, ImAddress},
    clock::Clock,
};
use isthmus_im::{Event, ImNetwork, Names, OutMessage, Presence, SendError, Sent};
use isthmus_store::{ChangeSet, Store, rows};
use serde::{Deserialize, Serialize};
use tokio::{
    sync::{Notify, broadcast, mpsc},
    time::Instant,
};

pub(crate) use pages::{KEPT, chatter, configure};
use presence::Board;
pub use presence::Watching;
pub use say::{NotSaid, Saying};

/// The name in front of the colon.
pub const NETWORK: &str = "web";
/// News that a slow page may miss before it has to look anew.
const NEWS: usize = 256;

/// The network, cheap to clone.
#[derive(Clone)]
pub struct WebChat(Arc<Inner>);

pub(crate) struct Inner {
    store: Store,
    events: mpsc::Sender<Event>,
    clock: Arc<dyn Clock>,
    names: Mutex<Option<Arc<dyn Names>>>,
    board: Mutex<Board>,
    changed: Arc<Notify>,
    news: broadcast::Sender<News>,
    last_at: AtomicI64,
    read: Mutex<Read>,
}

/// How far people have read. Kept in memory, as a comfort: after a restart all counts as read.
struct Read {
    since: i64,
    up_to: HashMap<(String, String, String), i64>,
}

/// Chats of which is known how far they were read.
const CHATS: usize = 100_000;

fn chat_of(line: &rows::WebChatLine) -> (String, String, String) {
    (line.owner.clone(), line.tenant_id.clone(), line.contact.clone())
}

impl Drop for Inner {
    fn drop(&mut self) {
        // The task that tells presences ends when it finds nobody to tell it for.
        self.changed.notify_one();
    }
}

/// Something that a page of a person's chat shows.
#[derive(Clone, Debug)]
pub struct News {
    /// Whose chat.
    pub owner: String,
    /// What.
    pub what: What,
}

/// What there is to show.
#[derive(Clone, Debug)]
pub enum What {
    /// A line, theirs (accepted) or a contact's.
    Line(rows::WebChatLine),
    /// Their line was refused, in the words of whoever refused it.
    Refused {
        /// To whom it was written; `None` is the bridge.
        to: Option<Email>,
        /// Why.
        why: String,
    },
    /// They are shown differently.
    Presence,
}

/// A file of a line, as the row keeps it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LineFile {
    /// Name.
    pub name: String,
    /// MIME type.
    #[serde(rename = "type")]
    pub media_type: String,
    /// Octets.
    pub size: u64,
    /// Where it can be fetched; empty for a file of one's own.
    pub link: String,
}

impl WebChat {
    /// The network over a store; what people type goes to `events`. Needs a tokio runtime.
    #[must_use]
    pub fn new(store: Store, events: mpsc::Sender<Event>, clock: Arc<dyn Clock>) -> Self {
        let read = Mutex::new(Read { since: clock.now().0, up_to: HashMap::new() });
        let chat = Self(Arc::new(Inner {
            store,
            events,
            clock,
            names: Mutex::default(),
            board: Mutex::default(),
            changed: Arc::default(),
            news: broadcast::channel(NEWS).0,
            last_at: AtomicI64::new(0),
            read,
        }));
        presence::tell(&chat.0);
        chat
    }

    /// Everything that happens in all chats, for pages that stay open.
    #[must_use]
    pub fn watch_news(&self) -> broadcast::Receiver<News> {
        self.0.news.subscribe()
    }

    /// The last lines of a person with one contact of one tenant, oldest first; `None` is the bridge.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn lines(
        &self,
        owner: &ImAddress,
        limit: u64,
    ) -> Result<Vec<rows::WebChatLine>, isthmus_store::StoreError> {
        self.0.store.web_chat(owner.as_str(), None, limit).await
    }

    /// What a contact of a bridge domain is called, for somebody who may know them.
    pub async fn name(
        &self,
        bridge_domain: &str,
        contact: &Email,
        asker: &ImAddress,
    ) -> Option<String> {
        let names = lock(&self.0.names).clone();
        names?.name(bridge_domain, contact, Some(asker)).await
    }

    /// How many of these lines, of one chat or several, their owner has not seen.
    #[must_use]
    pub fn unread<'a>(&self, lines: impl IntoIterator<Item = &'a rows::WebChatLine>) -> u32 {
        let read = lock(&self.0.read);
        let is_new = |line: &&rows::WebChatLine| {
            let up_to = read.up_to.get(&chat_of(line)).copied().unwrap_or(read.since);
            line.direction == "in" && line.at > up_to
        };
        u32::try_from(lines.into_iter().filter(is_new).count()).unwrap_or(u32::MAX)
    }

    /// The chat that this line ends was read up to there.
    pub fn mark_read(&self, last: &rows::WebChatLine) {
        let mut read = lock(&self.0.read);
        if read.up_to.len() >= CHATS {
            read.up_to.clear();
        }
        read.up_to.insert(chat_of(last), last.at);
    }

    fn tell(&self, owner: &str, what: What) {
        // Nobody may be looking.
        let _ = self.0.news.send(News { owner: owner.to_owned(), what });
    }
}

impl Inner {
    /// The key of a new line: later lines sort behind earlier ones, even within a millisecond.
    fn key(&self, id: &str) -> (String, i64) {
        let now = self.clock.now().0;
        let before = self
            .last_at
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |last| Some(now.max(last + 1)))
            .unwrap_or(now);
        let at = now.max(before + 1);
        (format!("{at:013} {id}"), at)
    }

    /// The tenant behind a bridge domain, while it exists.
    fn tenant_of(&self, bridge_domain: &str) -> Option<String> {
        self.store.directory().by_bridge(bridge_domain).map(|t| t.tenant.id.clone())
    }
}

/// The id under which a line was written.
#[must_use]
pub fn id_of(line: &rows::WebChatLine) -> &str {
    line.id.get(14..).unwrap_or_default()
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    // What these locks protect is changed in single steps: a panic elsewhere leaves it whole.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A text without what no page can show: control characters except tab and line feed, and the two
/// code points that are no characters at all.
fn shown(text: &str) -> String {
    text.chars()
        .filter(|c| {
            matches!(c, '\n' | '\t') || !(c.is_control() || matches!(c, '\u{fffe}' | '\u{ffff}'))
        })
        .collect()
}

#[async_trait]
impl ImNetwork for WebChat {
    fn name(&self) -> &'static str {
        NETWORK
    }

    /// Nothing to do: every tenant in the directory is served from the moment it is there.
    async fn serve(&self, _bridge_domains: Vec<(String, String)>) {}

    fn set_names(&self, names: Arc<dyn Names>) {
        *lock(&self.0.names) = Some(names);
    }

    async fn send(&self, message: OutMessage) -> Result<Sent, SendError> {
        if message.to.network() != NETWORK {
            return Err(SendError::Refused(format!(
                "{} is no address of the web chat",
                message.to
            )));
        }
        let Some(tenant) = self.0.tenant_of(&message.bridge_domain) else {
            return Err(SendError::NotConnected(format!(
                "{} is not served here",
                message.bridge_domain
            )));
        };
        let owner = message.to.as_str();
        // Before anything is waited for: lines keep the order in which they were handed over, while
        // several of them share a commit.
        let (id, at) = self.0.key(&message.id);
        let unclear = |e: isthmus_store::StoreError| SendError::Unclear(e.to_string());
        // A retry after a broken answer finds the row of the first try.
        if self.0.store.web_chat_called(owner, &message.id).await.map_err(unclear)?.is_some() {
            return Ok(Sent::Stored);
        }
        let files: Vec<LineFile> = message
            .files
            .into_iter()
            .map(|f| LineFile {
                name: f.name,
                media_type: f.media_type,
                size: f.size,
                link: f.link,
            })
            .collect();
        let line = rows::WebChatLine {
            id,
            tenant_id: tenant,
            owner: owner.to_owned(),
            contact: message.from.as_ref().map(Email::key).unwrap_or_default(),
            contact_name: message.from_name,
            direction: "in".into(),
            body: shown(&message.body),
            files: serde_json::to_string(&files).unwrap_or_default(),
            at,
        };
        let set = ChangeSet { once_web_chat: vec![line.clone()], ..ChangeSet::default() };
        self.0.store.commit(set).await.map_err(unclear)?;
        self.tell(owner, What::Line(line));
        Ok(Sent::Stored)
    }

    fn presence(&self, bridge_domain: &str, who: &ImAddress) -> Presence {
        lock(&self.0.board).presence(bridge_domain, who, Instant::now())
    }

    async fn watch(&self, bridge_domain: &str, who: &ImAddress, _reason: &str) {
        if who.network() == NETWORK {
            lock(&self.0.board).watch(bridge_domain, who);
            self.0.changed.notify_one();
        }
    }

    async fn unwatch(&self, bridge_domain: &str, who: &ImAddress) {
        lock(&self.0.board).unwatch(bridge_domain, who);
    }
}
