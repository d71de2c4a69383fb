//! One sender a bridge domain and network, so that a slow one holds up nobody else, and messages
//! of one conversation leave in order.

use std::{
    collections::{HashMap, HashSet},
    panic::AssertUnwindSafe,
    sync::Arc,
};

use futures::FutureExt;
use isthmus_domain::{
    address::ImAddress,
    clock::{Clock, Millis},
    signed::{Opens, SignedLinks},
};
use isthmus_im::{ImNetwork, OutFile, OutMessage, SendError, Sent};
use isthmus_store::{Store, rows};
use tokio::{
    sync::{mpsc, oneshot},
    task::JoinSet,
};

use crate::{
    RouterConfig,
    history::LINK_MS,
    steps::{read_envelope, read_wire},
};

/// Messages that may wait for one session; more of them count as not connected.
const WAITING: usize = 20_000;
/// Messages handed to the network at once. `join_all` polls up to 30 futures one after the other
/// at every turn; more than that it polls as they wake, and a future that had to yield to the
/// scheduler would be overtaken by those behind it.
const TOGETHER: usize = 30;
/// An older message says when it was written (XEP-0203).
const LATE_MS: i64 = 60_000;

/// What became of handing a message over.
#[derive(Debug)]
pub(crate) struct Handed {
    pub(crate) wire_id: String,
    pub(crate) result: Result<Sent, SendError>,
    /// From the decision until the network had it.
    pub(crate) waited_ms: i64,
}

/// Which session a message leaves by: network and bridge domain.
pub(crate) type Lane = (String, String);

/// What a sender tells the loop.
#[derive(Debug)]
pub(crate) struct Report {
    pub(crate) handed: Vec<Handed>,
    pub(crate) lane: Lane,
    /// Something was given back. The sender waits until this is answered, and the loop hands
    /// nothing over before the sender has given back all it still had: else what is new would
    /// overtake what goes again.
    pub(crate) broken: Option<oneshot::Sender<()>>,
    /// All was given back; the lane may be used again.
    pub(crate) mended: bool,
}

pub(crate) struct Senders {
    tools: Arc<Tools>,
    results: mpsc::Sender<Report>,
    lanes: HashMap<Lane, mpsc::Sender<Item>>,
    broken: HashSet<Lane>,
    /// Who waits until a lane has given back all that it had.
    recalled: HashMap<Lane, Vec<oneshot::Sender<()>>>,
}

/// What a sender is handed.
enum Item {
    /// A message, and when it was handed over.
    Message(Box<rows::Delivery>, Millis),
    /// The session has ended: what is still here goes back.
    Recall,
}

struct Tools {
    store: Store,
    networks: HashMap<&'static str, Arc<dyn ImNetwork>>,
    links: SignedLinks,
    clock: Arc<dyn Clock>,
    config: RouterConfig,
}

impl Senders {
    pub(crate) fn new(router: &crate::Router, results: mpsc::Sender<Report>) -> Self {
        let tools = Arc::new(Tools {
            store: router.store.clone(),
            networks: router.networks.clone(),
            links: router.links.clone(),
            clock: Arc::clone(&router.clock),
            config: router.config.clone(),
        });
        Self {
            tools,
            results,
            lanes: HashMap::new(),
            broken: HashSet::new(),
            recalled: HashMap::new(),
        }
    }

    /// Hands a message to its sender; `false` if that one cannot take it now.
    pub(crate) fn send(&mut self, row: rows::Delivery) -> bool {
        let Ok(envelope) = read_envelope(&row) else { return false };
        let network = row.address.split(':').next().unwrap_or_default().to_owned();
        let Some(net) = self.tools.networks.get(network.as_str()).cloned() else { return false };
        let name = (network, envelope.bridge_domain);
        if self.broken.contains(&name) {
            return false;
        }
        let lane = self.lanes.entry(name.clone()).or_insert_with(|| {
            let (tx, rx) = mpsc::channel(WAITING);
            tokio::spawn(run(net, Arc::clone(&self.tools), name, rx, self.results.clone()));
            tx
        });
        lane.try_send(Item::Message(Box::new(row), self.tools.clock.now())).is_ok()
    }

    /// The session of a lane ended: nothing is handed over until all was given back, which
    /// `done` is told.
    pub(crate) fn recall(&mut self, lane: Lane, done: oneshot::Sender<()>) {
        let Some(sender) = self.lanes.get(&lane) else {
            let _ = done.send(());
            return;
        };
        // Where there is no room the sender finds out by itself that there is no session.
        let _ = sender.try_send(Item::Recall);
        self.broken.insert(lane.clone());
        self.recalled.entry(lane).or_default().push(done);
    }

    /// Takes note of whether a lane can be used.
    pub(crate) fn note(&mut self, lane: Lane, broken: Option<oneshot::Sender<()>>, mended: bool) {
        if mended {
            self.broken.remove(&lane);
            for done in self.recalled.remove(&lane).unwrap_or_default() {
                let _ = done.send(());
            }
        }
        if let Some(waits) = broken {
            self.broken.insert(lane);
            let _ = waits.send(());
        }
    }
}

async fn run(
    network: Arc<dyn ImNetwork>,
    tools: Arc<Tools>,
    name: Lane,
    lane: mpsc::Receiver<Item>,
    results: mpsc::Sender<Report>,
) {
    let work = Sender { network, tools, name, lane, results, busy: HashMap::new() };
    work.run().await;
}

/// A message, and when it was handed over.
type Waiting = (Box<rows::Delivery>, Millis);

/// One session's messages on their way out.
struct Sender {
    network: Arc<dyn ImNetwork>,
    tools: Arc<Tools>,
    name: Lane,
    lane: mpsc::Receiver<Item>,
    results: mpsc::Sender<Report>,
    /// Addresses to which files are being sent, which may take long, with what has to wait for
    /// that. Everybody else's messages go on meanwhile.
    busy: HashMap<String, Vec<Waiting>>,
}

impl Sender {
    async fn run(mut self) {
        let mut batch = Vec::with_capacity(TOGETHER);
        let mut slow: JoinSet<(String, Vec<Handed>)> = JoinSet::new();
        loop {
            let (handed, recalled) = tokio::select! {
                n = self.lane.recv_many(&mut batch, TOGETHER) => match n {
                    0 => return,
                    _ => self.send(&mut batch, &mut slow).await,
                },
                Some(ended) = slow.join_next() => match ended {
                    Ok((address, handed)) => {
                        let waited = self.busy.remove(&address).unwrap_or_default();
                        batch.extend(waited.into_iter().map(|(row, at)| Item::Message(row, at)));
                        (handed, false)
                    }
                    // It catches what goes wrong in it, and is never aborted.
                    Err(error) => {
                        tracing::error!(%error, "Messages with files could not be handed over");
                        continue;
                    }
                },
            };
            if self.settle(handed, recalled, &mut batch).await.is_none() {
                return;
            }
            // What had waited for a file goes before what comes now.
            if !batch.is_empty() {
                let (handed, _) = self.send(&mut batch, &mut slow).await;
                if self.settle(handed, false, &mut batch).await.is_none() {
                    return;
                }
            }
        }
    }

    /// Tells the loop what became of messages. If some came back, or the session has ended, the
    /// rest goes back, too. `None` when nobody listens any more.
    async fn settle(
        &mut self,
        handed: Vec<Handed>,
        recalled: bool,
        batch: &mut Vec<Item>,
    ) -> Option<()> {
        if recalled || handed.iter().any(is_given_back) {
            self.give_back(handed, batch).await
        } else {
            self.report(handed, None).await
        }
    }

    /// Hands a batch to the network, in order; messages with files, and what follows them to the
    /// same address, are left to a task of their own. Also whether the session has ended.
    async fn send(
        &mut self,
        batch: &mut Vec<Item>,
        slow: &mut JoinSet<(String, Vec<Handed>)>,
    ) -> (Vec<Handed>, bool) {
        let (mut sending, mut recalled) = (Vec::with_capacity(batch.len()), false);
        let mut with_files: Vec<(String, Vec<Waiting>)> = Vec::new();
        for item in batch.drain(..) {
            let Item::Message(row, since) = item else {
                recalled = true;
                continue;
            };
            if let Some(waiting) = self.busy.get_mut(&row.address) {
                waiting.push((row, since));
            } else if let Some((_, group)) = with_files.iter_mut().find(|(a, _)| *a == row.address)
            {
                group.push((row, since));
            } else if has_files(&row) {
                with_files.push((row.address.clone(), vec![(row, since)]));
            } else {
                let (network, tools) = (Arc::clone(&self.network), Arc::clone(&self.tools));
                let message = message(&tools, &row).await;
                sending.push(hand_over(network, tools, row, message, since));
            }
        }
        // Polled in order, so they are queued in order; awaited together, so they share a flush.
        let mut handed = futures::future::join_all(sending).await;
        isthmus_domain::failpoint::hit("router.after_send");
        let lost = recalled || handed.iter().any(is_given_back);
        for (address, group) in with_files {
            if lost {
                handed.extend(group.iter().map(|(row, _)| not_sent(row)));
                continue;
            }
            self.busy.insert(address.clone(), Vec::new());
            let (network, tools) = (Arc::clone(&self.network), Arc::clone(&self.tools));
            slow.spawn(async move {
                let ids: Vec<String> = group.iter().map(|(row, _)| row.wire_id.clone()).collect();
                let sending = AssertUnwindSafe(one_by_one(network, tools, group)).catch_unwind();
                let handed = sending.await.unwrap_or_else(|_| given_up(ids));
                isthmus_domain::failpoint::hit("router.after_send");
                (address, handed)
            });
        }
        (handed, recalled)
    }

    /// Tells the loop that something came back, and gives back all that has not been sent.
    /// `None` when nobody listens any more.
    async fn give_back(&mut self, handed: Vec<Handed>, batch: &mut Vec<Item>) -> Option<()> {
        let (tx, answered) = oneshot::channel();
        self.report(handed, Some(tx)).await?;
        answered.await.ok()?;
        let mut back = Vec::new();
        let waiting = self.busy.values_mut().flat_map(std::mem::take).map(|(row, _)| row);
        back.extend(waiting.map(|row| not_sent(&row)));
        while let Ok(item) = self.lane.try_recv() {
            batch.push(item);
        }
        for item in batch.drain(..) {
            if let Item::Message(row, _) = item {
                back.push(not_sent(&row));
            }
        }
        let (lane, broken) = (self.name.clone(), None);
        self.results.send(Report { handed: back, lane, broken, mended: true }).await.ok()
    }

    async fn report(&self, handed: Vec<Handed>, broken: Option<oneshot::Sender<()>>) -> Option<()> {
        let lane = self.name.clone();
        self.results.send(Report { handed, lane, broken, mended: false }).await.ok()
    }
}

/// Messages to one address, each once the one before it has left.
async fn one_by_one(
    network: Arc<dyn ImNetwork>,
    tools: Arc<Tools>,
    group: Vec<Waiting>,
) -> Vec<Handed> {
    let mut handed = Vec::with_capacity(group.len());
    for (row, since) in group {
        // Nothing may overtake what could not be sent.
        if handed.iter().any(is_given_back) {
            handed.push(not_sent(&row));
            continue;
        }
        let message = message(&tools, &row).await;
        let (network, tools) = (Arc::clone(&network), Arc::clone(&tools));
        handed.push(hand_over(network, tools, row, message, since).await);
    }
    handed
}

/// What became of messages whose sending broke off in the middle: nobody knows.
fn given_up(ids: Vec<String>) -> Vec<Handed> {
    let unclear = |wire_id| {
        let result = Err(SendError::Unclear("sending it went wrong".into()));
        Handed { wire_id, result, waited_ms: 0 }
    };
    ids.into_iter().map(unclear).collect()
}

fn is_given_back(handed: &Handed) -> bool {
    matches!(handed.result, Err(SendError::NotConnected(_) | SendError::Unclear(_)))
}

fn not_sent(row: &rows::Delivery) -> Handed {
    let result = Err(SendError::NotConnected("the session had just ended".into()));
    Handed { wire_id: row.wire_id.clone(), result, waited_ms: 0 }
}

fn has_files(row: &rows::Delivery) -> bool {
    read_envelope(row).is_ok_and(|envelope| envelope.has_files())
}

async fn hand_over(
    network: Arc<dyn ImNetwork>,
    tools: Arc<Tools>,
    row: Box<rows::Delivery>,
    message: Result<OutMessage, String>,
    since: Millis,
) -> Handed {
    let result = match message {
        Ok(message) => network.send(message).await,
        Err(why) => Err(SendError::Refused(why)),
    };
    let waited_ms = tools.clock.now().since_ms(since);
    Handed { wire_id: row.wire_id, result, waited_ms }
}

/// The message as the network wants it.
async fn message(tools: &Tools, row: &rows::Delivery) -> Result<OutMessage, String> {
    let wire = read_wire(row).map_err(|e| e.to_string())?;
    let to = ImAddress::parse(&row.address).map_err(|e| e.to_string())?;
    let now = tools.clock.now();
    let mut files = Vec::with_capacity(wire.files.len());
    for file in wire.files {
        let opens = Opens::File { tenant: row.tenant_id.clone(), id: file.id };
        let token = tools.links.sign(opens, Millis(row.created_at).plus_ms(LINK_MS));
        let path = tools
            .store
            .of(&row.tenant_id)
            .blob_path(&file.file.hash)
            .await
            .map_err(|e| e.to_string())?
            .ok_or("the file is not there any more")?;
        files.push(OutFile {
            name: file.file.name,
            media_type: file.file.media_type,
            size: u64::try_from(file.file.size).unwrap_or(0),
            path,
            link: format!("{}/f/{token}", tools.config.public_url),
        });
    }
    let written = Millis(row.created_at);
    Ok(OutMessage {
        id: row.wire_id.clone(),
        bridge_domain: wire.bridge_domain,
        from: wire.from,
        from_name: wire.from_name,
        to,
        body: wire.text,
        thread: Some(row.conversation_id.clone()).filter(|c| !c.is_empty()),
        written_at: (now.since_ms(written) > LATE_MS).then_some(written),
        files,
    })
}

#[cfg(test)]
#[path = "senders_tests.rs"]
mod tests;
