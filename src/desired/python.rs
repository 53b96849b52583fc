//! Python scripts that carry their dependencies (PEP 723), and the lock beside them, as `uv lock --script` writes it.
//!
//! Read without any network: what a script needs, what its lock says, and whether the two belong together, are known
//! from the commit alone. The same checks run before packages are prepared.

use std::collections::{BTreeMap, BTreeSet};

use toml::{Table, Value};

use crate::domain::{HOSTS_MAX, HostPort};

/// Bytes of a script that are searched for its metadata.
const HEAD_BYTES_MAX: usize = 64 * 1024;
/// Packages of one lock.
const PACKAGES_MAX: usize = 1_000;

/// Where the lock of a script lies.
#[must_use]
pub fn lock_of(script: &str) -> String {
    format!("{script}.lock")
}

/// What a script says it needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Metadata {
    requires_python: Option<BTreeSet<String>>,
    dependencies: BTreeSet<Requirement>,
}

/// One requirement, so far as two spellings of it are the same.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Requirement {
    name: String,
    extras: BTreeSet<String>,
    versions: BTreeSet<String>,
    conditional: bool,
}

impl Metadata {
    /// Whether a script needs nothing beyond any Python.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.requires_python.is_none() && self.dependencies.is_empty()
    }
}

/// What is wrong with a script's packages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Problem {
    /// There is no lock.
    Missing,
    /// The metadata or the lock cannot be read, or they do not belong together.
    Stale(String),
    /// A package has nothing that can be installed without running its code, or not by a hash.
    NoWheel(String),
    /// A package comes from where the platform does not say.
    Unlisted(String),
}

impl Problem {
    /// For people, about a script of this name.
    #[must_use]
    pub fn message(&self, script: &str) -> String {
        match self {
            Self::Missing => format!("`{script}` carries dependencies, and no lock lies beside it"),
            Self::Stale(why) => format!("`{script}` and its lock do not agree: {why}"),
            Self::NoWheel(why) | Self::Unlisted(why) => format!("the lock of `{script}`: {why}"),
        }
    }
}

/// The metadata of a script; `None` if it carries none. Source: PEP 723.
///
/// # Errors
/// Why it cannot be read.
pub fn metadata(script: &[u8]) -> Option<Result<Metadata, String>> {
    let head = &script[..script.len().min(HEAD_BYTES_MAX)];
    let text = String::from_utf8_lossy(head);
    let mut lines = text.lines().map(str::trim_end);
    let mut block: Option<String> = None;
    while let Some(line) = lines.next() {
        if line != "# /// script" {
            continue;
        }
        let mut content = Vec::new();
        for line in lines.by_ref() {
            match line.strip_prefix('#') {
                Some(rest) if rest.is_empty() || rest.starts_with(' ') => {
                    content.push(rest.get(1..).unwrap_or(""))
                }
                _ => break,
            }
        }
        // The block ends with its last closing line; without one it is a comment like any other.
        let Some(end) = content.iter().rposition(|line| *line == "///") else { continue };
        if block.replace(content[..end].join("\n")).is_some() {
            return Some(Err("it has two blocks of metadata".to_owned()));
        }
    }
    let table = block?.parse::<Table>();
    Some(table.map_err(|_| "its metadata is no TOML".to_owned()).and_then(|table| read_metadata(&table)))
}

fn read_metadata(table: &Table) -> Result<Metadata, String> {
    let requires_python = match table.get("requires-python") {
        None => None,
        Some(Value::String(text)) => Some(versions(text)),
        Some(_) => return Err("its `requires-python` is no text".to_owned()),
    };
    let mut dependencies = BTreeSet::new();
    match table.get("dependencies") {
        None => {}
        Some(Value::Array(list)) => {
            for one in list {
                let text = one.as_str().ok_or("a dependency is no text")?;
                dependencies.insert(
                    requirement(text).ok_or_else(|| format!("`{text}` names no package of an index"))?,
                );
            }
        }
        Some(_) => return Err("its `dependencies` are no list".to_owned()),
    }
    Ok(Metadata { requires_python, dependencies })
}

/// Reads a requirement in the form of PEP 508; `None` for one that names a place instead of a version.
fn requirement(text: &str) -> Option<Requirement> {
    let (what, marker) = text.split_once(';').map_or((text, ""), |(what, marker)| (what, marker.trim()));
    let what = what.trim();
    let end = what.find(|c: char| !c.is_ascii_alphanumeric() && !"-_.".contains(c)).unwrap_or(what.len());
    let (name, rest) = what.split_at(end);
    let mut rest = rest.trim();
    let mut extras = BTreeSet::new();
    if let Some(inside) = rest.strip_prefix('[') {
        let (list, after) = inside.split_once(']')?;
        extras.extend(list.split(',').map(|extra| normal(extra.trim())).filter(|extra| !extra.is_empty()));
        rest = after.trim();
    }
    let rest = rest.strip_prefix('(').and_then(|rest| rest.strip_suffix(')')).unwrap_or(rest);
    let named = !name.is_empty() && name.starts_with(|c: char| c.is_ascii_alphanumeric());
    (named && !rest.contains('@')).then(|| Requirement {
        name: normal(name),
        extras,
        versions: versions(rest),
        conditional: !marker.is_empty(),
    })
}

/// The clauses of a version specifier, without their order and spaces.
fn versions(text: &str) -> BTreeSet<String> {
    let clean = |clause: &str| clause.chars().filter(|c| !c.is_whitespace()).collect::<String>();
    text.split(',').map(clean).filter(|clause| !clause.is_empty()).collect()
}

/// A name as indexes know it. Source: PEP 503.
fn normal(name: &str) -> String {
    let mut normal = String::with_capacity(name.len());
    for c in name.chars() {
        match c {
            '-' | '_' | '.' if normal.ends_with('-') => {}
            '-' | '_' | '.' => normal.push('-'),
            c => normal.push(c.to_ascii_lowercase()),
        }
    }
    normal
}

/// Whether a text can stand in the platform's list of indexes: the beginning of a URL, with a host and no user.
#[must_use]
pub fn is_index(text: &str) -> bool {
    host_of(text).is_some() && !text.contains(['?', '#', ' '])
}

/// The host and port of an http or https URL without user.
fn host_of(url: &str) -> Option<HostPort> {
    let (rest, port) = match url.split_once("://")? {
        ("https", rest) => (rest, 443),
        ("http", rest) => (rest, 80),
        _ => return None,
    };
    let authority = rest.split(['/', '?', '#']).next()?.to_ascii_lowercase();
    let host = if authority.contains(':') { authority } else { format!("{authority}:{port}") };
    host.parse().ok().filter(HostPort::is_name)
}

/// Checks a script's lock, given the platform's indexes, and gives the hosts that its packages come from.
///
/// # Errors
/// Every problem, at least one.
pub fn check(
    metadata: &Result<Metadata, String>,
    lock: Option<&[u8]>,
    indexes: &[String],
) -> Result<BTreeSet<HostPort>, Vec<Problem>> {
    let metadata = metadata.as_ref().map_err(|why| vec![Problem::Stale(why.clone())])?;
    let lock = lock.ok_or_else(|| vec![Problem::Missing])?;
    let table = std::str::from_utf8(lock).ok().and_then(|text| text.parse::<Table>().ok());
    let table = table.ok_or_else(|| vec![Problem::Stale("the lock is no TOML".to_owned())])?;
    if table.get("version").and_then(Value::as_integer) != Some(1) {
        let why = "the lock has another format than version 1 of uv's".to_owned();
        return Err(vec![Problem::Stale(why)]);
    }
    let mut problems: Vec<Problem> = disagreement(metadata, &table).map(Problem::Stale).into_iter().collect();
    let mut hosts = BTreeSet::new();
    let none = Vec::new();
    let packages = table.get("package").and_then(Value::as_array).unwrap_or(&none);
    for package in packages.iter().take(PACKAGES_MAX) {
        check_package(package, indexes, &mut hosts, &mut problems);
    }
    if packages.len() > PACKAGES_MAX || hosts.len() > HOSTS_MAX {
        problems.push(Problem::NoWheel(format!("more than {PACKAGES_MAX} packages, or {HOSTS_MAX} hosts")));
    }
    if problems.is_empty() { Ok(hosts) } else { Err(problems) }
}

/// Why a lock is not of this metadata.
fn disagreement(metadata: &Metadata, lock: &Table) -> Option<String> {
    let text =
        |table: &Table, name: &str| table.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
    if let Some(wanted) = &metadata.requires_python
        && *wanted != versions(&text(lock, "requires-python"))
    {
        return Some("they require different versions of Python".to_owned());
    }
    let none = Vec::new();
    let manifest = lock.get("manifest").and_then(|manifest| manifest.get("requirements"));
    let mut locked = BTreeSet::new();
    for one in manifest.and_then(Value::as_array).unwrap_or(&none) {
        let one = one.as_table()?;
        if let Some(place) =
            ["git", "url", "path", "directory", "editable"].iter().find(|key| one.contains_key(**key))
        {
            return Some(format!("`{}` comes from a {place}", text(one, "name")));
        }
        let extras = one.get("extras").and_then(Value::as_array).unwrap_or(&none);
        locked.insert(Requirement {
            name: normal(&text(one, "name")),
            extras: extras.iter().filter_map(Value::as_str).map(normal).collect(),
            versions: versions(&text(one, "specifier")),
            conditional: one.contains_key("marker"),
        });
    }
    let names = |set: Vec<&Requirement>| {
        set.iter().map(|one| format!("`{}`", one.name)).collect::<Vec<_>>().join(", ")
    };
    let (new, gone): (Vec<_>, Vec<_>) = (
        metadata.dependencies.difference(&locked).collect(),
        locked.difference(&metadata.dependencies).collect(),
    );
    match (new.is_empty(), gone.is_empty()) {
        (true, true) => None,
        (false, _) => Some(format!("the script needs {} otherwise than the lock says", names(new))),
        (true, false) => Some(format!("the lock has {}, which the script does not need", names(gone))),
    }
}

fn check_package(
    package: &Value,
    indexes: &[String],
    hosts: &mut BTreeSet<HostPort>,
    problems: &mut Vec<Problem>,
) {
    let text = |name: &str| package.get(name).and_then(Value::as_str).unwrap_or_default();
    let name = text("name");
    let source = package.get("source").and_then(Value::as_table);
    let registry = source.and_then(|source| source.get("registry")).and_then(Value::as_str);
    let Some(registry) = registry else {
        return problems.push(Problem::NoWheel(format!("`{name}` comes from no index")));
    };
    let listed = |url: &str| indexes.iter().any(|index| url == index.trim_end_matches('/'));
    if !listed(registry.trim_end_matches('/')) {
        let why = format!("`{name}` comes from `{registry}`, which is no index of the platform's");
        return problems.push(Problem::Unlisted(why));
    }
    let none = Vec::new();
    let wheels = package.get("wheels").and_then(Value::as_array).unwrap_or(&none);
    if wheels.is_empty() {
        return problems
            .push(Problem::NoWheel(format!("`{name}` has no wheel, and is not built from source")));
    }
    let mut strange = BTreeMap::new();
    for wheel in wheels {
        let field = |name: &str| wheel.get(name).and_then(Value::as_str).unwrap_or_default();
        let (url, hash) = (field("url"), field("hash"));
        let hashed = hash
            .strip_prefix("sha256:")
            .is_some_and(|hex| hex.len() == 64 && hex.bytes().all(|byte| byte.is_ascii_hexdigit()));
        if !hashed {
            problems.push(Problem::NoWheel(format!("a wheel of `{name}` has no SHA-256")));
            return;
        }
        let below = |index: &String| {
            url.strip_prefix(index.trim_end_matches('/')).is_some_and(|rest| rest.starts_with('/'))
        };
        match host_of(url) {
            Some(host) if indexes.iter().any(below) => drop(hosts.insert(host)),
            Some(host) => drop(strange.insert(host, ())),
            None => {
                problems.push(Problem::NoWheel(format!("a wheel of `{name}` has no URL that can be called")));
                return;
            }
        }
    }
    for host in strange.into_keys() {
        let why = format!("the files of `{name}` lie at `{}`, which the platform does not list", host.host);
        problems.push(Problem::Unlisted(why));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const INDEX: &str = "https://pypi.example/simple";
    const FILES: &str = "https://files.pypi.example";

    fn script(content: &str) -> String {
        let lines: String = content.lines().map(|line| format!("# {line}\n")).collect();
        format!("#!/usr/bin/env python3\n# /// script\n{lines}# ///\nprint(1)\n")
    }

    fn lock(requirements: &str, packages: &str) -> String {
        format!(
            "version = 1\nrevision = 3\nrequires-python = \">=3.11\"\n[manifest]\nrequirements = [{requirements}]\n{packages}"
        )
    }

    fn package(source: &str, rest: &str) -> String {
        format!("[[package]]\nname = \"tiny\"\nversion = \"1.0\"\nsource = {{ {source} }}\n{rest}\n")
    }

    fn wheel(url: &str) -> String {
        format!("wheels = [{{ url = \"{url}\", hash = \"sha256:{}\" }}]", "a".repeat(64))
    }

    fn checked(script: &str, lock: Option<&str>) -> Result<Vec<String>, Vec<Problem>> {
        let metadata = metadata(script.as_bytes()).expect("metadata");
        let indexes = [INDEX.to_owned(), format!("{FILES}/")];
        check(&metadata, lock.map(str::as_bytes), &indexes)
            .map(|hosts| hosts.iter().map(ToString::to_string).collect())
    }

    const TINY: &str = "dependencies = [\"tiny>=1,<2\"]";
    const LOCKED: &str = "{ name = \"tiny\", specifier = \"<2,>=1\" }";

    fn good() -> String {
        lock(LOCKED, &package(&format!("registry = \"{INDEX}\""), &wheel(&format!("{FILES}/tiny.whl"))))
    }

    #[test]
    fn a_lock_of_its_script_says_where_packages_come_from() {
        assert_eq!(checked(&script(TINY), Some(&good())), Ok(vec!["files.pypi.example:443".to_owned()]));
        let python = format!("requires-python = \">= 3.11\"\n{TINY}");
        assert!(checked(&script(&python), Some(&good())).is_ok());
        assert_eq!(checked(&script("dependencies = []"), Some(&lock("", ""))), Ok(vec![]));
    }

    #[test]
    fn metadata_is_found_as_pep_723_says() {
        let none = [
            "",
            "print(1)",
            "# /// script\nprint(1)\n# ///\n",
            "# /// other\n# a = 1\n# ///\n",
            " # /// script\n# ///\n",
        ];
        for text in none {
            assert_eq!(metadata(text.as_bytes()), None, "{text:?}");
        }
        assert!(metadata(b"# /// script\r\n# dependencies = []\r\n# ///\r\n").unwrap().is_ok());
        assert!(metadata(b"# /// script\n#\n# ///\n").unwrap().is_ok());
        for text in
            [script("a ="), script("dependencies = 1"), script("dependencies = [1]"), script("").repeat(2)]
        {
            assert!(metadata(text.as_bytes()).unwrap().is_err(), "{text:?}");
        }
        // The block goes on to its last closing line, as in the reference implementation.
        assert!(metadata(b"# /// script\n# ///\n# a = 1\n# ///\n").unwrap().is_err());
    }

    #[test]
    fn two_spellings_of_a_requirement_are_the_same() {
        let same = |one: &str, other: &str| assert_eq!(requirement(one), requirement(other), "{one} {other}");
        same("Tiny_Lib >= 1.0, < 2", "tiny-lib<2,>=1.0");
        same("tiny[B,a_c] (==1.*)", "tiny[a-c,b]==1.*");
        same("tiny ; python_version >= '3.9'", "tiny; os_name == 'posix'");
        assert_ne!(requirement("tiny>=1"), requirement("tiny>=2"));
        assert_ne!(requirement("tiny"), requirement("tiny; os_name == 'posix'"));
        for text in ["", "-e .", "tiny @ https://x.example/tiny.whl", "./tiny", "tiny[a"] {
            assert_eq!(requirement(text), None, "{text}");
        }
    }

    #[track_caller]
    fn wrong(script: &str, lock: Option<&str>, want: fn(&Problem) -> bool, says: &str) {
        let problems = checked(script, lock).expect_err("a problem");
        assert!(problems.iter().any(want), "{problems:?}");
        assert!(problems.iter().any(|one| one.message("x.py").contains(says)), "{problems:?}");
    }

    #[test]
    fn a_lock_is_missing_or_of_something_else() {
        let stale = |problem: &Problem| matches!(problem, Problem::Stale(_));
        wrong(&script(TINY), None, |one| *one == Problem::Missing, "no lock");
        wrong(&script(TINY), Some("version = ["), stale, "no TOML");
        wrong(&script(TINY), Some("version = 2"), stale, "another format");
        wrong(
            &script("dependencies = [\"tiny>=2\"]"),
            Some(&good()),
            stale,
            "the script needs `tiny` otherwise",
        );
        wrong(&script("dependencies = []"), Some(&good()), stale, "the lock has `tiny`");
        wrong(
            &script(&format!("requires-python = \">=3.12\"\n{TINY}")),
            Some(&good()),
            stale,
            "versions of Python",
        );
        wrong(
            &script("dependencies = [\"tiny @ https://x.example/\"]"),
            Some(&good()),
            stale,
            "names no package",
        );
        wrong(
            &script(TINY),
            Some(&lock("{ name = \"tiny\", git = \"https://x\" }", "")),
            stale,
            "comes from a git",
        );
    }

    #[test]
    fn only_wheels_with_hashes_of_listed_indexes_are_taken() {
        let index = format!("registry = \"{INDEX}\"");
        let none = |problem: &Problem| matches!(problem, Problem::NoWheel(_));
        let unlisted = |problem: &Problem| matches!(problem, Problem::Unlisted(_));
        let with = |source: &str, rest: &str| lock(LOCKED, &package(source, rest));
        let script = script(TINY);
        let sdist =
            format!("sdist = {{ url = \"{FILES}/tiny.tar.gz\", hash = \"sha256:{}\" }}", "a".repeat(64));
        wrong(&script, Some(&with(&index, &sdist)), none, "`tiny` has no wheel");
        wrong(
            &script,
            Some(&with(&index, &format!("wheels = [{{ url = \"{FILES}/t.whl\" }}]"))),
            none,
            "no SHA-256",
        );
        wrong(&script, Some(&with("git = \"https://x.example\"", "")), none, "comes from no index");
        wrong(&script, Some(&with("virtual = \".\"", "")), none, "comes from no index");
        wrong(
            &script,
            Some(&with("registry = \"https://evil.example/simple\"", &wheel("https://evil.example/t.whl"))),
            unlisted,
            "evil.example",
        );
        wrong(
            &script,
            Some(&with(&index, &wheel("https://evil.example/t.whl"))),
            unlisted,
            "lie at `evil.example`",
        );
        wrong(
            &script,
            Some(&with(&index, &wheel("https://files.pypi.example.evil.example/t.whl"))),
            unlisted,
            "evil.example",
        );
        wrong(
            &script,
            Some(&with(&index, &wheel("https://files.pypi.example:444/t.whl"))),
            unlisted,
            "lie at",
        );
        for url in
            ["file:///etc/passwd", "https://u:p@files.pypi.example/t.whl", "https://127.0.0.1/t.whl", "t.whl"]
        {
            wrong(&script, Some(&with(&index, &wheel(url))), none, "no URL that can be called");
        }
    }

    #[test]
    fn an_index_is_a_url_without_user() {
        for good in [INDEX, FILES, "http://mirror.example:8080/simple/"] {
            assert!(is_index(good), "{good}");
        }
        for bad in [
            "pypi.example",
            "ftp://x.example",
            "https://u@x.example",
            "https://",
            "https://10.0.0.1/x",
            "https://x.example/?a",
        ] {
            assert!(!is_index(bad), "{bad}");
        }
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_read_or_refused(script: String, lock: String) {
            let script = format!("# /// script\n# {script}\n# ///\n");
            if let Some(metadata) = metadata(script.as_bytes()) {
                drop(check(&metadata, Some(lock.as_bytes()), &[]));
            }
        }
    }
}
