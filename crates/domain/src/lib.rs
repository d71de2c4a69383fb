#![doc = include_str!("../README.md")]

pub mod address;
pub mod clock;
pub mod command;
pub mod delivery;
pub mod failpoint;
pub mod ids;
pub mod service;
pub mod signed;
pub mod text;
