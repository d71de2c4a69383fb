//! A DNS server for tests: answers TXT, A and MX questions from a map (RFC 1035 section 4).

use std::{
    collections::HashMap,
    net::{Ipv4Addr, SocketAddr},
    sync::{Arc, Mutex},
};

use tokio::{net::UdpSocket, task::JoinHandle};

/// One record.
#[derive(Clone)]
pub(super) enum Record {
    Txt(String),
    A(Ipv4Addr),
    Mx(String),
}

type Zone = Arc<Mutex<HashMap<String, Vec<Record>>>>;

/// A running server; it stops when it is dropped.
pub(super) struct DnsStub {
    pub(super) address: SocketAddr,
    zone: Zone,
    task: JoinHandle<()>,
}

impl DnsStub {
    /// Starts one on a free loopback port, without any names.
    pub(super) async fn start() -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").await.expect("a free port");
        let address = socket.local_addr().expect("bound");
        let zone = Zone::default();
        let names = zone.clone();
        let task = tokio::spawn(async move {
            let mut buffer = [0_u8; 1_500];
            while let Ok((n, peer)) = socket.recv_from(&mut buffer).await {
                if let Some(answer) = answer(&buffer[..n], &names) {
                    let _ = socket.send_to(&answer, peer).await;
                }
            }
        });
        Self { address, zone, task }
    }

    /// Adds a record.
    pub(super) fn add(&self, name: &str, record: Record) {
        self.zone.lock().expect("no panic").entry(name.to_lowercase()).or_default().push(record);
    }

    /// Adds a TXT record.
    pub(super) fn txt(&self, name: &str, text: &str) {
        self.add(name, Record::Txt(text.to_owned()));
    }
}

impl Drop for DnsStub {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn answer(question: &[u8], zone: &Zone) -> Option<Vec<u8>> {
    let mut labels = Vec::new();
    let mut at = 12;
    while let length @ 1.. = usize::from(*question.get(at)?) {
        labels.push(String::from_utf8_lossy(question.get(at + 1..at + 1 + length)?).to_lowercase());
        at += 1 + length;
    }
    let end = at + 5;
    let kind = u16::from_be_bytes([*question.get(at + 1)?, *question.get(at + 2)?]);
    let zone = zone.lock().ok()?;
    let records = zone.get(&labels.join("."));
    let matching: Vec<Vec<u8>> =
        records.into_iter().flatten().filter_map(|r| data(r, kind)).collect();

    let mut out = question.get(..2)?.to_vec();
    // A recursive answer, NXDOMAIN (3) for names that nobody added.
    out.extend_from_slice(&[0x81, if records.is_some() { 0x80 } else { 0x83 }, 0, 1]);
    out.extend_from_slice(&u16::try_from(matching.len()).ok()?.to_be_bytes());
    out.extend_from_slice(&[0, 0, 0, 0]);
    out.extend_from_slice(question.get(12..end)?);
    for data in matching {
        // The name as a pointer to the question, class IN, TTL one minute.
        out.extend_from_slice(&[0xc0, 12]);
        out.extend_from_slice(&kind.to_be_bytes());
        out.extend_from_slice(&[0, 1, 0, 0, 0, 60]);
        out.extend_from_slice(&u16::try_from(data.len()).ok()?.to_be_bytes());
        out.extend_from_slice(&data);
    }
    Some(out)
}

/// A record's data, if it is of the kind that was asked for.
fn data(record: &Record, kind: u16) -> Option<Vec<u8>> {
    match (record, kind) {
        (Record::Txt(text), 16) => {
            let mut out = Vec::new();
            for chunk in text.as_bytes().chunks(255) {
                out.push(u8::try_from(chunk.len()).ok()?);
                out.extend_from_slice(chunk);
            }
            Some(out)
        }
        (Record::A(ip), 1) => Some(ip.octets().to_vec()),
        (Record::Mx(host), 15) => {
            let mut out = vec![0, 10];
            for label in host.split('.') {
                out.push(u8::try_from(label.len()).ok()?);
                out.extend_from_slice(label.as_bytes());
            }
            out.push(0);
            Some(out)
        }
        _ => None,
    }
}
