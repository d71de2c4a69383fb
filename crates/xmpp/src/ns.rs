//! Namespaces of the extensions that the bridge speaks, each with where it is defined.

/// Streams (RFC 6120 section 4.8.1).
pub(crate) const STREAM: &str = "http://etherx.jabber.org/streams";
/// Stream error conditions (RFC 6120 section 4.9.2).
pub(crate) const STREAM_ERRORS: &str = "urn:ietf:params:xml:ns:xmpp-streams";
/// Stanza error conditions (RFC 6120 section 8.3.2).
pub(crate) const STANZA_ERRORS: &str = "urn:ietf:params:xml:ns:xmpp-stanzas";
/// What a component's stanzas live in (XEP-0114).
pub(crate) const COMPONENT: &str = "jabber:component:accept";
/// Data forms (XEP-0004).
pub(crate) const FORMS: &str = "jabber:x:data";
/// Who and what an address is (XEP-0030).
pub(crate) const DISCO_INFO: &str = "http://jabber.org/protocol/disco#info";
/// What an address offers (XEP-0030).
pub(crate) const DISCO_ITEMS: &str = "http://jabber.org/protocol/disco#items";
/// Ad-hoc commands (XEP-0050).
pub(crate) const COMMANDS: &str = "http://jabber.org/protocol/commands";
/// Business card (XEP-0054).
pub(crate) const VCARD: &str = "vcard-temp";
/// Files by address (XEP-0066).
pub(crate) const OOB: &str = "jabber:x:oob";
/// Software version (XEP-0092).
pub(crate) const VERSION: &str = "jabber:iq:version";
/// Asking a gateway for an address (XEP-0100 section 6.3).
pub(crate) const GATEWAY: &str = "jabber:iq:gateway";
/// Nicknames (XEP-0172).
pub(crate) const NICK: &str = "http://jabber.org/protocol/nick";
/// Receipts (XEP-0184).
pub(crate) const RECEIPTS: &str = "urn:xmpp:receipts";
/// Ping (XEP-0199).
pub(crate) const PING: &str = "urn:xmpp:ping";
/// Delayed delivery (XEP-0203).
pub(crate) const DELAY: &str = "urn:xmpp:delay";
/// Carbon copies (XEP-0280).
pub(crate) const CARBONS: &str = "urn:xmpp:carbons:2";
/// Forwarded stanzas (XEP-0297).
pub(crate) const FORWARD: &str = "urn:xmpp:forward:0";
/// Archived messages (XEP-0313).
pub(crate) const ARCHIVE: &str = "urn:xmpp:mam:2";
/// Chat markers (XEP-0333).
pub(crate) const MARKERS: &str = "urn:xmpp:chat-markers:0";
/// Stable ids (XEP-0359).
pub(crate) const STABLE_ID: &str = "urn:xmpp:sid:0";
/// HTTP upload (XEP-0363).
pub(crate) const UPLOAD: &str = "urn:xmpp:http:upload:0";
/// Explicit encryption (XEP-0380).
pub(crate) const ENCRYPTION_HINT: &str = "urn:xmpp:eme:0";
/// OMEMO as deployed (XEP-0384 version 0.3).
pub(crate) const OMEMO_OLD: &str = "eu.siacs.conversations.axolotl";
/// OMEMO since XEP-0384 version 0.8.
pub(crate) const OMEMO: &str = "urn:xmpp:omemo:2";
/// OpenPGP for XMPP (XEP-0373).
pub(crate) const OPENPGP: &str = "urn:xmpp:openpgp:0";
/// The older OpenPGP use (XEP-0027).
pub(crate) const PGP_OLD: &str = "jabber:x:encrypted";
/// Direct invitations to rooms (XEP-0249).
pub(crate) const ROOM_INVITE: &str = "jabber:x:conference";
/// Rooms (XEP-0045).
pub(crate) const ROOM_USER: &str = "http://jabber.org/protocol/muc#user";
