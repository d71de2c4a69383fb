//! The one test binary: each module is the scenarios of one behaviour.

mod harness;
mod scenarios;
mod tidy;
