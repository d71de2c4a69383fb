//! The peers beside which everything is measured.

pub(crate) mod relay;
pub(crate) mod sink;

/// The installed version of a Debian package, without its revision; empty where there is no dpkg.
pub(crate) fn version(package: &str) -> String {
    let output =
        std::process::Command::new("dpkg-query").args(["-W", "-f", "${Version}", package]).output();
    let text = output.map(|o| String::from_utf8_lossy(&o.stdout).into_owned()).unwrap_or_default();
    text.split(['-', '+']).next().unwrap_or_default().to_owned()
}
