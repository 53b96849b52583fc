//! A tree with texts that somebody has not saved yet.

use std::sync::Arc;

use git2::{ObjectType, Oid};

use super::SourceError;
use super::objects::{object_id, unreadable};
use crate::domain::{Entry, Mode, Tree};

/// Puts a text at a path, as if it had been saved there. The file keeps its mode; a link stays a link.
///
/// # Errors
/// [`SourceError::Unreadable`] where no id can be made of the text.
pub fn overlay(tree: &mut Tree, path: &str, content: &str) -> Result<(), SourceError> {
    let mode = tree.get(path).map_or(Mode::File, |entry| entry.mode);
    if matches!(mode, Mode::Symlink | Mode::Submodule) {
        return Ok(());
    }
    let id = Oid::hash_object(ObjectType::Blob, content.as_bytes()).map_err(unreadable("the text"))?;
    let size = content.len() as u64;
    let content = (size <= super::work_tree::FILE_BYTES_MAX).then(|| Arc::from(content.as_bytes()));
    tree.files.insert(path.to_owned(), Entry { mode, id: object_id(id), size, content });
    Ok(())
}
