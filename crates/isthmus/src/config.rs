//! Configuration: a TOML file, each value overridable by `ISTHMUS__SECTION__KEY`.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    path::PathBuf,
};

use anyhow::{Context, Result, anyhow, bail};

/// One key that may be set.
struct Key {
    name: &'static str,
    /// As it would stand in the file; empty if there is none.
    default: &'static str,
    secret: bool,
    help: &'static str,
}

const fn key(name: &'static str, default: &'static str, help: &'static str) -> Key {
    Key { name, default, secret: false, help }
}

const fn secret(name: &'static str, help: &'static str) -> Key {
    Key { name, default: "", secret: true, help }
}

const KEYS: &[Key] = &[
    key(
        "data_dir",
        "\"./isthmus-data\"",
        "folder of the embedded database, of attachments and originals",
    ),
    key("http.listen", "\"127.0.0.1:8080\"", "where pages and API are served"),
    key("http.public_url", "", "how they are reached from outside; from http.listen if not set"),
    key("smtp.listen", "\"127.0.0.1:2525\"", "where mail is taken"),
    key("smtp.tls_listen", "", "where mail is taken under TLS from the first octet on"),
    key(
        "smtp.tls_certificate",
        "",
        "PEM file with the certificate chain; made by ourselves if not set",
    ),
    key("smtp.tls_key", "", "PEM file with its key"),
    key("smtp.hostname", "", "our name in SMTP; the host's name if not set"),
    key(
        "smtp.relay",
        "",
        "where outbound mail goes, smtp://HOST:PORT; kept at /dev/mail if not set",
    ),
    key("smtp.trusted_networks", "[]", "networks whose From is believed without proof"),
    key("dns.servers", "[]", "ADDRESS:PORT of DNS servers; the system's if empty"),
    key("database.url", "", "sqlite://PATH; DATA_DIR/isthmus.db if not set"),
    key("queue.url", "\"embedded:\"", "embedded: only, so far"),
    key("cache.url", "\"memory:\"", "memory: only, so far"),
    key("xmpp.server", "", "HOST:PORT of the XMPP server's component listener"),
    secret("xmpp.secret", "component secret of bridge domains without their own"),
    key("xmpp.upload_service", "", "HTTP upload service (XEP-0363); looked for if not set"),
    key(
        "xmpp.file_hosts",
        "[]",
        "HOST:PORT of file servers (such as the XMPP server's upload service) from which files of \
         chat messages are fetched, in private networks too; beside the sender's own public server",
    ),
    key("delivery.retry_interval", "\"60s\"", "between two attempts"),
    key("delivery.decision_deadline", "\"4h\"", "for an answer to the question"),
    key("delivery.expire_after", "\"3d\"", "for retrying until it is a question again"),
    key(
        "delivery.receipt_timeout",
        "\"3m\"",
        "for a receipt from somebody whose presence is unknown",
    ),
    key("log.format", "\"text\"", "text or json"),
];

/// The configuration in effect.
#[derive(Clone, Debug)]
pub(crate) struct Config {
    values: BTreeMap<&'static str, toml::Value>,
    /// Keys that nobody has set: these hold their default.
    unset: BTreeSet<&'static str>,
}

impl Config {
    /// Reads `file` if there is one, then the environment.
    ///
    /// # Errors
    /// Names the key and the file or variable that is wrong.
    pub(crate) fn load(
        file: Option<&std::path::Path>,
        environment: impl Iterator<Item = (String, String)>,
    ) -> Result<Self> {
        let mut values = BTreeMap::new();
        let mut unset: BTreeSet<_> = KEYS.iter().map(|k| k.name).collect();
        for key in KEYS.iter().filter(|k| !k.default.is_empty()) {
            values.insert(
                key.name,
                literal(key.default).with_context(|| format!("the default of {}", key.name))?,
            );
        }
        if let Some(path) = file {
            let text = std::fs::read_to_string(path)
                .with_context(|| format!("the configuration {} cannot be read", path.display()))?;
            let table: toml::Table = text.parse().map_err(|e: toml::de::Error| {
                let before = text.get(..e.span().map_or(0, |s| s.start)).unwrap_or_default();
                let line = before.matches('\n').count() + 1;
                anyhow!("{}: line {line}: {}", path.display(), e.message())
            })?;
            flatten("", &toml::Value::Table(table), &mut |name, value| {
                set(&mut values, &mut unset, name, value)
                    .with_context(|| format!("in {}", path.display()))
            })?;
        }
        for (variable, text) in environment {
            let Some(name) = variable.strip_prefix("ISTHMUS__") else { continue };
            let name = name.to_ascii_lowercase().replace("__", ".");
            // A list or table is TOML; anything else is taken as it is written.
            let value = match text.trim().chars().next() {
                Some('[' | '{' | '"') => {
                    literal(&text).with_context(|| format!("in {variable}"))?
                }
                _ => toml::Value::String(text),
            };
            set(&mut values, &mut unset, &name, value).with_context(|| format!("in {variable}"))?;
        }
        Ok(Self { values, unset })
    }

    fn text(&self, name: &str) -> Option<String> {
        match self.values.get(name)? {
            toml::Value::String(s) if s.is_empty() => None,
            toml::Value::String(s) => Some(s.clone()),
            other => Some(other.to_string()),
        }
    }

    fn list(&self, name: &'static str) -> Result<Vec<String>> {
        match self.values.get(name) {
            None => Ok(vec![]),
            Some(toml::Value::Array(all)) => all
                .iter()
                .map(|v| v.as_str().map(ToOwned::to_owned))
                .collect::<Option<_>>()
                .with_context(|| format!("{name} is a list of texts")),
            Some(toml::Value::String(s)) if s.is_empty() => Ok(vec![]),
            Some(toml::Value::String(s)) => Ok(s.split(',').map(|p| p.trim().to_owned()).collect()),
            Some(_) => bail!("{name} is a list of texts"),
        }
    }

    /// The folder for everything.
    #[must_use]
    pub(crate) fn data_dir(&self) -> PathBuf {
        self.text("data_dir").unwrap_or_else(|| "./isthmus-data".into()).into()
    }

    /// Where HTTP is served.
    #[must_use]
    pub(crate) fn http_listen(&self) -> String {
        self.text("http.listen").unwrap_or_default()
    }

    /// How it is reached from outside, without a slash at the end.
    #[must_use]
    pub(crate) fn public_url(&self) -> String {
        let url = self
            .text("http.public_url")
            .unwrap_or_else(|| format!("http://{}", self.http_listen()));
        url.trim_end_matches('/').to_owned()
    }

    /// Where SMTP is served.
    #[must_use]
    pub(crate) fn smtp_listen(&self) -> String {
        self.text("smtp.listen").unwrap_or_default()
    }

    /// Where SMTP is served under TLS.
    #[must_use]
    pub(crate) fn smtp_tls_listen(&self) -> Option<String> {
        self.text("smtp.tls_listen")
    }

    /// Certificate and key files.
    ///
    /// # Errors
    /// When only one of them is set.
    pub(crate) fn smtp_certificate(&self) -> Result<Option<(PathBuf, PathBuf)>> {
        match (self.text("smtp.tls_certificate"), self.text("smtp.tls_key")) {
            (Some(certificate), Some(key)) => Ok(Some((certificate.into(), key.into()))),
            (None, None) => Ok(None),
            _ => bail!(
                "smtp.tls_certificate and smtp.tls_key belong together; one of them is missing"
            ),
        }
    }

    /// Our name in SMTP.
    #[must_use]
    pub(crate) fn smtp_hostname(&self) -> String {
        let host = || std::fs::read_to_string("/etc/hostname").map(|s| s.trim().to_owned()).ok();
        self.text("smtp.hostname")
            .or_else(host)
            .filter(|h| !h.is_empty())
            .unwrap_or_else(|| "localhost".into())
    }

    /// The relay, if one is set.
    #[must_use]
    pub(crate) fn relay(&self) -> Option<String> {
        self.text("smtp.relay")
    }

    /// Networks whose mail is believed.
    ///
    /// # Errors
    /// Names what is not a network.
    pub(crate) fn trusted_networks(&self) -> Result<Vec<(IpAddr, u8)>> {
        self.list("smtp.trusted_networks")?
            .iter()
            .map(|text| {
                let (address, bits) = text.split_once('/').unwrap_or((text, ""));
                let address: IpAddr = address.parse().with_context(|| {
                    format!("{text:?} in smtp.trusted_networks is not ADDRESS/BITS")
                })?;
                let most = if address.is_ipv4() { 32 } else { 128 };
                let bits = if bits.is_empty() { most } else { bits.parse().unwrap_or(255) };
                if bits > most {
                    bail!("{text:?} in smtp.trusted_networks has more bits than an address");
                }
                Ok((address, bits))
            })
            .collect()
    }

    /// DNS servers; empty: the system's.
    ///
    /// # Errors
    /// Names what is not an address.
    pub(crate) fn dns_servers(&self) -> Result<Vec<std::net::SocketAddr>> {
        self.list("dns.servers")?
            .iter()
            .map(|text| {
                text.parse()
                    .or_else(|_| text.parse::<IpAddr>().map(|ip| (ip, 53).into()))
                    .with_context(|| format!("{text:?} in dns.servers is not ADDRESS:PORT"))
            })
            .collect()
    }

    /// The database.
    #[must_use]
    pub(crate) fn database_url(&self) -> String {
        self.text("database.url")
            .unwrap_or_else(|| format!("sqlite://{}", self.data_dir().join("isthmus.db").display()))
    }

    /// The file that the database is in; none if it is in memory.
    #[must_use]
    pub(crate) fn database_file(&self) -> Option<PathBuf> {
        let url = self.database_url();
        let path = url.strip_prefix("sqlite://")?.split('?').next().unwrap_or_default();
        (!path.is_empty() && path != ":memory:").then(|| path.into())
    }

    /// The engines that this version has.
    ///
    /// # Errors
    /// Names the engine that it has not.
    pub(crate) fn check_engines(&self) -> Result<()> {
        for (name, here) in [("queue.url", "embedded:"), ("cache.url", "memory:")] {
            let wanted = self.text(name).unwrap_or_default();
            if wanted != here {
                bail!("{name} = {wanted:?}: this version has only {here:?}");
            }
        }
        let database = self.database_url();
        if !database.starts_with("sqlite://") {
            let scheme = database.split(':').next().unwrap_or_default();
            bail!("database.url begins with {scheme:?}: this version has only sqlite://");
        }
        Ok(())
    }

    /// The XMPP server's component listener and the default secret.
    #[must_use]
    pub(crate) fn xmpp(&self) -> Option<(String, String)> {
        Some((self.text("xmpp.server")?, self.text("xmpp.secret").unwrap_or_default()))
    }

    /// The HTTP upload service.
    #[must_use]
    pub(crate) fn xmpp_upload_service(&self) -> Option<String> {
        self.text("xmpp.upload_service")
    }

    /// Hosts from which files are fetched.
    ///
    /// # Errors
    /// When it is no list.
    pub(crate) fn file_hosts(&self) -> Result<Vec<String>> {
        self.list("xmpp.file_hosts")
    }

    /// What can be wrong with a value by itself, found before anything is made or opened.
    ///
    /// # Errors
    /// Names the key whose value is wrong.
    pub(crate) fn check_values(&self) -> Result<()> {
        self.trusted_networks()?;
        self.dns_servers()?;
        self.file_hosts()?;
        for name in ["retry_interval", "decision_deadline", "expire_after", "receipt_timeout"] {
            self.span_ms(&format!("delivery.{name}"))?;
        }
        Ok(())
    }

    /// A time span of the `delivery` section in milliseconds.
    ///
    /// # Errors
    /// When it is not a time span.
    pub(crate) fn span_ms(&self, name: &str) -> Result<i64> {
        let text = self.text(name).unwrap_or_default();
        let span: jiff::SignedDuration = text
            .parse::<jiff::SignedDuration>()
            .or_else(|_| {
                text.parse::<jiff::Span>()
                    .and_then(|s| s.to_duration(jiff::SpanRelativeTo::days_are_24_hours()))
            })
            .with_context(|| {
                format!("{name} = {text:?} is not a time span such as 90s, 5m, 4h or 3d")
            })?;
        let ms = i64::try_from(span.as_millis()).unwrap_or(i64::MAX);
        if ms <= 0 {
            bail!("{name} must be longer than nothing");
        }
        Ok(ms)
    }

    /// Whether logs are JSON.
    #[must_use]
    pub(crate) fn logs_json(&self) -> bool {
        self.text("log.format").as_deref() == Some("json")
    }

    /// Puts a value in place unless the file or the environment has set one.
    pub(crate) fn default_to(&mut self, name: &'static str, value: toml::Value) {
        if self.unset.contains(name) {
            self.values.insert(name, value);
        }
    }

    /// A value as it holds, worked out where it depends on others.
    fn effective(&self, name: &str) -> Option<toml::Value> {
        match name {
            "http.public_url" => Some(self.public_url().into()),
            "smtp.hostname" => Some(self.smtp_hostname().into()),
            "database.url" => Some(self.database_url().into()),
            _ => self.values.get(name).cloned(),
        }
    }

    /// The configuration in effect as a commented TOML file, secrets masked.
    #[must_use]
    pub(crate) fn print(&self) -> String {
        let mut out = String::new();
        let mut section = "";
        for key in KEYS {
            let (this, name) = key.name.split_once('.').unwrap_or(("", key.name));
            if this != section {
                section = this;
                out.push_str(&format!("\n[{section}]\n"));
            }
            out.push_str(&format!("# {}\n", key.help));
            match self.effective(key.name) {
                Some(_) if key.secret => out.push_str(&format!("{name} = \"********\"\n")),
                Some(value) => out.push_str(&format!("{name} = {}\n", shown(&value))),
                None => out.push_str(&format!("# {name} =\n")),
            }
        }
        out
    }
}

fn literal(text: &str) -> Result<toml::Value> {
    let table: toml::Table = format!("v = {text}").parse().context("not a TOML value")?;
    table.get("v").cloned().context("not a TOML value")
}

fn flatten(
    prefix: &str,
    value: &toml::Value,
    each: &mut impl FnMut(&str, toml::Value) -> Result<()>,
) -> Result<()> {
    match value {
        toml::Value::Table(table) => {
            for (name, value) in table {
                let name =
                    if prefix.is_empty() { name.clone() } else { format!("{prefix}.{name}") };
                flatten(&name, value, each)?;
            }
            Ok(())
        }
        value => each(prefix, value.clone()),
    }
}

fn set(
    values: &mut BTreeMap<&'static str, toml::Value>,
    unset: &mut BTreeSet<&'static str>,
    name: &str,
    value: toml::Value,
) -> Result<()> {
    if let Some(key) = KEYS.iter().find(|k| k.name == name) {
        unset.remove(key.name);
        values.insert(key.name, value);
        return Ok(());
    }
    // A secret may lie in a file of its own.
    if let Some(key) =
        name.strip_suffix("_file").and_then(|n| KEYS.iter().find(|k| k.name == n && has_secret(k)))
    {
        let path = value.as_str().unwrap_or_default().to_owned();
        let text = std::fs::read_to_string(&path)
            .with_context(|| format!("{name}: {path} cannot be read"))?;
        unset.remove(key.name);
        values.insert(key.name, toml::Value::String(text.trim().to_owned()));
        return Ok(());
    }
    bail!("there is no key {name}; did you mean {}?", nearest(KEYS.iter().map(|k| k.name), name))
}

/// The one of `known` that looks most like `name`.
pub(crate) fn nearest(known: impl Iterator<Item = &'static str>, name: &str) -> &'static str {
    known.min_by_key(|k| distance(k, name)).unwrap_or_default()
}

/// Whether it is a secret, or a URL with room for one.
fn has_secret(key: &Key) -> bool {
    key.secret || ["smtp.relay", "database.url", "queue.url", "cache.url"].contains(&key.name)
}

/// A value as it may be shown: the password of a URL masked.
fn shown(value: &toml::Value) -> toml::Value {
    let Some(text) = value.as_str() else { return value.clone() };
    let masked = text.split_once("://").and_then(|(scheme, rest)| {
        let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let (authority, tail) = rest.split_at(end);
        let (login, host) = authority.rsplit_once('@')?;
        let (user, _) = login.split_once(':')?;
        Some(format!("{scheme}://{user}:********@{host}{tail}"))
    });
    toml::Value::String(masked.unwrap_or_else(|| text.to_owned()))
}

/// How many letters must be changed, added or taken away (Levenshtein).
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, ca) in a.chars().enumerate() {
        let mut corner = row[0];
        row[0] = i + 1;
        for (j, cb) in b.iter().enumerate() {
            let next = (corner + usize::from(ca != *cb)).min(row[j] + 1).min(row[j + 1] + 1);
            corner = row[j + 1];
            row[j + 1] = next;
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment(pairs: &[(&str, &str)]) -> impl Iterator<Item = (String, String)> {
        pairs
            .iter()
            .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
            .collect::<Vec<_>>()
            .into_iter()
    }

    #[test]
    fn the_environment_goes_over_the_file_and_lists_are_toml() {
        let dir = tempfile::tempdir().expect("a folder");
        let file = dir.path().join("c.toml");
        std::fs::write(
            &file,
            "[http]\nlisten = \"127.0.0.1:1\"\n[delivery]\nretry_interval = \"2s\"\n",
        )
        .expect("written");
        let set = [
            ("ISTHMUS__HTTP__LISTEN", "127.0.0.1:2"),
            ("ISTHMUS__SMTP__TRUSTED_NETWORKS", "[\"127.0.0.0/8\"]"),
        ];
        let config = Config::load(Some(&file), environment(&set)).expect("loads");
        assert_eq!(config.http_listen(), "127.0.0.1:2");
        assert_eq!(config.public_url(), "http://127.0.0.1:2");
        assert_eq!(config.trusted_networks().expect("a network").len(), 1);
        assert_eq!(config.span_ms("delivery.retry_interval").expect("a span"), 2_000);
        assert_eq!(config.span_ms("delivery.expire_after").expect("a span"), 3 * 86_400_000);
    }

    #[test]
    fn an_unknown_key_names_the_nearest() {
        let error =
            Config::load(None, environment(&[("ISTHMUS__SMTP__LISTN", "x")])).expect_err("unknown");
        assert!(format!("{error:#}").contains("did you mean smtp.listen?"), "{error:#}");
    }

    #[test]
    fn secrets_are_masked_and_may_come_from_files() {
        let dir = tempfile::tempdir().expect("a folder");
        let file = dir.path().join("secret");
        std::fs::write(&file, "hush\n").expect("written");
        let path = file.display().to_string();
        let set = [
            ("ISTHMUS__XMPP__SECRET_FILE", path.as_str()),
            ("ISTHMUS__XMPP__SERVER", "127.0.0.1:5347"),
        ];
        let config = Config::load(None, environment(&set)).expect("loads");
        assert_eq!(config.xmpp(), Some(("127.0.0.1:5347".into(), "hush".into())));
        assert!(!config.print().contains("hush"));
        // What is printed is itself a configuration, apart from the masked secrets.
        let printed = config.print().replace("\"********\"", "\"hush\"");
        printed.parse::<toml::Table>().expect("TOML");
    }

    #[test]
    fn what_holds_is_shown_and_passwords_in_urls_are_not() {
        let set = [("ISTHMUS__SMTP__RELAY", "smtp://me:hush@mx.test:587?tls=required")];
        let printed = Config::load(None, environment(&set)).expect("loads").print();
        assert!(printed.contains("public_url = \"http://127.0.0.1:8080\""), "{printed}");
        assert!(printed.contains("url = \"sqlite://./isthmus-data/isthmus.db\""), "{printed}");
        assert!(printed.contains("smtp://me:********@mx.test:587?tls=required"), "{printed}");
        assert!(!printed.contains("hush"), "{printed}");
    }

    #[test]
    fn what_is_wrong_is_said_on_one_line() {
        let dir = tempfile::tempdir().expect("a folder");
        let file = dir.path().join("c.toml");
        std::fs::write(&file, "[http]\nlisten = [\n").expect("written");
        let error = Config::load(Some(&file), environment(&[])).expect_err("no TOML");
        let said = format!("{error:#}");
        assert!(said.contains("c.toml: line 2: unclosed array") && !said.contains('\n'), "{said}");
        let set = [("ISTHMUS__DELIVERY__RETRY_INTERVAL", "soon")];
        let config = Config::load(None, environment(&set)).expect("loads");
        let error = config.check_values().expect_err("no time span");
        assert!(error.to_string().contains("delivery.retry_interval = \"soon\""), "{error}");
    }

    #[test]
    fn what_is_set_to_the_default_on_purpose_stays() {
        let wanted = toml::Value::Array(vec!["127.0.0.0/8".into()]);
        let set = [("ISTHMUS__SMTP__TRUSTED_NETWORKS", "[]")];
        let mut said = Config::load(None, environment(&set)).expect("loads");
        let mut unsaid = Config::load(None, environment(&[])).expect("loads");
        for (config, networks) in [(&mut said, 0), (&mut unsaid, 1)] {
            config.default_to("smtp.trusted_networks", wanted.clone());
            assert_eq!(config.trusted_networks().expect("networks").len(), networks);
        }
    }
}
