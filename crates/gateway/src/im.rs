//! What the IM networks bring: messages become transactions, the rest becomes signals.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use isthmus_domain::{
    address::{Email, ImAddress},
    delivery::Reach,
    failpoint,
    service::ChatIn,
};
use isthmus_im::{Event, InMessage, Names, Presence};
use isthmus_queue::Signal;
use isthmus_store::{ChangeSet, StoreError, TenantView, rows};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use crate::{Gateway, accept::NewTransaction};

/// Messages that share a commit.
const BATCH: usize = 64;
/// Longest text of one instant message, in octets.
const TEXT: usize = 256 * 1024;

type Answer = oneshot::Sender<Result<(), String>>;

/// Takes events until the networks are gone or `stop`.
pub async fn run(
    gateway: Arc<Gateway>,
    mut events: mpsc::Receiver<Event>,
    stop: CancellationToken,
) {
    let mut batch = Vec::with_capacity(BATCH);
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            n = events.recv_many(&mut batch, BATCH) => if n == 0 { return },
        }
        let mut messages = Vec::new();
        for event in batch.drain(..) {
            match event {
                Event::Message(message, answer) => messages.push((message, answer)),
                other => signal(&gateway, other, &mut messages).await,
            }
        }
        if !messages.is_empty() {
            take(&gateway, messages).await;
        }
    }
}

/// Keeps the sessions in line with the tenants: new ones appear, deleted ones go.
pub async fn keep_sessions(gateway: Arc<Gateway>, stop: CancellationToken) {
    let mut known: Vec<(String, String)> = Vec::new();
    let mut watched: std::collections::HashSet<(String, String)> = std::collections::HashSet::new();
    loop {
        let directory = gateway.store.directory();
        let mut domains: Vec<(String, String)> = directory
            .all()
            .map(|t| {
                (t.tenant.bridge_domain.clone(), t.tenant.xmpp_secret.clone().unwrap_or_default())
            })
            .collect();
        domains.sort();
        if domains != known {
            for network in gateway.networks.values() {
                network.serve(domains.clone()).await;
            }
            known = domains;
        }
        let mut wanted = std::collections::HashSet::new();
        for tenant in directory.all() {
            for mapping in tenant.all_mappings().filter(|m| m.state == "verified") {
                wanted.insert((tenant.tenant.bridge_domain.clone(), mapping.im.clone()));
            }
        }
        for (domain, im) in wanted.difference(&watched) {
            watch(&gateway, domain, im).await;
        }
        for (domain, im) in watched.difference(&wanted) {
            if let Some((network, who)) = network_of(&gateway, im) {
                network.unwatch(domain, &who).await;
            }
        }
        watched = wanted;
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(Duration::from_millis(500)) => {}
        }
    }
}

fn network_of(gateway: &Gateway, im: &str) -> Option<(Arc<dyn isthmus_im::ImNetwork>, ImAddress)> {
    let who = ImAddress::parse(im).ok()?;
    Some((gateway.networks.get(who.network())?.clone(), who))
}

async fn watch(gateway: &Gateway, domain: &str, im: &str) {
    if let Some((network, who)) = network_of(gateway, im) {
        network
            .watch(domain, &who, "To tell people who write to you whether you can be reached.")
            .await;
    }
}

async fn signal(gateway: &Arc<Gateway>, event: Event, messages: &mut Vec<(InMessage, Answer)>) {
    let signals = &gateway.signals;
    match event {
        Event::Receipt { from, id, .. } => {
            signals.send(Signal::Receipt { address: from.as_str().to_owned(), id }).await;
        }
        Event::Bounced { to, id, temporary, reason, .. } => {
            let address = to.as_str().to_owned();
            signals.send(Signal::Bounced { address, id, temporary, reason }).await;
        }
        Event::Presence { bridge_domain, of, presence } => {
            let reach = match presence {
                Presence::Available => Reach::Available,
                Presence::Unavailable => Reach::Unavailable,
                Presence::Unknown => Reach::Unknown,
            };
            signals
                .send(Signal::Presence { bridge_domain, address: of.as_str().to_owned(), reach })
                .await;
        }
        Event::SessionUp { bridge_domain } => {
            tracing::info!(bridge.domain = %bridge_domain, "An IM session is up");
            // Beside this task, which has to keep taking events for the sessions to move on.
            let (gateway, domain) = (Arc::clone(gateway), bridge_domain.clone());
            tokio::spawn(async move { rewatch(&gateway, &domain).await });
            signals.send(Signal::Up { network: "xmpp".into(), bridge_domain }).await;
        }
        Event::SessionDown { bridge_domain, noted } => {
            tracing::info!(bridge.domain = %bridge_domain, "An IM session ended");
            signals.send(Signal::Down { network: "xmpp".into(), bridge_domain, noted }).await;
        }
        Event::Command { bridge_domain, from, to, text, id, answer } => {
            // A command is the text it stands for; what it says comes as a message.
            let (done, committed) = oneshot::channel();
            let message = InMessage {
                bridge_domain,
                from,
                from_resource: None,
                to,
                id,
                body: text,
                thread: None,
                files: vec![],
                sent_at: None,
                wants_receipt: false,
            };
            messages.push((message, done));
            tokio::spawn(async move {
                let said = match committed.await {
                    Ok(Ok(())) => "Done. The answer comes as a message.".to_owned(),
                    Ok(Err(why)) => why,
                    Err(_) => "That did not work. Please try again.".to_owned(),
                };
                let _ = answer.send(said);
            });
        }
        Event::Encrypted { bridge_domain, .. } => {
            tracing::info!(bridge.domain = %bridge_domain, "A message encrypted end to end was answered with what to do");
        }
        Event::Message(..) => {}
    }
}

/// After a session came up, everybody's presence is asked for anew.
async fn rewatch(gateway: &Gateway, bridge_domain: &str) {
    let directory = gateway.store.directory();
    let Some(tenant) = directory.by_bridge(bridge_domain) else { return };
    for mapping in tenant.all_mappings().filter(|m| m.state == "verified") {
        watch(gateway, bridge_domain, &mapping.im).await;
    }
}

/// Commits messages together, in the order in which they came, and acknowledges each.
async fn take(gateway: &Gateway, messages: Vec<(InMessage, Answer)>) {
    let directory = gateway.store.directory();
    let (mut set, mut singles) = (ChangeSet::default(), Vec::new());
    for (message, answer) in messages {
        match directory.by_bridge(&message.bridge_domain) {
            None => {
                let _ = answer.send(Err("This bridge does not exist any more.".into()));
            }
            Some(_) if message.body.len() > TEXT => {
                let _ =
                    answer.send(Err("This message is too long. Please send it as a file.".into()));
            }
            Some(tenant) => match row(gateway, tenant, &message).await {
                Ok((row, blobs)) => {
                    set.new_transactions.push(row.clone());
                    set.once_blobs.extend(blobs.clone());
                    singles.push((row, blobs, answer));
                }
                Err(error) => {
                    tracing::error!(%error, "An instant message could not be kept");
                    let _ = answer.send(Err("This could not be stored. Please try again.".into()));
                }
            },
        }
    }
    if singles.is_empty() {
        return;
    }
    if gateway.accept(set, None).await.is_ok() {
        failpoint::hit("im.after_commit");
        for (_, _, answer) in singles {
            let _ = answer.send(Ok(()));
        }
        return;
    }
    // One of them was here before, or cannot be stored: each for itself.
    for (row, blobs, answer) in singles {
        let set =
            ChangeSet { new_transactions: vec![row], once_blobs: blobs, ..Default::default() };
        let said = match gateway.accept(set, None).await {
            Ok(()) => Ok(()),
            Err(error) if error.is_duplicate() => Ok(()),
            Err(error) => {
                tracing::error!(%error, "An instant message could not be stored");
                Err("This could not be stored. Please try again.".to_owned())
            }
        };
        let _ = answer.send(said);
    }
}

async fn row(
    gateway: &Gateway,
    tenant: &TenantView,
    message: &InMessage,
) -> Result<(rows::Transaction, Vec<rows::Blob>), StoreError> {
    let (files, links, blobs) = crate::im_files::fetch(gateway, tenant, message).await?;
    let text = without_links(&message.body, message, &links);
    let from = message.from.as_str();
    // A client that gives no id cannot repeat itself recognisably.
    let dedupe = (!message.id.is_empty())
        .then(|| format!("im:{}:{from}:{}", message.bridge_domain, message.id));
    let params = ChatIn {
        bridge_domain: message.bridge_domain.clone(),
        from: from.to_owned(),
        to: message.to.clone(),
        id: message.id.clone(),
        body: text,
        thread: message.thread.clone(),
        files,
        links,
        sent_at: message.sent_at,
    };
    let member = tenant.by_im(from).and_then(|m| tenant.member(&m.email)).map(|m| m.id.as_str());
    let new = NewTransaction {
        tenant: &tenant.tenant.id,
        member,
        service: "im.in",
        source: "im",
        params: &params,
        dedupe,
    };
    Ok((gateway.transaction(new), blobs))
}

/// A body that only repeats the address of a file (as XEP-0066 senders do) is no text.
fn without_links(body: &str, message: &InMessage, kept_as_links: &[String]) -> String {
    let trimmed = body.trim();
    let repeats = message.files.iter().any(|f| f.url == trimmed);
    if repeats && !kept_as_links.iter().any(|l| l == trimmed) {
        String::new()
    } else {
        body.to_owned()
    }
}

/// Names of bridge contacts, from the directory.
pub struct DirectoryNames(pub Arc<Gateway>);

#[async_trait]
impl Names for DirectoryNames {
    async fn name(&self, bridge_domain: &str, email: &Email) -> Option<String> {
        let directory = self.0.store.directory();
        let tenant = directory.by_bridge(bridge_domain)?;
        let name = tenant.name_of(&email.key())?;
        Some(format!("{name} ({})", email.domain()))
    }
}
