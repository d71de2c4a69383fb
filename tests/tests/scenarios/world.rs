//! The setting of most scenarios: Acme with Alice and Bob, Carol as their customer, a chat
//! server, and a relay that keeps what is sent out.

use std::{
    net::{IpAddr, Ipv4Addr},
    time::Duration,
};

use isthmus_tests::{
    Api, Isthmus, IsthmusSetup, ReadMail, SinkMail, SmtpClient, SmtpReply, SmtpSink, XmppClient,
    XmppKind, XmppServer, XmppSetup, eventually, send_mail,
};

/// For whatever should happen at once, on a busy machine.
pub(super) const SOON: Duration = Duration::from_secs(20);
/// Long enough for something to be wrong that should not happen.
pub(super) const A_WHILE: Duration = Duration::from_millis(1_500);

/// The domain of Acme's bridge addresses.
pub(super) const BRIDGE: &str = "bridge.acme.test";
/// Carol as an instant message.
pub(super) const CAROL: &str = "carol=customer.test@bridge.acme.test";
/// Alice as Carol's IM contact.
pub(super) const ALICE_CONTACT: &str = r"alice\40acme.test@bridge.acme.test";
/// Carol as a member's IM contact.
pub(super) const CAROL_CONTACT: &str = r"carol\40customer.test@bridge.acme.test";

/// Alice has no chat address, Bob has; Carol has one, Dave has none.
pub(super) const ACME: &str = r#"
[[tenant]]
slug = "acme"
name = "Acme"
domains = ["acme.test"]
mail_mode = "copy"
bridge_domain = "bridge.acme.test"
time_zone = "Europe/Berlin"

[[tenant.member]]
email = "alice@acme.test"
name = "Alice"
role = "owner"
password = "alice-password"

[[tenant.member]]
email = "bob@acme.test"
name = "Bob"
password = "bob-password"
im = ["xmpp:bob@chat.test"]

[[tenant.contact]]
name = "Carol"
email = "carol@customer.test"
im = ["xmpp:carol@chat.test"]
verified = true

[[tenant.contact]]
name = "Dave"
email = "dave@other.test"
"#;

/// A mail from this address is nobody's that is trusted.
const STRANGER: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 66));

/// A mail to be sent.
#[derive(Clone, Debug)]
pub(super) struct Mail {
    pub(super) from: String,
    pub(super) to: String,
    pub(super) subject: String,
    pub(super) id: String,
    pub(super) more: String,
    pub(super) body: String,
}

impl Mail {
    /// From Alice, with an id made of the subject.
    pub(super) fn new(to: &str, subject: &str, body: &str) -> Self {
        let name: String = subject.chars().filter(char::is_ascii_alphanumeric).collect();
        Self {
            from: "alice@acme.test".into(),
            to: to.into(),
            subject: subject.into(),
            id: format!("{name}@client.test"),
            more: String::new(),
            body: body.into(),
        }
    }

    pub(super) fn from(mut self, from: &str) -> Self {
        self.from = from.into();
        self
    }

    /// One more header field.
    pub(super) fn header(mut self, name: &str, value: &str) -> Self {
        self.more.push_str(&format!("{name}: {value}\n"));
        self
    }

    /// As an answer to a mail with this id.
    pub(super) fn answers(self, id: &str) -> Self {
        let id = format!("<{}>", id.trim_matches(['<', '>']));
        self.header("In-Reply-To", &id).header("References", &id)
    }

    /// The bare address of its From.
    pub(super) fn sender(&self) -> &str {
        self.from
            .rsplit_once('<')
            .map_or(self.from.as_str(), |(_, rest)| rest.trim_end_matches('>'))
    }

    /// As it goes over the wire, with LF line ends.
    pub(super) fn raw(&self) -> String {
        let Self { from, to, subject, id, more, body } = self;
        let text = if more.to_ascii_lowercase().contains("content-type:") {
            ""
        } else {
            "Content-Type: text/plain; charset=utf-8\n"
        };
        format!(
            "From: {from}\nTo: {to}\nSubject: {subject}\nMessage-ID: <{id}>\n\
             Date: Sun, 22 Nov 2026 12:00:00 +0000\nMIME-Version: 1.0\n{text}{more}\n{body}\n"
        )
    }
}

/// The setting.
pub(super) struct World {
    pub(super) isthmus: Isthmus,
    pub(super) chat: XmppServer,
    pub(super) sink: SmtpSink,
}

impl World {
    /// With Prosody and defaults.
    pub(super) async fn start() -> Self {
        Self::with(XmppKind::Prosody, setup()).await
    }

    /// With this chat server and configuration.
    pub(super) async fn with(kind: XmppKind, setup: IsthmusSetup) -> Self {
        let people = ["alice", "bob", "carol", "eve"];
        let chat =
            XmppServer::start(kind, XmppSetup::new(&[BRIDGE, "bridge.two.test"], &people)).await;
        let sink = SmtpSink::start().await;
        let isthmus = Isthmus::start(setup.relay(&sink.url()).xmpp(&chat)).await;
        isthmus.apply(ACME).await;
        takes(&isthmus, CAROL).await;
        Self { isthmus, chat, sink }
    }

    /// A person who has accepted the bridge as a contact, and is there.
    pub(super) async fn online(&self, user: &str) -> XmppClient {
        let mut client = self.chat.client(user).await;
        client.expect("the bridge's wish for presence", SOON, |e| e["ev"] == "subscribe").await;
        settle().await;
        client
    }

    /// A person who has accepted the bridge as a contact, and is away.
    pub(super) async fn away(&self, user: &str) -> XmppClient {
        let mut client = self.online(user).await;
        client.go_offline().await;
        settle().await;
        client
    }

    /// Sends a mail from the trusted network to the recipient in its To, expecting `250`.
    pub(super) async fn mail(&self, mail: &Mail) {
        let _ = self.mail_to(mail, &mail.to).await.expect(250);
    }

    /// Sends a mail from the trusted network to an envelope recipient.
    pub(super) async fn mail_to(&self, mail: &Mail, to: &str) -> SmtpReply {
        send_mail(self.isthmus.smtp(), mail.sender(), &[to], &mail.raw()).await
    }

    /// Sends a mail from somewhere for which nothing speaks.
    pub(super) async fn mail_from_a_stranger(&self, mail: &Mail) -> SmtpReply {
        let mut client = SmtpClient::connect_from(STRANGER, self.isthmus.smtp()).await;
        let _ = client.line("EHLO stranger.test").await.expect(250);
        client.mail(mail.sender(), &[&mail.to], &mail.raw()).await
    }

    /// Waits for a mail to `to` whose subject holds `subject`.
    pub(super) async fn sent(&self, to: &str, subject: &str) -> ReadMail {
        let raw = self.sink.expect_mail(to, SOON, |m| subject_of(m).contains(subject)).await.raw;
        ReadMail::read(&raw).await
    }

    /// How many mails to `to` have a subject that holds `subject`.
    pub(super) fn count(&self, to: &str, subject: &str) -> usize {
        let mails = self.sink.mails();
        let all = mails.iter().filter(|m| m.to.iter().any(|t| t == to));
        all.filter(|m| subject_of(m).contains(subject)).count()
    }

    /// The API as Alice.
    pub(super) async fn alice(&self) -> Api {
        self.isthmus.member("acme", "alice@acme.test").await
    }
}

/// Waits until a recipient is known: what commands change acts within two seconds.
pub(super) async fn takes(isthmus: &Isthmus, to: &str) {
    answers(isthmus, to, 250).await;
}

/// Waits until RCPT to this address gives this code.
pub(super) async fn answers(isthmus: &Isthmus, to: &str, code: u16) {
    eventually(&format!("RCPT to {to} gives {code}"), Duration::from_secs(3), || async {
        (recipient(isthmus, to).await == code).then_some(())
    })
    .await;
}

/// What the server says to this recipient.
pub(super) async fn recipient(isthmus: &Isthmus, to: &str) -> u16 {
    let mut client = SmtpClient::connect(isthmus.smtp()).await;
    let _ = client.line("EHLO client.test").await.expect(250);
    let _ = client.line("MAIL FROM:<alice@acme.test>").await.expect(250);
    client.line(&format!("RCPT TO:<{to}>")).await.code
}

/// Loopback's own address is trusted, its neighbours are not; no name server is asked.
pub(super) fn setup() -> IsthmusSetup {
    IsthmusSetup::new()
        .set("SMTP__TRUSTED_NETWORKS", r#"["127.0.0.1/32"]"#)
        .set("DNS__SERVERS", r#"["127.0.0.1:9"]"#)
}

/// Gives presence the moment that it needs to pass through two servers.
pub(super) async fn settle() {
    tokio::time::sleep(Duration::from_millis(400)).await;
}

/// The subject of a mail as it is written; ASCII ones are never encoded.
pub(super) fn subject_of(mail: &SinkMail) -> String {
    mail.header("subject").unwrap_or_default()
}

/// The bare address of a stanza's sender.
pub(super) fn sender(message: &serde_json::Value) -> &str {
    let from = message["from"].as_str().unwrap_or_default();
    from.split('/').next().unwrap_or(from)
}

/// The text of a message.
pub(super) fn body(message: &serde_json::Value) -> &str {
    message["body"].as_str().unwrap_or_default()
}

/// The links in a text whose path starts so.
pub(super) fn links(text: &str, path: &str) -> Vec<String> {
    let words = text.split_whitespace();
    let links = words.filter(|w| w.starts_with("http") && w.contains(path));
    links.map(|link| link.trim_end_matches(['.', ',', ')']).to_owned()).collect()
}

/// Opens a page as a browser would, and presses the button of its form that stands for `value`
/// (the first one for an empty `value`). Returns the page that follows.
pub(super) async fn press(link: &str, value: &str) -> String {
    let base = link.splitn(4, '/').take(3).collect::<Vec<_>>().join("/");
    let http = reqwest::Client::builder().no_proxy().build().expect("a client can be made");
    let page = http.get(link).send().await.expect("the page is there");
    let cookies: Vec<_> = page
        .headers()
        .get_all("set-cookie")
        .iter()
        .filter_map(|c| c.to_str().ok()?.split(';').next().map(str::to_owned))
        .collect();
    assert_eq!(page.status().as_u16(), 200, "{link}");
    let html = page.text().await.expect("the page is text");
    let form = html.split("<form").find(|f| f.contains("action=\"/d/"));
    let form = form.unwrap_or_else(|| panic!("{link} shows no form: {html}"));
    let form = form.split("</form>").next().unwrap_or(form);
    let attribute = |tag: &str, name: &str| {
        let (_, rest) = tag.split_once(&format!("{name}=\""))?;
        rest.split('"').next().map(str::to_owned)
    };
    let mut fields: Vec<(String, String)> = Vec::new();
    for tag in form.split("<input").skip(1).filter(|tag| tag.contains("type=\"hidden\"")) {
        fields.extend(attribute(tag, "name").zip(attribute(tag, "value")));
    }
    let buttons = form.split("<button").skip(1);
    let mut buttons = buttons.map(|tag| (attribute(tag, " name"), attribute(tag, " value")));
    let button = buttons.find(|(_, v)| value.is_empty() || v.as_deref() == Some(value));
    let button = button.unwrap_or_else(|| panic!("{link} has no button {value}: {html}"));
    fields.extend(button.0.zip(button.1));
    let action = attribute(form, "action").expect("the form has an action");
    let answer = http
        .post(format!("{base}{action}"))
        .header("cookie", cookies.join("; "))
        .header("origin", &base)
        .form(&fields)
        .send()
        .await
        .expect("the form is taken");
    assert!(answer.status().is_success(), "the form was refused: {}", answer.status());
    answer.text().await.expect("the page is text")
}
