//! Who makes permits: read from the source, since a type cannot say it.

use std::path::Path;

/// Where each of the daemon's fixed rights may be taken, by the call's text. Tests may take any.
const TAKEN: [(&str, &[&str]); 5] = [
    ("Standing::stored(", &["authz/", "store/"]),
    ("for_lease(", &["authz/", "store/"]),
    ("for_reconcile(", &["authz/", "store/", "apply/", "reconcile/", "app.rs", "app/local.rs"]),
    ("for_schedule(", &["authz/", "store/", "queue/", "reconcile/", "app.rs"]),
    ("for_work_tree(", &["authz/", "app/local.rs"]),
];

/// The calls of `source` that its place does not allow. What stands behind the first test module is not looked at.
fn strays(place: &str, source: &str) -> Vec<&'static str> {
    let source = source.split("#[cfg(test)]\nmod tests").next().unwrap_or_default();
    TAKEN
        .iter()
        .filter(|(call, places)| {
            source.contains(call) && !places.iter().any(|allowed| place.starts_with(allowed))
        })
        .map(|(call, _)| *call)
        .collect()
}

fn visit(directory: &Path, root: &Path, found: &mut Vec<String>) -> usize {
    let mut files = 0;
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files += visit(&path, root, found);
            continue;
        }
        let place = path.strip_prefix(root).unwrap().to_string_lossy().into_owned();
        let is_test =
            ["tests.rs", "fixture.rs", "conformance.rs", "samples.rs"].iter().any(|end| place.ends_with(end));
        if !place.ends_with(".rs") || is_test || place.contains("/tests/") {
            continue;
        }
        files += 1;
        let source = std::fs::read_to_string(&path).unwrap();
        found.extend(strays(&place, &source).into_iter().map(|call| format!("{place}: {call}")));
    }
    files
}

#[test]
fn fixed_rights_are_taken_where_they_belong() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut found = Vec::new();
    assert!(visit(&root, &root, &mut found) > 100, "the source was looked at");
    assert_eq!(found, Vec::<String>::new());
}

#[test]
fn a_stray_right_is_found() {
    assert_eq!(strays("api/read.rs", "let p = Permit::for_reconcile(&standing, now);"), ["for_reconcile("]);
    assert_eq!(strays("store/tenant.rs", "Permit::for_lease(worker, &standing, until)"), Vec::<&str>::new());
    assert_eq!(
        strays("api/read.rs", "fn a() {}\n#[cfg(test)]\nmod tests { for_lease( }"),
        Vec::<&str>::new()
    );
}
