//! Places where a test may kill the process: between what was persisted and what follows from it.

use std::sync::OnceLock;

static ARMED: OnceLock<String> = OnceLock::new();

/// Arms one failpoint for the life of the process; called by the binary, once, from its environment.
pub fn arm(name: String) {
    let _ = ARMED.set(name);
}

/// Dies here, without any cleaning up, if this failpoint is the armed one.
pub fn hit(name: &str) {
    if ARMED.get().is_some_and(|armed| armed == name) {
        std::process::abort();
    }
}

/// All failpoints that exist, so that a test can go through every one.
pub const ALL: &[&str] = &[
    "smtp.after_commit",
    "im.after_commit",
    "api.after_commit",
    "router.before_commit",
    "router.after_commit",
    "router.after_send",
    "router.before_settle",
    "router.after_settle",
    "outbound.before_handover",
    "outbound.after_handover",
    "outbound.after_commit",
    "forward.after_handover",
];
