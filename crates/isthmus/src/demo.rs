//! `isthmus demo`: everything on this machine, with people who have a past.

use anyhow::Result;
use isthmus_domain::{address::ImAddress, clock::Clock};
use std::sync::Arc;

use crate::{apply, commands::say, config::Config, seed, serve};

/// The password of everybody in the demo.
const PASSWORD: &str = "isthmus";

/// The contacts who can be written to by chat at once.
const AT_THEIR_CHAT: [&str; 2] = ["web:carol@customer.test", "web:dario@supplier.test"];

const PEOPLE: &str = r#"
[[tenant]]
slug = "acme"
name = "Acme GmbH"
domains = ["acme.test"]
mail_mode = "copy"
bridge_domain = "bridge.acme.test"
currency = "EUR"
time_zone = "Europe/Berlin"
billing_email = "billing@acme.test"
billing_delivery = ["portal", "email"]

[[tenant.member]]
email = "alice@acme.test"
name = "Alice Adler"
role = "owner"
password = "isthmus"
im = ["web:alice@acme.test"]

[[tenant.member]]
email = "ben@acme.test"
name = "Ben Bauer"
role = "member"
password = "isthmus"
im = ["web:ben@acme.test"]

[[tenant.contact]]
name = "Carol Chen"
email = "carol@customer.test"
im = ["web:carol@customer.test"]
verified = true

[[tenant.contact]]
name = "Dario Diaz"
email = "dario@supplier.test"
im = ["web:dario@supplier.test"]
verified = true

[[tenant.contact]]
name = "Erin Egan"
email = "erin@press.test"

[[tenant]]
slug = "globex"
name = "Globex"
domains = ["globex.test"]
mail_mode = "copy"
bridge_domain = "bridge.globex.test"
currency = "USD"
time_zone = "America/New_York"

[[tenant.member]]
email = "gwen@globex.test"
name = "Gwen Gray"
role = "owner"
password = "isthmus"
im = ["web:gwen@globex.test"]

[[tenant.contact]]
name = "Carol Chen"
email = "carol@customer.test"
im = ["web:carol@customer.test"]
verified = true
"#;

/// Seeds what is missing, then serves.
///
/// # Errors
/// As `serve`.
pub(crate) async fn run(mut config: Config) -> Result<()> {
    crate::log(&config, "warn");
    let loopback = ["127.0.0.0/8", "::1/128"].map(|n| toml::Value::String(n.into()));
    config.default_to("smtp.trusted_networks", toml::Value::Array(loopback.to_vec()));
    config.default_to("smtp.hostname", toml::Value::String("isthmus.demo".into()));
    config.check_values()?;
    {
        let store = serve::store(&config).await?;
        let chance = Arc::new(serve::chance());
        let now = serve::SystemClock.now();
        let fresh = store.directory().by_slug("acme").is_none();
        if fresh {
            let people = apply::read(PEOPLE)?.hashed(&chance, || ())?;
            store.apply(people, now, Arc::clone(&chance)).await?;
            seed::past(&store, now, &chance).await?;
        }
    }
    let logins = ["alice@acme.test", "ben@acme.test", "gwen@globex.test"]
        .map(|email| (email.to_owned(), PASSWORD.to_owned()))
        .to_vec();
    // What is tried first is to write to somebody who is there; that they can go away comes next.
    let at_their_chat = AT_THEIR_CHAT.iter().filter_map(|who| ImAddress::parse(who).ok()).collect();
    let (url, smtp) = (config.public_url(), config.smtp_listen());
    serve::serve(config, serve::Demo { logins, at_their_chat }, || say(&welcome(&url, &smtp))).await
}

/// Fits a terminal of 24 lines and 80 columns, with addresses of the usual length.
fn welcome(url: &str, smtp: &str) -> String {
    format!(
        "
  Isthmus is running. Everything stays on this machine; Ctrl-C ends it.

  Pages          {url}
  Sign in as     alice@acme.test, ben@acme.test or gwen@globex.test
  Password       {PASSWORD}
  Outbound mail  {url}/dev/mail

  Three things to try
   1  Answer a mail by chat: sign in as alice, open \"Budget 2027\", write, send.
      Read it as Carol in another window: {url}/chat
   2  Let Carol go away (switch her to away in that window), write again:
      you are asked what to do with your message.
   3  Send a mail of your own into it:

      printf '%s\\r\\n' 'From: carol@customer.test' 'To: alice@acme.test' \\
        'Subject: Pump' '' 'Does it run?' |
      curl -sS smtp://{smtp} --mail-from carol@customer.test \\
        --mail-rcpt alice@acme.test -T -

  The same by a mail client: SMTP {smtp}. A mail from
  alice@acme.test to carol=customer.test@bridge.acme.test goes to Carol as chat.
"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_welcome_fits_a_terminal() {
        let text = welcome("http://127.0.0.1:18080", "127.0.0.1:12525");
        // One line is the prompt's.
        assert!(text.lines().count() < 24, "{text}");
        assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
    }

    #[test]
    fn the_people_are_a_declaration() {
        assert_eq!(apply::read(PEOPLE).expect("is taken").passwords(), 3);
        for who in AT_THEIR_CHAT {
            assert!(ImAddress::parse(who).is_ok() && PEOPLE.contains(&format!("im = [\"{who}\"]")));
        }
    }
}
