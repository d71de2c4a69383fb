//! The files that every page links to, compiled into the binary.

/// One static file.
#[derive(Clone, Copy, Debug)]
pub struct Asset {
    /// Path under which pages link to it.
    pub path: &'static str,
    /// `Content-Type`.
    pub media_type: &'static str,
    /// The file.
    pub body: &'static str,
}

/// All static files; under the address with their [`version`] they may be cached for good.
pub const ASSETS: [Asset; 4] = [
    Asset {
        path: "/assets/app.css",
        media_type: "text/css; charset=utf-8",
        body: include_str!("../../assets/app.css"),
    },
    Asset {
        path: "/assets/mail.css",
        media_type: "text/css; charset=utf-8",
        body: include_str!("../../assets/mail.css"),
    },
    Asset {
        path: "/assets/app.js",
        media_type: "text/javascript; charset=utf-8",
        body: include_str!("../../assets/app.js"),
    },
    Asset {
        path: "/assets/icon.svg",
        media_type: "image/svg+xml",
        body: include_str!("../../assets/icon.svg"),
    },
];

/// Sixteen hexadecimal digits that change when any of the files does.
#[must_use]
pub fn version() -> &'static str {
    static VERSION: std::sync::OnceLock<String> = std::sync::OnceLock::new();
    VERSION.get_or_init(|| {
        use sha2::Digest;
        let mut hash = sha2::Sha256::new();
        for asset in ASSETS {
            hash.update(asset.body);
        }
        hex::encode(&hash.finalize()[..8])
    })
}
