//! Long mails in memory: so many octets of them at once and no more, however many sessions there are.

use std::sync::Arc;

use bytes::Bytes;
use isthmus_mail::smtp::{Body, Reply};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// KiB of long mails that are in memory at once; the largest one fits in any case.
const KIB: u32 = 48 * 1024;

/// The room for long mails.
pub(crate) struct Room(Arc<Semaphore>);

/// A mail that is read. A long one takes up room until this is dropped, so it is not kept while
/// anything outside is waited for.
pub(crate) struct Opened {
    /// The octets; a copy of them that outlives this is not counted.
    pub(crate) raw: Bytes,
    _room: Option<OwnedSemaphorePermit>,
}

impl Room {
    pub(crate) fn new() -> Self {
        Self(Arc::new(Semaphore::new(KIB as usize)))
    }

    /// Reads a mail, from its file if it is a long one, as soon as there is room.
    pub(crate) async fn open(&self, body: &Body) -> Result<Opened, Reply> {
        let failed = |_| Reply::temp("4.3.0", "the mail could not be read back; please try again");
        match body {
            Body::Memory(bytes) => Ok(Opened { raw: bytes.clone(), _room: None }),
            Body::File { path, size } => {
                let kib = u32::try_from(size / 1024 + 1).unwrap_or(u32::MAX).min(KIB);
                let room = Arc::clone(&self.0).acquire_many_owned(kib).await;
                let room = room.map_err(|e| failed(e.to_string()))?;
                let raw = tokio::fs::read(path).await.map_err(|e| failed(e.to_string()))?;
                Ok(Opened { raw: raw.into(), _room: Some(room) })
            }
        }
    }
}
