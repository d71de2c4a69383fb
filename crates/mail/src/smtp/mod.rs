//! An SMTP server session (RFC 5321) that decides nothing: its owner does, through [`Host`].
//!
//! Offered: SIZE (RFC 1870), PIPELINING (2920), 8BITMIME (6152), ENHANCEDSTATUSCODES (2034),
//! DSN (3461), STARTTLS (3207) or TLS from the start, and AUTH PLAIN and LOGIN (4954) once the
//! connection is encrypted. Not offered: CHUNKING, SMTPUTF8, VRFY in earnest.
//!
//! What never happens here: a mail that ends anywhere but at CRLF.CRLF; a command taken that was
//! sent before its turn; a mail held in memory beyond `Limits::memory_body`; a positive reply to a
//! mail that [`Host::accept`] did not give.

mod auth;
mod body;
mod command;
mod data;
mod host;
mod limits;
mod path;
mod received;
mod reception;
mod reply;
mod server;
mod session;
mod sign_in;
mod tls;
mod wire;

#[cfg(test)]
pub(crate) mod tests;

pub use body::{Body, clean_spool};
pub use host::{Host, Notify, ReceivedMail, Recipient, Ret, ReversePath, Session};
pub use limits::Limits;
pub use received::received_header;
pub use reply::Reply;
pub use server::{TlsMode, serve};
pub use tls::{BadCertificate, tls_config};
