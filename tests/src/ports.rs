//! Free TCP ports that stay ours until dropped, across test processes that run side by side.

use std::{
    fs::File,
    net::{Ipv4Addr, SocketAddr, TcpListener},
    sync::atomic::{AtomicU16, Ordering},
};

/// Below the range from which Linux takes ports for outgoing connections (32768 and up).
const FIRST: u16 = 18_000;
const COUNT: u16 = 14_000;

/// A loopback port that no other test uses while this value lives. The lock on its file ends
/// with the process, however that ends.
#[derive(Debug)]
pub struct Port {
    number: u16,
    _lock: File,
}

impl Port {
    /// Reserves a port on which nothing listens.
    ///
    /// # Panics
    /// When none of the range is free.
    #[must_use]
    pub fn free() -> Self {
        static NEXT: AtomicU16 = AtomicU16::new(0);
        // Processes start at different places, so that they rarely meet.
        let seed = u16::try_from(std::process::id().wrapping_mul(97) % u32::from(COUNT))
            .expect("smaller than COUNT");
        // One folder for each user: nobody can open the lock of somebody else.
        let user = rustix::process::geteuid().as_raw();
        let folder = std::env::temp_dir().join(format!("isthmus-ports-{user}"));
        std::fs::create_dir_all(&folder).expect("the temporary folder can be written");
        for _ in 0..COUNT {
            let step = NEXT.fetch_add(1, Ordering::Relaxed);
            let number = FIRST + (seed.wrapping_add(step)) % COUNT;
            let Ok(lock) = File::create(folder.join(number.to_string())) else { continue };
            if lock.try_lock().is_ok() && TcpListener::bind((Ipv4Addr::LOCALHOST, number)).is_ok() {
                return Self { number, _lock: lock };
            }
        }
        panic!("no free port between {FIRST} and {}", FIRST + COUNT);
    }

    /// The number.
    #[must_use]
    pub fn number(&self) -> u16 {
        self.number
    }

    /// The loopback address with this port.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.number).into()
    }
}

impl std::fmt::Display for Port {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.number)
    }
}
