//! Objects whose form is so plain that no check of `git` could find anything in them, and their way into the mirror
//! without starting anything.
//!
//! Stricter than `git fsck --strict`, never laxer: whatever is not recognised here is left to `git`, which takes it or
//! says what is wrong with it. That also keeps the files away that `git` reads itself (`.gitmodules` and its like).

use std::collections::HashSet;

use git2::{ObjectType, Oid, Repository};

/// Bytes of the name of a file or directory.
const NAME_BYTES_MAX: usize = 255;
/// Digits of a time in seconds: up to the year 5138.
const TIME_DIGITS_MAX: usize = 11;

/// An object as it lies in a database.
pub(super) struct Object {
    /// Its name.
    pub id: Oid,
    /// What it is, as what names it says.
    pub kind: ObjectType,
    /// Its content, without a header.
    pub bytes: Vec<u8>,
}

impl Object {
    /// Whether nothing about the form can be objected to.
    pub(super) fn is_plain(&self) -> bool {
        match self.kind {
            ObjectType::Blob => true,
            ObjectType::Tree => is_plain_tree(&self.bytes),
            ObjectType::Commit => is_plain_commit(&self.bytes),
            ObjectType::Any | ObjectType::Tag => false,
        }
    }
}

/// Writes objects into the mirror, each under the name that its content has; moves no ref. `None` if a name is
/// another or one cannot be written: some may lie there then, named by nothing.
pub(super) fn store(mirror: &Repository, objects: &[Object]) -> Option<()> {
    let odb = mirror.odb().ok()?;
    // What names others comes last: whoever finds a commit finds all of it.
    for object in objects.iter().rev() {
        if odb.write(object.kind, &object.bytes).ok()? != object.id {
            return None;
        }
    }
    Some(())
}

/// Entries as `git` writes them: known modes, plain names, in order, each once.
fn is_plain_tree(mut bytes: &[u8]) -> bool {
    let mut names = HashSet::new();
    let mut last = Vec::new();
    while !bytes.is_empty() {
        let Some((mode, rest)) = split(bytes, b' ') else { return false };
        let Some((name, rest)) = split(rest, 0) else { return false };
        let Some((id, rest)) = rest.split_at_checked(20) else { return false };
        let known = matches!(mode, b"40000" | b"100644" | b"100755" | b"120000" | b"160000");
        if !known || !is_plain_name(name) || !names.insert(name) || id == [0; 20] {
            return false;
        }
        // A directory is ordered as if its name ended with a slash.
        let mut key = name.to_vec();
        if mode == b"40000" {
            key.push(b'/');
        }
        if last >= key {
            return false;
        }
        last = key;
        bytes = rest;
    }
    true
}

fn split(bytes: &[u8], at: u8) -> Option<(&[u8], &[u8])> {
    let position = bytes.iter().position(|byte| *byte == at)?;
    Some((&bytes[..position], &bytes[position + 1..]))
}

/// Letters, digits and a few marks: nothing that a file system folds, hides or takes for another name, and nothing
/// that `git` reads itself.
fn is_plain_name(name: &[u8]) -> bool {
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b" !#%&'()+,-.=@[]^_{}".contains(byte);
    !name.is_empty()
        && name.len() <= NAME_BYTES_MAX
        && name.iter().all(plain)
        && !matches!(name, b"." | b"..")
        && !name.get(..4).is_some_and(|start| start.eq_ignore_ascii_case(b".git"))
        && !name.ends_with(b" ")
        && !name.ends_with(b".")
}

/// `tree`, `parent`s, `author`, `committer`, then headers of other names, an empty line and a message.
fn is_plain_commit(bytes: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(bytes) else { return false };
    let Some((head, _)) = text.split_once("\n\n") else { return false };
    if text.contains('\0') {
        return false;
    }
    let mut lines = head.split('\n').peekable();
    if !lines.next().and_then(|line| line.strip_prefix("tree ")).is_some_and(is_id) {
        return false;
    }
    while let Some(parent) = lines.peek().and_then(|line| line.strip_prefix("parent ")) {
        if !is_id(parent) {
            return false;
        }
        lines.next();
    }
    let mut signed = |prefix| lines.next().and_then(|line| line.strip_prefix(prefix)).is_some_and(is_signer);
    if !signed("author ") || !signed("committer ") {
        return false;
    }
    let mut open = false;
    lines.all(|line| {
        let goes_on = open && line.starts_with(' ');
        let name = line.split(' ').next().unwrap_or_default();
        open = true;
        goes_on
            || (matches!(name, "gpgsig" | "gpgsig-sha256" | "encoding" | "mergetag" | "HG:rename-source")
                && line.len() > name.len())
    })
}

fn is_id(text: &str) -> bool {
    let hex = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    text.len() == 40 && text.bytes().all(hex) && text.bytes().any(|byte| byte != b'0')
}

/// `Name <address> seconds +hhmm`.
fn is_signer(text: &str) -> bool {
    let Some((name, rest)) = text.split_once(" <") else { return false };
    let Some((address, rest)) = rest.split_once("> ") else { return false };
    let Some((time, zone)) = rest.split_once(' ') else { return false };
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let plain = |text: &str| !text.contains(['<', '>', '\n']);
    !name.trim().is_empty()
        && plain(name)
        && plain(address)
        && digits(time)
        && time.len() <= TIME_DIGITS_MAX
        && (time == "0" || !time.starts_with('0'))
        && zone.len() == 5
        && zone.starts_with(['+', '-'])
        && digits(&zone[1..])
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "tests: ask the system `git` for its own judgement")]
mod tests {
    use std::io::Write as _;
    use std::process::{Command, Stdio};

    use super::*;

    fn entry(mode: &str, name: &[u8]) -> Vec<u8> {
        [mode.as_bytes(), b" ", name, b"\0", &[0x11; 20]].concat()
    }

    #[track_caller]
    fn tree(entries: &[(&str, &str)], want: bool) {
        let bytes: Vec<u8> = entries.iter().flat_map(|(mode, name)| entry(mode, name.as_bytes())).collect();
        assert_eq!(is_plain_tree(&bytes), want, "{entries:?}");
    }

    #[test]
    fn a_plain_tree_has_plain_names_in_order_each_once() {
        tree(&[], true);
        tree(&[("100644", "a"), ("40000", "b"), ("100755", "c"), ("120000", "d"), ("160000", "e")], true);
        tree(&[("100644", "a.b"), ("40000", "a"), ("100644", "a0")], true);
        tree(&[("100644", "b"), ("100644", "a")], false);
        tree(&[("100644", "a"), ("100644", "a")], false);
        tree(&[("100644", "a"), ("40000", "a")], false);
        tree(&[("100644", "a"), ("100644", "a.b"), ("40000", "a")], false);
        tree(&[("100644", "a"), ("40000", "a-b"), ("100644", "a.b"), ("40000", "a")], false);
        tree(&[("40000", "a"), ("100644", "a.b")], false);
        tree(&[("100664", "a")], false);
        tree(&[("040000", "a")], false);
        for name in [
            "",
            ".",
            "..",
            "a/b",
            ".git",
            ".GIT",
            ".gitmodules",
            ".gitattributes",
            "git~1",
            "a:b",
            "a\\b",
            "é",
            "a\n",
            "a ",
            "a.",
        ] {
            tree(&[("40000", name)], false);
        }
        assert!(!is_plain_tree(&entry("100644", b"a")[..20]), "cut off");
        assert!(!is_plain_tree(&[b"100644 a\0".as_slice(), &[0; 20]].concat()), "names nothing");
    }

    const WHO: &str = "Dana <dana@acme.example> 1793527200 +0000";

    fn commits() -> Vec<(String, bool)> {
        let id = "1".repeat(40);
        let good = format!("tree {id}\nparent {id}\nauthor {WHO}\ncommitter {WHO}\n\nword\n");
        let bad = |from: &str, to: &str| {
            let text = good.replacen(from, to, 1);
            assert_ne!(text, good, "{from}");
            (text, false)
        };
        let author = format!("author {WHO}\n");
        vec![
            (good.clone(), true),
            (good.replace(&format!("parent {id}\n"), ""), true),
            (good.replace("\n\n", "\ngpgsig -----BEGIN\n \n abc\n\n"), true),
            (good.replace("\n\n", "\nencoding latin1\n\n"), true),
            bad("\n\n", "\n"),
            bad("tree", "Tree"),
            bad(&id, &"0".repeat(40)),
            bad(&id, &id[1..]),
            bad(&author, ""),
            bad(&author, &format!("{author}{author}")),
            bad("committer", "parent"),
            bad("\n\n", &format!("\n{author}\n")),
            bad("\n\n", &format!("\ntree {id}\n\n")),
            bad("\n\n", "\n folded\n\n"),
            bad("Dana <dana", "<dana"),
            bad("Dana <", "Da>na <"),
            bad("> 1793527200", ">1793527200"),
            bad("1793527200", "01793527200"),
            bad("1793527200", "99999999999999999999"),
            bad("+0000", "0000"),
            bad("+0000", "+00"),
            bad("word", "wo\0rd"),
        ]
    }

    #[test]
    fn a_plain_commit_has_each_header_once_in_order() {
        for (text, want) in commits() {
            assert_eq!(is_plain_commit(text.as_bytes()), want, "{text}");
        }
        assert!(!is_plain_commit(b"\xff"));
    }

    fn git_takes(kind: &str, bytes: &[u8]) -> bool {
        let directory = tempfile::tempdir().unwrap();
        let git = |arguments: &[&str]| {
            let mut command = Command::new("git");
            command.current_dir(directory.path()).args(arguments).stdout(Stdio::piped());
            command.stderr(Stdio::null()).stdin(Stdio::piped());
            command
        };
        assert!(git(&["init", "--quiet", "--bare"]).output().unwrap().status.success());
        // Written unchecked, so that the check itself is asked.
        let mut child = git(&["hash-object", "-t", kind, "-w", "--literally", "--stdin"]).spawn().unwrap();
        child.stdin.take().unwrap().write_all(bytes).unwrap();
        let id = String::from_utf8(child.wait_with_output().unwrap().stdout).unwrap();
        let said = git(&["fsck", "--strict", "--no-dangling", id.trim()]).stderr(Stdio::piped()).output();
        let said = String::from_utf8_lossy(&said.unwrap().stderr).into_owned();
        // What it names is missing here, which is no matter of form.
        !said.lines().any(|line| line.starts_with("error in ") || line.starts_with("warning in "))
    }

    /// The property that matters: what is called plain, `git fsck --strict` has nothing against.
    #[test]
    fn what_is_plain_passes_the_check_of_git() {
        for (text, plain) in commits().iter().filter(|(_, plain)| *plain) {
            assert!(*plain && git_takes("commit", text.as_bytes()), "{text}");
        }
        let twice = [entry("100644", b"a"), entry("100644", b"a")].concat();
        assert!(!git_takes("tree", &twice), "the question is put so that git can say no");
        let twice =
            format!("tree {0}\nauthor {WHO}\nauthor {WHO}\ncommitter {WHO}\n\nword\n", "1".repeat(40));
        assert!(!git_takes("commit", twice.as_bytes()), "the question is put so that git can say no");
        let alphabet = ["a", "a.b", "a-b", "a0", "A", "b", ".g", ".gi", "git", "a=b", "tenants"];
        let modes = ["100644", "40000", "120000"];
        // Every pair of names and modes, plain ones only: some hundred, in one tree each.
        let (mut asked, mut all) = (0, 0);
        for first in &alphabet {
            for second in &alphabet {
                for (one, two) in modes.iter().zip(modes.iter().rev()).chain(modes.iter().zip(&modes)) {
                    all += 1;
                    let bytes = [entry(one, first.as_bytes()), entry(two, second.as_bytes())].concat();
                    if is_plain_tree(&bytes) && all % 7 == 0 {
                        asked += 1;
                        assert!(git_takes("tree", &bytes), "{one} {first}, {two} {second}");
                    }
                }
            }
        }
        assert!(asked > 20, "{asked}");
    }
}
