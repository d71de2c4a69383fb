//! The pages, asked as a browser asks them.

mod chat;
mod forms;
mod hostile;
mod links;
mod reading;
mod support;
