//! One server for one set of data: locks on files, which a kill releases.

use std::{
    fs::{File, TryLockError},
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail};

use crate::config::Config;

/// Holds the data as long as it lives.
pub(crate) struct Locks(#[expect(dead_code, reason = "held, not looked at")] Vec<File>);

/// Makes sure that nobody else serves the same data: the same folder or, where that lies
/// elsewhere, the same database.
///
/// # Errors
/// Says what is served already and how to have another.
pub(crate) fn data(config: &Config) -> Result<Locks> {
    let folder = config.data_dir();
    std::fs::create_dir_all(&folder)
        .with_context(|| format!("data_dir = {} cannot be made", folder.display()))?;
    let taken = format!(
        "another isthmus serves the data in {} already; stop it, or set another data_dir",
        folder.display()
    );
    let mut all = vec![file(&folder.join("lock"), &taken)?];
    if let Some(database) = database(config)? {
        let taken = format!(
            "another isthmus serves the data in {} already; stop it, or set another database.url",
            database.display()
        );
        let mut beside = database.into_os_string();
        beside.push(".lock");
        all.push(file(Path::new(&beside), &taken)?);
    }
    Ok(Locks(all))
}

/// Whether somebody serves the data in this folder now.
pub(crate) fn is_held(folder: &Path) -> bool {
    let there = File::open(folder.join("lock"));
    there.is_ok_and(|file| matches!(file.try_lock_shared(), Err(TryLockError::WouldBlock)))
}

/// The file that the database is in, under the one name that it has.
fn database(config: &Config) -> Result<Option<PathBuf>> {
    let Some(path) = config.database_file() else { return Ok(None) };
    if let Ok(path) = path.canonicalize() {
        return Ok(Some(path));
    }
    // It is not there yet; its folder can be, under several names.
    let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let made = std::fs::create_dir_all(folder).and_then(|()| folder.canonicalize());
    let folder = made.with_context(|| format!("{} cannot be made", folder.display()))?;
    Ok(path.file_name().map(|name| folder.join(name)))
}

fn file(path: &Path, taken: &str) -> Result<File> {
    let file = File::create(path).with_context(|| format!("{} cannot be made", path.display()))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => bail!("{taken}"),
        Err(TryLockError::Error(e)) => {
            Err(e).with_context(|| format!("{} cannot be locked", path.display()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(data: &Path, database: &Path) -> Config {
        let set = [
            ("ISTHMUS__DATA_DIR".to_owned(), data.display().to_string()),
            ("ISTHMUS__DATABASE__URL".to_owned(), format!("sqlite://{}", database.display())),
        ];
        Config::load(None, set.into_iter()).expect("loads")
    }

    #[test]
    fn one_database_is_served_once_whatever_the_folder_and_its_name() {
        let dir = tempfile::tempdir().expect("a folder");
        let at = |name: &str| dir.path().join(name);
        std::fs::create_dir(at("shared")).expect("made");
        std::os::unix::fs::symlink(at("shared"), at("alias")).expect("linked");
        let first = data(&config(&at("one"), &at("shared/i.db"))).expect("nobody else is there");
        assert!(is_held(&at("one")));
        for database in ["shared/i.db", "alias/i.db"] {
            let error = data(&config(&at("two"), &at(database))).err().expect("refused");
            assert!(error.to_string().contains("database.url"), "{error}");
        }
        // Another database in the same folder is somebody else's.
        let other = data(&config(&at("two"), &at("shared/other.db"))).expect("is free");
        drop(other);
        drop(first);
        data(&config(&at("two"), &at("alias/i.db"))).expect("is free again");
        assert!(!is_held(&at("one")));
    }
}
