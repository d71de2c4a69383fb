//! XMPP as far as measuring needs it: a client that keeps up, and a bare component.

pub(crate) mod client;
pub(crate) mod component;
pub(crate) mod inbox;
mod scan;
mod stream;
