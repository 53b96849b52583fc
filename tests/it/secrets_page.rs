//! The examples of docs/secrets.md, run in their order as a reader would run them.

use std::path::Path;

use super::secrets::Place;

#[test]
fn the_examples_of_the_page_work() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/secrets.md");
    let page = std::fs::read_to_string(page).unwrap();
    let place = Place::new();
    // The example's versions are for keys that nobody has.
    std::fs::write(place.path("repo/tenants/acme/secrets.yaml"), "secrets: {}\n").unwrap();
    for file in std::fs::read_dir(place.path("repo/tenants/acme/secrets")).unwrap() {
        std::fs::remove_file(file.unwrap().path()).unwrap();
    }
    std::fs::write(place.path("old.env"), "DATABASE_URL=postgres://u:p4ssw0rd@db/x\n").unwrap();
    let mut ran = 0;
    let blocks = page.split("```console\n").skip(1).filter_map(|block| block.split("```").next());
    for line in blocks.flat_map(str::lines).filter_map(|line| line.strip_prefix("$ tenantry secrets ")) {
        let words = tenantry::secrets::words(line).unwrap();
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let key = place.identity("acme");
        let variables = [("EDITOR", "true"), ("SOPS_AGE_KEY_FILE", key.as_str())];
        let done = place.run(&words, &format!("value-number-{ran}-0123456789\n"), &variables);
        let wanted = i32::from(words[0] == "verify" && done.code == Some(1));
        assert_eq!(done.code, Some(wanted), "{line}: {}{}", done.out, done.said);
        if words[0] == "verify" {
            assert!(!done.out.contains("does not"), "{}", done.out);
        }
        ran += 1;
    }
    assert!(ran >= 15, "{ran}");
}
