//! Everything that runs: the parts are built here, connected, started, and stopped in two stages.

use std::{collections::HashMap, path::Path, sync::Arc};

use anyhow::{Context, Result};
use isthmus_domain::{
    address::ImAddress,
    clock::{Chance, Clock, Millis},
    signed::SignedLinks,
};
use isthmus_gateway::{
    Gateway, GatewayConfig, im,
    smtp::Door,
    web::{PageTimes, Portal},
    webchat::WebChat,
};
use isthmus_im::ImNetwork;
use isthmus_mail::{auth::Verifier, smtp};
use isthmus_queue::{Bus, Queue, Signals};
use isthmus_router::{Router, RouterConfig};
use isthmus_store::{Store, StoreConfig};
use isthmus_xmpp::{XmppConfig, XmppNetwork};
use tokio::{net::TcpListener, sync::mpsc};
use tokio_util::sync::CancellationToken;

use crate::{config::Config, lock};

/// The machine's clock: the one place that reads it.
pub(crate) struct SystemClock;

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "this is where time comes from")]
    fn now(&self) -> Millis {
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        Millis(since.map_or(0, |d| i64::try_from(d.as_millis()).unwrap_or(i64::MAX)))
    }
}

/// Randomness from the operating system.
#[must_use]
pub(crate) fn chance() -> Chance {
    use rand::TryRngCore;
    let mut seed = [0_u8; 32];
    // Without randomness every token could be guessed: better not to start at all.
    rand::rngs::OsRng.try_fill_bytes(&mut seed).unwrap_or_else(|e| panic!("no randomness: {e}"));
    Chance::seeded(seed)
}

/// Opens the store that the configuration names.
///
/// # Errors
/// When it cannot be opened or migrated.
pub(crate) async fn store(config: &Config) -> Result<Store> {
    config.check_engines()?;
    let url = config.database_url();
    let blobs = config.data_dir().join("blobs");
    Store::open(&StoreConfig { url: url.clone(), blobs })
        .await
        .with_context(|| format!("the database {url} cannot be opened"))
}

/// What is different in the demo.
#[derive(Default)]
pub(crate) struct Demo {
    /// Email address and password of everybody whom the sign-in page offers.
    pub(crate) logins: Vec<(String, String)>,
    /// Who counts as sitting at their web chat, though nobody has opened it.
    pub(crate) at_their_chat: Vec<ImAddress>,
}

/// Serves until it is told to stop. `ready` is called once all doors are open.
///
/// # Errors
/// One clear line for what cannot be started.
pub(crate) async fn serve(config: Config, demo: Demo, ready: impl FnOnce()) -> Result<()> {
    config.check_values()?;
    if let Some(relay) = config.relay() {
        isthmus_mail::send::Relay::from_url(&relay).context("smtp.relay cannot be used")?;
    }
    let data_dir = config.data_dir();
    let _locks = lock::data(&config)?;
    let store = store(&config).await?;
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let chance = Arc::new(chance());
    let installation = store.setting_or("installation", || chance.token()).await?;
    let secret =
        store.setting_or("link_secret", || format!("{}{}", chance.token(), chance.token())).await?;
    let links = SignedLinks::new(secret.as_bytes());

    let http = std::net::TcpListener::bind(config.http_listen())
        .with_context(|| taken("http.listen", &config.http_listen()))?;
    let mail = TcpListener::bind(config.smtp_listen())
        .await
        .with_context(|| taken("smtp.listen", &config.smtp_listen()))?;

    let (doors, work) = (CancellationToken::new(), CancellationToken::new());
    let (queue, bus) = (Queue::default(), Bus::default());
    let (signals, noticed) = Signals::channel(10_000);
    let (events_tx, events) = mpsc::channel(4_096);
    let mut networks: HashMap<&'static str, Arc<dyn ImNetwork>> = HashMap::new();
    let web_chat = WebChat::new(store.clone(), events_tx.clone(), Arc::clone(&clock));
    networks.insert("web", Arc::new(web_chat.clone()));
    let _at_their_chat: Vec<_> = demo.at_their_chat.iter().map(|who| web_chat.open(who)).collect();
    let xmpp = config.xmpp().map(|(server, secret)| {
        let mut xmpp = XmppConfig::new(server, secret);
        xmpp.upload_service = config.xmpp_upload_service();
        XmppNetwork::new(xmpp, events_tx, Arc::clone(&clock), Arc::clone(&chance))
    });
    if let Some(xmpp) = &xmpp {
        networks.insert("xmpp", Arc::clone(xmpp) as Arc<dyn ImNetwork>);
    }
    let spool = data_dir.join("spool");
    smtp::clean_spool(&spool).context("the spool folder cannot be cleaned")?;
    let gateway = Arc::new(Gateway {
        store: store.clone(),
        queue: queue.clone(),
        bus: bus.clone(),
        signals,
        networks: networks.clone(),
        links: links.clone(),
        clock: Arc::clone(&clock),
        chance: Arc::clone(&chance),
        config: GatewayConfig {
            public_url: config.public_url(),
            hostname: config.smtp_hostname(),
            installation: installation.clone(),
            trusted_networks: config.trusted_networks()?,
            spool: spool.clone(),
            keeps_mail: config.relay().is_none(),
            file_hosts: config.file_hosts()?,
            demo_logins: demo.logins,
        },
    });
    let names = Arc::new(im::DirectoryNames(Arc::clone(&gateway)));
    for network in networks.values() {
        network.set_names(names.clone());
    }
    let router = Router {
        store: store.clone(),
        queue,
        bus,
        networks,
        links,
        clock,
        chance,
        notices: isthmus_router::NoticeBudget::default(),
        receipts: isthmus_router::Receipts::default(),
        config: RouterConfig {
            public_url: config.public_url(),
            installation,
            hostname: config.smtp_hostname(),
            relay: config.relay(),
            retry_interval_ms: config.span_ms("delivery.retry_interval")?,
            decision_deadline_ms: config.span_ms("delivery.decision_deadline")?,
            expire_after_ms: config.span_ms("delivery.expire_after")?,
            receipt_timeout_ms: config.span_ms("delivery.receipt_timeout")?,
        },
    };
    let running = router.start(noticed, work.clone()).await;
    let mut tasks = vec![
        tokio::spawn(im::run(Arc::clone(&gateway), events, work.clone())),
        tokio::spawn(im::keep_sessions(Arc::clone(&gateway), doors.clone())),
    ];
    let verifier =
        Verifier::new(config.dns_servers()?).context("the DNS resolver cannot be started")?;
    let door = Arc::new(Door::new(Arc::clone(&gateway), verifier));
    let tls = tls(&config, &data_dir)?;
    let limits = smtp::Limits::default();
    if let Some(address) = config.smtp_tls_listen() {
        let listener = TcpListener::bind(&address)
            .await
            .with_context(|| taken("smtp.tls_listen", &address))?;
        let mode = smtp::TlsMode::Implicit(Arc::clone(&tls));
        tasks.push(mail_server(listener, mode, &door, &limits, &spool, &doors));
    }
    tasks.push(mail_server(mail, smtp::TlsMode::StartTls(tls), &door, &limits, &spool, &doors));
    let times = PageTimes {
        decision_deadline_ms: config.span_ms("delivery.decision_deadline")?,
        expire_after_ms: config.span_ms("delivery.expire_after")?,
        ..PageTimes::default()
    };
    let portal = Portal::new(Arc::clone(&gateway), web_chat, times);
    let server = crate::http::start(http, Arc::clone(&gateway), portal)?;
    let handle = server.handle();
    let pages = tokio::spawn(server);
    ready();

    stopped().await?;
    tracing::info!("Stopping: no new requests are taken, what runs is finished");
    doors.cancel();
    handle.stop(true).await;
    if let Some(xmpp) = &xmpp {
        xmpp.stop().await;
    }
    work.cancel();
    running.stopped().await;
    for task in tasks {
        let _ = task.await;
    }
    let _ = pages.await;
    Ok(())
}

fn taken(key: &str, address: &str) -> String {
    if address.rsplit_once(':').is_none_or(|(_, port)| port.parse::<u16>().is_err()) {
        return format!("{key} = {address} is not HOST:PORT, such as 127.0.0.1:8080");
    }
    format!("{key} = {address} cannot be listened on; set {key} to an address that is free")
}

fn mail_server(
    listener: TcpListener,
    tls: smtp::TlsMode,
    door: &Arc<Door>,
    limits: &smtp::Limits,
    spool: &Path,
    stop: &CancellationToken,
) -> tokio::task::JoinHandle<()> {
    let (door, limits, spool, stop) =
        (Arc::clone(door), limits.clone(), spool.to_owned(), stop.clone());
    tokio::spawn(async move {
        if let Err(error) = smtp::serve(listener, tls, door, limits, spool, stop).await {
            tracing::error!(%error, "The mail server has ended");
        }
    })
}

/// The certificate that is configured, or one made here and kept.
fn tls(config: &Config, data_dir: &Path) -> Result<Arc<rustls::ServerConfig>> {
    let (certificate, key) = match config.smtp_certificate()? {
        Some(files) => files,
        None => own_certificate(config, data_dir)?,
    };
    smtp::tls_config(&certificate, &key).context("the certificate for SMTP cannot be used")
}

fn own_certificate(
    config: &Config,
    data_dir: &Path,
) -> Result<(std::path::PathBuf, std::path::PathBuf)> {
    let (certificate, key) = (data_dir.join("smtp-certificate.pem"), data_dir.join("smtp-key.pem"));
    if !certificate.exists() || !key.exists() {
        let made =
            rcgen::generate_simple_self_signed(vec![config.smtp_hostname(), "localhost".into()])
                .context("a certificate cannot be made")?;
        std::fs::write(&key, made.signing_key.serialize_pem())?;
        std::fs::write(&certificate, made.cert.pem())?;
        use std::os::unix::fs::PermissionsExt;
        std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o600))?;
    }
    Ok((certificate, key))
}

async fn stopped() -> Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::select! {
        _ = terminate.recv() => {}
        result = tokio::signal::ctrl_c() => result?,
    }
    Ok(())
}
