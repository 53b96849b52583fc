//! The demo is its own test of the whole flow: every chapter checks what it shows.

use std::process::{Command, Output, Stdio};

fn demo(args: &[&str]) -> Output {
    Command::new("timeout")
        .arg("170")
        .arg(env!("CARGO_BIN_EXE_tenantry"))
        .arg("demo")
        .args(args)
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

#[test]
fn the_demo_goes_as_it_expects() {
    let output = demo(&["--once"]);
    let text = String::from_utf8_lossy(&output.stdout);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}\n{text}\n{said}", output.status);
    for chapter in
        ["the first commit", "a script changes", "a role changes", "a tenant breaks", "a secret's version"]
    {
        assert!(text.contains(chapter), "no chapter `{chapter}`:\n{text}");
    }
    assert!(text.contains("all went as expected"), "{text}");
    assert!(!text.contains('\x1b'), "colour where there is no terminal");
    for secret in ["shop-91e5ab", "shop-d44c08", "tr0ut-Lantern", "m0ss-Ledger", "f3rn-Harbour"] {
        assert!(!text.contains(secret) && !said.contains(secret), "a secret's value is shown");
    }
}

#[test]
fn the_demo_leaves_other_peoples_files_alone() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("thesis.txt"), "mine").unwrap();
    let output = demo(&["--once", "--allow-unsandboxed", "--dir", directory.path().to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(3));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("is not empty"), "{said}");
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 1);
}
