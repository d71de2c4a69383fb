//! The listener as a whole, over loopback.

use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};

use super::*;

struct Served {
    host: Arc<TestHost>,
    address: std::net::SocketAddr,
    stop: CancellationToken,
    task: tokio::task::JoinHandle<std::io::Result<()>>,
    _dir: tempfile::TempDir,
}

async fn start(limits: Limits) -> Served {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (host, stop) = (Arc::new(TestHost::default()), CancellationToken::new());
    let dir = tempfile::tempdir().unwrap();
    let spool = dir.path().join("spool");
    let task =
        tokio::spawn(serve(listener, TlsMode::None, host.clone(), limits, spool, stop.clone()));
    Served { host, address, stop, task, _dir: dir }
}

impl Served {
    async fn hello(&self) -> Peer<TcpStream> {
        let mut peer = Peer::new(TcpStream::connect(self.address).await.unwrap());
        peer.expect("220").await;
        peer.ask("EHLO client.test\r\n", "250").await;
        peer
    }
}

#[tokio::test]
async fn a_stop_lets_a_mail_finish_and_tells_the_others() {
    let served = start(Limits::default()).await;
    let mut idle = served.hello().await;
    let mut busy = served.hello().await;
    busy.begin_mail().await;
    busy.send("half a mail").await;
    tokio::time::sleep(Duration::from_millis(50)).await;
    served.stop.cancel();
    idle.expect("421 4.3.2").await;
    idle.expect_closed().await;
    assert!(TcpStream::connect(served.address).await.is_err(), "nobody comes in any more");
    busy.ask(" and the rest\r\n.\r\n", "250").await;
    busy.expect("421 4.3.2").await;
    drop((busy, idle));
    served.task.await.unwrap().unwrap();
    assert_eq!(served.host.mails(), ["half a mail and the rest\r\n"]);
}

#[tokio::test]
async fn a_stop_does_not_wait_for_a_mail_that_does_not_come() {
    let served =
        start(Limits { stop_grace: Duration::from_millis(200), ..Limits::default() }).await;
    let mut stuck = served.hello().await;
    stuck.begin_mail().await;
    served.stop.cancel();
    stuck.expect("421 4.3.2").await;
    drop(stuck);
    tokio::time::timeout(Duration::from_secs(3), served.task).await.unwrap().unwrap().unwrap();
    assert_eq!(served.host.mails().len(), 0);
}

#[tokio::test]
async fn a_panic_ends_one_session_only() {
    let served = start(Limits::default()).await;
    let mut neighbour = served.hello().await;
    let mut doomed = served.hello().await;
    doomed.send("MAIL FROM:<panic@x.test>\r\n").await;
    doomed.expect_closed().await;
    neighbour.mail("x\r\n.\r\n", "250").await;
    served.hello().await.mail("y\r\n.\r\n", "250").await;
    assert_eq!(served.host.mails().len(), 2);
}

#[tokio::test]
async fn too_many_sessions_are_turned_away_until_one_leaves() {
    let served = start(Limits { max_sessions_per_peer: 2, ..Limits::default() }).await;
    let first = served.hello().await;
    let _second = served.hello().await;
    let mut third = Peer::new(TcpStream::connect(served.address).await.unwrap());
    third.expect("421 4.7.0").await;
    third.expect_closed().await;
    drop(first);
    for _ in 0..100 {
        let mut peer = Peer::new(TcpStream::connect(served.address).await.unwrap());
        if peer.reply().await.is_some_and(|r| r.starts_with("220")) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("the place was never given back");
}
