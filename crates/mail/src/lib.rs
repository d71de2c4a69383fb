#![doc = include_str!("../README.md")]

pub mod auth;
pub mod mime;
pub mod send;
pub mod smtp;
