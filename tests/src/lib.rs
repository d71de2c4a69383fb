#![doc = include_str!("../README.md")]

mod api;
mod dkim;
mod ejabberd;
mod http;
mod isthmus;
mod ports;
mod postfix;
mod process;
mod prosody;
mod read_mail;
mod smtp_client;
mod smtp_sink;
mod wait;
mod xmpp_client;
mod xmpp_server;

pub use api::{Answer, Api, EventStream};
pub use dkim::signer;
pub use isthmus::{Finished, Isthmus, IsthmusSetup};
pub use ports::Port;
pub use postfix::{Postfix, PostfixSetup};
pub use process::{Server, ServerSpec};
pub use read_mail::{MailFile, ReadMail};
pub use smtp_client::{SmtpClient, SmtpReply, send_mail};
pub use smtp_sink::{SinkAnswer, SinkMail, SmtpSink};
pub use wait::{eventually, port_opens};
pub use xmpp_client::XmppClient;
pub use xmpp_server::{XmppKind, XmppServer, XmppSetup};
