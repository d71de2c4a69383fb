//! A private Postfix: as relay for outbound mail, and as a company's server with mailboxes.

use std::{
    ffi::OsString, fmt::Write as _, net::SocketAddr, os::unix::fs::PermissionsExt, path::Path,
    time::Duration,
};

use tempfile::TempDir;

use crate::{
    Port, Server, ServerSpec,
    process::is_root,
    wait::{eventually, port_opens},
};

const START_LIMIT: Duration = Duration::from_secs(30);
/// Where Debian keeps Postfix's programs.
const DAEMONS: &str = "/usr/lib/postfix/sbin";

/// Where mail goes.
#[derive(Clone, Debug, Default)]
pub struct PostfixSetup {
    /// Mail for these domains ends in mailboxes that the test can read, one for each address.
    pub mailboxes: Vec<String>,
    /// Mail for a domain goes on to an SMTP server.
    pub routes: Vec<(String, SocketAddr)>,
    /// All other mail goes there; without it, it bounces.
    pub relay_to: Option<SocketAddr>,
    /// More lines of `main.cf`.
    pub extra: String,
}

/// A running Postfix; killed and its files removed on drop. Postfix insists on root, so sudo
/// is used where the test is somebody else.
#[derive(Debug)]
pub struct Postfix {
    server: Server,
    port: Port,
    folder: TempDir,
}

impl Postfix {
    /// Starts it and waits for its banner port.
    ///
    /// # Panics
    /// When it does not come up; for a test that is not root, when sudo asks for a password.
    pub async fn start(setup: PostfixSetup) -> Self {
        let folder = tempfile::Builder::new()
            .prefix("isthmus-postfix-")
            // Its processes run as other users, who must get through.
            .permissions(std::fs::Permissions::from_mode(0o755))
            .tempdir()
            .expect("a temporary folder can be made");
        let port = Port::free();
        prepare(folder.path(), &setup, &port);
        let config = folder.path().join("config").into_os_string();
        // `postfix start-fg` would leave our process group, and so outlive the test.
        let command: [OsString; 4] =
            [format!("{DAEMONS}/master").into(), "-d".into(), "-c".into(), config.clone()];
        let mut spec = ServerSpec::new("postfix", folder.path(), command)
            // Its children read the place of the configuration from here only.
            .env("MAIL_CONFIG", config.to_string_lossy());
        spec.more_logs.push(folder.path().join("mail.log"));
        spec.needs_root = true;
        let mut this = Self { server: Server::start(spec), port, folder };
        this.wait_ready().await;
        this
    }

    /// Its SMTP address.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.port.addr()
    }

    /// The value of `smtp.relay`.
    #[must_use]
    pub fn url(&self) -> String {
        format!("smtp://{}", self.addr())
    }

    /// All mails delivered to `address`, oldest first.
    #[must_use]
    pub fn mailbox(&self, address: &str) -> Vec<Vec<u8>> {
        let Ok(entries) = std::fs::read_dir(self.folder.path().join("mail/all/new")) else {
            return Vec::new();
        };
        let mut files: Vec<_> = entries
            .filter_map(Result::ok)
            .filter_map(|e| Some((e.metadata().ok()?.modified().ok()?, e.path())))
            .collect();
        files.sort();
        // All share one folder; Postfix notes on top whom each copy is for.
        let wanted = format!("Delivered-To: {address}").to_ascii_lowercase();
        files
            .into_iter()
            .filter_map(|(_, path)| std::fs::read(path).ok())
            .filter(|mail| {
                let text = String::from_utf8_lossy(mail);
                let mut head = text.lines().take_while(|line| !line.is_empty());
                head.any(|line| line.to_ascii_lowercase() == wanted)
            })
            .collect()
    }

    /// Waits until the mailbox of `address` holds `count` mails, and returns them.
    ///
    /// # Panics
    /// When it does not within `limit`.
    pub async fn expect_mails(&self, address: &str, count: usize, limit: Duration) -> Vec<Vec<u8>> {
        eventually(&format!("{address} has {count} mails in Postfix"), limit, || async {
            Some(self.mailbox(address)).filter(|mails| mails.len() >= count)
        })
        .await
    }

    /// Kills all of it.
    pub fn kill9(&mut self) {
        self.server.kill9();
    }

    /// Starts it again on the same port and queue.
    pub async fn start_again(&mut self) {
        // The lock of a killed master is free, but its file names a process that is gone.
        self.server.start_again();
        self.wait_ready().await;
    }

    /// Its own log.
    #[must_use]
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("mail.log")).unwrap_or_default()
    }

    async fn wait_ready(&mut self) {
        let addr = self.addr();
        let server = &mut self.server;
        eventually(&format!("Postfix listens on {addr}"), START_LIMIT, || {
            server.assert_running();
            async move { tokio::net::TcpStream::connect(addr).await.ok() }
        })
        .await;
        port_opens(addr, START_LIMIT).await;
    }
}

impl Drop for Postfix {
    fn drop(&mut self) {
        self.server.kill9();
        if !is_root() {
            // These belong to others by now, so that the folder could not be removed. A failure
            // leaves files in the temporary folder, and must not hide why a test failed.
            let _ = std::process::Command::new("sudo")
                .args(["-n", "--", "rm", "-rf"])
                .args(["queue", "data"].map(|name| self.folder.path().join(name)))
                .status();
        }
    }
}

/// Makes the folders and writes both configuration files.
fn prepare(folder: &Path, setup: &PostfixSetup, port: &Port) {
    for name in ["config", "queue", "data", "mail"] {
        std::fs::create_dir(folder.join(name)).expect("a folder can be made");
    }
    // The mailboxes belong to who can read them, the data folder to Postfix.
    for (name, user) in [("data", "postfix".into()), ("mail", reader().to_string())] {
        as_root("chown", [user.into(), folder.join(name).into_os_string()]);
    }
    let config = folder.join("config");
    std::fs::write(config.join("main.cf"), main_cf(folder, setup)).expect("main.cf can be written");
    std::fs::write(config.join("master.cf"), master_cf(port)).expect("master.cf can be written");
    let mut routes = String::new();
    for (domain, to) in &setup.routes {
        let _ = writeln!(routes, "{domain} smtp:[{}]:{}", to.ip(), to.port());
    }
    std::fs::write(config.join("transport"), routes).expect("the routes can be written");
    // Makes the folders of the queue.
    as_root("postfix", ["-c".into(), config.into_os_string(), "check".into()]);
}

/// The user in whose name mail is delivered: the test's own, or `nobody` for root's, since
/// Postfix delivers to no system user.
fn reader() -> u32 {
    if is_root() { 65_534 } else { rustix::process::geteuid().as_raw() }
}

fn as_root<const N: usize>(program: &str, args: [OsString; N]) {
    let wrapper: &[&str] = if is_root() { &["env"] } else { &["sudo", "-n", "--"] };
    let mut command = std::process::Command::new(wrapper[0]);
    let output = command.args(&wrapper[1..]).arg(program).args(&args).output();
    let output = output.unwrap_or_else(|e| {
        panic!("{program}: {e}; is Postfix installed (scripts/peers.sh install)?")
    });
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {args:?} failed: {said}");
}

fn main_cf(folder: &Path, setup: &PostfixSetup) -> String {
    let dir = folder.display();
    let relay = setup.relay_to.map_or_else(
        || "default_transport = error:5.4.4 nowhere to send it".to_owned(),
        |to| format!("relayhost = [{}]:{}", to.ip(), to.port()),
    );
    let domains = setup.mailboxes.join(" ");
    let (extra, uid) = (&setup.extra, reader());
    format!(
        "compatibility_level = 3.6
queue_directory = {dir}/queue
data_directory = {dir}/data
command_directory = /usr/sbin
daemon_directory = {DAEMONS}
mail_owner = postfix
setgid_group = postdrop
maillog_file = {dir}/mail.log
maillog_file_prefixes = {dir}
myhostname = mx.postfix.test
mydestination =
alias_maps =
alias_database =
local_recipient_maps =
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
mynetworks = 127.0.0.0/8
smtpd_peername_lookup = no
smtp_dns_support_level = disabled
smtp_host_lookup = native
smtpd_relay_restrictions = permit_mynetworks, reject
smtpd_client_connection_count_limit = 0
message_size_limit = 52428800
mailbox_size_limit = 0
virtual_mailbox_domains = {domains}
virtual_mailbox_base = {dir}/mail
virtual_mailbox_maps = static:all/
virtual_mailbox_limit = 0
virtual_uid_maps = static:{uid}
virtual_gid_maps = static:{uid}
virtual_minimum_uid = 1000
transport_maps = texthash:{dir}/config/transport
{relay}
minimal_backoff_time = 1s
maximal_backoff_time = 2s
queue_run_delay = 1s
{extra}
"
    )
}

fn master_cf(port: &Port) -> String {
    format!(
        "127.0.0.1:{port} inet n - n - - smtpd
pickup    unix  n  -  n  60    1  pickup
cleanup   unix  n  -  n  -     0  cleanup
qmgr      unix  n  -  n  1     1  qmgr
rewrite   unix  -  -  n  -     -  trivial-rewrite
bounce    unix  -  -  n  -     0  bounce
defer     unix  -  -  n  -     0  bounce
trace     unix  -  -  n  -     0  bounce
verify    unix  -  -  n  -     1  verify
flush     unix  n  -  n  1000? 0  flush
proxymap  unix  -  -  n  -     -  proxymap
smtp      unix  -  -  n  -     -  smtp
relay     unix  -  -  n  -     -  smtp
showq     unix  n  -  n  -     -  showq
error     unix  -  -  n  -     -  error
retry     unix  -  -  n  -     -  error
discard   unix  -  -  n  -     -  discard
virtual   unix  -  n  n  -     -  virtual
anvil     unix  -  -  n  -     1  anvil
scache    unix  -  -  n  -     1  scache
postlog   unix-dgram n - n -   1  postlogd
"
    )
}
