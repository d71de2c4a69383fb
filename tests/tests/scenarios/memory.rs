//! What never ends is cut off, and takes no more memory than what does.

use std::{
    net::{IpAddr, Ipv4Addr},
    time::Duration,
};

use isthmus_tests::{Isthmus, SmtpClient};
use serde_json::json;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpStream, UdpSocket},
    time::Instant,
};

use super::{
    letters::{ALICE, CAROL_MAIL, Letter, acme, expect_once},
    world::{SOON, setup},
};

/// MiB that the program may have held at any time, in a build without optimisation.
const PEAK_MIB: u64 = 250;
/// Octets of a file that makes a mail of 26 MB, of which two are more than is read at once.
const LARGE: usize = 19_000_000;
/// Nothing speaks for this address.
const STRANGER: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 66));
/// How many do it at the same time.
const AT_ONCE: usize = 4;

/// The most memory that it ever held (proc(5), `VmHWM`).
fn assert_peak(isthmus: &mut Isthmus) {
    let path = format!("/proc/{}/status", isthmus.server().pid());
    let status = std::fs::read_to_string(path).expect("the program runs");
    let line = status.lines().find_map(|l| l.strip_prefix("VmHWM:")).expect("it has memory");
    let kib = line.trim().trim_end_matches("kB").trim().parse::<u64>().expect("in kB");
    eprintln!("peak: {} MiB", kib / 1024);
    assert!(kib / 1024 < PEAK_MIB, "the program held {} MiB", kib / 1024);
}

/// A session in which DATA was begun, with what MAIL says about the size.
async fn in_data(isthmus: &Isthmus, size: &str) -> SmtpClient {
    let mut client = SmtpClient::connect(isthmus.smtp()).await;
    let _ = client.line("EHLO client.test").await.expect(250);
    let _ = client.line(&format!("MAIL FROM:<{CAROL_MAIL}>{size}")).await.expect(250);
    let _ = client.line(&format!("RCPT TO:<{ALICE}>")).await.expect(250);
    let _ = client.line("DATA").await.expect(354);
    client.bytes(b"From: carol@customer.test\r\nSubject: endless\r\n\r\n").await;
    client
}

/// Sends `mib` MiB of text.
async fn pour(client: &mut SmtpClient, mib: usize) {
    let block = format!("{}\r\n", "x".repeat(62)).repeat(1 << 14);
    for _ in 0..mib {
        client.bytes(block.as_bytes()).await;
    }
}

#[tokio::test]
async fn abuse_smtp_05_endless_mail_is_cut_off_in_bounded_memory() {
    let mut isthmus = acme(setup()).await;
    let api = isthmus.member("acme", ALICE).await;
    // The honest one learns it before the first octet.
    let mut client = SmtpClient::connect(isthmus.smtp()).await;
    let _ = client.line("EHLO client.test").await.expect(250);
    let announced = client.line(&format!("MAIL FROM:<{CAROL_MAIL}> SIZE=1000000000")).await;
    assert_eq!(announced.code, 552, "{}", announced.text());

    let (mut lies, mut endless) = (Vec::new(), Vec::new());
    for _ in 0..AT_ONCE / 2 {
        let mut lying = in_data(&isthmus, " SIZE=100").await;
        lies.push(tokio::spawn(async move {
            pour(&mut lying, 40).await;
            lying.bytes(b".\r\n").await;
            let reply = lying.reply().await;
            (reply, lying.line("NOOP").await.code)
        }));
        let mut unending = in_data(&isthmus, "").await;
        endless.push(tokio::spawn(async move {
            pour(&mut unending, 72).await;
            unending.reply().await.code
        }));
    }
    for lie in lies {
        let (reply, next) = lie.await.expect("a sender does not panic");
        assert_eq!(reply.code, 552, "{}", reply.text());
        assert_eq!(next, 250, "the session goes on after a mail that came to its end");
    }
    for end in endless {
        assert_eq!(end.await.expect("a sender does not panic"), 552);
    }
    assert_peak(&mut isthmus);

    // The twin is large, and says so.
    let letter = Letter::new("twin", 10_000_000);
    let raw = letter.mail().raw();
    let mut client = SmtpClient::connect(isthmus.smtp()).await;
    let _ = client.line("EHLO client.test").await.expect(250);
    let _ = client.mail(CAROL_MAIL, &[ALICE], &raw).await.expect(250);
    expect_once(&api, &[letter], SOON).await;
    assert_peak(&mut isthmus);
}

/// Large mails of strangers wait for a name server that never answers, two seconds each and all at the
/// same time: neither they nor others wait for one another, and they take no memory meanwhile.
#[tokio::test]
async fn abuse_smtp_05_large_mails_that_wait_for_dns_hold_nobody_up() {
    let silent = UdpSocket::bind("127.0.0.1:0").await.expect("a free port");
    let dns = silent.local_addr().expect("it is bound");
    let mut isthmus = acme(setup().set("DNS__SERVERS", format!(r#"["{dns}"]"#))).await;
    let api = isthmus.member("acme", ALICE).await;
    let mut strangers = Vec::new();
    for n in 0..10 {
        let from = format!("s{n}@stranger.test");
        let mut client = SmtpClient::connect_from(STRANGER, isthmus.smtp()).await;
        for (line, code) in [
            ("EHLO stranger.test".to_owned(), 250),
            (format!("MAIL FROM:<{from}>"), 250),
            (format!("RCPT TO:<{ALICE}>"), 250),
            ("DATA".into(), 354),
        ] {
            let _ = client.line(&line).await.expect(code);
        }
        let mail = Letter::new(&format!("stranger {n}"), LARGE).mail().from(&from);
        client.bytes(mail.raw().replace('\n', "\r\n").as_bytes()).await;
        strangers.push(client);
    }
    let letter = Letter::new("meanwhile", LARGE);
    let raw = letter.mail().raw();
    let begun = Instant::now();
    let ends = strangers.into_iter().map(|mut client| {
        tokio::spawn(async move {
            client.bytes(b".\r\n").await;
            (client.reply().await.code, Instant::now())
        })
    });
    let ends: Vec<_> = ends.collect();
    let mut client = SmtpClient::connect(isthmus.smtp()).await;
    let _ = client.line("EHLO client.test").await.expect(250);
    let _ = client.mail(CAROL_MAIL, &[ALICE], &raw).await.expect(250);
    eprintln!("the other mail: {:?}", begun.elapsed());
    for end in ends {
        let (code, at) = end.await.expect("a sender does not panic");
        assert_eq!(code, 250);
        eprintln!("a stranger: {:?}", at - begun);
    }
    // One after the other they would have waited for twenty seconds.
    assert!(begun.elapsed() < Duration::from_secs(12), "{:?}", begun.elapsed());
    assert_peak(&mut isthmus);
    expect_once(&api, &[letter], SOON).await;
    assert_peak(&mut isthmus);
}

/// Sends a request whose body is as many chunks of 1 MiB, and reads the status.
async fn chunked(isthmus_url: &str, key: &str, chunks: usize) -> u16 {
    let address = isthmus_url.trim_start_matches("http://");
    let stream = TcpStream::connect(address).await.expect("the API listens");
    let (mut read, mut write) = stream.into_split();
    let head = format!(
        "POST /v1/messages HTTP/1.1\r\nHost: {address}\r\nAuthorization: Bearer {key}\r\n\
         Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
    );
    let writer = tokio::spawn(async move {
        let block = format!("100000\r\n{}\r\n", "[".repeat(1 << 20));
        // An error means that the server has answered and closed.
        if write.write_all(head.as_bytes()).await.is_ok() {
            for _ in 0..chunks {
                if write.write_all(block.as_bytes()).await.is_err() {
                    break;
                }
            }
        }
        write
    });
    let mut answer = [0; 12];
    read.read_exact(&mut answer).await.expect("the server answers");
    writer.abort();
    let status = String::from_utf8_lossy(&answer[9..]).into_owned();
    status.parse().unwrap_or_else(|_| panic!("no status: {status}"))
}

#[tokio::test]
async fn abuse_http_27_endless_and_deep_json_is_refused_in_bounded_memory() {
    let mut isthmus = acme(setup()).await;
    let key = isthmus.member_key("acme", ALICE).await;
    let api = isthmus.api(&key);
    let announced = api.request(reqwest::Method::POST, "/v1/messages");
    let announced = announced.header("Content-Type", "application/json");
    let announced = announced.header("Expect", "100-continue").body(vec![b'['; 40_000_000]);
    // The server answers before it has read; a client may notice only that it closed.
    if let Ok(answer) = api.try_send(announced).await {
        assert_eq!(answer.expect(413)["code"], "too-large");
    }
    let url = isthmus.url();
    let streams: Vec<_> = (0..AT_ONCE)
        .map(|_| {
            let (url, key) = (url.clone(), key.clone());
            tokio::spawn(async move { chunked(&url, &key, 1_024).await })
        })
        .collect();
    for stream in streams {
        assert_eq!(stream.await.expect("a sender does not panic"), 413);
    }
    for deep in [
        "[".repeat(10_000),
        format!("{}{}", "[".repeat(10_000), "]".repeat(10_000)),
        format!("{{\"to\":{}1{}", "{\"a\":".repeat(10_000), "}".repeat(10_001)),
        format!("{{\"to\":\"x\",\"zzz\":{}{}}}", "[".repeat(10_000), "]".repeat(10_000)),
    ] {
        for path in ["/v1/messages", "/v1/transactions"] {
            let request = api.request(reqwest::Method::POST, path);
            let request = request.header("Content-Type", "application/json").body(deep.clone());
            assert_eq!(api.send(request).await.status, 400, "{:.40}", deep);
        }
    }
    assert_peak(&mut isthmus);

    let twin = json!({"to": CAROL_MAIL, "via": "email", "subject": "twin", "text": "Hello.",
        "attachments": [{"name": "a.bin", "data": "A".repeat(8_000_000)}]});
    api.post("/v1/messages", &twin).await.expect(202);
    assert_peak(&mut isthmus);
}
