#![doc = include_str!("../README.md")]

mod answers;
mod config;
mod inbound;
mod jid;
mod link;
mod network;
mod notices;
mod ns;
mod presence;
mod requests;
mod roster;
mod stanza;
mod stream;
mod upload;
mod xml;

pub use config::{Confirm, XmppConfig};
pub use network::XmppNetwork;

/// Locks, also after another thread panicked with the lock: what is kept under locks here is
/// whole after every statement.
fn lock<T>(mutex: &std::sync::Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}
