//! Stanzas as they are written and read.

pub(crate) mod error;
pub(crate) mod message_in;
pub(crate) mod message_out;
