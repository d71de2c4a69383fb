//! The HTTP API over a real store; the router is played by the tests.

mod access;
mod delivering;
mod directory;
mod hostile;
mod reading;
mod signing_in;
mod support;
mod writing;
