//! The commands that do one thing and end. They work beside a running `serve`.

use std::{path::Path, sync::Arc};

use anyhow::{Context, Result, bail};
use clap::Subcommand;
use isthmus_domain::clock::Clock;
use isthmus_gateway::sign_in::secret_hash;
use isthmus_store::{Store, rows};

use crate::{apply, config::Config, serve};

/// `isthmus migrate …`
#[derive(Subcommand)]
pub(crate) enum Migrate {
    /// Apply all pending migrations.
    Up,
    /// Take the last one back.
    Down,
    /// What is applied.
    Status,
}

/// `isthmus keys …`
#[derive(Subcommand)]
pub(crate) enum Keys {
    /// Make an API key and print it, alone, once.
    Create {
        /// The tenant's slug.
        #[arg(long, required_unless_present = "operator", conflicts_with = "operator")]
        tenant: Option<String>,
        /// A member, who then acts through the key; without, it administers the tenant.
        #[arg(long, requires = "tenant")]
        member: Option<String>,
        /// A key of the installation's operator.
        #[arg(long)]
        operator: bool,
    },
    /// Print the DNS record of a bridge domain's signing key, making the key if there is none.
    Dkim {
        /// The tenant's slug.
        #[arg(long)]
        tenant: String,
        /// Selector of a new key.
        #[arg(long, default_value = "isthmus")]
        selector: String,
    },
}

/// `isthmus xmpp …`
#[derive(Subcommand)]
pub(crate) enum Xmpp {
    /// Print the server's configuration for all bridge domains.
    Render {
        /// prosody or ejabberd.
        server: Server,
    },
}

/// XMPP servers that we know how to configure.
#[derive(Clone, Copy, clap::ValueEnum)]
pub(crate) enum Server {
    /// Prosody 0.12
    Prosody,
    /// ejabberd 23
    Ejabberd,
}

/// `isthmus tenant …`
#[derive(Subcommand)]
pub(crate) enum Tenant {
    /// List tenants.
    List {
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
    /// Delete a tenant: its addresses stop existing at once.
    Delete {
        /// The tenant's slug.
        slug: String,
    },
}

/// Prints to standard output.
#[expect(clippy::print_stdout, reason = "this is what a command line is for")]
pub(crate) fn say(text: &str) {
    print!("{text}");
}

/// Refuses roles that this version has not, and roles alone on embedded engines.
///
/// # Errors
/// Says what is possible.
pub(crate) fn check_role(role: &str) -> Result<()> {
    const ROLES: [&str; 4] = ["gateway", "router", "allocator", "billing"];
    if role == "all" {
        return Ok(());
    }
    for one in role.split(',').map(str::trim) {
        if !ROLES.contains(&one) {
            bail!("there is no role {one:?}; roles are all, {}", ROLES.join(", "));
        }
    }
    bail!(
        "a role alone needs a queue and a cache that processes share; embedded engines run only as --role all"
    )
}

/// `isthmus migrate`
///
/// # Errors
/// When the database cannot be reached or changed.
pub(crate) async fn migrate(config: &Config, what: Migrate, json: bool) -> Result<()> {
    config.check_engines()?;
    let url = config.database_url();
    match what {
        Migrate::Up => Store::migrate_up(&url).await?,
        Migrate::Down => Store::migrate_down(&url).await?,
        Migrate::Status => {}
    }
    let all = Store::migrations(&url).await?;
    if json {
        let items: Vec<_> = all
            .iter()
            .map(|(name, applied)| serde_json::json!({"name": name, "applied": applied}))
            .collect();
        say(&format!("{}\n", serde_json::to_string(&items)?));
    } else {
        for (name, applied) in all {
            say(&format!("{}  {name}\n", if applied { "applied" } else { "pending" }));
        }
    }
    Ok(())
}

/// `isthmus apply`
///
/// # Errors
/// Names what is wrong in the file; nothing is then written.
pub(crate) async fn apply(config: &Config, file: &Path) -> Result<()> {
    let text = std::fs::read_to_string(file)
        .with_context(|| format!("{} cannot be read", file.display()))?;
    let chance = Arc::new(serve::chance());
    let tenants = apply::read(&text, &chance).with_context(|| format!("in {}", file.display()))?;
    let slugs: Vec<String> = tenants.iter().map(|t| t.slug.clone()).collect();
    let store = serve::store(config).await?;
    store.apply(tenants, serve::SystemClock.now(), chance).await?;
    say(&format!("applied: {}\n", slugs.join(", ")));
    Ok(())
}

/// `isthmus keys`
///
/// # Errors
/// When the tenant or member is not there.
pub(crate) async fn keys(config: &Config, what: Keys) -> Result<()> {
    let store = serve::store(config).await?;
    let chance = serve::chance();
    let now = serve::SystemClock.now();
    match what {
        Keys::Create { tenant, member, .. } => {
            let directory = store.directory();
            let tenant = tenant
                .map(|slug| {
                    directory
                        .by_slug(&slug)
                        .cloned()
                        .with_context(|| format!("there is no tenant {slug}"))
                })
                .transpose()?;
            let member = match (&tenant, member) {
                (Some(tenant), Some(email)) => Some(
                    tenant
                        .member(&email.to_ascii_lowercase())
                        .with_context(|| {
                            format!("{email} is not a member of {}", tenant.tenant.slug)
                        })?
                        .id
                        .clone(),
                ),
                _ => None,
            };
            let key = format!("isk_{}", chance.token());
            let tenant = tenant.map(|t| t.tenant.id.clone());
            store.add_key(secret_hash(&key), tenant, member, now, &chance).await?;
            say(&format!("{key}\n"));
        }
        Keys::Dkim { tenant, selector } => {
            let directory = store.directory();
            let view = directory
                .by_slug(&tenant)
                .with_context(|| format!("there is no tenant {tenant}"))?;
            let fresh =
                isthmus_mail::auth::DkimKey::generate_rsa().context("a key cannot be made")?;
            let row = store
                .keep_dkim_key(rows::DkimKey {
                    domain: view.tenant.bridge_domain.clone(),
                    tenant_id: view.tenant.id.clone(),
                    selector,
                    pem: fresh.to_pem(),
                    created_at: now.0,
                })
                .await?;
            let key = isthmus_mail::auth::DkimKey::from_pem(&row.pem)
                .context("the key that is kept cannot be read")?;
            let (name, text) = key.dns_record(&row.domain, &row.selector);
            say(&format!("{name} IN TXT \"{text}\"\n"));
        }
    }
    Ok(())
}

/// `isthmus tenant`
///
/// # Errors
/// When the tenant is not there.
pub(crate) async fn tenant(config: &Config, what: Tenant) -> Result<()> {
    let store = serve::store(config).await?;
    let directory = store.directory();
    match what {
        Tenant::List { json } => {
            let mut all: Vec<_> = directory.all().collect();
            all.sort_by_key(|t| t.tenant.slug.clone());
            for t in &all {
                if !json {
                    say(&format!(
                        "{}  {}  {}\n",
                        t.tenant.slug, t.tenant.bridge_domain, t.tenant.name
                    ));
                }
            }
            if json {
                let items: Vec<_> = all
                    .iter()
                    .map(|t| serde_json::json!({"slug": t.tenant.slug, "id": t.tenant.id, "bridge_domain": t.tenant.bridge_domain, "name": t.tenant.name}))
                    .collect();
                say(&format!("{}\n", serde_json::to_string(&items)?));
            }
        }
        Tenant::Delete { slug } => {
            let view =
                directory.by_slug(&slug).with_context(|| format!("there is no tenant {slug}"))?;
            store.delete_tenant(view.tenant.id.clone(), serve::SystemClock.now()).await?;
            say(&format!("deleted: {slug}\n"));
        }
    }
    Ok(())
}

/// `isthmus xmpp`
///
/// # Errors
/// When the tenants cannot be read.
pub(crate) async fn xmpp(config: &Config, what: Xmpp) -> Result<()> {
    let Xmpp::Render { server } = what;
    let store = serve::store(config).await?;
    let (listen, default) =
        config.xmpp().unwrap_or_else(|| ("127.0.0.1:5347".into(), String::new()));
    let port = listen.rsplit(':').next().unwrap_or("5347").to_owned();
    let directory = store.directory();
    let mut domains: Vec<(String, String)> = directory
        .all()
        .map(|t| {
            let secret = t.tenant.xmpp_secret.clone().unwrap_or_else(|| default.clone());
            (t.tenant.bridge_domain.clone(), secret)
        })
        .collect();
    domains.sort();
    let quote = |s: &str| s.replace('\\', "\\\\").replace('"', "\\\"");
    match server {
        Server::Prosody => {
            say(&format!(
                "component_ports = {{ {port} }}\ncomponent_interfaces = {{ \"127.0.0.1\" }}\n\
                 -- Stanzas go out at once instead of waiting for an acknowledgement.\n\
                 network_settings = {{ nagle = false }}\n"
            ));
            for (domain, secret) in domains {
                say(&format!(
                    "\nComponent \"{domain}\"\n    component_secret = \"{}\"\n    \
                     -- A successor takes over at once, even from a gateway that hangs.\n    \
                     component_conflict_resolve = \"kick_old\"\n",
                    quote(&secret)
                ));
            }
        }
        Server::Ejabberd => {
            say(&format!(
                "listen:\n  - port: {port}\n    ip: \"127.0.0.1\"\n    module: ejabberd_service\n    access: all\n    hosts:\n"
            ));
            for (domain, secret) in domains {
                say(&format!("      \"{domain}\":\n        password: \"{}\"\n", quote(&secret)));
            }
        }
    }
    Ok(())
}

/// `isthmus doctor`
///
/// # Errors
/// When something that is needed is not there.
pub(crate) async fn doctor(config: &Config, json: bool) -> Result<()> {
    let mut lines: Vec<(&str, String, &str, String)> = Vec::new();
    let mut bad = false;
    let mut line = |what, found: Result<String>, expected, todo: &str| match found {
        Ok(found) => lines.push((what, found, expected, String::new())),
        Err(error) => {
            bad = true;
            lines.push((what, format!("{error:#}"), expected, todo.to_owned()));
        }
    };
    let data = config.data_dir();
    let writable = std::fs::create_dir_all(&data)
        .and_then(|()| tempfile_in(&data))
        .map(|()| data.display().to_string())
        .map_err(Into::into);
    line("data folder", writable, "writable", "set data_dir to a folder that you may write to");
    let database = match serve::store(config).await {
        Ok(store) => store.ping().await.map(|()| config.database_url()).map_err(Into::into),
        Err(error) => Err(error),
    };
    line("database", database, "reachable, migrated", "check database.url");
    let address = |url: String| async move {
        let host = url
            .split("://")
            .last()
            .unwrap_or_default()
            .rsplit('@')
            .next()
            .unwrap_or_default()
            .to_owned();
        let connect = tokio::net::TcpStream::connect(host.clone());
        match tokio::time::timeout(std::time::Duration::from_secs(3), connect).await {
            Ok(Ok(_)) => Ok(host),
            Ok(Err(e)) => Err(anyhow::anyhow!("{host}: {e}")),
            Err(_) => Err(anyhow::anyhow!("{host}: no answer")),
        }
    };
    match config.xmpp() {
        Some((server, _)) => {
            line("XMPP server", address(server).await, "reachable", "start it, or set xmpp.server")
        }
        None => line("XMPP server", Ok("none".into()), "optional", ""),
    }
    match config.relay() {
        Some(relay) => {
            line("mail relay", address(relay).await, "reachable", "start it, or set smtp.relay")
        }
        None => line("mail relay", Ok("none: mail is kept at /dev/mail".into()), "optional", ""),
    }
    if json {
        let items: Vec<_> = lines
            .iter()
            .map(|(what, found, expected, todo)| serde_json::json!({"what": what, "found": found, "expected": expected, "what_to_do": todo}))
            .collect();
        say(&format!("{}\n", serde_json::to_string(&items)?));
    } else {
        for (what, found, expected, todo) in &lines {
            say(&format!(
                "{what:<12}  {found}  (expected: {expected}){}{todo}\n",
                if todo.is_empty() { "" } else { "  → " }
            ));
        }
    }
    if bad { bail!("something needs attention") } else { Ok(()) }
}

fn tempfile_in(folder: &Path) -> std::io::Result<()> {
    let path = folder.join(".doctor");
    std::fs::write(&path, b"x")?;
    std::fs::remove_file(path)
}
