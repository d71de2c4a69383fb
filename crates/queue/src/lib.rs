#![doc = include_str!("../README.md")]

mod bus;
mod lanes;
mod limits;
mod penalties;

pub use bus::{Bus, Happening, Signal, Signals};
pub use lanes::{Hint, Queue, Sweep};
pub use limits::RateLimits;
pub use penalties::{Penalties, peer_key};
