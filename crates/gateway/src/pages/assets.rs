//! The two files that every page links to, compiled into the binary.

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

/// All static files; each may be cached for an hour and revalidated after that.
pub const ASSETS: [Asset; 3] = [
    Asset {
        path: "/assets/app.css",
        media_type: "text/css; charset=utf-8",
        body: include_str!("../../assets/app.css"),
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
