//! The order of each sender's messages while files are fetched: what a sender writes later waits
//! behind a message whose files are on their way, and nobody else does.

use std::{
    collections::{HashMap, VecDeque},
    panic::AssertUnwindSafe,
    sync::Arc,
};

use futures::FutureExt;
use isthmus_im::InMessage;
use isthmus_store::StoreError;
use tokio::{
    sync::{Semaphore, oneshot},
    task::JoinSet,
};
use tokio_util::sync::CancellationToken;

use crate::{
    Gateway,
    im_files::{self, Bounds, Files},
};

/// Messages whose files are fetched at the same time.
const AT_ONCE: usize = 8;
/// Messages that may wait behind one; then its files stay links.
const BEHIND: usize = 32;

/// Where a message is acknowledged.
pub(crate) type Answer = oneshot::Sender<Result<(), String>>;

/// A message with whatever became of its files.
pub(crate) struct Ready {
    pub(crate) message: InMessage,
    pub(crate) files: Result<Files, StoreError>,
    pub(crate) answer: Answer,
}

/// Bridge domain and address.
type Sender = (String, String);

struct Lane {
    behind: VecDeque<(InMessage, Answer)>,
    enough: CancellationToken,
}

/// The senders whose files are being fetched. Dropped, it fetches no more.
pub(crate) struct Lanes {
    gateway: Arc<Gateway>,
    lanes: HashMap<Sender, Lane>,
    under_way: JoinSet<Ready>,
    room: Arc<Semaphore>,
}

impl Lanes {
    pub(crate) fn new(gateway: Arc<Gateway>) -> Self {
        let room = Arc::new(Semaphore::new(AT_ONCE));
        Self { gateway, lanes: HashMap::new(), under_way: JoinSet::new(), room }
    }

    /// Takes a message: it is ready at once unless its files have to be fetched or its sender's
    /// messages wait.
    pub(crate) fn take(&mut self, message: InMessage, answer: Answer) -> Option<Ready> {
        if let Some(lane) = self.lanes.get_mut(&sender(&message)) {
            lane.behind.push_back((message, answer));
            if lane.behind.len() >= BEHIND {
                lane.enough.cancel();
            }
            return None;
        }
        if let Some(files) = im_files::at_hand(&message) {
            return Some(Ready { message, files: Ok(files), answer });
        }
        self.fetch(message, answer, VecDeque::new());
        None
    }

    /// Waits until the files of a message are there or given up, and returns it with those behind
    /// it that are ready, in order. Nothing is lost if this is dropped.
    pub(crate) async fn next(&mut self) -> Vec<Ready> {
        let first = loop {
            match self.under_way.join_next().await {
                Some(Ok(ready)) => break ready,
                // Only after an abort, which nobody does.
                Some(Err(error)) => tracing::error!(%error, "Fetching files came to no end"),
                None => std::future::pending().await,
            }
        };
        let lane = self.lanes.remove(&sender(&first.message));
        let mut behind = lane.map(|l| l.behind).unwrap_or_default();
        let mut all = vec![first];
        while let Some((message, answer)) = behind.pop_front() {
            match im_files::at_hand(&message) {
                Some(files) => all.push(Ready { message, files: Ok(files), answer }),
                None => {
                    self.fetch(message, answer, behind);
                    break;
                }
            }
        }
        all
    }

    fn fetch(&mut self, message: InMessage, answer: Answer, behind: VecDeque<(InMessage, Answer)>) {
        let enough = CancellationToken::new();
        if behind.len() >= BEHIND {
            enough.cancel();
        }
        self.lanes.insert(sender(&message), Lane { behind, enough: enough.clone() });
        let (gateway, room) = (Arc::clone(&self.gateway), Arc::clone(&self.room));
        self.under_way.spawn(async move {
            let directory = gateway.store.directory();
            let files = match directory.by_bridge(&message.bridge_domain) {
                Some(tenant) => {
                    let bounds = Bounds { room: &room, enough: &enough };
                    let fetching = im_files::fetch(&gateway, tenant, &message, bounds);
                    let caught = AssertUnwindSafe(fetching).catch_unwind().await;
                    caught.unwrap_or_else(|_| Ok(links(&message)))
                }
                // Whoever takes the message says so.
                None => Ok(links(&message)),
            };
            Ready { message, files, answer }
        });
    }
}

fn sender(message: &InMessage) -> Sender {
    (message.bridge_domain.clone(), message.from.as_str().to_owned())
}

fn links(message: &InMessage) -> Files {
    let links = message.files.iter().map(|f| f.url.clone()).collect();
    Files { links, ..Files::default() }
}
