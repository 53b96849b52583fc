//! Any bytes as the archive of a runtime: they are refused or become a tree that is what its digest says, nothing is
//! written beside the shelf, and nothing unfinished is left in it.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tenantry::domain::ByteSize;
use tenantry::sandbox::{RuntimeSource, add_runtime, list_runtimes, runtime_digest};

/// The files of one runtime: what is read must not be what is written, over and over.
const MOST: ByteSize = ByteSize::from_mib(1);

fuzz_target!(|archive: &[u8]| {
    let home = tempfile::tempdir().expect("a directory");
    let shelf = home.path().join("shelf");
    let mut bytes = archive;
    let added = add_runtime(RuntimeSource::Archive(&mut bytes), &shelf, MOST);
    let found = list_runtimes(&shelf).expect("the shelf is read");
    assert_eq!(found, added.as_ref().ok().cloned().into_iter().collect::<Vec<_>>());
    for digest in found {
        assert_eq!(runtime_digest(&shelf.join(digest.directory())).expect("it is read"), digest);
    }
    let names = |place: &std::path::Path| std::fs::read_dir(place).expect("it is read").count();
    assert_eq!(names(home.path()), 1, "something lies beside the shelf");
    assert_eq!(names(&shelf), usize::from(added.is_ok()), "something unfinished is left");
});
