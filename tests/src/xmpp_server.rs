//! A private XMPP server with bridge domains as components: Prosody or ejabberd, used alike.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use tempfile::TempDir;

use crate::{
    Port, Server, XmppClient, ejabberd, prosody,
    wait::{eventually, port_opens},
};

/// How long a server may take to start; ejabberd on a busy machine is the slow one.
const START_LIMIT: Duration = Duration::from_secs(60);

/// Which server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum XmppKind {
    /// Prosody, with a second component connection pushing out the first (`kick_old`).
    Prosody,
    /// ejabberd.
    Ejabberd,
}

/// What the server serves.
#[derive(Clone, Debug)]
pub struct XmppSetup {
    /// Domain of the accounts.
    pub host: String,
    /// Components that may connect, each by the same secret.
    pub bridge_domains: Vec<String>,
    /// Component secret.
    pub secret: String,
    /// Local parts of the accounts; each one's password is [`XmppSetup::password`].
    pub users: Vec<String>,
}

impl XmppSetup {
    /// Accounts `users` at `chat.test`, and these bridge domains.
    #[must_use]
    pub fn new(bridge_domains: &[&str], users: &[&str]) -> Self {
        Self {
            host: "chat.test".into(),
            bridge_domains: bridge_domains.iter().map(|&d| d.to_owned()).collect(),
            secret: "bridge-secret".into(),
            users: users.iter().map(|&u| u.to_owned()).collect(),
        }
    }

    /// The password of an account.
    #[must_use]
    pub fn password(user: &str) -> String {
        format!("{user}-password")
    }
}

/// Ports of one server.
#[derive(Debug)]
pub(crate) struct Ports {
    pub(crate) c2s: Port,
    pub(crate) component: Port,
    pub(crate) http: Port,
}

/// A running XMPP server; killed and its files removed on drop.
#[derive(Debug)]
pub struct XmppServer {
    server: Server,
    kind: XmppKind,
    setup: XmppSetup,
    ports: Ports,
    folder: TempDir,
}

impl XmppServer {
    /// Starts a server and waits until clients and components can connect and the accounts exist.
    ///
    /// # Panics
    /// When it does not come up within a minute.
    pub async fn start(kind: XmppKind, setup: XmppSetup) -> Self {
        let folder = tempfile::Builder::new()
            .prefix("isthmus-xmpp-")
            .tempdir()
            .expect("a temporary folder can be made");
        let ports = Ports { c2s: Port::free(), component: Port::free(), http: Port::free() };
        let spec = match kind {
            XmppKind::Prosody => prosody::prepare(folder.path(), &setup, &ports),
            XmppKind::Ejabberd => ejabberd::prepare(folder.path(), &setup, &ports),
        };
        let server = Server::start(spec);
        let mut this = Self { server, kind, setup, ports, folder };
        this.wait_ready().await;
        if kind == XmppKind::Ejabberd {
            ejabberd::register(&this.setup, &this.ports).await;
        }
        this
    }

    /// Which server it is.
    #[must_use]
    pub fn kind(&self) -> XmppKind {
        self.kind
    }

    /// Where clients connect, without TLS.
    #[must_use]
    pub fn c2s(&self) -> SocketAddr {
        self.ports.c2s.addr()
    }

    /// Where components connect: the value of `xmpp.server`.
    #[must_use]
    pub fn component(&self) -> SocketAddr {
        self.ports.component.addr()
    }

    /// Where files that were uploaded are fetched: a value of `xmpp.file_hosts`.
    #[must_use]
    pub fn files(&self) -> SocketAddr {
        self.ports.http.addr()
    }

    /// The component secret: the value of `xmpp.secret`.
    #[must_use]
    pub fn secret(&self) -> &str {
        &self.setup.secret
    }

    /// The bare JID of an account.
    #[must_use]
    pub fn jid(&self, user: &str) -> String {
        format!("{user}@{}", self.setup.host)
    }

    /// A client signed in as `user`, online.
    pub async fn client(&self, user: &str) -> XmppClient {
        XmppClient::connect(&self.jid(user), &XmppSetup::password(user), self.c2s()).await
    }

    /// Kills it; connections break.
    pub fn kill9(&mut self) {
        self.server.kill9();
    }

    /// Starts it again on the same ports and data, and waits until it is ready.
    pub async fn start_again(&mut self) {
        self.server.start_again();
        self.wait_ready().await;
    }

    /// The process itself.
    pub fn server(&mut self) -> &mut Server {
        &mut self.server
    }

    /// Its folder, with configuration, data and logs.
    #[must_use]
    pub fn folder(&self) -> PathBuf {
        self.folder.path().to_owned()
    }

    async fn wait_ready(&mut self) {
        for port in [&self.ports.c2s, &self.ports.component, &self.ports.http] {
            let addr = port.addr();
            let server = &mut self.server;
            eventually(&format!("{:?} listens on {addr}", self.kind), START_LIMIT, || {
                server.assert_running();
                async move { tokio::net::TcpStream::connect(addr).await.ok() }
            })
            .await;
        }
        port_opens(self.c2s(), START_LIMIT).await;
    }
}
