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
pub fn overlay(tree: &mut Tree, path: &str, text: &str) -> Result<(), SourceError> {
    let mode = tree.get(path).map_or(Mode::File, |entry| entry.mode);
    if matches!(mode, Mode::Symlink | Mode::Submodule) {
        return Ok(());
    }
    let id = Oid::hash_object(ObjectType::Blob, text.as_bytes()).map_err(unreadable("the text"))?;
    let size = text.len() as u64;
    let content = (size <= super::work_tree::FILE_BYTES_MAX).then(|| Arc::from(text.as_bytes()));
    let searched = super::searching::of_bytes(content.is_none(), text.as_bytes());
    tree.files.insert(path.to_owned(), Entry { mode, id: object_id(id), size, content, searched });
    Ok(())
}
