//! Files that are read past: searched for what nobody may see, and not held.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::sync::Arc;

use crate::desired::Search;
use crate::domain::{SEARCH_BYTES_MAX, Seen};

/// Bytes that are read at one time.
const READ_BYTES: usize = 64 << 10;

/// Searches a text in memory that is `large`; `None` where it is not, or too large for that too.
pub(super) fn of_bytes(large: bool, bytes: &[u8]) -> Option<Arc<[Seen]>> {
    (large && bytes.len() as u64 <= SEARCH_BYTES_MAX).then(|| {
        let mut search = Search::default();
        search.feed(bytes);
        Arc::from(search.ended())
    })
}

/// Searches a file on the disk as it is read; `None` where it is too large, also if it grew meanwhile.
#[expect(clippy::disallowed_methods, reason = "an adapter: it reads files")]
pub(super) fn of_file(path: &Path, size: u64) -> io::Result<Option<Arc<[Seen]>>> {
    if size > SEARCH_BYTES_MAX {
        return Ok(None);
    }
    let mut file = File::open(path)?.take(SEARCH_BYTES_MAX + 1);
    let (mut search, mut read) = (Search::default(), 0);
    let mut bytes = vec![0; READ_BYTES];
    loop {
        match file.read(&mut bytes)? {
            0 => return Ok((read <= SEARCH_BYTES_MAX).then(|| Arc::from(search.ended()))),
            count => {
                search.feed(&bytes[..count]);
                read += count as u64;
            }
        }
    }
}
