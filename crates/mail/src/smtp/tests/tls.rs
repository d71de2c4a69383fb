//! Encrypted connections, and who may sign in on them.

use std::time::Duration;

use base64::{Engine, engine::general_purpose::STANDARD};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio_rustls::client::TlsStream;

use super::*;

/// A certificate for `localhost` that nobody signed, and a server that shows it.
pub(crate) fn identity() -> (CertificateDer<'static>, Arc<rustls::ServerConfig>) {
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let cert = made.cert.der().clone();
    let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![cert.clone()], key)
        .unwrap();
    (cert, Arc::new(config))
}

async fn encrypt(
    peer: Peer<DuplexStream>,
    cert: CertificateDer<'static>,
) -> Peer<TlsStream<DuplexStream>> {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(cert).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = ServerName::try_from("localhost").unwrap();
    Peer::new(
        tokio_rustls::TlsConnector::from(Arc::new(config))
            .connect(name, peer.stream)
            .await
            .unwrap(),
    )
}

#[tokio::test]
async fn starttls_then_auth_then_relay() {
    let (cert, config) = identity();
    let rig = Rig::with(Limits::default(), TlsMode::StartTls(config));
    let mut peer = rig.dial();
    peer.expect("220").await;
    let offered = peer.ask("EHLO client.test\r\n", "250").await;
    assert!(offered.contains("STARTTLS") && !offered.contains("AUTH"));
    peer.ask("AUTH PLAIN AGEAYg==\r\n", "538 5.7.11").await;
    peer.ask("STARTTLS\r\n", "220 2.0.0").await;
    let mut peer = encrypt(peer, cert).await;
    // RFC 3207 section 4.2: nothing said before counts.
    peer.ask("MAIL FROM:<a@x.test>\r\n", "503").await;
    let offered = peer.ask("EHLO client.test\r\n", "250").await;
    assert!(!offered.contains("STARTTLS") && offered.contains("AUTH PLAIN LOGIN"));
    peer.ask("STARTTLS\r\n", "503").await;
    let wrong = STANDARD.encode("\0al\0wrong");
    peer.ask(&format!("AUTH PLAIN {wrong}\r\n"), "535").await;
    peer.ask("AUTH LOGIN\r\n", "334 VXNlcm5hbWU6").await;
    peer.ask("*\r\n", "501 5.7.0").await;
    peer.ask("AUTH LOGIN\r\n", "334 VXNlcm5hbWU6").await;
    peer.ask(&format!("{}\r\n", STANDARD.encode("al")), "334 UGFzc3dvcmQ6").await;
    peer.ask(&format!("{}\r\n", STANDARD.encode("right")), "235 2.7.0").await;
    peer.ask("AUTH PLAIN\r\n", "503").await;
    peer.ask("MAIL FROM:<al@acme.test>\r\n", "250").await;
    peer.ask("RCPT TO:<x@elsewhere.test>\r\n", "250").await;
    peer.ask("DATA\r\n", "354").await;
    peer.ask("x\r\n.\r\n", "250").await;
    let got = rig.host.got.lock().unwrap();
    assert!(got[0].session.tls);
    assert_eq!(got[0].session.identity.as_deref(), Some("al"));
    assert!(received_header(&got[0].session, "mx", "i", None, "d").contains("with ESMTPSA"));
}

#[tokio::test]
async fn guessing_passwords_ends_the_session() {
    let (cert, config) = identity();
    let rig = Rig::with(Limits::default(), TlsMode::Implicit(config));
    let mut peer = encrypt(rig.dial(), cert).await;
    peer.expect("220").await;
    peer.ask("EHLO client.test\r\n", "250").await;
    for _ in 0..3 {
        peer.ask("AUTH PLAIN\r\n", "334").await;
        peer.ask(&format!("{}\r\n", STANDARD.encode("\0al\0wrong")), "535").await;
    }
    peer.expect("421 4.7.0").await;
    peer.expect_closed().await;
}

#[tokio::test]
async fn abuse_smtp_02_bytes_after_starttls_are_refused() {
    let (cert, config) = identity();
    let rig = Rig::with(Limits::default(), TlsMode::StartTls(config));
    let mut peer = rig.hello().await;
    peer.ask("STARTTLS\r\nMAIL FROM:<evil@x.test>\r\n", "503 5.5.1").await;
    peer.expect_closed().await;
    // The twin that waits gets its encrypted session.
    let mut peer = rig.hello().await;
    peer.ask("STARTTLS\r\n", "220").await;
    let mut peer = encrypt(peer, cert).await;
    peer.ask("EHLO client.test\r\n", "250").await;
    peer.mail("x\r\n.\r\n", "250").await;
}

#[tokio::test(start_paused = true)]
async fn abuse_smtp_06_a_handshake_has_a_deadline() {
    let (_, config) = identity();
    let rig = Rig::with(Limits::default(), TlsMode::StartTls(config));
    let mut peer = rig.hello().await;
    peer.ask("STARTTLS\r\n", "220").await;
    let begun = tokio::time::Instant::now();
    peer.expect_closed().await;
    assert_eq!(begun.elapsed().as_secs(), Duration::from_secs(30).as_secs());
}
