//! Where the settings of `serve` come from: flags, then the environment, then a TOML file, then defaults.
//!
//! The file has one key for each option, under the option's name with `_` for `-`. What it says is read by the very
//! reader of the command line, so that both take the same values.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::path::Path;

use clap::parser::ValueSource;
use clap::{ArgMatches, Args as _, FromArgMatches as _};
use toml::{Spanned, Value};

use super::Ending;
use super::serve::ServeArgs;
use crate::desired::written::nearest;

/// Options that stand on the command line alone.
const NOT_IN_A_FILE: [&str; 3] = ["config", "print_config", "help"];
/// Bytes of the largest file that is read.
const FILE_BYTES_MAX: u64 = 64 << 10;

/// The settings, and where each of them comes from.
pub struct Configured {
    /// As if all had been flags.
    pub args: ServeArgs,
    origins: BTreeMap<String, Origin>,
    matches: ArgMatches,
}

/// Where a value comes from; what stands later wins.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Origin {
    Default,
    File(String),
    Environment(String),
    Flag,
}

/// Reads the words after `serve`, and the file that they or the environment name.
///
/// # Errors
/// [`Ending::Usage`] for a word, a key or a value that cannot be, with its place; [`Ending::CouldNot`] if the file
/// cannot be read.
pub fn configure(words: &[OsString]) -> Result<Configured, Ending> {
    let given = parse(words).map_err(|error| Ending::Usage(said(&error)))?;
    let mut origins: BTreeMap<String, Origin> = BTreeMap::new();
    for option in command().get_arguments() {
        let name = option.get_id().to_string();
        let variable = option.get_env().map(|name| name.to_string_lossy().into_owned());
        let origin = match (given.try_contains_id(&name).is_ok(), given.value_source(&name), variable) {
            (true, Some(ValueSource::CommandLine), _) => Origin::Flag,
            (true, Some(ValueSource::EnvVariable), Some(variable)) => Origin::Environment(variable),
            _ => Origin::Default,
        };
        origins.insert(name, origin);
    }
    let mut words = words.to_vec();
    if let Some(file) = given.get_one::<std::path::PathBuf>("config") {
        for (key, place, more) in read(file)? {
            let known = origins.get_mut(&key).filter(|origin| **origin == Origin::Default);
            let Some(origin) = known else { continue };
            *origin = Origin::File(place);
            words.extend(more.into_iter().map(OsString::from));
        }
    }
    let matches = parse(&words).map_err(|error| Ending::Usage(said(&error)))?;
    let mut args = ServeArgs::from_arg_matches(&matches).map_err(|error| Ending::Usage(said(&error)))?;
    one_of_regions(&mut args, &mut origins)?;
    Ok(Configured { args, origins, matches })
}

/// `regions` and `any_region` are one setting: the place that wins decides, and may name only one of them.
fn one_of_regions(args: &mut ServeArgs, origins: &mut BTreeMap<String, Origin>) -> Result<(), Ending> {
    let (labels, any) = (origins["regions"].clone(), origins["any_region"].clone());
    if args.app.regions.is_empty() || !args.app.any_region {
        return Ok(());
    }
    let layer = |origin: &Origin| match origin {
        Origin::Default => 0,
        Origin::File(_) => 1,
        Origin::Environment(_) => 2,
        Origin::Flag => 3,
    };
    match layer(&labels).cmp(&layer(&any)) {
        std::cmp::Ordering::Equal => {
            Err(Ending::Usage("a region is named and `any_region` is set: leave one of them out".to_owned()))
        }
        std::cmp::Ordering::Less => {
            args.app.regions.clear();
            origins.insert("regions".to_owned(), Origin::Default);
            Ok(())
        }
        std::cmp::Ordering::Greater => {
            args.app.any_region = false;
            origins.insert("any_region".to_owned(), Origin::Default);
            Ok(())
        }
    }
}

impl Configured {
    /// The settings as a file that could be read again, each with where it comes from.
    #[must_use]
    pub fn shown(&self) -> String {
        let mut lines = Vec::new();
        for option in command().get_arguments() {
            let name = option.get_id().as_str();
            if NOT_IN_A_FILE.contains(&name) {
                continue;
            }
            let key = key_of(option);
            let value = match name {
                "regions" if self.args.app.regions.is_empty() => None,
                "any_region" => Some(Value::Boolean(self.args.app.any_region)),
                _ => self.value(name, option),
            };
            let origin = match &self.origins[name] {
                Origin::Default => "default".to_owned(),
                Origin::File(place) => place.clone(),
                Origin::Environment(variable) => variable.clone(),
                Origin::Flag => format!("--{}", option.get_long().unwrap_or(name)),
            };
            lines.push(match value {
                Some(value) => (format!("{key} = {value}"), origin),
                None => (format!("# {key} is not set"), origin),
            });
        }
        let width = lines.iter().map(|(line, _)| line.chars().count()).max().unwrap_or(0);
        let line = |(line, origin): &(String, String)| format!("{line:width$}  # {origin}");
        lines.iter().map(line).collect::<Vec<_>>().join("\n")
    }

    fn value(&self, name: &str, option: &clap::Arg) -> Option<Value> {
        let raw: Vec<String> =
            self.matches.get_raw(name)?.map(|value| value.to_string_lossy().into_owned()).collect();
        let first = raw.first()?.clone();
        Some(match option.get_action() {
            clap::ArgAction::SetTrue => Value::Boolean(self.matches.get_flag(name)),
            clap::ArgAction::Append => Value::Array(raw.into_iter().map(Value::String).collect()),
            _ => first.parse::<i64>().map_or(Value::String(first), Value::Integer),
        })
    }
}

fn command() -> clap::Command {
    ServeArgs::augment_args(clap::Command::new("tenantry serve").no_binary_name(true))
}

fn parse<W: AsRef<OsStr>>(words: &[W]) -> Result<ArgMatches, clap::Error> {
    command().try_get_matches_from(words.iter().map(AsRef::as_ref))
}

/// What is wrong, without the usage that follows it.
fn said(error: &clap::Error) -> String {
    let text = error.to_string();
    let text = text.strip_prefix("error: ").unwrap_or(&text);
    text.split("\n\nUsage:").next().unwrap_or(text).trim().replace('\n', "; ").replace(";   ", " ")
}

fn key_of(option: &clap::Arg) -> String {
    option.get_long().unwrap_or(option.get_id().as_str()).replace('-', "_")
}

/// The keys of a file: the option's id, the place, and the words that say the same.
#[expect(clippy::disallowed_methods, reason = "a file that the command line names")]
fn read(file: &Path) -> Result<Vec<(String, String, Vec<String>)>, Ending> {
    use std::io::Read as _;
    let shown = file.display();
    let could_not = |error: std::io::Error| Ending::CouldNot(format!("cannot read `{shown}`: {error}"));
    let mut text = String::new();
    let mut limited = std::fs::File::open(file).map_err(could_not)?.take(FILE_BYTES_MAX + 1);
    limited.read_to_string(&mut text).map_err(could_not)?;
    if text.len() as u64 > FILE_BYTES_MAX {
        return Err(Ending::Usage(format!(
            "{shown}: more than {} KiB is no configuration",
            FILE_BYTES_MAX >> 10
        )));
    }
    let line_of = |at: usize| text[..at.min(text.len())].matches('\n').count() + 1;
    let table: BTreeMap<Spanned<String>, Spanned<Value>> = toml::from_str(&text).map_err(|error| {
        let line = error.span().map_or(1, |span| line_of(span.start));
        Ending::Usage(format!("{shown}:{line}: {}", error.message()))
    })?;
    let command = command();
    let options: BTreeMap<String, &clap::Arg> = command
        .get_arguments()
        .filter(|option| !NOT_IN_A_FILE.contains(&option.get_id().as_str()))
        .map(|option| (key_of(option), option))
        .collect();
    let mut found = Vec::new();
    for (key, value) in table {
        let place = format!("{shown}:{}", line_of(key.span().start));
        let key = key.into_inner();
        let Some(option) = options.get(&key) else {
            let cure = match nearest(&key, options.keys().map(String::as_str)) {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("known: {}", options.keys().cloned().collect::<Vec<_>>().join(", ")),
            };
            return Err(Ending::Usage(format!("{place}: unknown key `{key}`: {cure}")));
        };
        let words = words_of(option, value.get_ref()).map_err(|wanted| {
            Ending::Usage(format!("{place}: `{key}` is {}: write {wanted}", value.get_ref().type_str()))
        })?;
        // By itself first, so that what is wrong with it is said with its place.
        parse(&words).map_err(|error| Ending::Usage(format!("{place}: {}", said(&error))))?;
        found.push((option.get_id().to_string(), place, words));
    }
    Ok(found)
}

/// The words of the command line that say what a key's value says; what kind of value it takes otherwise.
fn words_of(option: &clap::Arg, value: &Value) -> Result<Vec<String>, &'static str> {
    let flag = format!("--{}", option.get_long().unwrap_or(option.get_id().as_str()));
    let one = |value: &Value| match value {
        Value::String(text) => Some(text.clone()),
        Value::Integer(number) => Some(number.to_string()),
        _ => None,
    };
    match (option.get_action(), value) {
        (clap::ArgAction::SetTrue, Value::Boolean(true)) => Ok(vec![flag]),
        (clap::ArgAction::SetTrue, Value::Boolean(false)) => Ok(Vec::new()),
        (clap::ArgAction::SetTrue, _) => Err("true or false"),
        (clap::ArgAction::Append, Value::Array(all)) => {
            let words: Option<Vec<String>> =
                all.iter().map(|value| one(value).map(|text| format!("{flag}={text}"))).collect();
            words.ok_or("a list of texts")
        }
        (clap::ArgAction::Append, value) => {
            one(value).map(|text| vec![format!("{flag}={text}")]).ok_or("a list of texts")
        }
        (_, value) => one(value).map(|text| vec![format!("{flag}={text}")]).ok_or("a text or a number"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[expect(clippy::disallowed_methods, reason = "the file that the test reads")]
    fn file(text: &str) -> (tempfile::TempDir, String) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("serve.toml");
        std::fs::write(&path, text).unwrap();
        (directory, path.display().to_string())
    }

    fn configured(text: &str, flags: &[&str]) -> Result<Configured, String> {
        let (_directory, path) = file(text);
        let mut words: Vec<OsString> = vec!["--config".into(), path.clone().into()];
        words.extend(flags.iter().map(OsString::from));
        configure(&words).map_err(|ending| match ending {
            Ending::Usage(text) => text.replace(&path, "FILE"),
            other => panic!("{other:?}"),
        })
    }

    #[test]
    fn a_flag_wins_over_the_file_and_the_file_over_the_default() {
        let text = "repo = \"/srv/a\"\ndata = \"/var/a\"\npoll = \"5s\"\nslots = 3\nno_worker = true\n";
        let got = configured(text, &["--slots", "7"]).unwrap();
        assert_eq!(got.args.repo.as_deref(), Some("/srv/a"));
        assert_eq!(got.args.poll.to_string(), "5s");
        assert_eq!(got.args.app.slots, Some(7));
        assert!(got.args.no_worker);
        assert_eq!(got.args.listen.to_string(), "127.0.0.1:7878");
        let shown = got.shown();
        let origin = |key: &str| {
            let line = shown.lines().find(|line| line.starts_with(&format!("{key} = "))).unwrap_or_default();
            line.split("  # ").last().unwrap().trim().rsplit('/').next().unwrap().to_owned()
        };
        assert_eq!(
            ["poll", "slots", "listen", "no_worker"].map(origin),
            ["serve.toml:3", "--slots", "default", "serve.toml:5"]
        );
        // What is printed can be read again and says the same.
        let again = configured(&shown, &[]).unwrap();
        assert_eq!(again.args.poll, got.args.poll);
        assert_eq!((again.args.app.slots, again.args.no_worker), (Some(7), true));
    }

    #[test]
    fn regions_are_one_setting() {
        let got = configured("label = [\"region=eu\", \"region=us\"]\n", &[]).unwrap();
        assert_eq!(got.args.app.regions, ["eu", "us"]);
        let got = configured("label = [\"region=eu\"]\n", &["--any-region"]).unwrap();
        assert_eq!((got.args.app.regions.len(), got.args.app.any_region), (0, true));
        let got = configured("any_region = true\n", &["--label", "region=eu"]).unwrap();
        assert_eq!((got.args.app.regions.len(), got.args.app.any_region), (1, false));
        let both = configured("any_region = true\nlabel = [\"region=eu\"]\n", &[]).err().unwrap();
        assert!(both.contains("leave one of them out"), "{both}");
    }

    #[test]
    fn what_cannot_be_is_said_with_its_place() {
        let wrong = |text: &str| configured(text, &[]).err().unwrap();
        assert_eq!(wrong("# one\n\npol = \"5s\"\n"), "FILE:3: unknown key `pol`: did you mean `poll`?");
        assert_eq!(wrong("config = \"other\"\n").split(':').nth(1), Some("1"));
        assert_eq!(wrong("no_worker = 1\n"), "FILE:1: `no_worker` is integer: write true or false");
        assert_eq!(wrong("label = 1.5\n"), "FILE:1: `label` is float: write a list of texts");
        assert!(
            wrong("slots = -1\n").starts_with("FILE:1: invalid value '-1' for '--slots"),
            "{}",
            wrong("slots = -1\n")
        );
        assert!(wrong("\npoll = \"soon\"\n").starts_with("FILE:2: invalid value 'soon'"));
        assert!(wrong("poll = \"5s\"\npoll = \"6s\"\n").starts_with("FILE:2: "));
        assert!(wrong("poll = [\n").starts_with("FILE:"));
        assert!(matches!(
            configure(&["--config".into(), "/nowhere/at.toml".into()]),
            Err(Ending::CouldNot(_))
        ));
    }
}
