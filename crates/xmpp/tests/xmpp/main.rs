//! The component against a scripted server, and against real ones with a real client.

mod answers;
mod fake;
mod hostile;
mod peer;
mod servers;
mod session;
mod support;
