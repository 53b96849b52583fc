//! Programs that must not compile: what a type keeps to itself, it keeps by its type.
//!
//! Each file of `tests/compile-fail/` states in its first line the error it has to end with. The compiler is run
//! on the library that these tests link to; the crate for such tests would build all dependencies once more.

use std::path::{Path, PathBuf};
use std::process::Command;

/// The library that cargo built for these tests: the newest, should there be several.
fn library() -> (PathBuf, PathBuf) {
    let directory = std::env::current_exe().unwrap().parent().unwrap().to_owned();
    let newest = std::fs::read_dir(&directory)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| {
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            name.starts_with("libtenantry-") && name.ends_with(".rlib")
        })
        .max_by_key(|path| path.metadata().unwrap().modified().unwrap());
    (newest.expect("cargo built the library beside its tests"), directory)
}

#[test]
fn what_must_not_compile_does_not() {
    let (library, dependencies) = library();
    let out = tempfile::tempdir().unwrap();
    let cases = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/compile-fail");
    let mut seen = 0;
    for entry in std::fs::read_dir(cases).unwrap() {
        let case = entry.unwrap().path();
        let source = std::fs::read_to_string(&case).unwrap();
        let first = source.lines().next().unwrap();
        let ran = Command::new(std::env::var_os("RUSTC").unwrap_or("rustc".into()))
            .args(["--edition=2024", "--crate-type=bin", "--emit=metadata", "--color=never", "-L"])
            .arg(format!("dependency={}", dependencies.display()))
            .arg("--extern")
            .arg(format!("tenantry={}", library.display()))
            .arg("-o")
            .arg(out.path().join("case.rmeta"))
            .arg(&case)
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&ran.stderr);
        match first.strip_prefix("// error: ") {
            Some(wanted) => {
                assert!(!ran.status.success(), "{} compiles", case.display());
                assert!(said.contains(wanted), "{} fails otherwise:\n{said}", case.display());
            }
            None => assert!(ran.status.success(), "{}:\n{said}", case.display()),
        }
        seen += 1;
    }
    assert!(seen >= 5, "{seen} cases");
}
