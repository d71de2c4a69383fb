//! Octets by their hash: small ones in the database row, large ones in a file that is synced
//! before the row that names it is committed.

use std::{
    collections::HashSet,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use bytes::Bytes;
use isthmus_domain::clock::Millis;
use sha2::{Digest, Sha256};

use crate::{StoreError, claims::Claims, rows};

/// Octets up to which a blob lies in its row.
pub const INLINE_MAX: usize = 64 * 1024;

/// The name of some octets: SHA-256 in hexadecimal.
#[must_use]
pub fn blob_hash(data: &[u8]) -> String {
    hex::encode(Sha256::digest(data))
}

/// The folder of large blobs.
#[derive(Clone, Debug)]
pub(crate) struct Blobs {
    root: PathBuf,
    /// Folders whose names are known to last.
    lasting: Arc<Mutex<HashSet<PathBuf>>>,
    /// Held also while a file is taken away, so that nobody claims it meanwhile.
    pub(crate) claims: Arc<tokio::sync::Mutex<Claims>>,
}

impl Blobs {
    pub(crate) fn new(root: PathBuf) -> std::io::Result<Self> {
        std::fs::create_dir_all(&root)?;
        Ok(Self { root, lasting: Arc::default(), claims: Arc::default() })
    }

    pub(crate) fn path(&self, tenant: &str, hash: &str) -> PathBuf {
        self.root.join(tenant).join(&hash[..2]).join(hash)
    }

    /// The row for the octets of all `parts` together; if they are many they are in their file,
    /// synced and claimed, when this returns.
    pub(crate) async fn keep(
        &self,
        tenant: &str,
        parts: Vec<Bytes>,
    ) -> Result<rows::Blob, StoreError> {
        let length: usize = parts.iter().map(Bytes::len).sum();
        let size = i64::try_from(length).unwrap_or(i64::MAX);
        if length <= INLINE_MAX {
            let data = parts.concat();
            let hash = blob_hash(&data);
            return Ok(rows::Blob { tenant_id: tenant.into(), hash, size, data: Some(data) });
        }
        let (blobs, owner) = (self.clone(), tenant.to_owned());
        let hash = blocking(move || {
            let hash = parts.iter().fold(Sha256::new(), |hash, part| hash.chain_update(part));
            let hash = hex::encode(hash.finalize());
            let path = blobs.path(&owner, &hash);
            blobs.claims.blocking_lock().claim(path.clone());
            if let Err(error) = blobs.write_synced(&path, &parts) {
                blobs.claims.blocking_lock().give_up(&path);
                return Err(error);
            }
            Ok(hash)
        })
        .await?;
        Ok(rows::Blob { tenant_id: tenant.into(), hash, size, data: None })
    }

    /// The same for a mail as it came or goes. No two are alike, so the name of one that lies in
    /// its row begins with its time: names in order are cheap to index, scattered ones are not.
    pub(crate) async fn keep_original(
        &self,
        tenant: &str,
        parts: Vec<Bytes>,
        at: Millis,
    ) -> Result<rows::Blob, StoreError> {
        let mut blob = self.keep(tenant, parts).await?;
        if blob.data.is_some() {
            blob.hash = format!("{:012x}-{}", at.0.max(0), blob.hash);
        }
        Ok(blob)
    }

    /// A file with the octets of a row; an inline one is written out.
    pub(crate) async fn as_file(&self, row: rows::Blob) -> Result<PathBuf, StoreError> {
        let path = self.path(&row.tenant_id, &row.hash);
        if let Some(data) = row.data {
            let (blobs, to) = (self.clone(), path.clone());
            blocking(move || blobs.write_synced(&to, &[data.into()])).await?;
        }
        Ok(path)
    }

    /// The rows that claimed files are committed.
    pub(crate) async fn settle(&self, files: &[PathBuf]) {
        if !files.is_empty() {
            let mut claims = self.claims.lock().await;
            files.iter().for_each(|file| claims.settle(file));
        }
    }

    /// The octets of a row.
    pub(crate) async fn read(&self, row: rows::Blob) -> Result<Bytes, StoreError> {
        if let Some(data) = row.data {
            return Ok(data.into());
        }
        let path = self.path(&row.tenant_id, &row.hash);
        blocking(move || {
            // The file never changes once it has its name, so mapping it is sound as long as
            // nobody cuts it from outside; reading keeps us safe even then.
            std::fs::read(path)
        })
        .await
        .map(Bytes::from)
    }
}

async fn blocking<T: Send + 'static>(
    f: impl FnOnce() -> std::io::Result<T> + Send + 'static,
) -> Result<T, StoreError> {
    tokio::task::spawn_blocking(f).await.map_err(|_| StoreError::Closed)?.map_err(Into::into)
}

fn parent(path: &Path) -> std::io::Result<&Path> {
    path.parent().ok_or_else(|| std::io::Error::other("a blob has no folder"))
}

/// The names in a folder last only once the folder is synced.
fn sync_folder(folder: &Path) -> std::io::Result<()> {
    std::fs::File::open(folder)?.sync_all()
}

impl Blobs {
    fn write_synced(&self, path: &Path, parts: &[Bytes]) -> std::io::Result<()> {
        use std::io::Write;
        let folder = parent(path)?;
        self.make_lasting(folder)?;
        if path.exists() {
            // Whoever wrote it may not have come to this yet.
            return sync_folder(folder);
        }
        let mut file = tempfile::NamedTempFile::new_in(folder)?;
        for part in parts {
            file.write_all(part)?;
        }
        file.as_file().sync_data()?;
        file.persist(path).map_err(|e| e.error)?;
        sync_folder(folder)
    }

    /// Makes a folder below the root, and sees to it once that its name, and the names of those
    /// above it, last.
    fn make_lasting(&self, folder: &Path) -> std::io::Result<()> {
        let known =
            |f: &Path| self.lasting.lock().unwrap_or_else(PoisonError::into_inner).contains(f);
        if known(folder) {
            return Ok(());
        }
        std::fs::create_dir_all(folder)?;
        let above = folder.ancestors().skip(1).take_while(|f| f.starts_with(&self.root));
        for above in above {
            sync_folder(above)?;
        }
        if let Some(above) = self.root.parent().filter(|p| !p.as_os_str().is_empty()) {
            sync_folder(above)?;
        }
        let mut lasting = self.lasting.lock().unwrap_or_else(PoisonError::into_inner);
        lasting.insert(folder.to_owned());
        Ok(())
    }
}
