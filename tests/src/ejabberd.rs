//! ejabberd's side of [`crate::XmppServer`]: its configuration, accounts and command.

use std::{
    ffi::OsString,
    fmt::Write as _,
    path::{Path, PathBuf},
    time::Duration,
};

use crate::{ServerSpec, XmppSetup, wait::eventually, xmpp_server::Ports};

/// Writes the configuration into `folder` and says how to start.
///
/// The Erlang machine is started directly: the `ejabberdctl` around it wants root or the
/// `ejabberd` user, and a name in the machine-wide `epmd`.
pub(crate) fn prepare(folder: &Path, setup: &XmppSetup, ports: &Ports) -> ServerSpec {
    let config = folder.join("ejabberd.yml");
    std::fs::write(&config, configuration(setup, ports)).expect("the configuration can be written");
    let data = folder.join("data");
    std::fs::create_dir_all(&data).expect("the data folder can be made");

    let mut command: Vec<OsString> = vec!["erl".into(), "-noinput".into()];
    command.extend(["-pa".into(), library().into_os_string()]);
    command.extend(["-mnesia".into(), "dir".into(), quoted(&data)]);
    command.extend(["-ejabberd".into(), "config".into(), quoted(&config)]);
    command.extend(["log_path".into(), quoted(&folder.join("server.log"))]);
    command.extend(["-sasl".into(), "sasl_error_logger".into(), "false".into()]);
    command.extend(["-s".into(), "ejabberd".into()]);
    ServerSpec::new("ejabberd", folder, command)
        .env("EJABBERD_CONFIG_PATH", config.display().to_string())
        .env("HOME", folder.display().to_string())
        .env("ERL_CRASH_DUMP", "/dev/null")
}

/// Where Debian keeps ejabberd's own modules; their dependencies are in Erlang's path.
fn library() -> PathBuf {
    ["/usr/lib/x86_64-linux-gnu", "/usr/lib/aarch64-linux-gnu", "/usr/lib"]
        .iter()
        .filter_map(|base| std::fs::read_dir(base).ok())
        .flatten()
        .filter_map(Result::ok)
        .filter(|entry| entry.file_name().to_string_lossy().starts_with("ejabberd-"))
        .map(|entry| entry.path().join("ebin"))
        .find(|path| path.is_dir())
        .unwrap_or_else(|| panic!("ejabberd is not installed: run scripts/peers.sh install"))
}

/// An argument that Erlang reads as a string.
fn quoted(path: &Path) -> OsString {
    format!("\"{}\"", path.display()).into()
}

fn configuration(setup: &XmppSetup, ports: &Ports) -> String {
    let XmppSetup { host, secret, bridge_domains, .. } = setup;
    let Ports { c2s, component, http } = ports;
    let mut text = format!(
        r#"hosts: ["{host}"]
loglevel: info
auth_method: internal
auth_password_format: plain
disable_sasl_mechanisms: ["DIGEST-MD5", "X-OAUTH2"]
listen:
  - port: {c2s}
    ip: "127.0.0.1"
    module: ejabberd_c2s
    starttls: false
    max_stanza_size: 1048576
    shaper: none
  - port: {http}
    ip: "127.0.0.1"
    module: ejabberd_http
    request_handlers:
      /api: mod_http_api
      /upload: mod_http_upload
  - port: {component}
    ip: "127.0.0.1"
    module: ejabberd_service
    access: all
    shaper: none
    hosts:
"#
    );
    for domain in bridge_domains {
        let _ = write!(text, "      \"{domain}\":\n        password: \"{secret}\"\n");
    }
    let _ = write!(
        text,
        r#"api_permissions:
  "loopback":
    who:
      ip: "127.0.0.0/8"
    what: "*"
acl:
  loopback:
    ip: "127.0.0.0/8"
modules:
  mod_disco: {{}}
  mod_caps: {{}}
  mod_roster: {{}}
  mod_offline: {{}}
  mod_ping: {{}}
  mod_carboncopy: {{}}
  mod_pubsub:
    plugins: ["flat", "pep"]
  mod_vcard: {{}}
  mod_http_api: {{}}
  mod_http_upload:
    host: "upload.{host}"
    access: all
    max_size: 31457280
    put_url: "http://127.0.0.1:{http}/upload"
    docroot: "@HOME@/upload"
"#
    );
    text
}

/// Registers the accounts through ejabberd's HTTP interface.
pub(crate) async fn register(setup: &XmppSetup, ports: &Ports) {
    let http = crate::http::client().build().expect("a client can be made");
    for user in &setup.users {
        let body = serde_json::json!({
            "user": user, "host": setup.host, "password": XmppSetup::password(user),
        });
        let url = format!("http://{}/api/register", ports.http.addr());
        eventually(&format!("ejabberd registers {user}"), Duration::from_secs(20), || {
            let request = http.post(&url).json(&body).send();
            async move { request.await.ok().filter(|r| r.status().is_success()) }
        })
        .await;
    }
}
