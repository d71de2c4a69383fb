//! What the IM networks bring: messages become transactions, the rest becomes signals.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use isthmus_domain::{
    address::{Email, ImAddress},
    command::{Chat, read_chat},
    delivery::Reach,
    failpoint,
    service::ChatIn,
};
use isthmus_im::{Event, InMessage, Names, Presence};
use isthmus_queue::Signal;
use isthmus_store::{ChangeSet, Scope, StoreError, TenantView, blob_hash, rows};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use crate::{
    Gateway,
    accept::NewTransaction,
    im_files::Files,
    im_lanes::{Answer, Lanes, Ready},
};

/// Messages that share a commit.
const BATCH: usize = 64;
/// Longest text of one instant message, in octets.
const TEXT: usize = 256 * 1024;

/// Takes events until the networks are gone or `stop`. Files are fetched beside it: nobody waits
/// for another sender's server.
pub async fn run(
    gateway: Arc<Gateway>,
    mut events: mpsc::Receiver<Event>,
    stop: CancellationToken,
) {
    let mut batch = Vec::with_capacity(BATCH);
    let mut lanes = Lanes::new(Arc::clone(&gateway));
    loop {
        let mut ready = Vec::new();
        tokio::select! {
            () = stop.cancelled() => return,
            n = events.recv_many(&mut batch, BATCH) => if n == 0 { return },
            fetched = lanes.next() => ready = fetched,
        }
        for event in batch.drain(..) {
            let message = match event {
                Event::Message(message, answer) => Some((message, answer)),
                other => signal(&gateway, other).await,
            };
            ready.extend(message.and_then(|(message, answer)| lanes.take(message, answer)));
        }
        if !ready.is_empty() {
            take(&gateway, ready).await;
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

/// Passes on what is no message; a command is one, and is returned.
async fn signal(gateway: &Arc<Gateway>, event: Event) -> Option<(InMessage, Answer)> {
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
            let done_words = match read_chat(&text, false) {
                Chat::Email { text, .. } if !text.is_empty() => "It goes out as an email.",
                _ => "The answer comes as a message.",
            };
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
            tokio::spawn(async move {
                let said = match committed.await {
                    Ok(Ok(())) => done_words.to_owned(),
                    Ok(Err(why)) => why,
                    Err(_) => "That did not work. Please try again.".to_owned(),
                };
                let _ = answer.send(said);
            });
            return Some((message, done));
        }
        Event::Encrypted { bridge_domain, .. } => {
            tracing::info!(bridge.domain = %bridge_domain, "A message encrypted end to end was answered with what to do");
        }
        Event::Message(..) => {}
    }
    None
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
async fn take(gateway: &Gateway, messages: Vec<Ready>) {
    let directory = gateway.store.directory();
    let (mut set, mut singles) = (ChangeSet::default(), Vec::new());
    for Ready { message, files, answer } in messages {
        let refused = match (directory.by_bridge(&message.bridge_domain), files) {
            (None, _) => "This bridge does not exist any more.",
            (Some(_), _) if message.body.len() > TEXT => {
                "This message is too long. Please send it as a file."
            }
            (Some(tenant), Ok(files)) => {
                let blobs = files.blobs.clone();
                let row = row(gateway, tenant, &message, files);
                set.new_transactions.push(row.clone());
                set.once_blobs.extend(blobs.clone());
                singles.push((row, blobs, answer));
                continue;
            }
            (Some(_), Err(error)) => {
                tracing::error!(%error, "An instant message could not be kept");
                "This could not be stored. Please try again."
            }
        };
        let _ = answer.send(Err(refused.to_owned()));
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

fn row(
    gateway: &Gateway,
    tenant: &TenantView,
    message: &InMessage,
    files: Files,
) -> rows::Transaction {
    let Files { files, links, blobs: _ } = files;
    let text = without_links(&message.body, message, &links);
    let from = message.from.as_str();
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
    let member =
        tenant.author_by_im(from).and_then(|m| tenant.member(&m.email)).map(|m| m.id.as_str());
    gateway.transaction(NewTransaction {
        tenant: &tenant.tenant.id,
        member,
        service: "im.in",
        source: "im",
        params: &params,
        dedupe: dedupe(message),
    })
}

/// What makes a message recognisable when it comes again: its id is not enough, since a client may
/// count anew after a restart. One that gives no id cannot repeat itself recognisably.
fn dedupe(message: &InMessage) -> Option<String> {
    if message.id.is_empty() {
        return None;
    }
    let to = message.to.as_ref().map(Email::key).unwrap_or_default();
    let mut content = vec![message.body.as_str()];
    content.extend(message.files.iter().map(|f| f.url.as_str()));
    // Lengths keep a text apart from another one with a file.
    let content: String = content.iter().map(|part| format!("{}:{part}", part.len())).collect();
    let hash = blob_hash(content.as_bytes());
    let (domain, from, id) = (&message.bridge_domain, message.from.as_str(), &message.id);
    Some(format!("im:{domain}:{from}:{to}:{id}:{hash}"))
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

/// Names of bridge contacts, from the directory and from conversations.
pub struct DirectoryNames(pub Arc<Gateway>);

#[async_trait]
impl Names for DirectoryNames {
    /// Those whom the directory names are there for everybody, who could write to them anyway.
    /// Anybody else is there only for somebody with a verified address of the tenant or with a
    /// conversation with them, so that strangers cannot find out who exists.
    async fn name(
        &self,
        bridge_domain: &str,
        email: &Email,
        asker: Option<&ImAddress>,
    ) -> Option<String> {
        let directory = self.0.store.directory();
        let tenant = directory.by_bridge(bridge_domain)?;
        let key = email.key();
        let shown = |name: &str| Some(format!("{name} ({})", email.domain()));
        if let Some(name) = tenant.name_of(&key) {
            return shown(name);
        }
        let asker = asker?;
        let known = tenant.author_by_im(asker.as_str());
        let person = known.map_or(asker.as_str(), |m| m.email.as_str());
        let scope = self.0.store.of(&tenant.tenant.id);
        match called_in_conversation(scope, person, &key).await {
            Ok(Some(name)) => shown(&name),
            Ok(None) => known.and_then(|_| shown(local_part(&key))),
            Err(error) => {
                tracing::error!(%error, "A contact's name could not be looked up");
                None
            }
        }
    }

    fn alias(&self, bridge_domain: &str, name: &str) -> Option<Email> {
        let directory = self.0.store.directory();
        let tenant = directory.by_bridge(bridge_domain)?;
        Email::parse(tenant.alias(name)?).ok()
    }
}

/// How the other one of a conversation is called there; the local part if they have no name.
async fn called_in_conversation(
    scope: Scope<'_>,
    person: &str,
    other: &str,
) -> Result<Option<String>, StoreError> {
    let mut pair = [person, other];
    pair.sort_unstable();
    let Some(talk) = scope.last_of_pair(&pair.join(" ")).await? else { return Ok(None) };
    let people = scope.participants(&[talk.id]).await?;
    let name = people.into_iter().find(|p| p.person == other).map(|p| p.name);
    let name = name.filter(|n| !n.is_empty() && n != other);
    Ok(Some(name.unwrap_or_else(|| local_part(other).to_owned())))
}

fn local_part(email: &str) -> &str {
    email.rsplit_once('@').map_or(email, |(local, _)| local)
}
