//! Bytes into stanzas, within bounds.
//!
//! A stanza that one user made too large or too deep is dropped by itself, because ending the
//! stream for it would let that user cut off everybody. The stream ends only for what no
//! server in good order passes on.

use bytes::{Buf, BytesMut};
use minidom::Element;
use rxml::{
    Error as XmlError, Namespace, NcName, Options, Parse, RawEvent, RawParser, WithOptions,
    error::EndOrError,
};

use crate::ns;

/// Octets of one stanza that are kept in memory; a larger one is answered with an error.
pub(crate) const STANZA_KEPT: usize = 1024 * 1024;
/// Octets after which a stanza ends the stream. A server's own limit (256 to 512 KiB) grows
/// up to sixfold where it writes quotes as `&apos;`.
pub(crate) const STANZA_MAX: usize = 4 * 1024 * 1024;
/// Elements inside one another in a stanza that is read.
const DEPTH_MAX: usize = 64;
/// Elements in a stanza that is read.
const ELEMENTS_MAX: usize = 5_000;

/// What was read.
#[derive(Debug)]
pub(crate) enum Incoming {
    /// The peer's stream header, with the stream id that XEP-0114 section 3 hashes.
    Header {
        /// Its `id`.
        id: String,
    },
    /// One element at the level of stanzas.
    Stanza(Element),
    /// One that passed a bound: its start tag without anything inside, to be answered.
    Refused(Element),
    /// The peer closed its stream.
    Footer,
}

/// Why nothing more can be read from this stream.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub(crate) enum BadStream {
    /// RFC 6120 section 11.1: comments, processing instructions, DTDs, entities.
    #[error("XML that is forbidden in a stream: {0}")]
    Restricted(String),
    /// A stanza went on and on.
    #[error("a stanza longer than {STANZA_MAX} octets")]
    Endless,
    /// Not XML.
    #[error("XML that is not well formed: {0}")]
    NotWellFormed(String),
}

impl BadStream {
    /// The stream error to close with (RFC 6120 section 4.9.3).
    pub(crate) fn condition(&self) -> &'static str {
        match self {
            Self::Restricted(_) => "restricted-xml",
            Self::Endless => "policy-violation",
            Self::NotWellFormed(_) => "not-well-formed",
        }
    }
}

/// The reading side of one stream.
///
/// Namespaces are resolved here, over the few elements that are kept. The library's resolver
/// walks through all open elements for each new one, so that 50,000 inside one another take
/// seconds.
pub(crate) struct StanzaParser {
    parser: RawParser,
    /// The start tag that is being read.
    head: Head,
    /// Declared by the stream header.
    stream: Vec<(String, String)>,
    /// Elements that are open inside the stream element, outermost first.
    open: Vec<Open>,
    depth: usize,
    octets: usize,
    elements: usize,
    refused: bool,
}

/// A start tag as it stands there.
#[derive(Default)]
struct Head {
    prefix: String,
    name: String,
    attributes: Vec<(String, NcName, String)>,
    /// Prefix (empty: the default) and namespace.
    declared: Vec<(String, String)>,
}

struct Open {
    element: Element,
    declared: Vec<(String, String)>,
}

impl StanzaParser {
    pub(crate) fn new() -> Self {
        let parser = RawParser::with_options(Options {
            // The library's 8 KiB would let a long attribute end the stream.
            max_token_length: STANZA_KEPT,
            ..Options::default()
        });
        Self {
            parser,
            head: Head::default(),
            stream: Vec::new(),
            open: Vec::new(),
            depth: 0,
            octets: 0,
            elements: 0,
            refused: false,
        }
    }

    /// Takes from `buffer` until something is complete; `None` if more octets are needed.
    pub(crate) fn next(&mut self, buffer: &mut BytesMut) -> Result<Option<Incoming>, BadStream> {
        loop {
            // Whitespace between stanzas keeps a connection alive and must not pile up.
            self.parser.set_text_buffering(self.depth > 1 && !self.refused);
            let mut rest = &buffer[..];
            let parsed = self.parser.parse(&mut rest, false);
            let taken = buffer.len() - rest.len();
            buffer.advance(taken);
            self.octets += taken;
            if self.octets > STANZA_MAX {
                return Err(BadStream::Endless);
            }
            if self.octets > STANZA_KEPT {
                self.refuse();
            }
            match parsed {
                Ok(Some(event)) => {
                    if let Some(incoming) = self.event(event)? {
                        return Ok(Some(incoming));
                    }
                }
                Ok(None) => return Ok(Some(Incoming::Footer)),
                Err(EndOrError::NeedMoreData) => return Ok(None),
                Err(EndOrError::Error(error)) => return Err(bad(&error)),
            }
        }
    }

    fn event(&mut self, event: RawEvent) -> Result<Option<Incoming>, BadStream> {
        match event {
            RawEvent::XmlDeclaration(..) => Ok(None),
            RawEvent::ElementHeadOpen(_, (prefix, name)) => {
                let prefix = prefix.map(String::from).unwrap_or_default();
                self.head = Head { prefix, name: name.into(), ..Head::default() };
                Ok(None)
            }
            RawEvent::Attribute(_, (prefix, name), value) => {
                let head = &mut self.head;
                match (prefix.as_deref().map(|p| p.as_str()), name.as_str()) {
                    _ if self.refused && self.depth > 1 => {}
                    (None, "xmlns") => head.declared.push((String::new(), value)),
                    (Some("xmlns"), _) => head.declared.push((name.into(), value)),
                    (prefix, _) => {
                        let prefix = prefix.unwrap_or_default().to_owned();
                        head.attributes.push((prefix, name, value));
                    }
                }
                Ok(None)
            }
            RawEvent::ElementHeadClose(_) => {
                self.depth += 1;
                let head = std::mem::take(&mut self.head);
                if self.depth == 1 {
                    return self.header(head).map(Some);
                }
                self.start(head);
                Ok(None)
            }
            RawEvent::Text(_, text) => self.text(&text).map(|()| None),
            RawEvent::ElementFoot(_) => {
                self.depth = self.depth.saturating_sub(1);
                Ok(self.end())
            }
        }
    }

    fn header(&mut self, head: Head) -> Result<Incoming, BadStream> {
        self.stream = head.declared;
        self.octets = 0;
        if self.resolve(&head.prefix, &[]) != Some(ns::STREAM) || head.name != "stream" {
            return Err(BadStream::NotWellFormed("no stream header".to_owned()));
        }
        let id = head.attributes.into_iter().find(|(_, name, _)| name.as_str() == "id");
        Ok(Incoming::Header { id: id.map(|(_, _, value)| value).unwrap_or_default() })
    }

    fn start(&mut self, head: Head) {
        self.elements += 1;
        if self.depth > DEPTH_MAX || self.elements > ELEMENTS_MAX {
            self.refuse();
        }
        if self.refused {
            return;
        }
        let mut sound = true;
        let namespace = self.resolve(&head.prefix, &head.declared);
        sound &= namespace.is_some();
        let mut element = Element::bare(head.name, namespace.unwrap_or_default());
        for (prefix, name, value) in head.attributes {
            // Namespaces in XML section 6.2: the default is not for attributes.
            let namespace = match prefix.as_str() {
                "" => Some(Namespace::NONE),
                prefix => {
                    self.resolve(prefix, &head.declared).map(|n| Namespace::from(n.to_owned()))
                }
            };
            sound &= namespace.is_some();
            let namespace = namespace.unwrap_or(Namespace::NONE);
            sound &= element.attrs_mut().insert(namespace, name, value).is_none();
        }
        self.open.push(Open { element, declared: head.declared });
        // A prefix that nobody declared, an attribute that is there twice: no stanza of a
        // server, but the stream itself can still be followed.
        if !sound {
            self.refuse();
        }
    }

    /// The namespace of a prefix, innermost declaration first.
    fn resolve<'a>(&'a self, prefix: &str, own: &'a [(String, String)]) -> Option<&'a str> {
        let outer = self.open.iter().rev().flat_map(|open| &open.declared);
        let mut declared = own.iter().chain(outer).chain(&self.stream);
        match declared.find(|(known, _)| known == prefix) {
            Some((_, namespace)) => Some(namespace),
            None if prefix == "xml" => Some("http://www.w3.org/XML/1998/namespace"),
            None if prefix.is_empty() => Some(""),
            None => None,
        }
    }

    fn text(&mut self, text: &str) -> Result<(), BadStream> {
        if self.depth == 1 {
            self.octets = 0;
            return match text.trim_ascii().is_empty() {
                true => Ok(()),
                false => Err(BadStream::NotWellFormed("text between stanzas".to_owned())),
            };
        }
        if !self.refused
            && let Some(open) = self.open.last_mut()
        {
            open.element.append_text(text);
        }
        Ok(())
    }

    fn end(&mut self) -> Option<Incoming> {
        if self.depth == 0 {
            return Some(Incoming::Footer);
        }
        if self.refused && self.depth > 1 {
            return None;
        }
        let element = self.open.pop()?.element;
        if let Some(parent) = self.open.last_mut() {
            parent.element.append_child(element);
            return None;
        }
        self.octets = 0;
        self.elements = 0;
        Some(match std::mem::take(&mut self.refused) {
            false => Incoming::Stanza(element),
            true => Incoming::Refused(element),
        })
    }

    /// Forgets what the present stanza holds, apart from its start tag, until it ends.
    fn refuse(&mut self) {
        if self.refused || self.open.is_empty() {
            return;
        }
        self.refused = true;
        self.open.truncate(1);
        if let Some(stanza) = self.open.first_mut() {
            stanza.element.take_nodes();
        }
    }
}

fn bad(error: &XmlError) -> BadStream {
    match error {
        XmlError::RestrictedXml(_) | XmlError::UndeclaredEntity => {
            BadStream::Restricted(error.to_string())
        }
        // The parser knows no DTD at all: `<!` may only begin a CDATA section.
        XmlError::InvalidSyntax(what) if what.contains("section start") => {
            BadStream::Restricted("a document type declaration".to_owned())
        }
        _ => BadStream::NotWellFormed(error.to_string()),
    }
}

#[cfg(test)]
#[path = "parse_tests.rs"]
mod tests;
