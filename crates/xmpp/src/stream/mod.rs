//! One component connection (XEP-0114): opening it, reading stanzas, writing them in batches.

mod echo;
mod open;
pub(crate) mod parse;
mod read;
mod write;

pub(crate) use echo::Echoes;
pub(crate) use open::{Lost, Opened, open};
pub(crate) use read::{Read, Reader};
pub(crate) use write::{Out, Waiter, Writer};
