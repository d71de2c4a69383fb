//! What a person types: handed on as any network hands it on, and kept only once it was committed.

use std::time::Duration;

use isthmus_domain::address::{Email, ImAddress};
use isthmus_im::{Event, InFile, InMessage};
use isthmus_store::{ChangeSet, StoreError, rows};
use tokio::{sync::oneshot, time::timeout};

use super::{LineFile, WebChat, What, shown};

/// Until whoever takes messages has committed one.
const PATIENCE: Duration = Duration::from_secs(20);

/// A line that somebody typed.
#[derive(Clone, Debug)]
pub struct Saying {
    /// Who.
    pub owner: ImAddress,
    /// To which bridge.
    pub bridge_domain: String,
    /// To whom there; `None` is the bridge itself.
    pub to: Option<Email>,
    /// Under which id: the same id again is the same line again.
    pub id: String,
    /// Text.
    pub body: String,
    /// Files: how the row shows them, and where the gateway finds them.
    pub files: Vec<(LineFile, InFile)>,
}

/// Why a line was not sent, for its author.
#[derive(Debug, thiserror::Error)]
pub enum NotSaid {
    /// It was refused, in the words of whoever refused it.
    #[error("{0}")]
    Refused(String),
    /// Nobody answered: it may or may not have been taken. Sending it again under the same id is safe.
    #[error(
        "It is not clear whether this was sent. Please send it again: it will not arrive twice."
    )]
    Unclear,
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl WebChat {
    /// Sends a line and waits until it is committed.
    ///
    /// # Errors
    /// [`NotSaid`]; only then is the line not in the chat.
    pub async fn say(&self, saying: Saying) -> Result<rows::WebChatLine, NotSaid> {
        let owner = saying.owner.as_str().to_owned();
        let Some(tenant) = self.0.tenant_of(&saying.bridge_domain) else {
            return Err(NotSaid::Refused("This bridge does not exist any more.".into()));
        };
        if let Some(line) = self.0.store.web_chat_called(&owner, &saying.id).await? {
            return Ok(line);
        }
        let (body, asker) = (shown(&saying.body), saying.owner.clone());
        let (shown_files, files): (Vec<LineFile>, Vec<InFile>) = saying.files.into_iter().unzip();
        let message = InMessage {
            bridge_domain: saying.bridge_domain.clone(),
            from: saying.owner,
            from_resource: None,
            to: saying.to.clone(),
            id: saying.id.clone(),
            body: body.clone(),
            thread: None,
            files,
            sent_at: None,
            wants_receipt: true,
        };
        match self.hand_on(message).await {
            Ok(()) => {}
            Err(NotSaid::Refused(why)) => {
                self.tell(&owner, What::Refused { to: saying.to, why: why.clone() });
                return Err(NotSaid::Refused(why));
            }
            Err(other) => return Err(other),
        }
        let contact_name = match &saying.to {
            Some(email) => self
                .name(&saying.bridge_domain, email, &asker)
                .await
                .unwrap_or_else(|| email.to_string()),
            None => String::new(),
        };
        let (id, at) = self.0.key(&saying.id);
        let line = rows::WebChatLine {
            id,
            tenant_id: tenant,
            owner: owner.clone(),
            contact: saying.to.as_ref().map(Email::key).unwrap_or_default(),
            contact_name,
            direction: "out".into(),
            body,
            files: serde_json::to_string(&shown_files).unwrap_or_default(),
            at,
        };
        self.0
            .store
            .commit(ChangeSet { once_web_chat: vec![line.clone()], ..ChangeSet::default() })
            .await?;
        self.tell(&owner, What::Line(line.clone()));
        Ok(line)
    }

    async fn hand_on(&self, message: InMessage) -> Result<(), NotSaid> {
        let (answer, committed) = oneshot::channel();
        let handed = timeout(PATIENCE, async {
            self.0
                .events
                .send(Event::Message(message, answer))
                .await
                .map_err(|_| NotSaid::Unclear)?;
            committed.await.map_err(|_| NotSaid::Unclear)
        });
        match handed.await {
            Ok(Ok(Ok(()))) => Ok(()),
            Ok(Ok(Err(why))) => Err(NotSaid::Refused(why)),
            Ok(Err(unclear)) => Err(unclear),
            Err(_) => Err(NotSaid::Unclear),
        }
    }
}
