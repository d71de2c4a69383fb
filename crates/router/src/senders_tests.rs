//! Senders go on when a network's code gives up in the middle.

use async_trait::async_trait;
use isthmus_domain::{
    address::Email,
    clock::{ManualClock, Millis},
    service::OutFileRef,
    signed::SignedLinks,
};
use isthmus_im::{Names, Presence};
use isthmus_store::{ChangeSet, StoreConfig};

use super::*;
use crate::plan::{Rules, Wire, WireFile};

const TENANT: &str = "ten_1";

/// Breaks over every message with a file.
struct Breaks;

#[async_trait]
impl ImNetwork for Breaks {
    fn name(&self) -> &'static str {
        "xmpp"
    }
    async fn serve(&self, _: Vec<(String, String)>) {}
    fn set_names(&self, _: Arc<dyn Names>) {}
    async fn send(&self, message: OutMessage) -> Result<Sent, SendError> {
        assert!(message.files.is_empty(), "this file is too much");
        Ok(Sent::Written)
    }
    fn presence(&self, _: &str, _: &ImAddress) -> Presence {
        Presence::Available
    }
    async fn watch(&self, _: &str, _: &ImAddress, _: &str) {}
    async fn unwatch(&self, _: &str, _: &ImAddress) {}
}

fn row(id: &str, files: Vec<WireFile>) -> rows::Delivery {
    let wire = Wire {
        text: "Hello.".into(),
        from: Email::parse("alice@acme.test").ok(),
        from_name: "Alice".into(),
        bridge_domain: "bridge.acme.test".into(),
        files,
        rules: Rules::default(),
    };
    rows::Delivery {
        id: id.into(),
        tenant_id: TENANT.into(),
        transaction_id: "t".into(),
        conversation_id: "c".into(),
        message_id: "m".into(),
        seq: 1,
        medium: "im".into(),
        person: "carol@customer.test".into(),
        address: "xmpp:carol@chat.test".into(),
        member_id: None,
        source: "api".into(),
        wire_id: id.into(),
        body: serde_json::to_string(&wire).expect("JSON"),
        state: "sending".into(),
        data: "{}".into(),
        history: "[]".into(),
        question: None,
        due_at: None,
        version: 1,
        created_at: 1,
    }
}

#[tokio::test]
async fn a_file_over_which_the_network_breaks_is_unclear_and_the_lane_goes_on() {
    let folder = tempfile::tempdir().expect("a folder");
    let config = StoreConfig {
        url: format!("sqlite://{}", folder.path().join("t.db").display()),
        blobs: folder.path().join("blobs"),
    };
    let store = Store::open(&config).await.expect("opens");
    let blob = store.keep_blob(TENANT, bytes::Bytes::from_static(b"pump")).await.expect("kept");
    let file = OutFileRef {
        name: "pump.txt".into(),
        media_type: "text/plain".into(),
        size: 4,
        hash: blob.hash.clone(),
        content_id: None,
    };
    let set = ChangeSet { once_blobs: vec![blob], ..Default::default() };
    store.commit(set).await.expect("commits");
    let network: Arc<dyn ImNetwork> = Arc::new(Breaks);
    let config = RouterConfig {
        public_url: "http://localhost".into(),
        installation: "test".into(),
        hostname: "mx.test".into(),
        relay: None,
        retry_interval_ms: 1,
        decision_deadline_ms: 1,
        expire_after_ms: 1,
        receipt_timeout_ms: 1,
    };
    let tools = Tools {
        store,
        networks: HashMap::from([("xmpp", network)]),
        links: SignedLinks::new(&[7; 32]),
        clock: Arc::new(ManualClock::at(Millis(1))),
        config,
    };
    let (results, mut reports) = mpsc::channel(8);
    let mut senders = Senders {
        tools: Arc::new(tools),
        results,
        lanes: HashMap::new(),
        broken: HashSet::new(),
        recalled: HashMap::new(),
    };

    assert!(senders.send(row("dlv_1", vec![WireFile { id: "att_1".into(), file }])));
    let mut report = reports.recv().await.expect("a report");
    while report.handed.is_empty() {
        report = reports.recv().await.expect("a report");
    }
    assert_eq!(report.handed[0].wire_id, "dlv_1");
    assert!(matches!(report.handed[0].result, Err(SendError::Unclear(_))), "{report:?}");
    senders.note(report.lane, report.broken, report.mended);
    let report = reports.recv().await.expect("a report");
    assert!(report.mended && report.handed.is_empty(), "{report:?}");
    senders.note(report.lane, report.broken, report.mended);

    // What comes after it to the same address leaves.
    assert!(senders.send(row("dlv_2", vec![])));
    let report = reports.recv().await.expect("a report");
    assert_eq!(report.handed[0].wire_id, "dlv_2");
    assert!(matches!(report.handed[0].result, Ok(Sent::Written)), "{report:?}");
}
