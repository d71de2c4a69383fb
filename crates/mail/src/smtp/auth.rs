//! What a client says to sign in: AUTH PLAIN (RFC 4616) and AUTH LOGIN.

use base64::{Engine, engine::general_purpose::STANDARD};

use super::Reply;

/// User and password of an AUTH PLAIN response in base64.
///
/// # Errors
/// `501` if it is not of the form `[authzid] NUL authcid NUL password`; `535` if it asks to act as
/// somebody else.
pub(crate) fn plain(response: &str) -> Result<(String, String), Reply> {
    let text = text(response)?;
    let mut parts = text.split('\0');
    match (parts.next(), parts.next(), parts.next(), parts.next()) {
        (Some(acting), Some(user), Some(password), None) if !user.is_empty() => {
            if acting.is_empty() || acting == user {
                Ok((user.to_owned(), password.to_owned()))
            } else {
                Err(Reply::new(535, "5.7.8", "Nobody can sign in on behalf of another here"))
            }
        }
        _ => Err(malformed()),
    }
}

/// One answer of AUTH LOGIN, or an initial response; `=` stands for an empty one
/// (RFC 4954 section 4).
///
/// # Errors
/// `501` if it is not base64 of UTF-8 text.
pub(crate) fn text(response: &str) -> Result<String, Reply> {
    let encoded = if response == "=" { "" } else { response };
    let raw = STANDARD.decode(encoded).map_err(|_| malformed())?;
    String::from_utf8(raw).map_err(|_| malformed())
}

fn malformed() -> Reply {
    Reply::new(501, "5.5.2", "The AUTH response is not what this mechanism asks for")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_is_read_and_nobody_acts_for_another() {
        let read = |raw: &str| plain(&STANDARD.encode(raw)).map_err(|r| r.code());
        assert_eq!(read("\0al\0pw"), Ok(("al".into(), "pw".into())));
        assert_eq!(read("al\0al\0p w"), Ok(("al".into(), "p w".into())));
        assert_eq!(read("root\0al\0pw"), Err(535));
        assert_eq!(read("al\0pw"), Err(501));
        assert_eq!(read("\0al\0pw\0x"), Err(501));
        assert_eq!(plain("!").map_err(|r| r.code()), Err(501));
    }
}
