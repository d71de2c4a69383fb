//! `isthmus doctor`: what is configured, what is there, and what to do about the difference.

use std::{path::Path, time::Duration};

use anyhow::{Context, Result, anyhow, bail};
use isthmus_store::Store;
use tokio::net::{TcpListener, TcpStream};

use crate::{commands::say, config::Config, lock, serve};

/// How long another server may take to answer.
const PATIENCE: Duration = Duration::from_secs(3);

/// One line of the table.
struct Finding {
    what: String,
    found: String,
    expected: &'static str,
    /// Empty if nothing is to be done.
    what_to_do: String,
    broken: bool,
}

impl Finding {
    fn new(what: &str, found: Result<String>, expected: &'static str, what_to_do: &str) -> Self {
        let broken = found.is_err();
        let (what, what_to_do) = (what.to_owned(), if broken { what_to_do } else { "" }.to_owned());
        let found = found.unwrap_or_else(|error| format!("{error:#}"));
        Self { what, found, expected, what_to_do, broken }
    }

    /// Nothing is broken, and yet there is something to do.
    fn hint(what: &str, found: &str, expected: &'static str, what_to_do: &str) -> Self {
        let what_to_do = what_to_do.to_owned();
        Self { what: what.to_owned(), found: found.to_owned(), expected, what_to_do, broken: false }
    }
}

/// `isthmus doctor`
///
/// # Errors
/// When something that is needed is not there.
pub(crate) async fn doctor(config: &Config, json: bool) -> Result<()> {
    let mut all = vec![
        Finding::new("settings", settings(config), "can be used", "correct that key"),
        data_folder(&config.data_dir()),
    ];
    let store = database(config, &mut all).await;
    let running = lock::is_held(&config.data_dir());
    all.push(Finding::new(
        "pages and API",
        listener(&config.http_listen(), running).await,
        "free, or ours",
        "stop what listens there, or set http.listen",
    ));
    let mail = [Some(config.smtp_listen()), config.smtp_tls_listen()];
    for (address, key) in mail.into_iter().flatten().zip(["smtp.listen", "smtp.tls_listen"]) {
        let found = listener(&address, running).await;
        let todo = format!("stop what listens there, or set {key}");
        all.push(Finding::new("mail in", found, "free, or ours", &todo));
    }
    relay(config, &mut all).await;
    xmpp(config, store.as_ref(), &mut all).await;
    if let Some(store) = &store {
        tenants(store, &mut all).await;
    }
    if json {
        print_json(&all)?
    } else {
        say(&table(&all))
    }
    match all.iter().filter(|f| f.broken).count() {
        0 => Ok(()),
        1 => bail!("one thing needs attention"),
        n => bail!("{n} things need attention"),
    }
}

/// What `serve` would stumble over before it opens anything.
fn settings(config: &Config) -> Result<String> {
    config.check_engines()?;
    config.check_values()?;
    match config.smtp_certificate()? {
        Some((certificate, key)) => {
            isthmus_mail::smtp::tls_config(&certificate, &key)
                .context("smtp.tls_certificate and smtp.tls_key cannot be used")?;
            Ok("read, with a certificate for mail".into())
        }
        None => Ok("read; the certificate for mail is made by ourselves".into()),
    }
}

fn data_folder(folder: &Path) -> Finding {
    let name = folder.display();
    // What is not there is made by `serve`, not by a look.
    let there = folder.ancestors().find(|f| f.exists()).unwrap_or(Path::new("."));
    let found = match try_to_write(there) {
        Ok(()) if there == folder => Ok(name.to_string()),
        Ok(()) => Ok(format!("{name}, not there yet")),
        Err(error) => Err(anyhow!("{}: {error}", there.display())),
    };
    Finding::new("data folder", found, "writable", "set data_dir to a folder you may write to")
}

fn try_to_write(folder: &Path) -> std::io::Result<()> {
    let path = folder.join(format!(".isthmus-doctor-{}", std::process::id()));
    std::fs::write(&path, b"x")?;
    std::fs::remove_file(path)
}

/// The database, opened only if that changes nothing in it.
async fn database(config: &Config, all: &mut Vec<Finding>) -> Option<Store> {
    let (what, expected) = ("database", "readable, up to date");
    let file = config.database_file()?;
    let name = file.display().to_string();
    if !file.exists() {
        let todo = "isthmus serve makes it";
        all.push(Finding::hint(what, &format!("{name}, not there yet"), expected, todo));
        return None;
    }
    let migrations = Store::migrations(&config.database_url()).await;
    let pending = migrations.as_ref().map_or(0, |m| m.iter().filter(|(_, done)| !done).count());
    if pending > 0 {
        let found = format!("{name}, {pending} migrations pending");
        let todo = "isthmus migrate up, or start isthmus serve";
        all.push(Finding::hint(what, &found, expected, todo));
        return None;
    }
    let store = match migrations {
        Ok(_) => serve::store(config).await,
        Err(error) => Err(anyhow!("{name}: {error}")),
    };
    let (store, found) = match store {
        Ok(store) => (Some(store), Ok(name)),
        Err(error) => (None, Err(error)),
    };
    all.push(Finding::new(what, found, expected, "check database.url; restore a backup"));
    store
}

/// An address of ours: served by us, or free.
async fn listener(address: &str, running: bool) -> Result<String> {
    if running {
        return reach(address).await.map(|()| format!("{address}, served"));
    }
    TcpListener::bind(address).await.with_context(|| address.to_owned())?;
    Ok(format!("{address}, free"))
}

async fn reach(address: &str) -> Result<()> {
    match tokio::time::timeout(PATIENCE, TcpStream::connect(address)).await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(e)) => Err(e).with_context(|| address.to_owned()),
        Err(_) => bail!("{address}: no answer"),
    }
}

async fn reach_relay(url: &str) -> Result<String> {
    let name = isthmus_mail::send::Relay::from_url(url)?.name();
    reach(&name).await.map(|()| name)
}

async fn relay(config: &Config, all: &mut Vec<Finding>) {
    let what = "mail out";
    all.push(match config.relay() {
        Some(relay) => {
            let todo = "start that server, or correct smtp.relay";
            Finding::new(what, reach_relay(&relay).await, "reachable", todo)
        }
        None => {
            let todo = "for real mail set smtp.relay";
            Finding::hint(what, "no relay; kept at /dev/mail", "optional", todo)
        }
    });
}

async fn xmpp(config: &Config, store: Option<&Store>, all: &mut Vec<Finding>) {
    let what = "XMPP server";
    let Some((server, secret)) = config.xmpp() else {
        let todo = "for XMPP set xmpp.server and xmpp.secret";
        all.push(Finding::hint(what, "none; web chat only", "optional", todo));
        return;
    };
    let found = reach(&server).await.map(|()| server);
    all.push(Finding::new(what, found, "reachable", "start it, or correct xmpp.server"));
    let directory = store.map(Store::directory);
    let tenants = directory.iter().flat_map(|d| d.all());
    let mut without = tenants.filter(|t| t.tenant.xmpp_secret.is_none());
    if secret.is_empty()
        && let Some(tenant) = without.next()
    {
        let found = Err(anyhow!("none for {}", tenant.tenant.bridge_domain));
        let todo = "set xmpp.secret to the component's secret";
        all.push(Finding::new("XMPP secret", found, "set", todo));
    }
}

async fn tenants(store: &Store, all: &mut Vec<Finding>) {
    let directory = store.directory();
    let mut tenants: Vec<_> = directory.all().collect();
    tenants.sort_by_key(|t| &t.tenant.slug);
    if tenants.is_empty() {
        let todo = "isthmus apply -f FILE declares them";
        all.push(Finding::hint("tenants", "none yet", "declared", todo));
        return;
    }
    all.push(Finding::new("tenants", Ok(tenants.len().to_string()), "declared", ""));
    for tenant in tenants.iter().map(|t| &t.tenant).filter(|t| t.mail_mode == "mx") {
        let Some(server) = &tenant.forward_to else { continue };
        let what = format!("mail of {}", tenant.slug);
        let todo = "start that server, or apply another forward_to";
        all.push(Finding::new(&what, reach_relay(server).await, "reachable", todo));
    }
}

fn print_json(all: &[Finding]) -> Result<()> {
    let items: Vec<_> = all
        .iter()
        .map(|f| {
            serde_json::json!({"what": f.what, "found": f.found, "expected": f.expected,
                "what_to_do": f.what_to_do, "broken": f.broken})
        })
        .collect();
    say(&format!("{}\n", serde_json::to_string(&items)?));
    Ok(())
}

/// Columns as wide as what is in them; only the last one is left ragged.
fn table(all: &[Finding]) -> String {
    let head = ["", "WHAT", "FOUND", "EXPECTED", "WHAT TO DO"].map(str::to_owned);
    let rows = all.iter().map(|f| {
        let mark = if f.broken { "BROKEN" } else { "ok" };
        let texts = [mark, &f.what, &f.found, f.expected, &f.what_to_do];
        // Messages of other programs may have several lines.
        texts.map(|text| text.split_whitespace().collect::<Vec<_>>().join(" "))
    });
    let rows: Vec<_> = std::iter::once(head).chain(rows).collect();
    let width =
        |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths = [width(0), width(1), width(2), width(3)];
    let line = |[mark, what, found, expected, todo]: &[String; 5]| {
        let [a, b, c, d] = widths;
        let line = format!("{mark:a$}  {what:b$}  {found:c$}  {expected:d$}  {todo}");
        format!("{}\n", line.trim_end())
    };
    rows.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_aligned_and_says_what_to_do() {
        let all = [
            Finding::new("database", Ok("i.db".into()), "readable", "unused"),
            Finding::new("mail out", Err(anyhow!("127.0.0.1:25:\nrefused")), "reachable", "start"),
        ];
        assert_eq!(
            table(&all),
            "        WHAT      FOUND                  EXPECTED   WHAT TO DO\n\
             ok      database  i.db                   readable\n\
             BROKEN  mail out  127.0.0.1:25: refused  reachable  start\n"
        );
    }

    #[tokio::test]
    async fn an_address_is_free_or_ours_or_somebody_elses() {
        let taken = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = taken.local_addr().expect("an address").to_string();
        assert!(listener(&address, false).await.is_err());
        assert!(listener(&address, true).await.is_ok());
        drop(taken);
        assert!(listener(&address, false).await.is_ok());
        assert!(listener(&address, true).await.is_err());
    }

    #[test]
    fn a_look_makes_nothing() {
        let dir = tempfile::tempdir().expect("a folder");
        let finding = data_folder(&dir.path().join("a/b"));
        assert!(!finding.broken && finding.found.ends_with("not there yet"), "{}", finding.found);
        assert_eq!(std::fs::read_dir(dir.path()).expect("read").count(), 0);
        assert!(data_folder(Path::new("/proc/nowhere")).broken);
    }
}
