//! Where a mail lies while it arrives: short ones in memory, long ones in a file.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use sha2::{Digest, Sha256};
use tempfile::{NamedTempFile, TempPath};

/// How the names of files in the spool directory begin.
const PREFIX: &str = "incoming-";

/// The octets of one mail.
#[derive(Debug)]
pub enum Body {
    /// At most `Limits::memory_body` octets.
    Memory(Bytes),
    /// A longer mail in a file of its own, which is not synced: it is here until the mail is
    /// accepted, and whoever accepts it keeps its octets elsewhere. Dropping the path deletes it.
    File {
        /// The file in the spool directory.
        path: TempPath,
        /// Octets.
        size: u64,
    },
}

impl Body {
    /// Octets of the mail.
    #[must_use]
    pub fn size(&self) -> u64 {
        match self {
            Self::Memory(bytes) => bytes.len() as u64,
            Self::File { size, .. } => *size,
        }
    }
}

/// Deletes what an earlier process left in the spool directory when it was killed; says how many
/// files. Only for the start, before any [`serve`](super::serve) uses the directory.
///
/// # Errors
/// When the directory exists and cannot be read, or a file cannot be deleted.
pub fn clean_spool(dir: &Path) -> std::io::Result<usize> {
    let entries = match std::fs::read_dir(dir) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(0),
        other => other?,
    };
    let mut removed = 0;
    for entry in entries {
        let entry = entry?;
        if entry.file_name().to_string_lossy().starts_with(PREFIX) {
            std::fs::remove_file(entry.path())?;
            removed += 1;
        }
    }
    Ok(removed)
}

/// Opens files for long mails.
#[derive(Clone, Debug)]
pub(crate) struct Spool {
    /// The directory.
    pub(crate) dir: PathBuf,
    /// Makes one file in it; another one than [`open_in`] only in tests.
    pub(crate) open: fn(&Path) -> std::io::Result<NamedTempFile>,
}

/// A new file in `dir` that only we can read.
pub(crate) fn open_in(dir: &Path) -> std::io::Result<NamedTempFile> {
    tempfile::Builder::new().prefix(PREFIX).tempfile_in(dir)
}

struct Spooled {
    file: NamedTempFile,
    hash: Sha256,
    size: u64,
}

impl Spooled {
    fn append(&mut self, octets: &[u8]) -> std::io::Result<()> {
        self.file.write_all(octets)?;
        self.hash.update(octets);
        self.size += octets.len() as u64;
        Ok(())
    }
}

/// Takes a mail in pieces. Holds at most `memory_max` octets and one piece in memory.
pub(crate) struct BodyWriter {
    spool: Spool,
    memory_max: usize,
    buffer: Vec<u8>,
    spooled: Option<Spooled>,
}

impl BodyWriter {
    /// A writer with room for the size that the peer announced (which may be a lie).
    pub(crate) fn new(spool: Spool, memory_max: usize, announced: u64) -> Self {
        // Room for one more piece, so that a mail on its way to the file is not moved first.
        let most = memory_max + 16 * 1024;
        let room = usize::try_from(announced).unwrap_or(usize::MAX).clamp(2048, most);
        Self { spool, memory_max, buffer: Vec::with_capacity(room), spooled: None }
    }

    /// Takes a piece; [`BodyWriter::settle`] has to follow before the next ones pile up.
    pub(crate) fn push(&mut self, piece: &[u8]) {
        self.buffer.extend_from_slice(piece);
    }

    /// Forgets everything and frees it.
    pub(crate) fn discard(&mut self) {
        self.buffer = Vec::new();
        self.spooled = None;
    }

    /// Moves what is too much for memory to the file.
    pub(crate) async fn settle(&mut self) -> std::io::Result<()> {
        if self.buffer.len() <= self.memory_max {
            return Ok(());
        }
        let mut buffer = std::mem::take(&mut self.buffer);
        let (spool, spooled) = (self.spool.clone(), self.spooled.take());
        // Moved in and out: if the session goes away meanwhile, the file goes with the closure.
        let (spooled, buffer) = blocking(move || {
            let mut spooled = match spooled {
                Some(spooled) => spooled,
                None => Spooled { file: (spool.open)(&spool.dir)?, hash: Sha256::new(), size: 0 },
            };
            spooled.append(&buffer)?;
            buffer.clear();
            Ok((spooled, buffer))
        })
        .await?;
        self.spooled = Some(spooled);
        self.buffer = buffer;
        Ok(())
    }

    /// The whole mail and its SHA-256 in hex.
    pub(crate) async fn finish(self) -> std::io::Result<(Body, String)> {
        let buffer = self.buffer;
        let Some(mut spooled) = self.spooled else {
            let hash = hex::encode(Sha256::digest(&buffer));
            return Ok((Body::Memory(buffer.into()), hash));
        };
        blocking(move || {
            spooled.append(&buffer)?;
            spooled.file.flush()?;
            let hash = hex::encode(spooled.hash.finalize());
            Ok((Body::File { path: spooled.file.into_temp_path(), size: spooled.size }, hash))
        })
        .await
    }
}

/// Runs file work where it may block.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> std::io::Result<T> + Send + 'static,
) -> std::io::Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(std::io::Error::other)?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn long_mails_go_to_a_file_and_vanish_with_it() {
        let dir = tempfile::tempdir().unwrap();
        let spool = Spool { dir: dir.path().to_owned(), open: open_in };
        let mut writer = BodyWriter::new(spool, 1000, 0);
        for _ in 0..50 {
            writer.push(&[b'x'; 100]);
            writer.settle().await.unwrap();
        }
        let (body, hash) = writer.finish().await.unwrap();
        assert_eq!(body.size(), 5000);
        assert_eq!(hash, hex::encode(Sha256::digest([b'x'; 5000])));
        let Body::File { path, .. } = body else { panic!("in memory") };
        assert_eq!(std::fs::read(&path).unwrap(), [b'x'; 5000]);
        drop(path);
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    }

    #[test]
    fn leftovers_are_cleaned_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("incoming-abc"), "x").unwrap();
        std::fs::write(dir.path().join("kept"), "x").unwrap();
        assert_eq!(clean_spool(dir.path()).unwrap(), 1);
        assert!(dir.path().join("kept").exists());
        assert_eq!(clean_spool(&dir.path().join("nowhere")).unwrap(), 0);
    }
}
