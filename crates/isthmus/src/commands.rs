//! The commands that do one thing and end. They work beside a running `serve`.

use std::{path::Path, sync::Arc};

use anyhow::{Context, Result, bail};
use clap::Subcommand;
use isthmus_domain::clock::Clock;
use isthmus_gateway::sign_in::secret_hash;
use isthmus_store::{Directory, Store, TenantView, rows};

use crate::{apply, config::Config, progress, serve};

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
    /// Print the DNS record of a domain's signing key, making the key if there is none.
    Dkim {
        /// The tenant's slug.
        #[arg(long)]
        tenant: String,
        /// One of the tenant's domains: from when it has a key, its members' mails go out under their
        /// own addresses. Without, the bridge domain.
        #[arg(long)]
        domain: Option<String>,
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
    /// Delete a tenant for good: its addresses stop existing at once.
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

/// What a process is to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// Everything.
    All,
    /// Some of it, beside other processes.
    Some,
}

/// Reads `all`, or a list of roles; all of them together are `all`.
pub(crate) fn role(text: &str) -> Result<Role, String> {
    const ROLES: [&str; 4] = ["gateway", "router", "allocator", "billing"];
    let named: Vec<&str> = text.split(',').map(str::trim).collect();
    if let Some(wrong) = named.iter().find(|one| **one != "all" && !ROLES.contains(one)) {
        return Err(format!("there is no role {wrong:?}; roles are all, {}", ROLES.join(", ")));
    }
    let whole = named.contains(&"all") || ROLES.iter().all(|one| named.contains(one));
    Ok(if whole { Role::All } else { Role::Some })
}

/// Refuses a role alone on embedded engines.
///
/// # Errors
/// Says what is possible.
pub(crate) fn check_role(role: Role) -> Result<()> {
    match role {
        Role::All => Ok(()),
        Role::Some => bail!(
            "a role alone needs a queue and a cache that processes share; embedded engines run only as --role all"
        ),
    }
}

/// `isthmus migrate`
///
/// # Errors
/// When the database cannot be reached or changed.
pub(crate) async fn migrate(config: &Config, what: Migrate, json: bool) -> Result<()> {
    config.check_engines()?;
    let url = config.database_url();
    match what {
        Migrate::Up => {
            let all = Store::migrations(&url).await?;
            let pending = all.iter().filter(|(_, applied)| !applied).count();
            let bar = progress::bar("migrations", u64::try_from(pending).unwrap_or(u64::MAX));
            Store::migrate_up(&url, || bar.inc(1)).await?;
            bar.finish_and_clear();
        }
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
    let declared = apply::read(&text).with_context(|| file.display().to_string())?;
    let store = serve::store(config).await?;
    let chance = Arc::new(serve::chance());
    let bar = progress::bar("passwords", declared.passwords());
    let books = declared.price_books;
    let tenants = declared.hashed(&chance, || bar.inc(1))?;
    bar.finish_and_clear();
    let slugs: Vec<String> = tenants.iter().map(|t| t.slug.clone()).collect();
    store
        .apply(tenants, serve::SystemClock.now(), chance)
        .await
        .with_context(|| format!("{}: nothing was changed", file.display()))?;
    let names = if slugs.is_empty() { "no tenant".to_owned() } else { slugs.join(", ") };
    say(&format!("applied: {names}\n"));
    if books > 0 {
        say("price books: right in form, and left alone: this version does not charge yet\n");
    }
    Ok(())
}

/// The tenant with this slug.
///
/// # Errors
/// Names the tenants that there are.
fn tenant_called<'a>(directory: &'a Directory, slug: &str) -> Result<&'a Arc<TenantView>> {
    directory.by_slug(slug).with_context(|| {
        let all = directory.all().map(|t| t.tenant.slug.clone()).collect();
        format!("there is no tenant {slug}; {}", there_is(all, "isthmus apply -f FILE makes one"))
    })
}

/// The tenant's member with this address.
///
/// # Errors
/// Names the members that there are.
fn member_called<'a>(tenant: &'a TenantView, email: &str) -> Result<&'a rows::Member> {
    tenant.member(&email.to_ascii_lowercase()).with_context(|| {
        let all = tenant.members().map(|m| m.email.clone()).collect();
        let slug = &tenant.tenant.slug;
        let there = there_is(all, "isthmus apply -f FILE adds members");
        format!("{email} is not a member of {slug}; {there}")
    })
}

/// What could have been meant, or how to have one.
fn there_is(mut names: Vec<String>, otherwise: &str) -> String {
    const SHOWN: usize = 8;
    names.sort();
    let more = names.len().saturating_sub(SHOWN);
    names.truncate(SHOWN);
    match (names.is_empty(), more) {
        (true, _) => format!("there is none yet: {otherwise}"),
        (false, 0) => format!("known: {}", names.join(", ")),
        (false, _) => format!("known: {} and {more} more", names.join(", ")),
    }
}

/// `isthmus keys`
///
/// # Errors
/// When the tenant or member is not there.
pub(crate) async fn keys(config: &Config, what: Keys) -> Result<()> {
    let store = serve::store(config).await?;
    let chance = Arc::new(serve::chance());
    let now = serve::SystemClock.now();
    match what {
        Keys::Create { tenant, member, .. } => {
            let directory = store.directory();
            let tenant =
                tenant.map(|slug| tenant_called(&directory, &slug).cloned()).transpose()?;
            let member = match (&tenant, member) {
                (Some(tenant), Some(email)) => Some(member_called(tenant, &email)?.id.clone()),
                _ => None,
            };
            let key = format!("isk_{}", chance.token());
            let tenant = tenant.map(|t| t.tenant.id.clone());
            store.add_key(secret_hash(&key), tenant, member, now, chance).await?;
            say(&format!("{key}\n"));
        }
        Keys::Dkim { tenant, domain, selector } => {
            let directory = store.directory();
            let view = tenant_called(&directory, &tenant)?;
            let domain = signing_domain(view, domain)?;
            let fresh =
                isthmus_mail::auth::DkimKey::generate_rsa().context("a key cannot be made")?;
            let row = store
                .keep_dkim_key(rows::DkimKey {
                    domain,
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

/// The domain that a key is to sign for: the bridge domain, or one that the tenant declares.
fn signing_domain(view: &TenantView, asked: Option<String>) -> Result<String> {
    let Some(asked) = asked.map(|d| d.to_lowercase()) else {
        return Ok(view.tenant.bridge_domain.clone());
    };
    if !view.has_domain(&asked) {
        let mut known = vec![view.tenant.bridge_domain.as_str()];
        known.extend(view.domains.iter().map(String::as_str));
        bail!(
            "{asked} is no domain of {}; it has {} (isthmus apply adds others)",
            view.tenant.slug,
            known.join(", ")
        );
    }
    Ok(asked)
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
            let view = tenant_called(&directory, &slug)?;
            let chance = Arc::new(serve::chance());
            let now = serve::SystemClock.now();
            store.delete_tenant(view.tenant.id.clone(), now, chance).await?;
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_could_have_been_meant_is_named() {
        let names = |n: usize| (1..=n).map(|i| format!("t{i}")).collect();
        assert_eq!(there_is(names(2), "apply"), "known: t1, t2");
        assert_eq!(there_is(names(0), "apply"), "there is none yet: apply");
        assert!(there_is(names(10), "apply").ends_with(" and 2 more"));
    }

    #[test]
    fn all_roles_together_are_all_and_unknown_ones_are_wrong_usage() {
        assert_eq!(role("all"), Ok(Role::All));
        assert_eq!(role("gateway,router, allocator,billing"), Ok(Role::All));
        assert_eq!(role("gateway"), Ok(Role::Some));
        assert!(role("nonsense").is_err() && role("").is_err());
    }
}
