//! Rules that no compiler checks: which crate may know which, licences, and tidy files.

mod edges;
mod licences;
mod metadata;
mod sources;
