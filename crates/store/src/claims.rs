//! Files of octets whose rows are not committed yet: they are not taken away from under those who are
//! about to name them.

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
};

/// How many are about to commit a row that names a file.
///
/// Whoever keeps octets claims their file before looking whether it is there; the claim lasts until
/// a row is committed or the octets are given up. One that nobody ever gives up leaves a file
/// behind, no more.
#[derive(Debug, Default)]
pub(crate) struct Claims(HashMap<PathBuf, usize>);

impl Claims {
    /// One more is about to name this file.
    pub(crate) fn claim(&mut self, file: PathBuf) {
        *self.0.entry(file).or_default() += 1;
    }

    /// A row names this file now: it stays, whoever gives up.
    pub(crate) fn settle(&mut self, file: &Path) {
        self.0.remove(file);
    }

    /// One of them gives up; how many are left.
    pub(crate) fn give_up(&mut self, file: &Path) -> usize {
        let Some(claims) = self.0.get_mut(file) else { return 0 };
        *claims -= 1;
        let left = *claims;
        if left == 0 {
            self.0.remove(file);
        }
        left
    }
}
