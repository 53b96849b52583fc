//! Blobs that were read lately: scripts are asked for at every step, and a blob never changes under its id.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use crate::domain::ObjectId;

/// Bytes that are kept together.
const BYTES_MAX: usize = 4 << 20;
/// Bytes of one that is kept.
const BLOB_BYTES_MAX: usize = 256 << 10;

/// What is kept, the oldest let go first.
#[derive(Default)]
pub(super) struct Blobs {
    known: HashMap<ObjectId, Arc<[u8]>>,
    oldest_first: VecDeque<ObjectId>,
    bytes: usize,
}

impl Blobs {
    /// The bytes of a blob, if they are here.
    pub(super) fn get(&self, id: &ObjectId) -> Option<Arc<[u8]>> {
        self.known.get(id).map(Arc::clone)
    }
    /// Keeps a blob that is not too large.
    pub(super) fn keep(&mut self, id: &ObjectId, content: &Arc<[u8]>) {
        if content.len() > BLOB_BYTES_MAX || self.known.contains_key(id) {
            return;
        }
        self.known.insert(id.clone(), Arc::clone(content));
        self.oldest_first.push_back(id.clone());
        self.bytes += content.len();
        while self.bytes > BYTES_MAX
            && let Some(oldest) = self.oldest_first.pop_front()
        {
            self.bytes -= self.known.remove(&oldest).map_or(0, |content| content.len());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(number: usize) -> ObjectId {
        format!("{number:040x}").parse().unwrap()
    }

    #[test]
    fn the_oldest_go_and_a_large_one_is_not_kept() {
        let mut blobs = Blobs::default();
        let content: Arc<[u8]> = vec![7; BLOB_BYTES_MAX].into();
        let fit = BYTES_MAX / BLOB_BYTES_MAX;
        for number in 0..=fit {
            blobs.keep(&id(number), &content);
            blobs.keep(&id(number), &content);
            assert!(blobs.bytes <= BYTES_MAX);
        }
        assert!(blobs.get(&id(0)).is_none(), "the oldest made room");
        assert!((1..=fit).all(|number| blobs.get(&id(number)).is_some()));
        blobs.keep(&id(99), &vec![7; BLOB_BYTES_MAX + 1].into());
        assert!(blobs.get(&id(99)).is_none());
    }
}
