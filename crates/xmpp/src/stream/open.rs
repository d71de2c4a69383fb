//! Opens a component stream (XEP-0114 section 3).

use std::time::Duration;

use bytes::BytesMut;
use minidom::Element;
use sha1::{Digest, Sha1};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

use super::parse::{BadStream, Incoming, StanzaParser};
use crate::{ns, xml::Xml};

/// How long connecting may take, and how long the handshake.
const OPENING: Duration = Duration::from_secs(5);

/// Why there is no connection, or no longer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Lost {
    /// The socket.
    #[error("{0}")]
    Io(#[from] std::io::Error),
    /// The peer sent what cannot be read.
    #[error("{0}")]
    Bad(#[from] BadStream),
    /// The peer ended the stream with an error, for instance `conflict`.
    #[error("the server ended the stream: {condition}{text}")]
    Stream {
        /// RFC 6120 section 4.9.3.
        condition: String,
        /// Its own words, with a separator in front.
        text: String,
    },
    /// The peer closed.
    #[error("the server closed the connection")]
    Closed,
    /// Nothing came in time.
    #[error("the server did not answer in time")]
    Silent,
}

impl Lost {
    /// Another connection holds this address (RFC 6120 section 4.9.3.3).
    pub(crate) fn is_conflict(&self) -> bool {
        matches!(self, Self::Stream { condition, .. } if condition == "conflict")
    }

    /// Reads a `<stream:error/>`.
    pub(crate) fn from_stream_error(error: &Element) -> Self {
        let of = |text: bool| {
            move |child: &&Element| {
                child.has_ns(ns::STREAM_ERRORS) && (child.name() == "text") == text
            }
        };
        let condition =
            error.children().find(of(false)).map_or("undefined-condition", Element::name);
        let text = error.children().find(of(true)).map(Element::text).unwrap_or_default();
        let text: String = text.chars().take(200).collect();
        Self::Stream {
            condition: condition.to_owned(),
            text: if text.is_empty() { text } else { format!(" ({text})") },
        }
    }
}

/// A connection that may carry stanzas now, with what was read ahead.
pub(crate) struct Opened {
    pub(crate) socket: TcpStream,
    pub(crate) parser: StanzaParser,
    pub(crate) buffer: BytesMut,
}

/// Connects to `server` and proves with `secret` that we are `domain`.
pub(crate) async fn open(server: &str, domain: &str, secret: &str) -> Result<Opened, Lost> {
    let socket = timeout(OPENING, TcpStream::connect(server)).await.map_err(|_| Lost::Silent)??;
    // A message must not wait for the one after it to fill a segment.
    socket.set_nodelay(true)?;
    timeout(OPENING, handshake(socket, domain, secret)).await.map_err(|_| Lost::Silent)?
}

async fn handshake(mut socket: TcpStream, domain: &str, secret: &str) -> Result<Opened, Lost> {
    let start = Xml::build(|xml| {
        xml.raw("<?xml version='1.0'?>");
        let attributes = [("xmlns", ns::COMPONENT), ("xmlns:stream", ns::STREAM), ("to", domain)];
        xml.empty("stream:stream", &attributes);
    });
    // The stream element stays open for as long as the connection lives.
    let start = start.replace("/>", ">");
    socket.write_all(start.as_bytes()).await?;
    let mut opened = Opened { socket, parser: StanzaParser::new(), buffer: BytesMut::new() };
    let id = match opened.next().await? {
        Incoming::Header { id } => id,
        _ => return Err(Lost::Closed),
    };
    // Section 3: SHA-1 of the stream id followed by the secret, in lower-case hex.
    let proof = hex::encode(Sha1::digest(format!("{id}{secret}").as_bytes()));
    let proof = Xml::build(|xml| xml.leaf("handshake", &[], &proof));
    opened.socket.write_all(proof.as_bytes()).await?;
    match opened.next().await? {
        Incoming::Stanza(answer) if answer.is("handshake", ns::COMPONENT) => Ok(opened),
        Incoming::Stanza(answer) if answer.is("error", ns::STREAM) => {
            Err(Lost::from_stream_error(&answer))
        }
        _ => Err(Lost::Closed),
    }
}

impl Opened {
    async fn next(&mut self) -> Result<Incoming, Lost> {
        loop {
            if let Some(incoming) = self.parser.next(&mut self.buffer)? {
                return Ok(incoming);
            }
            if self.socket.read_buf(&mut self.buffer).await? == 0 {
                return Err(Lost::Closed);
            }
        }
    }
}
