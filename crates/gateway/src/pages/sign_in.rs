//! Signing in.

use askama::Template;

use super::Frame;

/// The sign-in form.
#[derive(Clone, Debug, Template)]
#[template(path = "sign_in.html")]
pub struct SignInView {
    /// Surroundings.
    pub frame: Frame,
    /// Email address given back after an error.
    pub email: String,
    /// What was wrong; says nothing of whether the address is known.
    pub error: Option<String>,
    /// Path to go to afterwards, checked to be one of ours.
    pub next: String,
    /// Logins that the demo offers; `None` outside the demo.
    pub demo: Option<DemoHint>,
}

/// What the demo shows beside the form.
#[derive(Clone, Debug)]
pub struct DemoHint {
    /// Members who can sign in.
    pub logins: Vec<DemoLogin>,
}

/// A login of the demo.
#[derive(Clone, Debug)]
pub struct DemoLogin {
    /// Whose.
    pub name: String,
    /// At which tenant.
    pub tenant: String,
    /// Email address.
    pub email: String,
    /// Password.
    pub password: String,
}
