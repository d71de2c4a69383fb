//! Prosody's side of [`crate::XmppServer`]: its configuration, accounts and command.

use std::{fmt::Write as _, path::Path};

use crate::{ServerSpec, XmppSetup, xmpp_server::Ports};

/// Writes configuration and accounts into `folder` and says how to start.
pub(crate) fn prepare(folder: &Path, setup: &XmppSetup, ports: &Ports) -> ServerSpec {
    let data = folder.join("data");
    // Prosody escapes everything but letters and digits in the names of its data folders.
    let accounts = data.join(setup.host.replace('.', "%2e").replace('-', "%2d")).join("accounts");
    std::fs::create_dir_all(&accounts).expect("the folder for accounts can be made");
    for user in &setup.users {
        std::fs::write(
            accounts.join(format!("{user}.dat")),
            format!("return {{ [\"password\"] = \"{}\"; }};\n", XmppSetup::password(user)),
        )
        .expect("an account can be written");
    }
    let config = folder.join("prosody.cfg.lua");
    std::fs::write(&config, configuration(folder, setup, ports))
        .expect("the configuration can be written");
    let config = config.into_os_string();
    ServerSpec::new("prosody", folder, ["prosody".into(), "--config".into(), config, "-F".into()])
}

fn configuration(folder: &Path, setup: &XmppSetup, ports: &Ports) -> String {
    let XmppSetup { host, secret, bridge_domains, .. } = setup;
    let Ports { c2s, component, http } = ports;
    let folder = folder.display();
    // A list replaces the default, which is the server's own users.
    let uploaders = bridge_domains.iter().chain([host]);
    let quoted: Vec<_> = uploaders.map(|d| format!("\"{d}\"")).collect();
    let may_upload = quoted.join(", ");
    let mut text = format!(
        r#"run_as_root = true
pidfile = "{folder}/prosody.pid"
data_path = "{folder}/data"
certificates = "{folder}"
log = {{ {{ levels = {{ min = "info" }}, to = "console" }} }}
modules_enabled = {{ "roster", "saslauth", "disco", "ping", "presence", "message", "iq", "offline", "pep", "vcard_legacy", "carbons" }}
modules_disabled = {{ "s2s", "tls" }}
authentication = "internal_plain"
c2s_require_encryption = false
allow_unencrypted_plain_auth = true
interfaces = {{ "127.0.0.1" }}
c2s_ports = {{ {c2s} }}
c2s_direct_tls_ports = {{}}
component_interfaces = {{ "127.0.0.1" }}
component_ports = {{ {component} }}
component_conflict_resolve = "kick_old"
http_interfaces = {{ "127.0.0.1" }}
http_ports = {{ {http} }}
https_ports = {{}}
http_default_host = "upload.{host}"
limits = {{}}
network_settings = {{ nagle = false }}

VirtualHost "{host}"

Component "upload.{host}" "http_file_share"
  http_external_url = "http://127.0.0.1:{http}/"
  http_file_share_size_limit = 30 * 1024 * 1024
  http_file_share_access = {{ {may_upload} }}
"#
    );
    for domain in bridge_domains {
        let _ = write!(text, "\nComponent \"{domain}\"\n  component_secret = \"{secret}\"\n");
    }
    text
}
