//! Cookies: bound to this very host where we are reached by https, out of reach of scripts, and
//! never sent along with another site's forms.

use actix_web::{
    HttpRequest,
    cookie::{Cookie, SameSite, time::Duration},
};

/// Which cookie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Jar {
    /// A member's session.
    Session,
    /// Somebody not signed in: what their forms are checked against.
    Visitor,
    /// The transcript that a one-time code has opened.
    Transcript,
    /// The web chat that is open.
    Chat,
}

impl Jar {
    /// The name under this public address: with `__Host-` a browser takes the cookie from this
    /// host by https only, so that no neighbour can plant one.
    fn name(self, public_url: &str) -> &'static str {
        match (self, public_url.starts_with("https://")) {
            (Self::Session, true) => "__Host-isthmus_session",
            (Self::Session, false) => "isthmus_session",
            (Self::Visitor, true) => "__Host-isthmus_visitor",
            (Self::Visitor, false) => "isthmus_visitor",
            (Self::Transcript, true) => "__Host-isthmus_transcript",
            (Self::Transcript, false) => "isthmus_transcript",
            (Self::Chat, true) => "__Host-isthmus_chat",
            (Self::Chat, false) => "isthmus_chat",
        }
    }

    /// How long a browser keeps it; the value itself may end sooner.
    fn days(self) -> i64 {
        match self {
            Self::Session | Self::Chat => 30,
            Self::Visitor | Self::Transcript => 1,
        }
    }

    /// The value that came with a request.
    pub(crate) fn read(self, req: &HttpRequest, public_url: &str) -> Option<String> {
        let value = req.cookie(self.name(public_url))?.value().to_owned();
        (!value.is_empty() && value.len() <= 2_048).then_some(value)
    }

    /// A cookie with this value.
    pub(crate) fn with(self, value: String, public_url: &str) -> Cookie<'static> {
        Cookie::build(self.name(public_url), value)
            .path("/")
            .http_only(true)
            .secure(public_url.starts_with("https://"))
            .same_site(SameSite::Lax)
            .max_age(Duration::days(self.days()))
            .finish()
    }

    /// What takes the cookie away.
    pub(crate) fn without(self, public_url: &str) -> Cookie<'static> {
        let mut cookie = self.with(String::new(), public_url);
        cookie.make_removal();
        cookie
    }
}
