//! The promises of the store: grouped commits stay apart, guards hold, tenants stay apart.

use isthmus_domain::{
    clock::{Chance, Millis},
    ids::OutboundId,
};
use std::sync::Arc;

use crate::{ApplyContact, ApplyMember, ApplyTenant, ChangeSet, Store, StoreConfig, rows};

async fn store() -> (Store, tempfile::TempDir) {
    let dir = tempfile::tempdir().expect("a folder");
    let config = StoreConfig {
        url: format!("sqlite://{}", dir.path().join("t.db").display()),
        blobs: dir.path().join("blobs"),
    };
    (Store::open(&config).await.expect("opens"), dir)
}

fn tenant(slug: &str) -> ApplyTenant {
    ApplyTenant {
        slug: slug.into(),
        name: slug.into(),
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
        members: vec![ApplyMember {
            email: format!("alice@{slug}.test"),
            name: "Alice".into(),
            role: "owner".into(),
            password_hash: None,
            im: vec![format!("xmpp:alice@chat.{slug}.test")],
        }],
        contacts: vec![ApplyContact {
            email: "carol@customer.test".into(),
            name: "Carol".into(),
            im: vec!["xmpp:carol@chat.test".into()],
            verified: true,
        }],
    }
}

fn transaction(tenant: &str, id: &str, dedupe: Option<&str>) -> rows::Transaction {
    rows::Transaction {
        id: id.into(),
        tenant_id: tenant.into(),
        member_id: None,
        service: "mail.in".into(),
        source: "smtp".into(),
        params: "{}".into(),
        state: "received".into(),
        reason: None,
        admission: None,
        dedupe: dedupe.map(Into::into),
        attempts: 0,
        at: 1,
        ended_at: None,
    }
}

fn delivery(tenant: &str, version: i64, state: &str) -> rows::Delivery {
    rows::Delivery {
        id: "dlv_1".into(),
        tenant_id: tenant.into(),
        transaction_id: "t".into(),
        conversation_id: "c".into(),
        message_id: "m".into(),
        seq: 1,
        medium: "im".into(),
        person: "p".into(),
        address: "xmpp:a@b".into(),
        member_id: None,
        source: "api".into(),
        wire_id: "w".into(),
        body: String::new(),
        state: state.into(),
        data: "{}".into(),
        history: "[]".into(),
        question: None,
        due_at: Some(1),
        version,
        created_at: 1,
    }
}

#[tokio::test]
async fn one_bad_set_does_not_take_its_neighbours_along() {
    let (store, _dir) = store().await;
    let commit = |id: &'static str, mark: &'static str| {
        let store = store.clone();
        async move {
            let new_transactions = vec![transaction("ten", id, Some(mark))];
            store.commit(ChangeSet { new_transactions, ..Default::default() }).await
        }
    };
    commit("t0", "same").await.expect("the first");
    let (a, b, c) = tokio::join!(commit("t1", "x"), commit("t2", "same"), commit("t3", "y"));
    a.expect("its own");
    c.expect("its own");
    assert!(b.expect_err("a clash").is_duplicate());
    let open = store.open_transactions(None, 10).await.expect("reads");
    assert_eq!(open.iter().map(|t| t.id.as_str()).collect::<Vec<_>>(), ["t0", "t1", "t3"]);
}

#[tokio::test]
async fn a_delivery_that_moved_meanwhile_is_not_overwritten() {
    let (store, _dir) = store().await;
    let put = |d: Vec<rows::Delivery>| {
        let store = store.clone();
        async move { store.commit(ChangeSet { put_deliveries: d, ..Default::default() }).await }
    };
    put(vec![delivery("t", 1, "accepted")]).await.expect("new");
    put(vec![delivery("t", 2, "sending"), delivery("t", 3, "delivered")]).await.expect("two steps");
    assert!(put(vec![delivery("t", 2, "aborted")]).await.is_err());
    let now = store.of("t").delivery("dlv_1").await.expect("reads").expect("there");
    assert_eq!((now.version, now.state.as_str()), (3, "delivered"));
}

#[tokio::test]
async fn a_tenant_sees_only_its_own() {
    let (store, _dir) = store().await;
    store
        .commit(ChangeSet {
            new_transactions: vec![transaction("a", "t1", None)],
            ..Default::default()
        })
        .await
        .expect("commits");
    assert!(store.of("a").transaction("t1").await.expect("reads").is_some());
    assert!(store.of("b").transaction("t1").await.expect("reads").is_none());
}

#[tokio::test]
async fn declaring_twice_changes_nothing_and_a_domain_has_one_owner() {
    let (store, _dir) = store().await;
    let chance = Arc::new(Chance::seeded([1; 32]));
    let apply = |t: Vec<ApplyTenant>| store.apply(t, Millis(5), Arc::clone(&chance));
    let first = apply(vec![tenant("acme"), tenant("beta")]).await.expect("applies");
    let again = apply(vec![tenant("acme"), tenant("beta")]).await.expect("applies again");
    assert_eq!(first, again);
    let directory = store.directory();
    let acme = directory.by_bridge("bridge.acme.test").expect("there");
    assert_eq!(
        acme.im_of("carol@customer.test").map(|m| m.im.as_str()),
        Some("xmpp:carol@chat.test")
    );
    let mut thief = tenant("thief");
    thief.domains = vec!["acme.test".into()];
    assert!(apply(vec![thief]).await.is_err());
    assert!(store.directory().by_slug("thief").is_none());
}

#[tokio::test]
async fn large_octets_lie_in_a_file_and_small_ones_in_the_row() {
    let (store, _dir) = store().await;
    for size in [10, 200_000] {
        let data = bytes::Bytes::from(vec![7_u8; size]);
        let blob = store.keep_blob("t", data.clone()).await.expect("kept");
        let hash = blob.hash.clone();
        store
            .commit(ChangeSet { once_blobs: vec![blob], ..Default::default() })
            .await
            .expect("commits");
        assert_eq!(store.of("t").blob(&hash).await.expect("reads"), Some(data));
        assert_eq!(store.of("other").blob(&hash).await.expect("reads"), None);
        assert_eq!(store.of("t").blob_file(&hash).await.expect("reads").is_some(), size > 100_000);
    }
}

/// The same mail comes twice at once: one is not stored, and shall not take the other's file along.
#[tokio::test]
async fn octets_that_one_gives_up_stay_for_whoever_still_stores_them() {
    let (store, dir) = store().await;
    let data = bytes::Bytes::from(vec![7_u8; 200_000]);
    let keep = || async { store.keep_blob("t", data.clone()).await.expect("kept") };
    let (one, other) = (keep().await, keep().await);
    let file = dir.path().join("blobs/t").join(&one.hash[..2]).join(&one.hash);
    store.drop_unused(&one).await;
    let once_blobs = vec![other.clone()];
    store.commit(ChangeSet { once_blobs, ..Default::default() }).await.expect("commits");
    let there = store.of("t").blob(&other.hash).await.expect("reads");
    assert!(there == Some(data.clone()), "the file of a committed row is gone");
    // Nor when the row was there first.
    store.drop_unused(&keep().await).await;
    assert!(file.exists());

    // The last one to give up takes it away, and it may come again.
    let data = bytes::Bytes::from(vec![8_u8; 200_000]);
    let keep = || async { store.keep_blob("t", data.clone()).await.expect("kept") };
    let (one, other) = (keep().await, keep().await);
    let file = dir.path().join("blobs/t").join(&one.hash[..2]).join(&one.hash);
    store.drop_unused(&one).await;
    assert!(file.exists());
    store.drop_unused(&other).await;
    assert!(!file.exists());
    let _ = keep().await;
    assert!(file.exists());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn whoever_is_told_that_octets_are_stored_finds_them_whatever_others_give_up() {
    let (store, _dir) = store().await;
    for round in 0..30_u8 {
        let data = bytes::Bytes::from(vec![round; 100_000]);
        let gives_up = |n: usize| {
            let (store, data) = (store.clone(), data.clone());
            tokio::spawn(async move {
                for _ in 0..n {
                    let blob = store.keep_blob("t", data.clone()).await.expect("kept");
                    store.drop_unused(&blob).await;
                }
            })
        };
        let others = [gives_up(5), gives_up(5), gives_up(5)];
        let blob = store.keep_blob("t", data.clone()).await.expect("kept");
        let (hash, once_blobs) = (blob.hash.clone(), vec![blob]);
        store.commit(ChangeSet { once_blobs, ..Default::default() }).await.expect("commits");
        for other in others {
            other.await.expect("nobody panics");
        }
        let there = store.of("t").blob(&hash).await.expect("reads");
        assert!(there == Some(data), "round {round}: the file of a committed row is gone");
    }
}

/// A tenant that is declared again after it was deleted is a new one: what waited stays closed.
#[tokio::test]
async fn abuse_tenancy_54_a_deleted_tenant_stays_deleted_when_its_file_is_applied_again() {
    let (store, _dir) = store().await;
    let chance = Arc::new(Chance::seeded([2; 32]));
    let apply = |t: Vec<ApplyTenant>| store.apply(t, Millis(5), Arc::clone(&chance));
    let ids = apply(vec![tenant("acme"), tenant("beta")]).await.expect("applies");
    let other = rows::Delivery { id: "dlv_2".into(), ..delivery(&ids[1], 1, "retrying") };
    let put_deliveries = vec![delivery(&ids[0], 1, "retrying"), other];
    store.commit(ChangeSet { put_deliveries, ..Default::default() }).await.expect("commits");
    store.delete_tenant(ids[0].clone(), Millis(6), Arc::clone(&chance)).await.expect("deletes");
    let again = apply(vec![tenant("acme"), tenant("beta")]).await.expect("applies again");
    assert_ne!(again[0], ids[0]);
    assert_eq!(again[1], ids[1]);
    let gone = store.of(&ids[0]).delivery("dlv_1").await.expect("reads").expect("kept");
    assert_eq!((gone.state.as_str(), gone.due_at), ("failed", None));
    assert!(gone.history.contains("the tenant was deleted"), "{}", gone.history);
    let waits = store.of(&ids[1]).delivery("dlv_2").await.expect("reads").expect("kept");
    assert_eq!(waits.state, "retrying");
    let page = crate::Page { before: None, limit: 10 };
    let log = store.of(&ids[0]).audit(&page).await.expect("reads");
    assert!(log.iter().any(|a| a.action == "tenant.delete" && a.actor == "operator"));
}

#[tokio::test]
async fn a_domain_that_is_declared_no_longer_is_free() {
    let (store, _dir) = store().await;
    let chance = Arc::new(Chance::seeded([3; 32]));
    let apply = |t: Vec<ApplyTenant>| store.apply(t, Millis(5), Arc::clone(&chance));
    let (mut acme, mut beta) = (tenant("acme"), tenant("beta"));
    apply(vec![acme.clone()]).await.expect("applies");
    beta.domains.push("acme.test".into());
    assert!(apply(vec![beta.clone()]).await.is_err());
    acme.domains.clear();
    // In either order within one file.
    apply(vec![beta, acme]).await.expect("moves");
    let directory = store.directory();
    assert_eq!(directory.by_domain("acme.test").map(|t| t.tenant.slug.as_str()), Some("beta"));
}

/// Of people whose address does not fit 64 octets: declared, or met in a conversation.
#[tokio::test]
async fn a_long_address_has_an_alias_on_its_own_bridge_domain() {
    let (store, _dir) = store().await;
    let chance = Arc::new(Chance::seeded([1; 32]));
    let long = |letter: &str| format!("{}@customer.test", letter.repeat(60));
    let mut acme = tenant("acme");
    acme.contacts[0].email = long("b");
    store.apply(vec![acme, tenant("beta")], Millis(5), chance).await.expect("applies");
    let bridge = |slug: &str| store.directory().by_slug(slug).expect("there").clone();
    let address = bridge("acme").bridge_address(&long("b")).expect("an address");
    let (local, domain) = address.split_once('@').expect("an address");
    let alias = local.strip_prefix("a-").expect("an alias");
    assert_eq!(domain, "bridge.acme.test");
    assert_eq!(bridge("acme").alias(alias), Some(long("b").as_str()));
    assert_eq!(bridge("beta").alias(alias), None);
    let short = bridge("acme").bridge_address("bob@acme.test");
    assert_eq!(short.as_deref(), Some("bob=acme.test@bridge.acme.test"));

    let id = bridge("acme").tenant.id.clone();
    let alias = crate::alias_of(&id, &long("c")).expect("it does not fit");
    let row = rows::Alias { tenant_id: id, alias: alias.clone(), email: long("c") };
    store
        .commit(ChangeSet { once_aliases: vec![row], ..Default::default() })
        .await
        .expect("commits");
    store.refresh_directory().await.expect("reads");
    assert_eq!(bridge("acme").alias(&alias), Some(long("c").as_str()));
}

/// What is passed on, and what the bridge itself says, does not use up what members may send.
#[tokio::test]
async fn the_quota_counts_mails_of_people_only() {
    let (store, _dir) = store().await;
    let mail = |id: &str, kind: &str| rows::Outbound {
        id: OutboundId::derived(Millis(7), &[id.as_bytes()]).into(),
        tenant_id: "t".into(),
        seq: 1,
        delivery_id: None,
        kind: kind.into(),
        mail_from: String::new(),
        rcpt: "carol@customer.test".into(),
        subject: String::new(),
        message_id: String::new(),
        raw_hash: String::new(),
        route: None,
        state: "queued".into(),
        attempts: 0,
        next_at: None,
        last_reply: None,
        created_at: 7,
        ended_at: None,
    };
    let once_outbound = vec![mail("1", "message"), mail("2", "notice"), mail("3", "forward")];
    store.commit(ChangeSet { once_outbound, ..Default::default() }).await.expect("commits");
    assert_eq!(store.of("t").outbound_since(7).await.expect("counts"), 1);
    assert_eq!(store.of("t").outbound_since(8).await.expect("counts"), 0);
}

/// The router may have planned this before the contact was deleted.
#[tokio::test]
async fn a_deleted_contact_is_not_brought_back_by_an_introduction() {
    let (store, _dir) = store().await;
    let chance = Arc::new(Chance::seeded([4; 32]));
    store.apply(vec![tenant("acme")], Millis(1), chance).await.expect("applies");
    let carol = || {
        let directory = store.directory();
        directory.by_slug("acme").and_then(|t| t.contact("carol@customer.test").cloned())
    };
    let there = carol().expect("declared");
    let known = rows::Contact { introduced_at: Some(5), name: "Old".into(), ..there.clone() };
    let introduced = ChangeSet { introduced_contacts: vec![known], ..Default::default() };
    store.commit(introduced.clone()).await.expect("commits");
    let now = carol().expect("there");
    assert_eq!((now.introduced_at, now.name.as_str()), (Some(5), "Carol"));
    let gone = ChangeSet { gone_contacts: vec![there.id], ..Default::default() };
    store.commit(gone).await.expect("commits");
    assert!(carol().is_none());
    store.commit(introduced).await.expect("commits");
    assert!(carol().is_none());
}
