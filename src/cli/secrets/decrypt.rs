//! `tenantry secrets decrypt`: the offline twin of `sops -d`, with its exit codes.

use std::fmt::Write as _;
use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};

use super::Outcome;
use super::keys::ask;
use crate::secrets::UserIdentities;
use crate::sops::{self, Format, Leaf, LeafKind, Opened, SopsError, Value};

/// The options of `tenantry secrets decrypt`.
#[derive(Debug, Args)]
#[command(after_help = "\
Identities are looked for as sops does: SOPS_AGE_SSH_PRIVATE_KEY_FILE, ~/.ssh/id_ed25519, SOPS_AGE_KEY,
SOPS_AGE_KEY_FILE, SOPS_AGE_KEY_CMD, ~/.config/sops/age/keys.txt.

Exit codes as those of sops: 0 decrypted · 1 no SOPS file, or malformed · 4 the format cannot hold the values ·
25 a value does not open · 51 the MAC does not fit · 100 no such file · 128 no identity opens it")]
pub struct DecryptArgs {
    /// The encrypted file [default: standard input]
    pub file: Option<PathBuf>,
    /// How to show it: `raw` gives the bytes of the only value [default: as the file itself is]
    #[arg(long, visible_alias = "output-type", value_enum, value_name = "FORMAT")]
    pub format: Option<DecryptFormat>,
    /// What kind of file it is [default: by its name, else by its text]
    #[arg(long, value_name = "TYPE", value_parser = super::format_parser())]
    pub input_type: Option<Format>,
    /// Show one part only, such as `["db"]["users"][0]`
    #[arg(long, value_name = "PATH")]
    pub extract: Option<String>,
}

/// How a decrypted file is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum DecryptFormat {
    /// JSON; several documents as a list
    Json,
    /// YAML
    Yaml,
    /// `KEY=value` lines
    Dotenv,
    /// INI
    Ini,
    /// The bytes of a binary file
    Binary,
    /// The bytes of the only value
    Raw,
}

/// Decrypts a file with the given identities.
#[must_use]
pub fn decrypt(args: &DecryptArgs, found: &mut UserIdentities) -> Outcome {
    let name = args.file.as_ref().filter(|path| path.as_os_str() != "-");
    let shown = name.map_or_else(|| "standard input".to_owned(), |path| path.display().to_string());
    let bytes = match read(name.map(PathBuf::as_path)) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == ErrorKind::NotFound => {
            return Outcome::refused(100, format!("there is no file `{shown}`"));
        }
        Err(error) => return Outcome::refused(2, format!("cannot read `{shown}`: {error}")),
    };
    let by_name = name.and_then(|path| Format::of_path(&path.to_string_lossy()));
    let format = args.input_type.or(by_name).unwrap_or_else(|| by_text(&bytes));
    let opened = found.open_with(&mut ask, |identities| sops::open_as(&bytes, format, identities));
    let opened = match opened {
        Ok(opened) => opened,
        Err(error) => return refused(&shown, &error, found),
    };
    let mut done = show(opened, args)
        .unwrap_or_else(|(code, told)| Outcome::refused(code, format!("`{shown}`: {told}")));
    for place in &found.readable {
        let _ = writeln!(done.said, "note: others can read `{place}`: take that away with `chmod 600`");
    }
    done
}

/// A JSON text without a name that says so is a binary file's envelope.
pub(super) fn by_text(bytes: &[u8]) -> Format {
    match Format::of_text(bytes) {
        Format::Json => Format::Binary,
        other => other,
    }
}

/// Why a file was not opened, with what was looked at where no identity fits.
pub(super) fn refused(shown: &str, error: &SopsError, found: &UserIdentities) -> Outcome {
    let mut refused = Outcome::refused(exit_code(error), format!("`{shown}`: {error}"));
    if matches!(error, SopsError::NoDataKey(_)) {
        for problem in &found.problems {
            let _ = writeln!(refused.said, "note: {problem}");
        }
        if found.identities.is_empty() {
            refused.said.push_str(
                "help: give your age identity in SOPS_AGE_KEY_FILE or ~/.config/sops/age/keys.txt\n",
            );
        }
    }
    refused
}

/// At most one byte beyond the budget, so that the reader says that it is too large.
#[expect(clippy::disallowed_methods, reason = "the command line reads the person's own file")]
pub(super) fn read(path: Option<&Path>) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let limit = sops::BUDGET.bytes_max as u64 + 1;
    match path {
        Some(path) => std::fs::File::open(path)?.take(limit).read_to_end(&mut bytes)?,
        None => std::io::stdin().lock().take(limit).read_to_end(&mut bytes)?,
    };
    Ok(bytes)
}

/// What sops ends with.
pub(super) fn exit_code(error: &SopsError) -> u8 {
    match error {
        SopsError::Yaml(_)
        | SopsError::Text { .. }
        | SopsError::NoMetadata
        | SopsError::Metadata { .. }
        | SopsError::Shape { .. }
        | SopsError::NotFound(_) => 1,
        SopsError::Unwritable(_) => 4,
        SopsError::Value { .. } => 25,
        SopsError::Mac(_) => 51,
        SopsError::NoDataKey(_) => 128,
    }
}

fn show(opened: Opened, args: &DecryptArgs) -> Result<Outcome, (u8, String)> {
    let own = match opened.format {
        Format::Yaml => DecryptFormat::Yaml,
        Format::Json => DecryptFormat::Json,
        Format::Dotenv => DecryptFormat::Dotenv,
        Format::Ini => DecryptFormat::Ini,
        Format::Binary => DecryptFormat::Binary,
    };
    let format = args.format.unwrap_or(own);
    let Opened { documents, .. } = opened;
    if let Some(path) = &args.extract {
        return extract(&documents, path, format);
    }
    let print = |format| {
        let text = sops::print(&documents, format).map_err(|error| (exit_code(&error), error.to_string()))?;
        Ok(Outcome { out: text, ..Outcome::default() })
    };
    match format {
        DecryptFormat::Json if documents.len() > 1 => {
            Ok(Outcome::printed(sops::json(&Value::List(documents)).as_bytes()))
        }
        DecryptFormat::Json => print(Format::Json),
        DecryptFormat::Yaml => print(Format::Yaml),
        DecryptFormat::Dotenv => print(Format::Dotenv),
        DecryptFormat::Ini => print(Format::Ini),
        DecryptFormat::Binary => print(Format::Binary),
        DecryptFormat::Raw => {
            let mut leaves: Vec<&Leaf> = Vec::new();
            documents.iter().for_each(|document| document.leaves(&mut |_, leaf| leaves.push(leaf)));
            let [leaf] = leaves.as_slice() else {
                let told = format!(
                    "holds {} values: `--format raw` shows the only one of a file; `--extract` picks one",
                    leaves.len()
                );
                return Err((1, told));
            };
            Ok(Outcome::printed(leaf.text.expose()))
        }
    }
}

/// A text as it is, anything else in the format asked for.
fn extract(documents: &[Value], path: &str, format: DecryptFormat) -> Result<Outcome, (u8, String)> {
    let steps = steps(path).ok_or((91, format!("`{path}` is no path such as `[\"db\"][0]`")))?;
    let value = documents.first().and_then(|document| document.at(steps.iter().map(String::as_str)));
    let value = value.ok_or((1, format!("there is nothing at `{path}`")))?;
    if let Value::Leaf(leaf) = value {
        let text = matches!(leaf.kind, LeafKind::Text | LeafKind::Bytes);
        if text || format == DecryptFormat::Raw {
            return Ok(Outcome::printed(leaf.text.expose()));
        }
    }
    let text = sops::json(value);
    if let (Value::Map(_), DecryptFormat::Yaml) = (value, format) {
        return Ok(Outcome::printed(sops::yaml(std::slice::from_ref(value)).as_bytes()));
    }
    Ok(Outcome::printed(text.as_bytes()))
}

fn steps(path: &str) -> Option<Vec<String>> {
    let mut rest = path.trim();
    let mut found = Vec::new();
    while !rest.is_empty() {
        rest = rest.strip_prefix('[')?;
        let quote = rest.chars().next().filter(|c| matches!(c, '"' | '\''));
        let (step, after) = match quote {
            Some(quote) => rest[1..].split_once(&format!("{quote}]"))?,
            None => rest.split_once(']').filter(|(step, _)| step.parse::<usize>().is_ok())?,
        };
        found.push(step.to_owned());
        rest = after;
    }
    (!found.is_empty()).then_some(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exit_codes_are_those_of_sops() {
        assert_eq!(exit_code(&SopsError::NoMetadata), 1);
        assert_eq!(exit_code(&SopsError::Value { at: "a".into(), reason: "is not encrypted" }), 25);
        assert_eq!(exit_code(&SopsError::Mac("is missing")), 51);
        assert_eq!(exit_code(&SopsError::NoDataKey(Vec::new())), 128);
    }

    #[test]
    fn a_path_is_keys_and_numbers() {
        let check = |path: &str, want: Option<&[&str]>| {
            let want = want.map(|want| want.iter().map(|step| (*step).to_owned()).collect::<Vec<_>>());
            assert_eq!(steps(path), want, "{path}");
        };
        check(r#"["db"]["users"][0]"#, Some(&["db", "users", "0"]));
        check(r"['a b']", Some(&["a b"]));
        check(r#"["a]"]"#, Some(&["a]"]));
        check("db", None);
        check("[x]", None);
        check("", None);
    }
}
