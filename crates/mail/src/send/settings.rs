//! A relay's URL, read.

use std::path::PathBuf;

use percent_encoding::percent_decode_str;
use url::Url;

/// What is wrong with the URL of a relay.
#[derive(Debug, thiserror::Error)]
pub enum BadRelay {
    /// Not a URL at all.
    #[error("the relay is written smtp://host:port or smtps://user:password@host:port")]
    NotAUrl(#[from] url::ParseError),
    /// Another scheme.
    #[error("a relay is reached by smtp:// or smtps://, not by {0}://")]
    Scheme(String),
    /// No host, or parts that mean nothing here.
    #[error("the relay's URL has a host, a port and options, and nothing else")]
    Shape,
    /// An option that does not exist, or that contradicts the scheme.
    #[error(
        "the relay option {0} is not known; there are tls=required, tls=opportunistic and tls=never (with smtp://), and ca=FILE"
    )]
    Option(String),
    /// User or password are not UTF-8, or only one of them is given.
    #[error("the relay's user and password are given together, as percent-encoded UTF-8")]
    Credentials,
    /// A password would be sent to a server whose certificate nobody checks.
    #[error(
        "with tls=opportunistic a password could be read by anybody in between; leave it out or use tls=required"
    )]
    Exposed,
    /// The certificate file cannot be used.
    #[error("the certificates in {path} cannot be used: {reason}")]
    Certificates {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// TLS cannot be set up.
    #[error("TLS towards the relay cannot be set up: {0}")]
    Tls(String),
}

/// When the connection is encrypted, and whether the certificate counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Security {
    /// From the first octet, checked.
    Implicit,
    /// By STARTTLS, checked; without it nothing is sent.
    Required,
    /// By STARTTLS if it is offered and works, unchecked: better than nothing (RFC 7435).
    Opportunistic,
    /// Never.
    Never,
}

/// A relay as the operator described it.
pub(crate) struct Settings {
    pub(crate) host: String,
    pub(crate) port: u16,
    pub(crate) security: Security,
    pub(crate) credentials: Option<(String, String)>,
    /// Trust these certificates and no others.
    pub(crate) ca: Option<PathBuf>,
}

impl Settings {
    /// Reads `smtp://[user:password@]host[:25]` or `smtps://…[:465]` with the options `tls` and `ca`.
    pub(crate) fn parse(text: &str) -> Result<Self, BadRelay> {
        let url = Url::parse(text)?;
        let implicit = match url.scheme() {
            "smtp" => false,
            "smtps" => true,
            other => return Err(BadRelay::Scheme(other.to_owned())),
        };
        let path = url.path();
        if !(path.is_empty() || path == "/") || url.fragment().is_some() {
            return Err(BadRelay::Shape);
        }
        let host = url.host_str().filter(|h| !h.is_empty()).ok_or(BadRelay::Shape)?;
        let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        let credentials = credentials(&url)?;
        let (mut security, mut ca) = (None, None);
        for (key, value) in url.query_pairs() {
            match (key.as_ref(), value.as_ref(), implicit) {
                ("tls", "required", false) => security = Some(Security::Required),
                ("tls", "opportunistic", false) => security = Some(Security::Opportunistic),
                ("tls", "never", false) => security = Some(Security::Never),
                ("ca", file, _) if !file.is_empty() => ca = Some(PathBuf::from(file)),
                _ => return Err(BadRelay::Option(format!("{key}={value}"))),
            }
        }
        let security = match (implicit, security) {
            (true, _) => Security::Implicit,
            (false, Some(Security::Opportunistic)) if credentials.is_some() => {
                return Err(BadRelay::Exposed);
            }
            (false, Some(said)) => said,
            // A password wants a checked connection even where nobody asked for one.
            (false, None) if credentials.is_some() => Security::Required,
            (false, None) => Security::Opportunistic,
        };
        let port = url.port().unwrap_or(if implicit { 465 } else { 25 });
        Ok(Self { host, port, security, credentials, ca })
    }
}

fn credentials(url: &Url) -> Result<Option<(String, String)>, BadRelay> {
    let decode = |text: &str| {
        percent_decode_str(text).decode_utf8().map(String::from).map_err(|_| BadRelay::Credentials)
    };
    match (url.username(), url.password()) {
        ("", None) => Ok(None),
        ("", Some(_)) | (_, None) => Err(BadRelay::Credentials),
        (user, Some(password)) => Ok(Some((decode(user)?, decode(password)?))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_read() {
        let read = |text: &str| Settings::parse(text).map(|s| (s.host, s.port, s.security));
        assert_eq!(
            read("smtp://127.0.0.1:2600").unwrap(),
            ("127.0.0.1".into(), 2600, Security::Opportunistic)
        );
        assert_eq!(read("smtps://mx.test").unwrap(), ("mx.test".into(), 465, Security::Implicit));
        assert_eq!(read("smtp://[::1]/").unwrap(), ("::1".into(), 25, Security::Opportunistic));
        assert_eq!(read("smtp://u:p@mx.test:587").unwrap().2, Security::Required);
        assert_eq!(read("smtp://u:p@mx.test?tls=never").unwrap().2, Security::Never);
        let with_password = Settings::parse("smtps://a%40b:p%3Aw%2F@mx.test").unwrap();
        assert_eq!(with_password.credentials, Some(("a@b".into(), "p:w/".into())));
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for bad in [
            "mx.test:25",
            "http://mx.test",
            "smtp://",
            "smtp://mx.test/x",
            "smtp://mx.test#x",
            "smtp://u@mx.test",
            "smtp://mx.test?tls=maybe",
            "smtps://mx.test?tls=never",
            "smtp://mx.test?x=1",
            "smtp://u:p@mx.test?tls=opportunistic",
        ] {
            assert!(Settings::parse(bad).is_err(), "{bad}");
        }
    }
}
