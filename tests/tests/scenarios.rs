//! What people do with the whole program: one behaviour a file, against real peers.

mod attachments;
mod bounces;
mod choice;
mod failpoints;
mod forged;
mod forwards;
mod ledger;
mod modes;
mod order;
mod poison;
mod programs;
mod random_kills;
mod reply_by_email;
mod reply_by_im;
mod sync;
mod tenants;
mod world;
