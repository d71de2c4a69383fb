//! Origins of mails, checked against a DNS server of the tests' own.

use std::{
    net::{IpAddr, Ipv4Addr},
    time::Duration,
};

use isthmus_domain::address::Email;
use mail_auth::common::headers::HeaderWriter;
use rustls::pki_types::pem::PemObject;
use tokio::time::Instant;

use super::{
    dns_stub::{DnsStub, Record},
    *,
};

const PEER: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));
const STRANGER: IpAddr = IpAddr::V4(Ipv4Addr::new(198, 51, 100, 9));

const MAIL: &str = "From: Bob <bob@acme.test>\r\nTo: alice@x.test\r\nSubject: Budget\r\n\
    Date: Mon, 5 Jan 2026 10:00:00 +0000\r\nMessage-ID: <1@acme.test>\r\n\r\nCan you approve?\r\n";

fn email(text: &str) -> Email {
    Email::parse(text).expect("valid")
}

async fn verify(dns: &DnsStub, peer: IpAddr, mail_from: &str, raw: &[u8]) -> Verdict {
    let verifier = Verifier::new(vec![dns.address]).expect("a resolver");
    verifier
        .verify(
            peer,
            "mx.acme.test",
            Some(&email(mail_from)),
            &email("bob@acme.test"),
            &Extract::of(raw),
        )
        .await
}

fn plain() -> Extract {
    Extract::of(MAIL.as_bytes())
}

fn signed(key: &DkimKey, domain: &str) -> String {
    format!("{}{MAIL}", key.sign(domain, "s1", MAIL.as_bytes()).expect("signed"))
}

async fn with_key(key: &DkimKey, domain: &str) -> DnsStub {
    let dns = DnsStub::start().await;
    let (name, text) = key.dns_record(domain, "s1");
    dns.txt(&name, &text);
    dns
}

#[tokio::test]
async fn spf_authenticates_the_envelope_domain() {
    let dns = DnsStub::start().await;
    dns.txt("acme.test", "v=spf1 a:out.acme.test mx -all");
    dns.add("out.acme.test", Record::A(Ipv4Addr::new(192, 0, 2, 1)));
    dns.add("acme.test", Record::Mx("mx.acme.test".into()));
    dns.add("mx.acme.test", Record::A(Ipv4Addr::new(192, 0, 2, 2)));
    let verdict = verify(&dns, PEER, "bob@acme.test", MAIL.as_bytes()).await;
    assert_eq!(
        (verdict.spf, verdict.dkim, verdict.dmarc),
        (Outcome::Pass, Outcome::None, Outcome::None)
    );
    assert!(verdict.aligned && !verdict.temperror && !verdict.reject_or_quarantine, "{verdict:?}");
    assert_eq!(verdict.detail, "spf=pass (acme.test), dkim=none, dmarc=none");
    let by_mx =
        verify(&dns, Ipv4Addr::new(192, 0, 2, 2).into(), "bob@acme.test", MAIL.as_bytes()).await;
    assert!(by_mx.aligned);
    let stranger = verify(&dns, STRANGER, "bob@acme.test", MAIL.as_bytes()).await;
    assert_eq!(stranger.spf, Outcome::Fail);
    assert!(!stranger.aligned);
}

#[tokio::test]
async fn abuse_smtp_10_spf_of_another_domain_is_no_authentication() {
    let dns = DnsStub::start().await;
    dns.txt("evil.test", "v=spf1 +all");
    dns.txt("acme.test", "v=spf1 -all");
    let forged = verify(&dns, STRANGER, "eve@evil.test", MAIL.as_bytes()).await;
    assert_eq!((forged.spf, forged.aligned), (Outcome::Pass, false));
    // Below the author's domain may be somebody else, as long as nothing is published.
    dns.txt("evil.acme.test", "v=spf1 +all");
    assert!(!verify(&dns, STRANGER, "eve@evil.acme.test", MAIL.as_bytes()).await.aligned);
    // The legitimate twin: bounces of a company's own subdomain, with a policy that says so.
    let dns = DnsStub::start().await;
    dns.txt("bounce.acme.test", "v=spf1 ip4:192.0.2.1 -all");
    dns.txt("_dmarc.acme.test", "v=DMARC1; p=reject");
    let twin = verify(&dns, PEER, "b-1@bounce.acme.test", MAIL.as_bytes()).await;
    assert_eq!((twin.dmarc, twin.aligned), (Outcome::Pass, true), "{twin:?}");
}

/// A domain that says who may send for it is heard; a signature of the author outlives a forward.
#[tokio::test]
async fn abuse_smtp_10_a_server_that_may_not_send_makes_a_mail_bad_unless_it_is_signed() {
    let key = DkimKey::generate_ed25519().expect("a key");
    let dns = with_key(&key, "acme.test").await;
    dns.txt("acme.test", "v=spf1 ip4:192.0.2.1 -all");
    let verdict = verify(&dns, STRANGER, "bob@acme.test", MAIL.as_bytes()).await;
    assert_eq!(verdict.spf, Outcome::Fail);
    assert!(verdict.reject_or_quarantine && !verdict.aligned, "{verdict:?}");
    let forwarded = signed(&key, "acme.test");
    let verdict = verify(&dns, STRANGER, "bob@acme.test", forwarded.as_bytes()).await;
    assert!(!verdict.reject_or_quarantine && verdict.aligned, "{verdict:?}");
    let verdict = verify(&dns, PEER, "bob@acme.test", MAIL.as_bytes()).await;
    assert!(!verdict.reject_or_quarantine && verdict.aligned, "{verdict:?}");
}

/// Who forwards mail or runs a list writes an envelope of their own.
#[tokio::test]
async fn a_forwarder_that_its_own_domain_disowns_makes_a_mail_unproven_not_bad() {
    let dns = DnsStub::start().await;
    dns.txt("lists.test", "v=spf1 ip4:192.0.2.1 -all");
    let verdict = verify(&dns, STRANGER, "srs-1@lists.test", MAIL.as_bytes()).await;
    assert_eq!(verdict.spf, Outcome::Fail);
    assert!(!verdict.reject_or_quarantine && !verdict.aligned, "{verdict:?}");
    // The author's own policy still decides over it.
    dns.txt("_dmarc.acme.test", "v=DMARC1; p=quarantine");
    let verdict = verify(&dns, STRANGER, "srs-1@lists.test", MAIL.as_bytes()).await;
    assert!(verdict.reject_or_quarantine, "{verdict:?}");
}

#[tokio::test]
async fn abuse_smtp_10_an_envelope_within_the_authors_domain_is_the_authors() {
    let dns = DnsStub::start().await;
    dns.txt("bounce.acme.test", "v=spf1 ip4:192.0.2.1 -all");
    let verdict = verify(&dns, STRANGER, "b-1@bounce.acme.test", MAIL.as_bytes()).await;
    assert!(verdict.spf == Outcome::Fail && verdict.reject_or_quarantine, "{verdict:?}");
    // The greeting stands for the envelope of a bounce (RFC 7208 section 2.4).
    dns.txt("mx.acme.test", "v=spf1 ip4:192.0.2.1 -all");
    let verifier = Verifier::new(vec![dns.address]).expect("a resolver");
    let from = email("bob@acme.test");
    let mail = plain();
    let bounce = |peer| verifier.verify(peer, "mx.acme.test", None, &from, &mail);
    let forged = bounce(STRANGER).await;
    assert!(forged.spf == Outcome::Fail && forged.reject_or_quarantine, "{forged:?}");
    let twin = bounce(PEER).await;
    assert!(!twin.reject_or_quarantine, "{twin:?}");
    // A name that only ends alike is somebody else's.
    dns.txt("notacme.test", "v=spf1 -all");
    let verdict = verify(&dns, STRANGER, "b@notacme.test", MAIL.as_bytes()).await;
    assert!(verdict.spf == Outcome::Fail && !verdict.reject_or_quarantine, "{verdict:?}");
}

#[tokio::test]
async fn a_mail_signed_by_us_passes_with_either_key() {
    for key in [DkimKey::generate_rsa().expect("made"), DkimKey::generate_ed25519().expect("made")]
    {
        let dns = with_key(&key, "acme.test").await;
        let verdict =
            verify(&dns, STRANGER, "b@relay.test", signed(&key, "acme.test").as_bytes()).await;
        assert_eq!((verdict.dkim, verdict.aligned), (Outcome::Pass, true), "{verdict:?}");
        // Blanks at line ends and folding are changed on the way; the relaxed form ignores that.
        let relayed = signed(&key, "acme.test").replace("Subject: Budget", "Subject:  Budget ");
        assert!(verify(&dns, STRANGER, "b@relay.test", relayed.as_bytes()).await.aligned);
    }
}

#[tokio::test]
async fn abuse_smtp_10_changed_or_foreign_signatures_do_not_count() {
    let key = DkimKey::generate_rsa().expect("made");
    let dns = with_key(&key, "acme.test").await;
    let good = signed(&key, "acme.test");
    for (what, changed) in [
        ("body", good.replace("approve", "refuse")),
        ("subject", good.replace("Subject: Budget", "Subject: Bonus")),
        (
            "added field",
            good.replace("To: alice@x.test\r\n", "To: alice@x.test\r\nReply-To: eve@evil.test\r\n"),
        ),
        ("body length", good.replacen("c=relaxed/relaxed", "l=0; c=relaxed/relaxed", 1)),
    ] {
        assert_ne!(changed, good, "{what}");
        let verdict = verify(&dns, STRANGER, "b@relay.test", changed.as_bytes()).await;
        assert!(!verdict.aligned && verdict.dkim != Outcome::Pass, "{what}: {verdict:?}");
    }
    // A valid signature of a domain that has nothing to do with the author.
    let dns = with_key(&key, "evil.test").await;
    let verdict = verify(&dns, STRANGER, "b@evil.test", signed(&key, "evil.test").as_bytes()).await;
    assert_eq!((verdict.dkim, verdict.aligned), (Outcome::Pass, false));
    // A signature that does not cover the author, under a policy that it would satisfy.
    let dns = with_key(&key, "acme.test").await;
    dns.txt("_dmarc.acme.test", "v=DMARC1; p=none");
    let bare =
        mail_auth::common::crypto::RsaKey::<mail_auth::common::crypto::Sha256>::from_key_der(
            rustls::pki_types::PrivateKeyDer::from_pem_slice(key.to_pem().as_bytes())
                .expect("our own"),
        )
        .expect("our own");
    let signer = mail_auth::dkim::DkimSigner::from_key(bare)
        .domain("acme.test")
        .selector("s1")
        .headers(["Subject"]);
    let loose = format!("{}{MAIL}", signer.sign(MAIL.as_bytes()).expect("signed").to_header());
    let verdict = verify(&dns, STRANGER, "b@relay.test", loose.as_bytes()).await;
    assert!(!verdict.aligned && verdict.dkim == Outcome::PermError, "{verdict:?}");
    // A second author beside the one that is looked at.
    let dns = with_key(&key, "acme.test").await;
    let two = MAIL.replace("From: Bob <bob@acme.test>", "From: Bob <bob@acme.test>, eve@evil.test");
    let two = format!("{}{two}", key.sign("acme.test", "s1", two.as_bytes()).expect("signed"));
    assert!(!verify(&dns, STRANGER, "b@relay.test", two.as_bytes()).await.aligned);
    // The legitimate twin is what all this started from.
    assert!(verify(&dns, STRANGER, "b@relay.test", good.as_bytes()).await.aligned);
}

#[tokio::test]
async fn a_published_policy_is_heard() {
    let dns = DnsStub::start().await;
    dns.txt("_dmarc.acme.test", "v=DMARC1; p=reject");
    let verdict = verify(&dns, STRANGER, "eve@evil.test", MAIL.as_bytes()).await;
    assert_eq!(verdict.dmarc, Outcome::Fail);
    assert!(verdict.reject_or_quarantine && !verdict.aligned, "{verdict:?}");
    assert!(verdict.detail.ends_with("dmarc=fail (p=reject)"), "{}", verdict.detail);

    let dns = DnsStub::start().await;
    dns.txt("_dmarc.acme.test", "v=DMARC1; p=none");
    let verdict = verify(&dns, STRANGER, "eve@evil.test", MAIL.as_bytes()).await;
    assert_eq!((verdict.dmarc, verdict.reject_or_quarantine), (Outcome::Fail, false));
}

#[tokio::test]
async fn an_upstream_verdict_counts_even_when_all_passes() {
    let dns = DnsStub::start().await;
    dns.txt("acme.test", "v=spf1 ip4:192.0.2.1 -all");
    let raw = format!("X-Spam-Flag: YES\r\n{MAIL}");
    let verdict = verify(&dns, PEER, "bob@acme.test", raw.as_bytes()).await;
    assert!(verdict.aligned && verdict.reject_or_quarantine);
    assert!(verdict.detail.contains("X-Spam-Flag"), "{}", verdict.detail);
}

#[tokio::test]
async fn silence_is_a_temperror_within_two_seconds() {
    let socket = std::net::UdpSocket::bind("127.0.0.1:0").expect("a free port");
    let verifier = Verifier::new(vec![socket.local_addr().expect("bound")]).expect("a resolver");
    let key = DkimKey::generate_ed25519().expect("made");
    let raw = signed(&key, "acme.test");
    let start = Instant::now();
    let from = email("bob@acme.test");
    let verdict = verifier
        .verify(PEER, "mx.acme.test", Some(&from), &from, &Extract::of(raw.as_bytes()))
        .await;
    // The look-ups take two seconds at most; the rest is for a busy machine.
    assert!(start.elapsed() < Duration::from_millis(2_700), "{:?}", start.elapsed());
    assert!(verdict.temperror && !verdict.aligned, "{verdict:?}");
    assert_eq!(
        (verdict.spf, verdict.dkim, verdict.dmarc),
        (Outcome::TempError, Outcome::TempError, Outcome::TempError)
    );
}

#[tokio::test]
async fn a_bounce_is_checked_by_its_greeting_but_not_authenticated_by_it() {
    let dns = DnsStub::start().await;
    dns.txt("mx.acme.test", "v=spf1 ip4:192.0.2.1 -all");
    let verifier = Verifier::new(vec![dns.address]).expect("a resolver");
    let verdict =
        verifier.verify(PEER, "mx.acme.test", None, &email("bob@acme.test"), &plain()).await;
    assert_eq!((verdict.spf, verdict.aligned), (Outcome::Pass, false));
}

#[test]
fn keys_survive_as_text() {
    for key in [DkimKey::generate_rsa().expect("made"), DkimKey::generate_ed25519().expect("made")]
    {
        let pem = key.to_pem();
        assert!(
            pem.starts_with("-----BEGIN PRIVATE KEY-----\n") && pem.lines().all(|l| l.len() <= 64)
        );
        let again = DkimKey::from_pem(&pem).expect("our own");
        assert_eq!(again.dns_record("acme.test", "s1"), key.dns_record("acme.test", "s1"));
        assert!(!format!("{key:?}").contains("PRIVATE"));
    }
    let (name, text) = DkimKey::generate_rsa().expect("made").dns_record("acme.test", "s1");
    assert_eq!(name, "s1._domainkey.acme.test");
    assert!(text.starts_with("v=DKIM1; k=rsa; p=MIIB"), "{text}");
    assert!(DkimKey::from_pem("nonsense").is_err());
}

#[test]
fn a_selector_cannot_add_a_field() {
    let key = DkimKey::generate_ed25519().expect("made");
    assert_eq!(key.sign("acme.test", "s1\r\nBcc: x", MAIL.as_bytes()), Err(BadKey::Name));
    assert_eq!(key.sign("acme.test; l=0", "s1", MAIL.as_bytes()), Err(BadKey::Name));
    let header = key.sign("acme.test", "s1", MAIL.as_bytes()).expect("signed");
    assert!(header.starts_with("DKIM-Signature: ") && header.ends_with("\r\n"));
}
