//! Isthmus with a Prosody beside it, people online, and mail that finds them.

use std::{fmt::Write as _, net::SocketAddr, time::Duration};

use anyhow::{Context, Result, bail};
use isthmus_tests::{Isthmus, IsthmusSetup, XmppKind, XmppServer, XmppSetup};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::Instant,
};

use crate::{
    load::{mail, smtp::Session},
    xmpp::client::Client,
};

/// Tenants that send little while another sends much.
pub(crate) const QUIET_TENANTS: u32 = 10;
/// Domain of the bare component.
pub(crate) const BARE: &str = "bare.test";
/// Domain of the accounts.
pub(crate) const CHAT: &str = "chat.test";

const READY_LIMIT: Duration = Duration::from_secs(60);

/// A tenant as it is declared.
struct Tenant {
    slug: String,
    /// Local parts of its members; the first has `alice@chat.test` for the copy mode.
    members: Vec<&'static str>,
    /// Local parts of contacts at customer.test, each at chat.test under the same name.
    contacts: Vec<&'static str>,
}

fn tenants() -> Vec<Tenant> {
    let tenant = |slug: &str, members: &[&'static str], contacts: &[&'static str]| Tenant {
        slug: slug.to_owned(),
        members: members.to_vec(),
        contacts: contacts.to_vec(),
    };
    let mut all = vec![
        tenant("acme", &["alice", "slow", "busy"], &["carol", "dave"]),
        tenant("loud", &["max"], &["lou"]),
    ];
    all.extend((0..QUIET_TENANTS).map(|n| tenant(&format!("q{n}"), &["ann"], &["carol"])));
    all
}

/// A server for all of them and the accounts of everybody.
pub(crate) async fn prosody() -> XmppServer {
    let slugs = tenants().into_iter().map(|t| t.slug).chain(["big".into(), "many".into()]);
    let mut domains: Vec<String> = slugs.map(|slug| bridge(&slug)).collect();
    domains.push(BARE.into());
    let domains: Vec<&str> = domains.iter().map(String::as_str).collect();
    let users = ["alice", "bob", "carol", "dave", "lou"];
    XmppServer::start(XmppKind::Prosody, XmppSetup::new(&domains, &users)).await
}

/// A client signed in as `user`.
pub(crate) async fn client(xmpp: &XmppServer, user: &str) -> Result<Client> {
    Client::connect(xmpp.c2s(), user, CHAT, &XmppSetup::password(user)).await
}

/// The bridge domain of a tenant.
pub(crate) fn bridge(slug: &str) -> String {
    format!("bridge.{slug}.test")
}

/// The address under which a member of `slug` writes an instant message to a contact.
pub(crate) fn to_contact(slug: &str, contact: &str) -> String {
    format!("{contact}=customer.test@{}", bridge(slug))
}

/// Everything that mail and chat need.
pub(crate) struct World {
    pub(crate) isthmus: Isthmus,
    pub(crate) carol: Client,
    pub(crate) alice: Client,
    pub(crate) bob: Client,
    pub(crate) lou: Client,
    // Last, so that it ends after those who are connected to it.
    pub(crate) xmpp: XmppServer,
}

impl World {
    /// Starts it all; when this returns, mail of every tenant has found its recipient once.
    pub(crate) async fn start() -> Result<Self> {
        let xmpp = prosody().await;
        let carol = client(&xmpp, "carol").await?;
        let alice = client(&xmpp, "alice").await?;
        let bob = client(&xmpp, "bob").await?;
        let lou = client(&xmpp, "lou").await?;
        let isthmus = Isthmus::start(IsthmusSetup::new().xmpp(&xmpp)).await;
        isthmus.apply(&declaration(&tenants())).await;
        let world = Self { isthmus, carol, alice, bob, lou, xmpp };
        world.reach_everybody().await?;
        Ok(world)
    }

    /// Starts Isthmus again with all outbound mail going to `relay`.
    pub(crate) async fn use_relay(&mut self, relay: &str) -> Result<()> {
        self.isthmus.set_env("ISTHMUS__SMTP__RELAY", Some(relay));
        self.isthmus.stop().await;
        self.isthmus.start_again().await;
        self.reach_everybody().await
    }

    /// The process id of Isthmus.
    pub(crate) fn pid(&mut self) -> u32 {
        self.isthmus.server().pid()
    }

    async fn reach_everybody(&self) -> Result<()> {
        for tenant in tenants() {
            let from = format!("{}@{}.test", tenant.members[0], tenant.slug);
            let contact = tenant.contacts[0];
            let client = if contact == "lou" { &self.lou } else { &self.carol };
            reach(
                self.isthmus.smtp(),
                client,
                &from,
                &to_contact(&tenant.slug, contact),
                &tenant.slug,
            )
            .await?;
        }
        reach(self.isthmus.smtp(), &self.alice, "carol@customer.test", "alice@acme.test", "acme")
            .await
    }
}

/// Waits until the bridge watches the client's presence and a mail comes through.
pub(crate) async fn reach(
    addr: SocketAddr,
    client: &Client,
    from: &str,
    to: &str,
    slug: &str,
) -> Result<()> {
    let domain = bridge(slug);
    let inbox = client.inbox();
    let what = format!("{domain} asks {to} for presence");
    inbox.until(&what, READY_LIMIT, |state| state.watchers.contains(&domain)).await?;
    let mut session = Session::connect(addr).await?;
    // Mail to a member is shown in chat only once their presence is known there.
    for _ in 0..30 {
        let mark = mail::next_mark();
        session.send(from, to, &[&mail::ordinary(from, to, mark)]).await?;
        let came = |state: &crate::xmpp::inbox::State| state.marks.contains_key(&mark);
        if inbox.until("a first mail", Duration::from_secs(1), came).await.is_ok() {
            return Ok(());
        }
    }
    bail!("no mail from {from} to {to} reaches the client")
}

/// What `isthmus apply` is given.
fn declaration(tenants: &[Tenant]) -> String {
    let mut text = String::new();
    for Tenant { slug, members, contacts } in tenants {
        let bridge = bridge(slug);
        let _ = write!(
            text,
            "[[tenant]]\nslug = \"{slug}\"\nname = \"{slug}\"\ndomains = [\"{slug}.test\"]\n\
             mail_mode = \"copy\"\nbridge_domain = \"{bridge}\"\noutbound_per_day = 100000000\n\n"
        );
        for member in members {
            let im =
                if *member == "alice" { format!("\"xmpp:alice@{CHAT}\"") } else { String::new() };
            let _ = write!(
                text,
                "[[tenant.member]]\nemail = \"{member}@{slug}.test\"\nname = \"{member}\"\nim = [{im}]\n\n"
            );
        }
        for contact in contacts {
            let _ = write!(
                text,
                "[[tenant.contact]]\nname = \"{contact}\"\nemail = \"{contact}@customer.test\"\n\
                 im = [\"xmpp:{contact}@{CHAT}\"]\nverified = true\n\n"
            );
        }
    }
    text
}

/// A declaration of one tenant with the member `ann` and the contact `carol`.
pub(crate) fn one_tenant(slug: &str) -> String {
    declaration(&[Tenant { slug: slug.to_owned(), members: vec!["ann"], contacts: vec!["carol"] }])
}

/// Waits until `/readyz` says so, looking every 2 ms; says when that was.
pub(crate) async fn ready(url: &str) -> Result<Instant> {
    let addr: SocketAddr = url.trim_start_matches("http://").parse().context("an address")?;
    let end = Instant::now() + READY_LIMIT;
    while Instant::now() < end {
        if is_ready(addr).await.unwrap_or(false) {
            return Ok(Instant::now());
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    bail!("{url} is not ready within {READY_LIMIT:?}")
}

async fn is_ready(addr: SocketAddr) -> std::io::Result<bool> {
    let mut stream = TcpStream::connect(addr).await?;
    stream.write_all(b"GET /readyz HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n\r\n").await?;
    let mut answer = [0; 12];
    stream.read_exact(&mut answer).await?;
    Ok(&answer == b"HTTP/1.1 200")
}
