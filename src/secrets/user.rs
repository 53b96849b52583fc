//! The identities of the person at the terminal, found where sops finds them.
#![expect(clippy::disallowed_methods, reason = "an adapter: it reads the person's environment and key files")]

use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use zeroize::Zeroizing;

use crate::sops::{Identity, IdentityError, Locked, Recipient, SopsError, parse_identities};

/// What was found, and what was looked at in vain.
#[derive(Debug, Default)]
pub struct UserIdentities {
    /// Identities in the order of finding.
    pub identities: Vec<Identity>,
    /// Places that hold something unusable, each with its reason; no reason carries a key.
    pub problems: Vec<String>,
    /// Identity files that others can read, which whoever made them should know.
    pub readable: Vec<String>,
    /// Keys behind a passphrase, each with its place: nobody is asked before a file needs one.
    locked: Vec<(String, Locked)>,
}

/// Asks a person for a passphrase by what is shown; `None` if nobody can be asked.
pub type Ask<'a> = &'a mut dyn FnMut(&str) -> Option<Zeroizing<String>>;

impl UserIdentities {
    /// Looks in `SOPS_AGE_SSH_PRIVATE_KEY_FILE`, `~/.ssh/id_ed25519`, `SOPS_AGE_KEY`, `SOPS_AGE_KEY_FILE`,
    /// `SOPS_AGE_KEY_CMD` and `sops/age/keys.txt` in the configuration directory.
    #[must_use]
    pub fn find() -> Self {
        Self::find_in(&|name| std::env::var(name).ok().filter(|value| !value.is_empty()))
    }

    fn find_in(variable: &dyn Fn(&str) -> Option<String>) -> Self {
        let mut found = Self::default();
        let home = variable("HOME").map(PathBuf::from);
        if let Some(path) = variable("SOPS_AGE_SSH_PRIVATE_KEY_FILE") {
            found.ssh(Path::new(&path), true);
        }
        if let Some(home) = &home {
            found.ssh(&home.join(".ssh/id_ed25519"), false);
        }
        if let Some(text) = variable("SOPS_AGE_KEY").map(Zeroizing::new) {
            found.age("SOPS_AGE_KEY", &text);
        }
        if let Some(path) = variable("SOPS_AGE_KEY_FILE") {
            found.age_file(Path::new(&path), true);
        }
        if let Some(command) = variable("SOPS_AGE_KEY_CMD") {
            found.command(&command);
        }
        let configuration = variable("XDG_CONFIG_HOME").map(PathBuf::from);
        if let Some(directory) = configuration.or(home.map(|home| home.join(".config"))) {
            found.age_file(&directory.join("sops/age/keys.txt"), false);
        }
        found
    }

    /// Opens something, asking for passphrases of keys that could open it where no other key does.
    ///
    /// # Errors
    /// What `open` says last; what stood in the way is in `problems`.
    pub fn open_with<T>(
        &mut self,
        ask: Ask<'_>,
        open: impl Fn(&[Identity]) -> Result<T, SopsError>,
    ) -> Result<T, SopsError> {
        let mut result = open(&self.identities);
        for (place, locked) in std::mem::take(&mut self.locked) {
            let Err(SopsError::NoDataKey(names)) = &result else { break };
            let named = |recipient: &Recipient| {
                names.iter().any(|name| name.parse().is_ok_and(|name: Recipient| name == *recipient))
            };
            if !locked.recipient().is_none_or(named) {
                continue;
            }
            let opened = match ask(&format!("passphrase of {place}: ")) {
                Some(passphrase) => locked.unlock(&passphrase),
                None => Err(IdentityError::Passphrase),
            };
            match opened {
                Ok(identities) => {
                    self.identities.extend(identities);
                    result = open(&self.identities);
                }
                Err(error) => self.problems.push(format!("{place}: {error}")),
            }
        }
        result
    }

    fn ssh(&mut self, path: &Path, named: bool) {
        let Some(bytes) = self.read(path, named) else { return };
        let place = path.display().to_string();
        let key = std::str::from_utf8(&bytes).map_err(|_| IdentityError::Ssh);
        match key.and_then(Identity::ssh_or_locked) {
            Ok(Ok(identity)) => self.identities.push(identity),
            Ok(Err(locked)) => self.locked.push((place, locked)),
            Err(error) => self.problems.push(format!("{place}: {error}")),
        }
    }

    fn age_file(&mut self, path: &Path, named: bool) {
        let Some(bytes) = self.read(path, named) else { return };
        let place = path.display().to_string();
        match (Locked::identity_file(&bytes), std::str::from_utf8(&bytes)) {
            (Some(locked), _) => self.locked.push((place, locked)),
            (None, Ok(text)) => self.age(&place, text),
            (None, Err(_)) => self.problems.push(format!("{place}: it is not text")),
        }
    }

    fn age(&mut self, place: &str, text: &str) {
        if let Some(locked) = Locked::identity_file(text.as_bytes()) {
            return self.locked.push((place.to_owned(), locked));
        }
        match parse_identities(text) {
            Ok(identities) => self.identities.extend(identities),
            Err(error) => self.problems.push(format!("{place}: {error}")),
        }
    }

    /// A place that nobody named may be empty without a word.
    fn read(&mut self, path: &Path, named: bool) -> Option<Zeroizing<Vec<u8>>> {
        const BYTES_MAX: u64 = 1 << 20;
        let read = || {
            let file = std::fs::File::open(path)?;
            let metadata = file.metadata()?;
            let mut bytes = Zeroizing::new(Vec::with_capacity(metadata.len().min(BYTES_MAX) as usize + 1));
            file.take(BYTES_MAX).read_to_end(&mut bytes)?;
            Ok::<_, std::io::Error>((bytes, metadata))
        };
        match read() {
            Ok((bytes, metadata)) => {
                if metadata.is_file() && metadata.permissions().mode() & 0o077 != 0 {
                    self.readable.push(path.display().to_string());
                }
                Some(bytes)
            }
            Err(error) => {
                if named || error.kind() != std::io::ErrorKind::NotFound {
                    self.problems.push(format!("{}: cannot be read ({})", path.display(), error.kind()));
                }
                None
            }
        }
    }

    fn command(&mut self, command: &str) {
        let place = "SOPS_AGE_KEY_CMD";
        let Some((program, arguments)) = words(command).and_then(|mut words| {
            let program = (!words.is_empty()).then(|| words.remove(0))?;
            Some((program, words))
        }) else {
            return self.problems.push(format!("{place}: a quote is not closed, or there is no command"));
        };
        // What it says on standard error is for the person; what it prints is a key.
        let output =
            Command::new(program).args(arguments).stdin(Stdio::inherit()).stderr(Stdio::inherit()).output();
        match output {
            Ok(output) if output.status.success() => {
                let output = Zeroizing::new(output.stdout);
                match std::str::from_utf8(&output) {
                    Ok(text) => self.age(place, text),
                    Err(_) => self.problems.push(format!("{place}: its output is not text")),
                }
            }
            Ok(output) => self.problems.push(format!("{place}: the command ended with {}", output.status)),
            Err(error) => {
                self.problems.push(format!("{place}: the command cannot be run ({})", error.kind()))
            }
        }
    }
}

/// Splits a command line as a shell would, without running one: blanks, both quotes and backslashes.
pub fn words(line: &str) -> Option<Vec<String>> {
    let mut found = Vec::new();
    let mut word: Option<String> = None;
    let mut quote = None;
    let mut characters = line.chars();
    while let Some(c) = characters.next() {
        match (quote, c) {
            (Some(open), c) if c == open => quote = None,
            (None, '\'' | '"') => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            (None | Some('"'), '\\') => word.get_or_insert_default().push(characters.next()?),
            (None, c) if c.is_whitespace() => found.extend(word.take()),
            (_, c) => word.get_or_insert_default().push(c),
        }
    }
    found.extend(word);
    quote.is_none().then_some(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(name: &str) -> String {
        let vectors = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/sops-vectors/vectors/keys");
        std::fs::read_to_string(vectors.join(name)).unwrap()
    }

    fn find(variables: &[(&str, &str)]) -> UserIdentities {
        UserIdentities::find_in(&|name| {
            variables.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned())
        })
    }

    #[test]
    fn identities_are_found_where_sops_finds_them() {
        let home = tempfile::tempdir().unwrap();
        for directory in [".ssh", ".config/sops/age", "elsewhere"] {
            std::fs::create_dir_all(home.path().join(directory)).unwrap();
        }
        std::fs::write(home.path().join(".ssh/id_ed25519"), key("ssh_ed25519")).unwrap();
        std::fs::write(home.path().join(".config/sops/age/keys.txt"), key("acme.agekey")).unwrap();
        let file = home.path().join("elsewhere/key file.txt");
        std::fs::write(&file, key("globex.agekey")).unwrap();
        let home = home.path().display().to_string();
        let recovery = key("recovery.agekey");
        let command = format!("cat '{}'", file.display());
        let found = find(&[("HOME", &home), ("SOPS_AGE_KEY", &recovery), ("SOPS_AGE_KEY_CMD", &command)]);
        assert_eq!(found.problems, Vec::<String>::new());
        let kinds: Vec<bool> =
            found.identities.iter().map(|identity| identity.recipient().is_ssh()).collect();
        assert_eq!(kinds, [true, false, false, false]);
        let found = find(&[("SOPS_AGE_KEY_FILE", &file.display().to_string())]);
        assert_eq!(found.identities.len(), 1);
        let found = find(&[("HOME", "/nowhere"), ("XDG_CONFIG_HOME", &format!("{home}/.config"))]);
        assert_eq!((found.identities.len(), found.problems.len()), (1, 0));
    }

    /// Keys behind passphrases, made by ssh-keygen and age: `correct horse`.
    #[test]
    fn a_passphrase_is_asked_for_where_a_file_needs_the_key() {
        let home = tempfile::tempdir().unwrap();
        let key_path = home.path().join("id");
        let made = Command::new("ssh-keygen")
            .args(["-q", "-t", "ed25519", "-N", "correct horse", "-f"])
            .arg(&key_path)
            .status()
            .unwrap();
        assert!(made.success());
        let path = key_path.display().to_string();
        let public: Recipient = std::fs::read_to_string(home.path().join("id.pub")).unwrap().parse().unwrap();
        let needs = |identities: &[Identity]| {
            let fits = identities.iter().any(|identity| *identity.recipient() == public);
            if fits { Ok(()) } else { Err(SopsError::NoDataKey(vec![format!("{public} with a comment")])) }
        };
        let other = |_: &[Identity]| Err::<(), _>(SopsError::NoDataKey(vec!["age1other".to_owned()]));
        let fresh = || find(&[("SOPS_AGE_SSH_PRIVATE_KEY_FILE", &path)]);

        let mut asked = Vec::new();
        let mut right = |prompt: &str| {
            asked.push(prompt.to_owned());
            Some(Zeroizing::new("correct horse".to_owned()))
        };
        assert_eq!(fresh().open_with(&mut right, needs), Ok(()));
        assert!(fresh().open_with(&mut right, other).is_err());
        assert_eq!(asked, [format!("passphrase of {path}: ")], "a key that cannot fit is not asked for");

        let mut wrong = fresh();
        assert!(wrong.open_with(&mut |_| Some(Zeroizing::new("x".to_owned())), needs).is_err());
        assert_eq!(wrong.problems, [format!("{path}: the passphrase does not open it")]);
        let mut nobody = fresh();
        assert!(nobody.open_with(&mut |_| None, needs).is_err());
        assert!(nobody.problems[0].contains("no terminal to ask"), "{:?}", nobody.problems);
    }

    #[test]
    fn an_identity_file_behind_a_passphrase_is_opened() {
        use std::io::Write;
        let inner = key("acme.agekey");
        let passphrase = age::secrecy::SecretString::from("correct horse".to_owned());
        let mut to = age::scrypt::Recipient::new(passphrase);
        to.set_work_factor(4);
        for armored in [true, false] {
            let mut bytes = Vec::new();
            let format = if armored { age::armor::Format::AsciiArmor } else { age::armor::Format::Binary };
            let out = age::armor::ArmoredWriter::wrap_output(&mut bytes, format).unwrap();
            let encryptor = age::Encryptor::with_recipients(std::iter::once(&to as _)).unwrap();
            let mut writer = encryptor.wrap_output(out).unwrap();
            writer.write_all(inner.as_bytes()).unwrap();
            writer.finish().unwrap().finish().unwrap();
            let file = tempfile::NamedTempFile::new().unwrap();
            std::fs::write(file.path(), &bytes).unwrap();
            let mut found = find(&[("SOPS_AGE_KEY_FILE", &file.path().display().to_string())]);
            assert!(found.identities.is_empty() && found.problems.is_empty(), "{:?}", found.problems);
            let needs = |identities: &[Identity]| {
                if identities.len() == 1 { Ok(()) } else { Err(SopsError::NoDataKey(Vec::new())) }
            };
            let mut right = |_: &str| Some(Zeroizing::new("correct horse".to_owned()));
            assert_eq!(found.open_with(&mut right, needs), Ok(()));
        }
    }

    #[test]
    fn what_is_named_and_unusable_is_told_without_the_key() {
        let found = find(&[
            ("SOPS_AGE_KEY", "AGE-SECRET-KEY-1WRONG"),
            ("SOPS_AGE_KEY_FILE", "/nowhere/keys.txt"),
            ("SOPS_AGE_KEY_CMD", "false"),
        ]);
        assert!(found.identities.is_empty());
        assert_eq!(found.problems.len(), 3);
        assert!(found.problems.iter().all(|problem| !problem.contains("WRONG")), "{:?}", found.problems);
    }

    #[test]
    fn a_command_is_split_without_a_shell() {
        let check = |line: &str, want: Option<&[&str]>| {
            let got = words(line);
            assert_eq!(
                got,
                want.map(|want| want.iter().map(|word| (*word).to_owned()).collect()),
                "{line:?}"
            );
        };
        check("pass show 'my key'", Some(&["pass", "show", "my key"]));
        check(r#"a "b \" c" d\ e ''"#, Some(&["a", "b \" c", "d e", ""]));
        check("a 'b", None);
        check("", Some(&[]));
    }
}
