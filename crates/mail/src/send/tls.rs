//! Which certificates of a relay are believed.

use std::path::Path;
use std::sync::Arc;

use lettre::transport::smtp::client::{Certificate, CertificateStore, TlsParameters};
use rustls::pki_types::{CertificateDer, ServerName, pem::PemObject};

use super::BadRelay;
use super::settings::{Security, Settings};

/// TLS as the settings ask for it.
pub(crate) enum Tls {
    /// Not at all.
    None,
    /// From the start.
    Implicit(tokio_rustls::TlsConnector, ServerName<'static>),
    /// By STARTTLS, which is lettre's to do.
    Start(TlsParameters),
}

impl Tls {
    pub(crate) fn new(settings: &Settings) -> Result<Self, BadRelay> {
        let ca = match &settings.ca {
            Some(path) => Some(read(path)?),
            None => None,
        };
        Ok(match settings.security {
            Security::Never => Self::None,
            Security::Implicit => implicit(&settings.host, ca)?,
            Security::Required => start_checked(&settings.host, ca)?,
            Security::Opportunistic => Self::Start(
                TlsParameters::builder(settings.host.clone())
                    .certificate_store(CertificateStore::None)
                    .dangerous_accept_invalid_certs(true)
                    .dangerous_accept_invalid_hostnames(true)
                    .build()
                    .map_err(|e| BadRelay::Tls(e.to_string()))?,
            ),
        })
    }
}

/// The certificates of a PEM file.
fn read(path: &Path) -> Result<Vec<CertificateDer<'static>>, BadRelay> {
    let bad = |reason: String| BadRelay::Certificates { path: path.to_owned(), reason };
    let pem = std::fs::read(path).map_err(|e| bad(e.to_string()))?;
    let certs: Vec<_> = CertificateDer::pem_slice_iter(&pem)
        .collect::<Result<_, _>>()
        .map_err(|e| bad(e.to_string()))?;
    if certs.is_empty() { Err(bad("there is none".to_owned())) } else { Ok(certs) }
}

fn implicit(host: &str, ca: Option<Vec<CertificateDer<'static>>>) -> Result<Tls, BadRelay> {
    let bad = |e: &dyn std::fmt::Display| BadRelay::Tls(e.to_string());
    let mut roots = rustls::RootCertStore::empty();
    match ca {
        Some(certs) => {
            for cert in certs {
                roots.add(cert).map_err(|e| bad(&e))?;
            }
        }
        // Unreadable ones among the system's are left out; a missing root shows at the handshake.
        None => {
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        }
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|e| bad(&e))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = ServerName::try_from(host.to_owned()).map_err(|e| bad(&e))?;
    Ok(Tls::Implicit(Arc::new(config).into(), name))
}

fn start_checked(host: &str, ca: Option<Vec<CertificateDer<'static>>>) -> Result<Tls, BadRelay> {
    let bad = |e: lettre::transport::smtp::Error| BadRelay::Tls(e.to_string());
    let mut builder = TlsParameters::builder(host.to_owned());
    if let Some(certs) = ca {
        builder = builder.certificate_store(CertificateStore::None);
        for cert in certs {
            let cert = Certificate::from_der(cert.to_vec()).map_err(bad)?;
            builder = builder.add_root_certificate(cert);
        }
    }
    Ok(Tls::Start(builder.build().map_err(bad)?))
}
