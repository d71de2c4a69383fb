//! What people do with the whole program: one behaviour a file, against real peers.

mod attachments;
mod bounces;
mod choice;
mod disk_full;
mod door;
mod failpoints;
mod forged;
mod forwards;
mod inbound;
mod inert;
mod ledger;
mod letters;
mod memory;
mod modes;
mod order;
mod poison;
mod programs;
mod question;
mod random_kills;
mod relay_greeting;
mod reply_by_email;
mod reply_by_im;
mod sync;
mod tenants;
mod unsynced;
mod world;
