//! Hands one mail at a time to a relay, and says what the relay answered.
//!
//! What never happens here: a stray CR or LF sent on; a password sent in the clear unless the
//! operator wrote `tls=never`; an answer that claims more than the relay said.

mod crlf;
mod link;
mod pool;
mod relay;
mod settings;
mod socket;
mod tls;

#[cfg(test)]
mod tests;

pub use crlf::to_crlf;
pub use relay::{Handover, Relay, Timeouts};
pub use settings::BadRelay;
