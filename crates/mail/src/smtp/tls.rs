//! The certificate that the server shows.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem, pem::PemObject};

/// Why a certificate and its key cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum BadCertificate {
    /// A file cannot be read as PEM.
    #[error("{path} cannot be read as PEM: {source}")]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A file lacks what it is there for.
    #[error("there is no {what} in {path}")]
    Missing {
        /// Certificate or private key.
        what: &'static str,
        /// The file.
        path: PathBuf,
    },
    /// They do not belong together, or are of a kind that is not supported.
    #[error("the certificate and its key cannot be used: {0}")]
    Unusable(#[from] rustls::Error),
}

/// TLS 1.2 and 1.3 with the certificate chain (ours first) and the private key of two PEM files.
///
/// # Errors
/// Which of the files cannot be used, and why.
pub fn tls_config(
    certificates: &Path,
    key: &Path,
) -> Result<Arc<rustls::ServerConfig>, BadCertificate> {
    let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(&read(certificates)?)
        .collect::<Result<_, _>>()
        .map_err(|e| unreadable(certificates, &e))?;
    if chain.is_empty() {
        return Err(BadCertificate::Missing { what: "certificate", path: certificates.to_owned() });
    }
    let private = match PrivateKeyDer::from_pem_slice(&read(key)?) {
        Ok(private) => private,
        Err(pem::Error::NoItemsFound) => {
            return Err(BadCertificate::Missing { what: "private key", path: key.to_owned() });
        }
        Err(error) => return Err(unreadable(key, &error)),
    };
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(chain, private)?;
    Ok(Arc::new(config))
}

fn unreadable(path: &Path, error: &pem::Error) -> BadCertificate {
    BadCertificate::File { path: path.to_owned(), source: std::io::Error::other(error.to_string()) }
}

fn read(path: &Path) -> Result<Vec<u8>, BadCertificate> {
    std::fs::read(path).map_err(|source| BadCertificate::File { path: path.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_that_fit_are_taken_and_others_are_named() {
        let dir = tempfile::tempdir().unwrap();
        let made = rcgen::generate_simple_self_signed(vec!["mx.test".to_owned()]).unwrap();
        let other = rcgen::generate_simple_self_signed(vec!["mx.test".to_owned()]).unwrap();
        let [cert, key, wrong] =
            ["cert.pem", "key.pem", "wrong.pem"].map(|name| dir.path().join(name));
        std::fs::write(&cert, made.cert.pem()).unwrap();
        std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
        std::fs::write(&wrong, other.signing_key.serialize_pem()).unwrap();
        assert!(tls_config(&cert, &key).is_ok());
        assert!(matches!(tls_config(&cert, &wrong), Err(BadCertificate::Unusable(_))));
        assert!(matches!(tls_config(&key, &key), Err(BadCertificate::Missing { .. })));
        assert!(matches!(tls_config(&cert, &cert), Err(BadCertificate::Missing { .. })));
        let nowhere = dir.path().join("nowhere");
        let error = tls_config(&cert, &nowhere).unwrap_err().to_string();
        assert!(error.contains("nowhere"), "{error}");
    }
}
