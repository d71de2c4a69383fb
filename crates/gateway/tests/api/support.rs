//! A gateway over a store in a folder of its own, two tenants, and a way to ask it things.

use std::{
    collections::HashMap,
    path::PathBuf,
    sync::{Arc, atomic::AtomicU64},
};

use actix_web::{
    App,
    body::BoxBody,
    dev::ServiceResponse,
    http::{Method, StatusCode, header::HeaderMap},
    test, web,
};
use bytes::Bytes;
use isthmus_domain::{
    clock::{Chance, ManualClock, Millis},
    delivery::State,
    signed::SignedLinks,
};
use isthmus_gateway::{Gateway, GatewayConfig, api::Api, sign_in::secret_hash};
use isthmus_queue::{Bus, Queue, Signals};
use isthmus_store::{
    ApplyContact, ApplyMember, ApplyTenant, ChangeSet, Store, StoreConfig, blob_hash, rows,
};
use serde_json::Value;

/// Keys of the world's people.
pub(crate) const ALICE: &str = "key-of-alice";
pub(crate) const BOB: &str = "key-of-bob";
pub(crate) const ACME: &str = "key-of-acme";
pub(crate) const MALLORY: &str = "key-of-mallory-at-another-tenant";
pub(crate) const OPERATOR: &str = "key-of-the-operator";

pub(crate) const NOW: Millis = Millis(1_767_268_800_000);

pub(crate) struct World {
    pub(crate) gateway: Arc<Gateway>,
    pub(crate) clock: Arc<ManualClock>,
    pub(crate) api: Api,
    pub(crate) acme: String,
    counter: AtomicU64,
    _folder: tempfile::TempDir,
}

pub(crate) struct Reply {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) octets: Bytes,
}

impl Reply {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.octets).unwrap_or_else(|e| panic!("{e}: {:?}", self.octets))
    }

    /// Status and problem code.
    pub(crate) fn problem(&self) -> (u16, String) {
        assert_eq!(self.header("content-type"), "application/problem+json");
        (self.status.as_u16(), self.json()["code"].as_str().expect("a code").to_owned())
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |v| v.to_str().expect("ASCII"))
    }
}

pub(crate) fn tenant(slug: &str, members: &[&str]) -> ApplyTenant {
    let member = |name: &&str| ApplyMember {
        email: format!("{name}@{slug}.test"),
        name: format!("{}{}", name[..1].to_uppercase(), &name[1..]),
        role: if *name == "alice" { "owner" } else { "member" }.into(),
        password_hash: None,
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
            im: vec!["xmpp:carol@chat.test".into()],
            verified: true,
        }],
    }
}

impl World {
    pub(crate) async fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let store = Store::open(&StoreConfig {
            url: format!("sqlite://{}", folder.path().join("t.db").display()),
            blobs: folder.path().join("blobs"),
        })
        .await
        .expect("opens");
        let clock = Arc::new(ManualClock::at(NOW));
        let chance = Arc::new(Chance::seeded([3; 32]));
        let tenants = vec![tenant("acme", &["alice", "bob"]), tenant("evil", &["mallory"])];
        let ids = store.apply(tenants, NOW, Arc::clone(&chance)).await.expect("applied");
        let config = GatewayConfig {
            public_url: "http://localhost".into(),
            hostname: "localhost".into(),
            installation: "test".into(),
            trusted_networks: vec![],
            spool: PathBuf::new(),
            keeps_mail: true,
            file_hosts: vec![],
            demo_logins: vec![],
        };
        let gateway = Arc::new(Gateway {
            store,
            queue: Queue::default(),
            bus: Bus::default(),
            signals: Signals::channel(16).0,
            networks: HashMap::new(),
            links: SignedLinks::new(b"a secret of at least thirty-two octets!"),
            clock: clock.clone(),
            chance,
            config,
        });
        let (counter, api) = (AtomicU64::new(0), Api::default());
        let world = Self { gateway, clock, api, acme: ids[0].clone(), counter, _folder: folder };
        for (key, tenant, email) in [
            (ALICE, Some(&ids[0]), Some("alice@acme.test")),
            (BOB, Some(&ids[0]), Some("bob@acme.test")),
            (ACME, Some(&ids[0]), None),
            (MALLORY, Some(&ids[1]), Some("mallory@evil.test")),
            (OPERATOR, None, None),
        ] {
            world.add_key(key, tenant, email).await;
        }
        world
    }

    async fn add_key(&self, key: &str, tenant: Option<&String>, email: Option<&str>) {
        let (store, directory) = (&self.gateway.store, self.gateway.store.directory());
        let member =
            email.and_then(|e| directory.members_called(e).next().map(|(_, m)| m.id.clone()));
        let (hash, chance) = (secret_hash(key), Arc::clone(&self.gateway.chance));
        store.add_key(hash, tenant.cloned(), member, NOW, chance).await.expect("kept");
    }

    pub(crate) fn member(&self, email: &str) -> rows::Member {
        let directory = self.gateway.store.directory();
        directory.members_called(email).next().expect("a member").1.clone()
    }

    /// Sends any request.
    pub(crate) async fn send(&self, request: test::TestRequest) -> ServiceResponse<BoxBody> {
        let (gateway, api) = (web::Data::from(Arc::clone(&self.gateway)), self.api.clone());
        let app = App::new().app_data(gateway).configure(|cfg| api.configure(cfg));
        let app = test::init_service(app).await;
        match test::try_call_service(&app, request.to_request()).await {
            Ok(response) => response.map_into_boxed_body(),
            Err(error) => panic!("an error that did not become a response: {error}"),
        }
    }

    pub(crate) async fn ask(&self, request: test::TestRequest) -> Reply {
        let response = self.send(request).await;
        let (status, headers) = (response.status(), response.headers().clone());
        Reply { status, headers, octets: test::read_body(response).await }
    }

    pub(crate) async fn get(&self, key: &str, path: &str) -> Reply {
        self.ask(request(Method::GET, path, key)).await
    }

    pub(crate) async fn post(&self, key: &str, path: &str, body: Value) -> Reply {
        self.ask(request(Method::POST, path, key).set_json(body)).await
    }

    /// The same with an Idempotency-Key.
    pub(crate) async fn post_once(&self, key: &str, path: &str, once: &str, body: Value) -> Reply {
        self.ask(
            request(Method::POST, path, key)
                .insert_header(("Idempotency-Key", once))
                .set_json(body),
        )
        .await
    }

    pub(crate) fn fresh(&self, prefix: &str) -> String {
        let n = self.counter.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        format!("{prefix}_{n:026}")
    }

    pub(crate) async fn commit(&self, set: ChangeSet) {
        self.gateway.store.commit(set).await.expect("committed");
    }

    /// A conversation of Alice with Carol that holds these texts; mails and chat lines in turn.
    /// Returns its id and the ids of its messages.
    pub(crate) async fn conversation(&self, texts: &[&str]) -> (String, Vec<String>) {
        let id = self.fresh("cnv");
        let alice = self.member("alice@acme.test");
        let mut set = ChangeSet::default();
        let at = NOW.0 + texts.len() as i64;
        set.put_conversations.push(rows::Conversation {
            id: id.clone(),
            tenant_id: self.acme.clone(),
            subject: "Pump".into(),
            pair: "alice@acme.test carol@customer.test".into(),
            created_at: NOW.0,
            last_at: at,
        });
        for (person, member) in [("alice@acme.test", Some(alice.id)), ("carol@customer.test", None)]
        {
            set.put_participants.push(participant(
                &self.acme,
                &id,
                person,
                member,
                self.gateway.chance.token(),
            ));
        }
        let mut ids = Vec::new();
        for (i, text) in texts.iter().enumerate() {
            let mut message = message(&self.acme, &id, self.fresh("msg"), text, i as i64);
            if i % 2 == 0 {
                let raw = format!(
                    "From: carol@customer.test\r\nSubject: Pump\r\n\r\n{text}\r\nFrom here.\r\n"
                );
                message.raw_hash = Some(blob_hash(raw.as_bytes()));
                let blob =
                    self.gateway.store.keep_blob(&self.acme, raw.into()).await.expect("kept");
                set.once_blobs.push(blob);
            } else {
                message.medium = "im".into();
            }
            ids.push(message.id.clone());
            set.once_messages.push(message);
        }
        self.commit(set).await;
        (id, ids)
    }

    /// A file that belongs to a message.
    pub(crate) async fn attach(&self, message: &str, name: &str, octets: &[u8]) -> String {
        let id = self.fresh("att");
        let blob =
            self.gateway.store.keep_blob(&self.acme, octets.to_vec().into()).await.expect("kept");
        let mut set = ChangeSet::default();
        set.once_attachments.push(rows::Attachment {
            id: id.clone(),
            tenant_id: self.acme.clone(),
            message_id: message.into(),
            position: 0,
            name: name.into(),
            media_type: "text/html".into(),
            size: octets.len() as i64,
            hash: blob.hash.clone(),
            content_id: None,
        });
        set.once_blobs.push(blob);
        self.commit(set).await;
        id
    }

    /// A delivery of Alice's in this state.
    pub(crate) async fn delivery(&self, state: &State) -> String {
        let id = self.fresh("dlv");
        let mut set = ChangeSet::default();
        set.put_deliveries.push(rows::Delivery {
            id: id.clone(),
            tenant_id: self.acme.clone(),
            transaction_id: self.fresh("txn"),
            conversation_id: self.fresh("cnv"),
            message_id: self.fresh("msg"),
            seq: 1,
            medium: "im".into(),
            person: "carol@customer.test".into(),
            address: "xmpp:carol@chat.test".into(),
            member_id: Some(self.member("alice@acme.test").id),
            source: "api".into(),
            wire_id: id.clone(),
            body: r#"{"rules":{"can_email":true}}"#.into(),
            state: state.name().into(),
            data: serde_json::to_string(state).expect("JSON"),
            history: "[]".into(),
            question: Some("question".into()),
            due_at: None,
            version: 1,
            created_at: NOW.0,
        });
        self.commit(set).await;
        id
    }
}

fn participant(
    tenant: &str,
    conversation: &str,
    person: &str,
    member: Option<String>,
    token: String,
) -> rows::Participant {
    rows::Participant {
        conversation_id: conversation.into(),
        tenant_id: tenant.into(),
        person: person.into(),
        name: person.split('@').next().expect("a name").into(),
        member_id: member,
        token,
        last_medium: "email".into(),
        last_at: 0,
        read_seq: 0,
        told_seq: 0,
        history_seq: 0,
    }
}

fn message(tenant: &str, conversation: &str, id: String, text: &str, i: i64) -> rows::Message {
    rows::Message {
        message_id: format!("{id}@customer.test"),
        id,
        tenant_id: tenant.into(),
        conversation_id: conversation.into(),
        seq: i + 1,
        medium: "email".into(),
        from_person: "carol@customer.test".into(),
        from_name: "Carol".into(),
        to_list: r#"[{"name":"Alice","address":"alice@acme.test"}]"#.into(),
        cc_list: "[]".into(),
        subject: "Pump".into(),
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
        at: NOW.0 + i,
    }
}

pub(crate) fn request(method: Method, path: &str, key: &str) -> test::TestRequest {
    test::TestRequest::with_uri(path)
        .method(method)
        .insert_header(("Authorization", format!("Bearer {key}")))
}
