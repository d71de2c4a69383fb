//! HTTP clients for tests.

/// Options of a client that can be made in any test.
///
/// Cargo builds one reqwest for the whole workspace, with the TLS that the product needs, and
/// that one wants its cryptography named before any client is made.
pub(crate) fn client() -> reqwest::ClientBuilder {
    // Only the first call in a process can succeed, and one is enough.
    drop(rustls::crypto::aws_lc_rs::default_provider().install_default());
    reqwest::Client::builder()
}
