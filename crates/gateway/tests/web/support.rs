//! A gateway with two tenants, their pages, and browsers with cookies of their own.

use std::{
    collections::{BTreeMap, HashMap},
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use actix_web::{
    App,
    body::BoxBody,
    dev::ServiceResponse,
    http::{StatusCode, header::HeaderMap},
    test,
};
use isthmus_domain::{
    clock::{Chance, ManualClock, Millis},
    delivery::State,
    signed::SignedLinks,
};
use isthmus_gateway::{
    Gateway, GatewayConfig,
    sign_in::hash_password,
    web::{PageTimes, Portal},
    webchat::WebChat,
};
use isthmus_im::{Event, ImNetwork};
use isthmus_queue::{Bus, Queue, Signals};
use isthmus_store::{
    ApplyContact, ApplyMember, ApplyTenant, ChangeSet, Store, StoreConfig, blob_hash, rows,
};
use tokio::sync::mpsc;

pub(crate) const NOW: Millis = Millis(1_772_543_400_000);
pub(crate) const PASSWORD: &str = "correct horse";

pub(crate) struct World {
    pub(crate) gateway: Arc<Gateway>,
    pub(crate) chat: WebChat,
    pub(crate) portal: Portal,
    pub(crate) clock: Arc<ManualClock>,
    pub(crate) acme: String,
    pub(crate) events: mpsc::Receiver<Event>,
    seq: AtomicI64,
    _folder: tempfile::TempDir,
}

/// What came back.
pub(crate) struct Reply {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: String,
}

impl Reply {
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |v| v.to_str().expect("ASCII"))
    }

    /// Where it leads, if it leads somewhere.
    pub(crate) fn to(&self) -> (u16, &str) {
        (self.status.as_u16(), self.header("location"))
    }

    /// The value of a hidden field.
    pub(crate) fn field(&self, name: &str) -> String {
        let mark = format!("name=\"{name}\" value=\"");
        let rest = self.body.split(&mark).nth(1).unwrap_or_else(|| panic!("no field {name}"));
        rest.split('"').next().expect("a value").to_owned()
    }
}

/// A browser.
pub(crate) struct Browser<'w> {
    world: &'w World,
    pub(crate) cookies: BTreeMap<String, String>,
}

fn tenant(slug: &str, members: &[&str], chance: &Chance) -> ApplyTenant {
    let member = |name: &&str| ApplyMember {
        email: format!("{name}@{slug}.test"),
        name: format!("{}{}", name[..1].to_uppercase(), &name[1..]),
        role: "member".into(),
        password_hash: Some(hash_password(PASSWORD, chance).expect("hashed")),
        im: vec![],
    };
    ApplyTenant {
        slug: slug.into(),
        name: format!("{slug} GmbH"),
        domains: vec![format!("{slug}.test")],
        mail_mode: "copy".into(),
        bridge_domain: format!("bridge.{slug}.test"),
        currency: "EUR".into(),
        time_zone: "UTC".into(),
        billing_email: None,
        billing_delivery: vec![],
        forward_to: None,
        xmpp_secret: None,
        policy: None,
        outbound_per_day: 100,
        members: members.iter().map(member).collect(),
        contacts: vec![ApplyContact {
            email: "carol@customer.test".into(),
            name: "Carol".into(),
            im: vec!["web:carol@customer.test".into()],
            verified: true,
        }],
    }
}

impl World {
    pub(crate) async fn new() -> Self {
        Self::at("http://localhost", &[]).await
    }

    pub(crate) async fn at(public_url: &str, demo: &[&str]) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let store = Store::open(&StoreConfig {
            url: format!("sqlite://{}", folder.path().join("t.db").display()),
            blobs: folder.path().join("blobs"),
        })
        .await
        .expect("opens");
        let clock = Arc::new(ManualClock::at(NOW));
        let chance = Arc::new(Chance::seeded([3; 32]));
        let tenants =
            vec![tenant("acme", &["alice", "bob"], &chance), tenant("evil", &["mallory"], &chance)];
        let ids = store.apply(tenants, NOW, Arc::clone(&chance)).await.expect("applied");
        let (events, incoming) = mpsc::channel(64);
        let chat = WebChat::new(store.clone(), events, clock.clone());
        let network: Arc<dyn ImNetwork> = Arc::new(chat.clone());
        let gateway = Arc::new(Gateway {
            store,
            queue: Queue::default(),
            bus: Bus::default(),
            signals: Signals::channel(16).0,
            networks: HashMap::from([("web", network)]),
            links: SignedLinks::new(b"a secret of at least thirty-two octets!"),
            clock: clock.clone(),
            chance,
            config: GatewayConfig {
                public_url: public_url.into(),
                hostname: "localhost".into(),
                installation: "test".into(),
                trusted_networks: vec![],
                spool: PathBuf::new(),
                keeps_mail: true,
                file_hosts: vec![],
                demo_logins: demo.iter().map(|e| ((*e).into(), PASSWORD.into())).collect(),
            },
        });
        chat.set_names(Arc::new(isthmus_gateway::im::DirectoryNames(Arc::clone(&gateway))));
        // No router runs here, so no form needs to wait for one.
        let times = PageTimes { patience: Duration::ZERO, ..PageTimes::default() };
        let portal = Portal::new(Arc::clone(&gateway), chat.clone(), times);
        let seq = AtomicI64::new(1);
        Self {
            gateway,
            chat,
            portal,
            clock,
            acme: ids[0].clone(),
            events: incoming,
            seq,
            _folder: folder,
        }
    }

    pub(crate) fn browser(&self) -> Browser<'_> {
        Browser { world: self, cookies: BTreeMap::new() }
    }

    /// A browser in which somebody is signed in.
    pub(crate) async fn signed_in(&self, email: &str) -> Browser<'_> {
        let mut browser = self.browser();
        let reply = browser.sign_in(email, PASSWORD).await;
        assert_eq!(reply.status, 303, "{}", reply.body);
        browser
    }

    /// A conversation of Alice and Carol in which Carol wrote these.
    pub(crate) async fn conversation(&self, texts: &[&str]) -> (String, Vec<String>) {
        let id = self.id("cnv");
        let person = |key: &str, name: &str, member: Option<String>| rows::Participant {
            conversation_id: id.clone(),
            tenant_id: self.acme.clone(),
            person: key.into(),
            name: name.into(),
            member_id: member,
            token: self.gateway.chance.token(),
            last_medium: "email".into(),
            last_at: NOW.0,
            read_seq: 0,
            told_seq: 0,
            history_seq: 0,
        };
        let alice = self.member("alice@acme.test");
        let mut set = ChangeSet::default();
        set.put_conversations.push(rows::Conversation {
            id: id.clone(),
            tenant_id: self.acme.clone(),
            subject: "Budget".into(),
            pair: "alice@acme.test carol@customer.test".into(),
            created_at: NOW.0,
            last_at: NOW.0,
        });
        set.put_participants.push(person("alice@acme.test", "Alice", Some(alice)));
        set.put_participants.push(person("carol@customer.test", "Carol", None));
        let messages: Vec<rows::Message> =
            texts.iter().map(|t| self.message(&id, "carol@customer.test", t)).collect();
        let ids = messages.iter().map(|m| m.id.clone()).collect();
        set.once_messages = messages;
        self.commit(set).await;
        (id, ids)
    }

    pub(crate) fn message(&self, conversation: &str, from: &str, text: &str) -> rows::Message {
        let seq = self.seq.fetch_add(1, Ordering::SeqCst);
        let id = self.id("msg");
        let to = if from == "alice@acme.test" { "carol@customer.test" } else { "alice@acme.test" };
        rows::Message {
            message_id: format!("{id}@customer.test"),
            id,
            tenant_id: self.acme.clone(),
            conversation_id: conversation.into(),
            seq,
            medium: "email".into(),
            from_person: from.into(),
            from_name: from.split('@').next().unwrap_or_default().into(),
            to_list: serde_json::json!([{"name": "", "address": to}]).to_string(),
            cc_list: "[]".into(),
            subject: "Budget".into(),
            text: text.into(),
            quoted: None,
            html_hash: None,
            raw_hash: None,
            in_reply_to: None,
            refs: "[]".into(),
            verdict: None,
            held: None,
            automatic: false,
            transaction_id: "txn".into(),
            at: NOW.0 + seq,
        }
    }

    /// A message of Alice's to Carol and its delivery in this state.
    pub(crate) async fn delivery(
        &self,
        conversation: &str,
        state: &State,
        question: &str,
    ) -> String {
        let message = self.message(conversation, "alice@acme.test", "Is it paid?");
        let id = self.id("dlv");
        let row = rows::Delivery {
            id: id.clone(),
            tenant_id: self.acme.clone(),
            transaction_id: "txn".into(),
            conversation_id: conversation.into(),
            message_id: message.id.clone(),
            seq: message.seq,
            medium: "im".into(),
            person: "carol@customer.test".into(),
            address: "web:carol@customer.test".into(),
            member_id: Some(self.member("alice@acme.test")),
            source: "smtp".into(),
            wire_id: id.clone(),
            body: "{}".into(),
            state: state.name().into(),
            data: serde_json::to_string(state).expect("a state"),
            history: "[]".into(),
            question: Some(question.into()),
            due_at: None,
            version: 1,
            created_at: NOW.0,
        };
        self.commit(ChangeSet {
            once_messages: vec![message],
            put_deliveries: vec![row],
            ..ChangeSet::default()
        })
        .await;
        id
    }

    /// A file of a message.
    pub(crate) async fn attach(
        &self,
        message: &str,
        name: &str,
        media_type: &str,
        data: &[u8],
    ) -> String {
        let blob =
            self.gateway.store.keep_blob(&self.acme, data.to_vec().into()).await.expect("kept");
        let id = self.id("att");
        let row = rows::Attachment {
            id: id.clone(),
            tenant_id: self.acme.clone(),
            message_id: message.into(),
            position: 0,
            name: name.into(),
            media_type: media_type.into(),
            size: blob.size,
            hash: blob.hash.clone(),
            content_id: None,
        };
        self.commit(ChangeSet {
            once_blobs: vec![blob],
            once_attachments: vec![row],
            ..ChangeSet::default()
        })
        .await;
        id
    }

    /// A link for Carol to a conversation, with this code sent.
    pub(crate) async fn link(&self, conversation: &str, code: Option<&str>) -> String {
        let token = self.gateway.chance.token();
        let link = rows::Link {
            token: token.clone(),
            tenant_id: self.acme.clone(),
            conversation_id: conversation.into(),
            person: "carol@customer.test".into(),
            address: "carol@customer.test".into(),
            up_to_seq: i64::MAX,
            expires_at: NOW.0 + 86_400_000,
            code_hash: code.map(|c| blob_hash(format!("{token}:{c}").as_bytes())),
            code_until: code.map(|_| NOW.0 + 600_000),
            attempts: 0,
            sent: 1,
        };
        self.commit(ChangeSet { put_links: vec![link], ..ChangeSet::default() }).await;
        token
    }

    pub(crate) fn member(&self, email: &str) -> String {
        let directory = self.gateway.store.directory();
        directory.members_called(email).next().expect("a member").1.id.clone()
    }

    /// Transactions that were accepted for a service.
    pub(crate) async fn accepted(&self, service: &str) -> Vec<serde_json::Value> {
        let all = self.gateway.store.open_transactions(None, 100).await.expect("reads");
        all.iter()
            .filter(|t| t.service == service)
            .map(|t| serde_json::from_str(&t.params).expect("parameters"))
            .collect()
    }

    pub(crate) async fn commit(&self, set: ChangeSet) {
        self.gateway.store.commit(set).await.expect("committed");
    }

    fn id(&self, prefix: &str) -> String {
        format!("{prefix}_{}", &self.gateway.chance.token()[..26])
    }
}

impl Browser<'_> {
    pub(crate) async fn get(&mut self, path: &str) -> Reply {
        self.send(test::TestRequest::get().uri(path)).await
    }

    /// Posts a form as a page of ours would.
    pub(crate) async fn post(&mut self, path: &str, fields: &[(&str, &str)]) -> Reply {
        self.send(form(path, fields).insert_header(("Origin", "http://localhost"))).await
    }

    /// Loads a page and posts one of its forms, token included.
    pub(crate) async fn fill(&mut self, page: &str, path: &str, fields: &[(&str, &str)]) -> Reply {
        let csrf = self.get(page).await.field("csrf");
        let mut all = vec![("csrf", csrf.as_str())];
        all.extend_from_slice(fields);
        self.post(path, &all).await
    }

    pub(crate) async fn sign_in(&mut self, email: &str, password: &str) -> Reply {
        self.fill("/sign-in", "/sign-in", &[("email", email), ("password", password)]).await
    }

    pub(crate) async fn send(&mut self, mut request: test::TestRequest) -> Reply {
        let jar: Vec<String> = self.cookies.iter().map(|(k, v)| format!("{k}={v}")).collect();
        if !jar.is_empty() {
            request = request.insert_header(("Cookie", jar.join("; ")));
        }
        let portal = self.world.portal.clone();
        let app = test::init_service(App::new().configure(|cfg| portal.configure(cfg))).await;
        let response: ServiceResponse<BoxBody> =
            test::call_service(&app, request.to_request()).await.map_into_boxed_body();
        for cookie in response.response().cookies() {
            if cookie.value().is_empty() {
                self.cookies.remove(cookie.name());
            } else {
                self.cookies.insert(cookie.name().to_owned(), cookie.value().to_owned());
            }
        }
        let (status, headers) = (response.status(), response.headers().clone());
        let body = test::read_body(response).await;
        Reply { status, headers, body: String::from_utf8_lossy(&body).into_owned() }
    }
}

pub(crate) fn form(path: &str, fields: &[(&str, &str)]) -> test::TestRequest {
    test::TestRequest::post().uri(path).insert_header(("Host", "localhost")).set_form(fields)
}
