//! Keys with which mails of ours are signed (RFC 6376, RFC 8463).

use aws_lc_rs::{
    encoding::{AsDer, Pkcs8V1Der, PublicKeyX509Der},
    rand::SystemRandom,
    rsa::{KeyPair as RsaKeyPair, KeySize},
    signature::{Ed25519KeyPair, KeyPair},
};
use base64::{Engine, engine::general_purpose::STANDARD};
use mail_auth::{
    common::{
        crypto::{Ed25519Key, RsaKey, Sha256, SigningKey},
        headers::HeaderWriter,
    },
    dkim::{Canonicalization, DkimSigner, Signature},
};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer, pem::PemObject};

/// Fields that are signed; those that a mail does not have are signed as absent, so that
/// nobody can add them on the way (RFC 6376 section 5.4.2).
const SIGNED: [&str; 13] = [
    "From",
    "Sender",
    "Reply-To",
    "To",
    "Cc",
    "Subject",
    "Date",
    "Message-ID",
    "In-Reply-To",
    "References",
    "MIME-Version",
    "Content-Type",
    "Content-Transfer-Encoding",
];

/// Why a key cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadKey {
    /// Neither an RSA key of at least 2,048 bits nor an Ed25519 key.
    #[error("the text is not a private key in PKCS#8 PEM form, RSA (2048 bits or more) or Ed25519")]
    Unreadable,
    /// The cryptographic library gave up.
    #[error("a key could not be made")]
    Generate,
    /// The mail has none of the fields that are signed, or the key cannot sign.
    #[error("the mail could not be signed: {0}")]
    Sign(String),
    /// Not a domain name or not a selector.
    #[error("the domain or the selector contains a character that is not allowed in it")]
    Name,
}

enum Inner {
    Rsa(RsaKey<Sha256>),
    Ed25519(Ed25519Key),
}

/// A private key and its public half.
pub struct DkimKey {
    inner: Inner,
    pkcs8: Vec<u8>,
    /// What the DNS record carries: SubjectPublicKeyInfo for RSA, the bare key for Ed25519.
    public: Vec<u8>,
}

impl DkimKey {
    /// A new RSA key of 2,048 bits, which every receiver understands.
    ///
    /// # Errors
    /// When the library cannot make one.
    pub fn generate_rsa() -> Result<Self, BadKey> {
        let pair = RsaKeyPair::generate(KeySize::Rsa2048).map_err(|_| BadKey::Generate)?;
        let der = AsDer::<Pkcs8V1Der<'_>>::as_der(&pair).map_err(|_| BadKey::Generate)?;
        Self::from_pkcs8(der.as_ref().to_vec())
    }

    /// A new Ed25519 key (RFC 8463); used beside an RSA key, since not every receiver knows it.
    ///
    /// # Errors
    /// When the library cannot make one.
    pub fn generate_ed25519() -> Result<Self, BadKey> {
        let der =
            Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).map_err(|_| BadKey::Generate)?;
        Self::from_pkcs8(der.as_ref().to_vec())
    }

    fn from_pkcs8(pkcs8: Vec<u8>) -> Result<Self, BadKey> {
        if let Ok(pair) = RsaKeyPair::from_pkcs8(&pkcs8) {
            if pair.public_modulus_len() < 256 {
                return Err(BadKey::Unreadable);
            }
            let public = AsDer::<PublicKeyX509Der<'_>>::as_der(pair.public_key())
                .map_err(|_| BadKey::Unreadable)?;
            let key = RsaKey::from_key_der(PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(
                pkcs8.as_slice(),
            )))
            .map_err(|_| BadKey::Unreadable)?;
            return Ok(Self { inner: Inner::Rsa(key), public: public.as_ref().to_vec(), pkcs8 });
        }
        let key = Ed25519Key::from_pkcs8_der(&pkcs8)
            .or_else(|_| Ed25519Key::from_pkcs8_maybe_unchecked_der(&pkcs8))
            .map_err(|_| BadKey::Unreadable)?;
        let public = key.public_key();
        Ok(Self { inner: Inner::Ed25519(key), public, pkcs8 })
    }

    /// Reads a key in PKCS#8 PEM form.
    ///
    /// # Errors
    /// Says what was expected.
    pub fn from_pem(pem: &str) -> Result<Self, BadKey> {
        let der =
            PrivatePkcs8KeyDer::from_pem_slice(pem.as_bytes()).map_err(|_| BadKey::Unreadable)?;
        Self::from_pkcs8(der.secret_pkcs8_der().to_vec())
    }

    /// The key in PKCS#8 PEM form (RFC 7468 section 10). A secret.
    #[must_use]
    pub fn to_pem(&self) -> String {
        let mut out = String::from("-----BEGIN PRIVATE KEY-----\n");
        for line in self.pkcs8.chunks(48) {
            STANDARD.encode_string(line, &mut out);
            out.push('\n');
        }
        out.push_str("-----END PRIVATE KEY-----\n");
        out
    }

    /// Name and text of the TXT record to publish (RFC 6376 section 3.6.1).
    #[must_use]
    pub fn dns_record(&self, domain: &str, selector: &str) -> (String, String) {
        let kind = match self.inner {
            Inner::Rsa(_) => "rsa",
            Inner::Ed25519(_) => "ed25519",
        };
        let text = format!("v=DKIM1; k={kind}; p={}", STANDARD.encode(&self.public));
        (format!("{selector}._domainkey.{domain}"), text)
    }

    /// The DKIM-Signature field for a mail with CRLF line ends, to be put in front of it.
    ///
    /// Header and body are canonicalised in the relaxed way; the signature's time is the system's.
    ///
    /// # Errors
    /// When domain or selector are none, or the mail has nothing to sign.
    pub fn sign(&self, domain: &str, selector: &str, raw: &[u8]) -> Result<String, BadKey> {
        let name = |n: &str| {
            !n.is_empty()
                && n.len() <= 253
                && n.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._".contains(&b))
        };
        if !name(domain) || !name(selector) {
            return Err(BadKey::Name);
        }
        let signature = match &self.inner {
            Inner::Rsa(key) => signature(Borrowed(key), domain, selector, raw),
            Inner::Ed25519(key) => signature(Borrowed(key), domain, selector, raw),
        };
        signature.map(|s| s.to_header()).map_err(|e| BadKey::Sign(e.to_string()))
    }
}

impl std::fmt::Debug for DkimKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DkimKey").finish_non_exhaustive()
    }
}

fn signature<K: SigningKey>(
    key: K,
    domain: &str,
    selector: &str,
    raw: &[u8],
) -> mail_auth::Result<Signature> {
    DkimSigner::from_key(key)
        .domain(domain)
        .selector(selector)
        .headers(SIGNED)
        .header_canonicalization(Canonicalization::Relaxed)
        .body_canonicalization(Canonicalization::Relaxed)
        .sign(raw)
}

/// The signer wants a key of its own; reading one from PKCS#8 for every mail would cost more
/// than signing does.
struct Borrowed<'k, K>(&'k K);

impl<K: SigningKey> SigningKey for Borrowed<'_, K> {
    type Hasher = K::Hasher;

    fn sign(&self, input: impl mail_auth::common::headers::Writable) -> mail_auth::Result<Vec<u8>> {
        self.0.sign(input)
    }

    fn algorithm(&self) -> mail_auth::common::crypto::Algorithm {
        self.0.algorithm()
    }
}
