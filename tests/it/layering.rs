//! The floors of `src/lib.rs` hold: a room names rooms on lower floors only, and floors 0 and 1 are pure.
//!
//! Reads the source text instead of trusting the compiler: Rust lets every module see every other one.
//! `domain` is the ground that every room stands on, so its own floor may name it as well. `#[cfg(test)]`
//! code keeps to the floors but may touch files.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// Room to floor, as the comments of `src/lib.rs` say.
type Floors = BTreeMap<String, u8>;

const LINES_MAX: usize = 900;

/// What floors 0 and 1 never name outside their tests. Clippy's `disallowed_methods` refuses calls; this
/// refuses the paths.
const IMPURE: &[&str] = &[
    "std::fs",
    "std::env",
    "std::net",
    "std::process",
    "std::os",
    "std::io::stdin",
    "std::io::stdout",
    "std::io::stderr",
    "std::thread",
    "SystemTime",
    "Instant::now",
    "tokio",
    "getrandom",
    "git2",
    "rusqlite",
    "tracing",
    "Uuid::now_v7",
    "Uuid::new_v4",
    "static mut",
    "thread_local",
];

/// The exceptions, each with the page that grants it. STYLE lets `expression` start a thread for its stack; it needs
/// none any more.
const GRANTED: &[(&str, &str)] = &[];

/// Neighbours on one floor: who may name whom, and why. Never both ways.
const NEIGHBOURS: &[(&str, &str)] = &[
    // "SOPS files use the same tree": a SOPS file is YAML with a meaning.
    ("sops", "yaml"),
    // A command is how the language server is started.
    ("cli", "lsp"),
];

/// `helper` is not among them: the sandbox's helper process has that name.
const UNNAMED: &[&str] = &["utils", "util", "helpers", "common", "misc", "shared_code", "stuff"];

#[test]
fn rooms_name_lower_floors_only() {
    let floors = floors(&read(&source().join("lib.rs")));
    let found: Vec<String> =
        files().iter().flat_map(|file| upward(&floors, &module(file), &read(file))).collect();
    assert!(found.is_empty(), "\n{}", found.join("\n"));
}

#[test]
fn every_room_has_a_floor() {
    let floors = floors(&read(&source().join("lib.rs")));
    for file in files() {
        let room = &module(&file)[0];
        assert!(
            floors.contains_key(room) || ["lib", "main"].contains(&room.as_str()),
            "`{room}` is missing below a `// floor N` comment of src/lib.rs"
        );
    }
    assert_eq!(floors["domain"], 0);
    assert_eq!(floors["plan"], 1);
    assert_eq!(floors["store"], 2);
    assert_eq!(floors["reconcile"], 4);
    assert_eq!(floors["cli"], 7);
}

#[test]
fn the_lowest_floors_are_pure() {
    let floors = floors(&read(&source().join("lib.rs")));
    let mut found = Vec::new();
    for file in files() {
        let module = module(&file);
        if floors.get(&module[0]).is_some_and(|floor| *floor <= 1) && !module.contains(&"tests".to_owned()) {
            found.extend(impure(&module, &read(&file)));
        }
    }
    assert!(found.is_empty(), "\n{}", found.join("\n"));
}

#[test]
fn files_have_one_subject_and_a_name() {
    for file in files() {
        let lines = read(&file).lines().count();
        assert!(lines <= LINES_MAX, "{} has {lines} lines, more than {LINES_MAX}", file.display());
        for part in module(&file) {
            assert!(!UNNAMED.contains(&part.as_str()), "{} has not found its name yet", file.display());
        }
    }
}

#[test]
fn a_room_opens_with_what_it_is_for() {
    for file in files() {
        if module(&file).len() == 1 {
            assert!(read(&file).starts_with("//!"), "{} does not say what it is for", file.display());
        }
    }
}

/// The tests above pass on a clean tree; these show that they would not on another.
#[test]
fn the_readers_see_what_they_should() {
    let floors = Floors::from([
        ("domain".to_owned(), 0),
        ("yaml".to_owned(), 0),
        ("plan".to_owned(), 1),
        ("store".to_owned(), 2),
        ("app".to_owned(), 6),
    ]);
    #[track_caller]
    fn check(floors: &Floors, module: &[&str], text: &str, want: &[&str]) {
        let module: Vec<String> = module.iter().map(ToString::to_string).collect();
        let got = upward(floors, &module, text);
        assert_eq!(got.len(), want.len(), "{got:?}");
        for (got, want) in got.iter().zip(want) {
            assert!(got.contains(want), "{got} does not name {want}");
        }
    }
    check(&floors, &["plan"], "use crate::domain::Plan;", &[]);
    check(&floors, &["plan"], "use crate::store::Store;", &["`store`"]);
    check(&floors, &["plan"], "use crate::{domain::Plan, store::{self, Store}, app};", &["`app`", "`store`"]);
    check(&floors, &["yaml"], "use crate::domain::Span; fn f() { crate::plan::between() }", &["`plan`"]);
    check(&floors, &["domain"], "use crate::yaml::Node;", &["`yaml`"]);
    check(&floors, &["plan"], "use super::store::Store;", &["`store`"]);
    check(&floors, &["plan", "diff"], "use super::super::store; use super::render;", &["`store`"]);
    check(&floors, &["plan"], "mod tests { use super::store; use super::super::store; }", &["`store`"]);
    check(&floors, &["plan"], "use crate::plan::diff; use super::plan::diff;", &[]);
    check(
        &floors,
        &["plan"],
        "// crate::store\n/* crate::app /* crate::app */ */ const A: &str = \"crate::store\";",
        &[],
    );
    check(
        &floors,
        &["plan"],
        "const A: &str = r#\"crate::store\"#; const B: char = '\"'; use crate::app;",
        &["`app`"],
    );
    check(&floors, &["plan"], "fn f<'a>(x: &'a str) { crate::app::x() }", &["`app`"]);
    check(&floors, &["store"], "use crate::nowhere::X;", &[]); // not a room: the compiler answers
    check(&floors, &["app"], "use crate::store::Store;", &[]);

    let pure = |text: &str| impure(&["plan".to_owned()], text).len();
    assert_eq!(pure("use std::fs::File;"), 1);
    assert_eq!(pure("use std::{collections::BTreeMap, fs};"), 1);
    assert_eq!(pure("let now = SystemTime::now();"), 1);
    assert_eq!(pure("// std::fs\n#[cfg(test)]\nmod tests { use std::fs; }"), 0);
    assert_eq!(pure("#[cfg(test)]\nmod tests { fn f() {} }\nuse std::env;"), 1);
    assert_eq!(impure(&["expression".to_owned()], "std::thread::Builder::new()").len(), 1);
}

fn source() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

fn read(file: &Path) -> String {
    std::fs::read_to_string(file).unwrap_or_else(|error| panic!("{}: {error}", file.display()))
}

fn files() -> Vec<PathBuf> {
    fn walk(directory: &Path, into: &mut Vec<PathBuf>) {
        for entry in std::fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                walk(&path, into);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                into.push(path);
            }
        }
    }
    let mut files = Vec::new();
    walk(&source(), &mut files);
    files.sort();
    assert!(files.len() > 30, "only {} files below {}", files.len(), source().display());
    files
}

/// `src/plan/diff.rs` is `["plan", "diff"]`, `src/plan/mod.rs` and `src/plan.rs` are `["plan"]`.
fn module(file: &Path) -> Vec<String> {
    let relative = file.strip_prefix(source()).unwrap().with_extension("");
    let mut parts: Vec<String> =
        relative.iter().map(|part| part.to_str().expect("a source file's name is text").to_owned()).collect();
    if parts.len() > 1 && parts.last().is_some_and(|last| last == "mod") {
        parts.pop();
    }
    parts
}

/// Reads `// floor N` comments and the `pub mod` lines below each.
fn floors(lib: &str) -> Floors {
    let mut floors = Floors::new();
    let mut floor = None;
    for line in lib.lines() {
        if let Some(rest) = line.strip_prefix("// floor ") {
            let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
            floor = Some(digits.parse::<u8>().expect("`// floor N` has a number"));
        } else if let Some(room) =
            line.trim().strip_prefix("pub mod ").and_then(|rest| rest.strip_suffix(';'))
        {
            floors.insert(room.to_owned(), floor.expect("a floor stands above every room"));
        }
    }
    floors
}

/// One line for each room that `text` names although it lies on the same floor or above.
fn upward(floors: &Floors, module: &[String], text: &str) -> Vec<String> {
    let room = &module[0];
    let Some(own) = floors.get(room) else { return Vec::new() };
    let named: BTreeSet<String> =
        paths(text, module.len()).into_iter().filter_map(|path| path.into_iter().next()).collect();
    named
        .into_iter()
        .filter(|named| named != room && named != "domain")
        .filter(|named| !NEIGHBOURS.contains(&(room.as_str(), named.as_str())))
        .filter_map(|named| {
            let floor = floors.get(&named).filter(|floor| *floor >= own)?;
            Some(format!("{}: `{room}` (floor {own}) names `{named}` (floor {floor})", module.join("/")))
        })
        .collect()
}

/// One line for each impure path that `text` names outside `#[cfg(test)]`.
fn impure(module: &[String], text: &str) -> Vec<String> {
    let tokens = without_tests(tokens(text));
    let mut written: Vec<String> = flatten(&tokens).into_iter().map(|path| path.join("::")).collect();
    written.extend(tokens.windows(2).filter(|pair| pair[0] == "static").map(|pair| pair.join(" ")));
    let mut found = Vec::new();
    for impure in IMPURE {
        let granted = GRANTED.contains(&(module[0].as_str(), impure));
        let named = written.iter().any(|path| {
            path == impure
                || path.starts_with(&format!("{impure}::"))
                || path.ends_with(&format!("::{impure}"))
                || path.contains(&format!("::{impure}::"))
        });
        if named && !granted {
            found.push(format!("{}: names `{impure}`", module.join("/")));
        }
    }
    found
}

/// The paths of `text` that start at the crate's root, from the first name after it.
fn paths(text: &str, depth: usize) -> Vec<Vec<String>> {
    let tokens = tokens(text);
    let mut found = Vec::new();
    let mut inside = Vec::new(); // for each open brace: whether it opened a module
    let mut at = 0;
    while at < tokens.len() {
        match tokens[at].as_str() {
            "{" => inside.push(at >= 2 && tokens[at - 2] == "mod"),
            "}" => drop(inside.pop()),
            "crate" | "super" if at == 0 || tokens[at - 1] != "::" => {
                let mut here = depth + inside.iter().filter(|module| **module).count();
                let mut next = at;
                if tokens[at] == "crate" {
                    here = 0;
                    next += 2;
                }
                while tokens.get(next).is_some_and(|token| token == "super") {
                    here = here.saturating_sub(1);
                    next += 2;
                }
                if here == 0 {
                    group(&tokens, &mut next, &mut Vec::new(), &mut found);
                    at = next;
                    continue;
                }
            }
            _ => {}
        }
        at += 1;
    }
    found
}

/// All paths of the tokens, `use` groups written out.
fn flatten(tokens: &[String]) -> Vec<Vec<String>> {
    let mut found = Vec::new();
    let mut at = 0;
    while at < tokens.len() {
        if is_name(&tokens[at]) {
            group(tokens, &mut at, &mut Vec::new(), &mut found);
        } else {
            at += 1;
        }
    }
    found
}

/// Reads one path, or one braced group of paths, below `prefix`; leaves `at` behind it.
fn group(tokens: &[String], at: &mut usize, prefix: &mut Vec<String>, found: &mut Vec<Vec<String>>) {
    let depth = prefix.len();
    while let Some(token) = tokens.get(*at) {
        if token == "{" && *at > 0 && tokens[*at - 1] == "::"
            || token == "{" && depth == 0 && prefix.is_empty()
        {
            *at += 1;
            while tokens.get(*at).is_some_and(|token| token != "}") {
                if tokens[*at] == "," {
                    *at += 1;
                } else {
                    let before = *at;
                    group(tokens, at, prefix, found);
                    *at = (*at).max(before + 1);
                }
            }
            *at += 1;
            prefix.truncate(depth);
            return;
        }
        if !is_name(token) {
            break;
        }
        prefix.push(token.clone());
        *at += 1;
        if tokens.get(*at).is_some_and(|token| token == "::") {
            *at += 1;
        } else {
            break;
        }
    }
    if prefix.len() > depth {
        found.push(prefix.clone());
    }
    prefix.truncate(depth);
}

fn is_name(token: &str) -> bool {
    token.starts_with(|first: char| first.is_alphabetic() || first == '_')
}

/// Leaves out every `#[cfg(test)] mod … { … }`.
fn without_tests(tokens: Vec<String>) -> Vec<String> {
    let mark = ["#", "[", "cfg", "(", "test", ")", "]"];
    let mut kept = Vec::new();
    let mut at = 0;
    while at < tokens.len() {
        if tokens[at..].iter().map(String::as_str).take(mark.len()).eq(mark) {
            let mut depth = 0usize;
            while at < tokens.len() {
                match tokens[at].as_str() {
                    "{" => depth += 1,
                    "}" if depth == 1 => break,
                    "}" => depth -= 1,
                    ";" if depth == 0 => break,
                    _ => {}
                }
                at += 1;
            }
        } else {
            kept.push(tokens[at].clone());
        }
        at += 1;
    }
    kept
}

/// Names, `::` and single signs; comments, texts, characters and lifetimes left out.
fn tokens(text: &str) -> Vec<String> {
    let bytes: Vec<char> = text.chars().collect();
    let mut tokens = Vec::new();
    let mut at = 0;
    let ahead = |at: usize, sign: &str| sign.chars().enumerate().all(|(i, c)| bytes.get(at + i) == Some(&c));
    while let Some(&first) = bytes.get(at) {
        if ahead(at, "//") {
            while bytes.get(at).is_some_and(|c| *c != '\n') {
                at += 1;
            }
        } else if ahead(at, "/*") {
            let mut depth = 0;
            loop {
                if ahead(at, "/*") {
                    depth += 1;
                    at += 2;
                } else if ahead(at, "*/") {
                    depth -= 1;
                    at += 2;
                } else {
                    at += 1;
                }
                if depth == 0 || at >= bytes.len() {
                    break;
                }
            }
        } else if let Some(end) = raw_text(&bytes, at) {
            at = end;
        } else if first == '"' || ahead(at, "b\"") {
            at += if first == '"' { 1 } else { 2 };
            while bytes.get(at).is_some_and(|c| *c != '"') {
                at += if bytes[at] == '\\' { 2 } else { 1 };
            }
            at += 1;
        } else if first == '\'' {
            if bytes.get(at + 1) == Some(&'\\') {
                at += 3;
                while bytes.get(at).is_some_and(|c| *c != '\'') {
                    at += 1;
                }
                at += 1;
            } else {
                at += if bytes.get(at + 2) == Some(&'\'') { 3 } else { 1 };
            }
        } else if first.is_alphabetic() || first == '_' {
            let start = at;
            while bytes.get(at).is_some_and(|c| c.is_alphanumeric() || *c == '_') {
                at += 1;
            }
            tokens.push(bytes[start..at].iter().collect());
        } else if ahead(at, "::") {
            tokens.push("::".to_owned());
            at += 2;
        } else {
            if !first.is_whitespace() {
                tokens.push(first.to_string());
            }
            at += 1;
        }
    }
    tokens
}

/// The end of a raw text that starts at `at`.
fn raw_text(text: &[char], at: usize) -> Option<usize> {
    let mut from = at;
    if text.get(from) == Some(&'b') {
        from += 1;
    }
    if text.get(from) != Some(&'r') {
        return None;
    }
    from += 1;
    let hashes = text[from..].iter().take_while(|c| **c == '#').count();
    from += hashes;
    if text.get(from) != Some(&'"') || at > 0 && (text[at - 1].is_alphanumeric() || text[at - 1] == '_') {
        return None;
    }
    from += 1;
    while from < text.len() {
        if text[from] == '"' && text[from + 1..].iter().take(hashes).filter(|c| **c == '#').count() == hashes
        {
            return Some(from + 1 + hashes);
        }
        from += 1;
    }
    Some(text.len())
}
