//! Links that carry their own proof: what they open, for which tenant, until when.

use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation, decode, encode};
use serde::{Deserialize, Serialize};

use crate::clock::Millis;

/// What a link opens.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "k", rename_all = "snake_case")]
pub enum Opens {
    /// One attachment, to be downloaded.
    File {
        /// Tenant.
        tenant: String,
        /// Attachment.
        id: String,
    },
    /// The page with one answer to a delivery question.
    Decide {
        /// The question's token.
        question: String,
        /// `retry`, `abort` or `email`.
        choice: String,
    },
    /// The page that lets a member allow or refuse something that waits for them.
    Confirm {
        /// The confirmation's token.
        token: String,
    },
    /// A transcript whose one-time code was entered: what a browser keeps, never a link.
    Transcript {
        /// Token of the link that led there.
        link: String,
    },
    /// Somebody's own web chat: what a browser keeps, or a link that was sent to them.
    Chat {
        /// Their address, `web:bob@acme.test`.
        address: String,
    },
}

#[derive(Serialize, Deserialize)]
struct Claims {
    #[serde(flatten)]
    opens: Opens,
    /// Seconds since the epoch, as RFC 7519 section 4.1.4 has it.
    exp: i64,
}

/// Why a link does not open.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadLink {
    /// It was good until lately.
    #[error("this link has expired")]
    Expired,
    /// It never was.
    #[error("this link is not one of ours, or it was changed")]
    Forged,
}

/// Makes and reads links with the installation's own secret.
#[derive(Clone)]
pub struct SignedLinks {
    encode: EncodingKey,
    decode: DecodingKey,
}

impl std::fmt::Debug for SignedLinks {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SignedLinks")
    }
}

const KID: &str = "1";

impl SignedLinks {
    /// Links signed with `secret`.
    #[must_use]
    pub fn new(secret: &[u8]) -> Self {
        Self { encode: EncodingKey::from_secret(secret), decode: DecodingKey::from_secret(secret) }
    }

    /// A token that opens `opens` until `until`.
    #[must_use]
    pub fn sign(&self, opens: Opens, until: Millis) -> String {
        let header = Header { kid: Some(KID.to_owned()), ..Header::new(Algorithm::HS256) };
        // Serialising strings and a number and hashing them with a key of our own cannot fail.
        encode(&header, &Claims { opens, exp: until.0 / 1_000 }, &self.encode).unwrap_or_default()
    }

    /// What a token opens.
    ///
    /// # Errors
    /// [`BadLink`]; another algorithm than HS256, an unknown key id and an `exp` that is not a
    /// number are all forgeries.
    pub fn read(&self, token: &str, now: Millis) -> Result<Opens, BadLink> {
        if token.len() > 2_048 {
            return Err(BadLink::Forged);
        }
        let header = jsonwebtoken::decode_header(token).map_err(|_| BadLink::Forged)?;
        if header.kid.as_deref() != Some(KID) {
            return Err(BadLink::Forged);
        }
        let mut validation = Validation::new(Algorithm::HS256);
        // The clock is a parameter here, so the expiry is compared below.
        validation.validate_exp = false;
        let data =
            decode::<Claims>(token, &self.decode, &validation).map_err(|_| BadLink::Forged)?;
        if data.claims.exp.saturating_mul(1_000) <= now.0 {
            return Err(BadLink::Expired);
        }
        Ok(data.claims.opens)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD as B64};

    fn links() -> SignedLinks {
        SignedLinks::new(b"a secret of at least thirty-two octets!")
    }

    fn file() -> Opens {
        Opens::File { tenant: "ten_1".into(), id: "att_1".into() }
    }

    #[test]
    fn a_link_opens_until_it_expires() {
        let token = links().sign(file(), Millis(10_000));
        assert_eq!(links().read(&token, Millis(9_000)), Ok(file()));
        assert_eq!(links().read(&token, Millis(10_000)), Err(BadLink::Expired));
    }

    #[test]
    fn abuse_http_25_forged_links_do_not_open() {
        let good = links().sign(file(), Millis(10_000));
        let [_, claims, signature] = good.split('.').collect::<Vec<_>>()[..] else {
            panic!("three parts")
        };
        let with =
            |header: &str, claims: &str| format!("{}.{claims}.{signature}", B64.encode(header));
        let text_exp = B64.encode(r#"{"k":"file","tenant":"t","id":"a","exp":"99999999999"}"#);
        for bad in [
            with(r#"{"alg":"none","kid":"1"}"#, claims),
            with(r#"{"alg":"HS512","kid":"1"}"#, claims),
            with(r#"{"alg":"HS256","kid":"2"}"#, claims),
            with(r#"{"alg":"HS256","kid":"1"}"#, &text_exp),
            format!("{}.{claims}.", B64.encode(r#"{"alg":"none","kid":"1"}"#)),
            SignedLinks::new(b"another secret of thirty-two octets!!!!")
                .sign(file(), Millis(10_000)),
        ] {
            assert_eq!(links().read(&bad, Millis(1)), Err(BadLink::Forged), "{bad}");
        }
        assert!(links().read(&good, Millis(1)).is_ok());
    }
}
