//! A crontab as entries: what each line asks for, and what of it a workflow cannot be.
//!
//! Source: crontab(5) of Vixie cron and its descendants, cronie and Debian's cron.

use crate::schedule::{Cron, Zone};

/// Names of accounts that only the crontab of a system names in front of a command.
const ACCOUNTS: [&str; 8] = ["root", "www-data", "nobody", "daemon", "postgres", "mysql", "nginx", "apache"];
/// Programs that run another one, whose name says more.
const WRAPPERS: [&str; 21] = [
    "sh", "bash", "dash", "zsh", "env", "nice", "ionice", "timeout", "flock", "chronic", "sudo", "run-one",
    "exec", "python", "python3", "perl", "php", "node", "ruby", "nohup", "time",
];

/// One entry that can be a workflow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its line, from 1.
    pub line: usize,
    /// Five fields.
    pub cron: String,
    /// From `CRON_TZ`.
    pub timezone: Option<String>,
    /// What `sh -c` would be given.
    pub command: String,
    /// What would come in on standard input.
    pub input: Option<String>,
    /// The comment directly above.
    pub comment: Option<String>,
    /// Variables set above, in order.
    pub environment: Vec<(String, String)>,
    /// A name made of the command.
    pub name: String,
}

/// A crontab, read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Crontab {
    /// What can be carried over.
    pub entries: Vec<Entry>,
    /// What cannot, or changes its meaning: line and sentence. 0 stands for the whole file.
    pub notes: Vec<(usize, String)>,
}

/// Reads a crontab. `system` says whether entries name an account; `None` looks at them.
#[must_use]
pub fn read(text: &str, system: Option<bool>) -> Crontab {
    let mut read = Crontab::default();
    let system = system.unwrap_or_else(|| looks_like_a_systems(text));
    let mut environment: Vec<(String, String)> = Vec::new();
    let mut timezone: Option<String> = None;
    let mut comment: Option<String> = None;
    for (number, line) in text.lines().enumerate() {
        let number = number + 1;
        let line = line.trim_end_matches('\r').trim_start();
        if line.is_empty() {
            comment = None;
            continue;
        }
        if let Some(said) = line.strip_prefix('#') {
            // A line that is commented out is no description.
            let said = said.trim();
            comment = (!said.is_empty() && entry(said, false).is_none()).then(|| said.to_owned());
            continue;
        }
        if let Some((name, value)) = assignment(line) {
            match name {
                "CRON_TZ" if Zone::parse(value).is_ok() => timezone = Some(value.to_owned()),
                "CRON_TZ" => read.notes.push((number, format!("no zone is called `{}`; the tenant's is taken", shown(value)))),
                "MAILTO" | "MAILFROM" => read.notes.push((number, format!("`{name}` is left out: the tenant's alert routes say who is told"))),
                "LOGNAME" | "USER" | "HOME" => read.notes.push((number, format!("`{name}` is left out: a step has a home of its own"))),
                "RANDOM_DELAY" => read.notes.push((number, "`RANDOM_DELAY` is left out: schedules are spread unless they say `exact: true`".into())),
                _ if names_a_secret(name) => read.notes.push((number, format!("`{name}` is left out: it looks like a secret; make it one with `tenantry secrets set` and give it to the step"))),
                _ => {
                    environment.retain(|(known, _)| known != name);
                    environment.push((name.to_owned(), value.to_owned()));
                }
            }
            continue;
        }
        let said = comment.take();
        match entry(line, system) {
            None => read.notes.push((number, "this line is no entry of a crontab and is left out".into())),
            Some((fields, command)) => {
                match schedule(&fields) {
                    Err(why) => read.notes.push((number, format!("left out: {why}"))),
                    Ok(_) if holds_a_credential(command) => read.notes.push((number, "left out: the command seems to hold a password or token; make it a secret with `tenantry secrets set` first".into())),
                    Ok(cron) => {
                        let (command, input) = split_input(command);
                        for note in strange(&command) {
                            read.notes.push((number, note));
                        }
                        let name = name_of(&command);
                        read.entries.push(Entry {
                            line: number,
                            cron,
                            timezone: timezone.clone(),
                            command,
                            input,
                            comment: said,
                            environment: environment.clone(),
                            name,
                        });
                    }
                }
            }
        }
    }
    read
}

fn shown(text: &str) -> String {
    super::page::shown(text).chars().take(80).collect()
}

/// `NAME = value`, quotes around either taken off.
fn assignment(line: &str) -> Option<(&str, &str)> {
    let (name, value) = line.split_once('=')?;
    let bare = |text: &str| -> Option<(usize, usize)> {
        let quote = text.chars().next().filter(|c| matches!(c, '"' | '\''))?;
        (text.len() > 1 && text.ends_with(quote)).then_some((1, text.len() - 1))
    };
    let (name, value) = (name.trim(), value.trim());
    let name = bare(name).map_or(name, |(from, to)| &name[from..to]);
    let value = bare(value).map_or(value, |(from, to)| &value[from..to]);
    let first = name.bytes().next()?;
    let spelled = name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    (spelled && !first.is_ascii_digit()).then_some((name, value))
}

/// The fields and the command of an entry.
fn entry(line: &str, system: bool) -> Option<(String, &str)> {
    let line = line.strip_prefix('-').unwrap_or(line);
    let mut rest = line;
    let mut word = || {
        rest = rest.trim_start();
        let end = rest.find([' ', '\t']).unwrap_or(rest.len());
        let (word, behind) = rest.split_at(end);
        rest = behind;
        (!word.is_empty()).then(|| word.to_owned())
    };
    let first = word()?;
    let fields = if first.starts_with('@') {
        first
    } else {
        let more: Option<Vec<_>> = (0..4).map(|_| word()).collect();
        let fields = format!("{first} {}", more?.join(" "));
        // Prose is not taken for an entry.
        let field = |c: char| c.is_ascii_alphanumeric() || "*/,-~#?".contains(c);
        if !first.starts_with(|c: char| c.is_ascii_digit() || c == '*' || c == '~')
            || !fields.chars().all(|c| c == ' ' || field(c))
        {
            return None;
        }
        fields
    };
    if system {
        word()?;
    }
    let command = rest.trim();
    (!command.is_empty()).then_some((fields, command))
}

fn looks_like_a_systems(text: &str) -> bool {
    let mut entries = 0;
    let commands =
        text.lines().map(str::trim).filter(|line| !line.starts_with('#') && assignment(line).is_none());
    for (_, command) in commands.filter_map(|line| entry(line, false)) {
        entries += 1;
        let mut words = command.split_whitespace();
        if !words.next().is_some_and(|word| ACCOUNTS.contains(&word)) || words.next().is_none() {
            return false;
        }
    }
    entries > 0
}

/// The five fields that tenantry reads, or why there are none.
fn schedule(fields: &str) -> Result<String, String> {
    let fields = match fields {
        "@hourly" => "0 * * * *",
        "@daily" | "@midnight" => "0 0 * * *",
        "@weekly" => "0 0 * * 0",
        "@monthly" => "0 0 1 * *",
        "@yearly" | "@annually" => "0 0 1 1 *",
        "@reboot" => return Err("`@reboot` has no equivalent: no machine's start starts a workflow".into()),
        other => other,
    };
    if fields.starts_with('@') {
        return Err(format!("`{}` is no schedule of a crontab", shown(fields)));
    }
    if fields.contains('~') {
        return Err("a random time (`~`) has no equivalent: choose one; schedules are spread anyway".into());
    }
    Cron::parse(fields).map(|cron| cron.text().to_owned()).map_err(|error| error.to_string())
}

/// Cuts the command at its first `%` that is not escaped; what follows is standard input, line by line.
fn split_input(text: &str) -> (String, Option<String>) {
    let (mut command, mut input): (String, Option<String>) = (String::new(), None);
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        let c = match (c, &input) {
            ('\\', _) if chars.peek() == Some(&'%') => chars.next().unwrap_or(c),
            ('%', None) => {
                input = Some(String::new());
                continue;
            }
            ('%', Some(_)) => '\n',
            (c, _) => c,
        };
        input.as_mut().unwrap_or(&mut command).push(c);
    }
    (command.trim_end().to_owned(), input)
}

fn names_a_secret(name: &str) -> bool {
    let name = name.to_ascii_uppercase();
    ["PASS", "SECRET", "TOKEN", "APIKEY", "API_KEY", "PRIVATE_KEY", "CREDENTIAL", "DATABASE_URL", "DSN"]
        .iter()
        .any(|word| name.contains(word))
}

fn holds_a_credential(command: &str) -> bool {
    command.split_whitespace().any(|word| {
        let lower = word.to_ascii_lowercase();
        let named = lower.split_once('=').is_some_and(|(name, value)| {
            let name = name.trim_start_matches('-').replace('-', "_");
            names_a_secret(&name) && !value.is_empty() && !value.starts_with('$') && !value.starts_with("\"$")
        });
        let url = lower.split_once("://").is_some_and(|(_, rest)| {
            let front = rest.split(['/', '?']).next().unwrap_or_default();
            front.split_once('@').is_some_and(|(user, _)| {
                user.split_once(':')
                    .is_some_and(|(_, password)| !password.is_empty() && !password.starts_with('$'))
            })
        });
        named || url
    })
}

/// What of a command will not be there.
fn strange(command: &str) -> Vec<String> {
    let mut notes = Vec::new();
    let everywhere =
        ["/bin/", "/usr/bin/", "/usr/sbin/", "/sbin/", "/dev/", "/tmp/", "/proc/", "/repo/", "/work/"];
    let mut files: Vec<&str> = command
        .split(|c: char| c.is_whitespace() || "\"'();|&<>=`".contains(c))
        .filter(|word| word.starts_with('/') && word.len() > 1)
        .filter(|word| !everywhere.iter().any(|place| word.starts_with(place)))
        .collect();
    files.sort_unstable();
    files.dedup();
    if !files.is_empty() {
        let files: Vec<_> = files.iter().map(|file| format!("`{}`", shown(file))).collect();
        notes.push(format!("{} lies outside of the repository, and a step does not see it: bring it into `scripts/`, or write to `$TENANTRY_OUTPUT`", files.join(", ")));
    }
    if command.split_whitespace().any(|word| matches!(word, "sudo" | "su" | "runuser")) {
        notes.push("a step cannot become another account".into());
    }
    if command.contains("://")
        || command
            .split_whitespace()
            .any(|word| matches!(word, "curl" | "wget" | "ssh" | "scp" | "rsync" | "psql" | "mysql"))
    {
        notes.push("a step reaches no host that it does not name: add `network: [HOST:PORT]`".into());
    }
    notes
}

/// A workflow's name from what the command runs.
fn name_of(command: &str) -> String {
    let words = command.split(|c: char| c.is_whitespace() || "();|&<>\"'`".contains(c));
    let mut skip_value = false;
    let mut chosen = None;
    for word in words.filter(|word| !word.is_empty()) {
        let base = word.rsplit('/').next().unwrap_or(word);
        if std::mem::take(&mut skip_value) {
            continue;
        }
        if matches!(base, "cd" | "test" | "[" | "source" | ".") {
            skip_value = true;
            continue;
        }
        let number = base.trim_end_matches(['s', 'm', 'h']).parse::<f64>().is_ok();
        if word.starts_with('-')
            || word.contains('=')
            || number
            || WRAPPERS.contains(&base)
            || base.is_empty()
        {
            continue;
        }
        if word.ends_with(".lock") || word.ends_with('/') {
            continue;
        }
        chosen = Some(base);
        break;
    }
    let base = chosen.unwrap_or("job");
    let stem = base.split_once('.').map_or(base, |(stem, _)| if stem.is_empty() { base } else { stem });
    let mut name: String = stem
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' })
        .collect::<String>()
        .split('-')
        .filter(|part| !part.is_empty())
        .collect::<Vec<_>>()
        .join("-");
    name.truncate(50);
    let name = name.trim_matches('-').to_owned();
    if name.is_empty() { "job".to_owned() } else { name }
}

impl Entry {
    /// The script that does what the entry does. Its zone and its failure are those of the workflow.
    #[must_use]
    pub fn script(&self) -> String {
        let shell =
            self.environment.iter().rev().find(|(name, _)| name == "SHELL").map(|(_, shell)| shell.as_str());
        let shell = match shell.and_then(|shell| shell.rsplit('/').next()) {
            Some("bash") => "/bin/bash",
            Some("zsh" | "ksh" | "dash" | "sh") | None | Some(_) => "/bin/sh",
        };
        let mut text = format!("#!{shell}\n# From line {} of a crontab.\n", self.line);
        for (name, value) in self.environment.iter().filter(|(name, _)| name != "SHELL") {
            text.push_str(&format!("export {name}='{}'\n", value.replace('\'', "'\\''")));
        }
        match &self.input {
            None => text.push_str(&format!("{}\n", self.command)),
            Some(input) => {
                let mut mark = "INPUT".to_owned();
                while input.lines().any(|line| line == mark) {
                    mark.push('_');
                }
                text.push_str(&format!("{{\n{}\n}} <<'{mark}'\n{input}\n{mark}\n", self.command));
            }
        }
        text
    }

    /// The workflow that runs its script, which is called `script`.
    #[must_use]
    pub fn workflow(&self, script: &str) -> String {
        let said = self.comment.clone().unwrap_or_else(|| format!("Line {} of a crontab", self.line));
        let said: String = super::page::shown(&said).chars().take(200).collect();
        let on = match &self.timezone {
            Some(zone) => format!("  schedule: {{ cron: \"{}\", timezone: {zone} }}\n", self.cron),
            None => format!("  schedule: \"{}\"\n", self.cron),
        };
        format!("description: {}\non:\n{on}run: scripts/{script}\n", super::init::yaml_text(&said))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `CRON [ZONE] NAME: COMMAND [< INPUT]` of each entry, then `LINE: NOTE`.
    fn lines(text: &str) -> Vec<String> {
        let read = read(text, None);
        let entries = read.entries.iter().map(|entry| {
            let zone = entry.timezone.as_ref().map(|zone| format!(" {zone}")).unwrap_or_default();
            let input = entry.input.as_ref().map(|input| format!(" < {input:?}")).unwrap_or_default();
            format!("{}{zone} {}: {}{input}", entry.cron, entry.name, entry.command)
        });
        entries.chain(read.notes.iter().map(|(line, note)| format!("{line}: {note}"))).collect()
    }

    #[track_caller]
    fn check(text: &str, want: &[&str]) {
        let got = lines(text);
        assert_eq!(got.len(), want.len(), "{got:#?}");
        for (got, want) in got.iter().zip(want) {
            assert!(got.starts_with(want), "{got:?} does not start with {want:?}");
        }
    }

    #[test]
    fn entries_are_read_as_cron_reads_them() {
        check("0 2 * * * echo a\n", &["0 2 * * * echo: echo a"]);
        check(
            "*/5 0-6/2 1,15 jan-mar MON-FRI\t /usr/bin/backup.sh  --all\n",
            &["*/5 0-6/2 1,15 jan-mar MON-FRI backup: /usr/bin/backup.sh  --all"],
        );
        check(
            "@daily a\n@hourly b\n@midnight c\n@weekly d\n@monthly e\n@annually f\n",
            &["0 0 * * * a", "0 * * * * b", "0 0 * * * c", "0 0 * * 0 d", "0 0 1 * * e", "0 0 1 1 * f"],
        );
        check("  # indented\n\n   1 2 3 4 5   x\r\n", &["1 2 3 4 5 x: x"]);
        check("-*/5 * * * * quiet\n", &["*/5 * * * * quiet: quiet"]);
    }

    #[test]
    fn a_percent_sign_is_input_unless_escaped() {
        check(
            "0 1 * * * mail -s \"x\" bob%Hello,%%you\n",
            &["0 1 * * * mail: mail -s \"x\" bob < \"Hello,\\n\\nyou\""],
        );
        check("0 1 * * * date +\\%F\n", &["0 1 * * * date: date +%F"]);
        check("0 1 * * * cat%a\\%b\n", &["0 1 * * * cat: cat < \"a%b\""]);
        let entry = &read("0 1 * * * cat%a%INPUT\n", None).entries[0];
        assert_eq!(
            entry.script(),
            "#!/bin/sh\n# From line 1 of a crontab.\n{\ncat\n} <<'INPUT_'\na\nINPUT\nINPUT_\n"
        );
    }

    #[test]
    fn variables_count_for_what_follows() {
        let read = read(
            "0 1 * * * a\nSHELL=/bin/bash\nA = 'x y'\nB=\"it's\"\nCRON_TZ=Europe/Berlin\n0 2 * * * b\n",
            None,
        );
        assert_eq!(read.notes, []);
        assert_eq!((read.entries[0].environment.len(), read.entries[0].timezone.as_deref()), (0, None));
        assert_eq!(read.entries[1].timezone.as_deref(), Some("Europe/Berlin"));
        assert_eq!(
            read.entries[1].script(),
            "#!/bin/bash\n# From line 6 of a crontab.\nexport A='x y'\nexport B='it'\\''s'\nb\n"
        );
    }

    #[test]
    fn what_cannot_be_carried_over_is_said() {
        check("@reboot x\n", &["1: left out: `@reboot` has no equivalent"]);
        check("@every 5m x\n", &["1: left out: `@every` is no schedule of a crontab"]);
        check("0~30 1 * * * x\n", &["1: left out: a random time"]);
        check("61 1 * * * x\n", &["1: left out: minute: `61`"]);
        check("0 0 30 2 * x\n", &["1: left out: `0 0 30 2 *` never fires"]);
        check("hello there, this is prose\n", &["1: this line is no entry"]);
        check("0 1 * * *\n", &["1: this line is no entry"]);
        check("MAILTO=ops@x.example\n", &["1: `MAILTO` is left out"]);
        check("DB_PASSWORD=hunter2\n0 1 * * * x\n", &["0 1 * * * x: x", "1: `DB_PASSWORD` is left out"]);
        check(
            "0 1 * * * psql postgres://u:hunter2@db/x\n",
            &["1: left out: the command seems to hold a password"],
        );
        check("0 1 * * * x --password=hunter2\n", &["1: left out: the command seems to hold"]);
        check(
            "0 1 * * * /opt/x/run.sh\n",
            &["0 1 * * * run: /opt/x/run.sh", "1: `/opt/x/run.sh` lies outside"],
        );
        for (_, note) in read("DB_PASSWORD=hunter2\n0 1 * * * x --token=hunter2\n", None).notes {
            assert!(!note.contains("hunter2"), "{note}");
        }
    }

    #[test]
    fn the_crontab_of_a_system_names_accounts() {
        check(
            "17 * * * * root cd / && run-parts /etc/cron.hourly\n",
            &["17 * * * * run-parts: cd / && run-parts /etc/cron.hourly", "1: "],
        );
        check("17 * * * * root\n", &["17 * * * * root: root"]);
        assert_eq!(read("0 1 * * * deploy x y\n", Some(true)).entries[0].command, "x y");
        assert_eq!(
            read("0 1 * * * root x\n0 1 * * * y\n", None).entries[0].command,
            "root x",
            "not all have one"
        );
    }

    #[test]
    fn a_comment_above_describes_and_a_line_commented_out_does_not() {
        let read = read(
            "# Nightly backup\n0 1 * * * a\n# 0 2 * * * old\n0 3 * * * b\n# far away\n\n0 4 * * * c\n",
            None,
        );
        let said: Vec<_> = read.entries.iter().map(|entry| entry.comment.as_deref()).collect();
        assert_eq!(said, [Some("Nightly backup"), None, None]);
    }

    #[test]
    fn names_say_what_runs() {
        for (command, want) in [
            ("/usr/local/bin/Nightly_Backup.sh --all", "nightly-backup"),
            ("cd /srv/app && /usr/bin/python3 -u manage.py clearsessions", "manage"),
            ("flock -n /tmp/x.lock timeout 30m ./sync-orders", "sync-orders"),
            ("A=1 env B=2 report", "report"),
            ("[ -x /bin/x ] && true", "x"),
            ("...", "job"),
            ("日本", "job"),
        ] {
            assert_eq!(name_of(command), want, "{command}");
        }
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_read_and_what_is_read_has_a_schedule(text in "[ -~\t\n\r%ü]{0,200}") {
            for entry in read(&text, None).entries {
                proptest::prop_assert!(Cron::parse(&entry.cron).is_ok());
                proptest::prop_assert!(entry.name.parse::<crate::domain::WorkflowId>().is_ok(), "{}", entry.name);
            }
        }
    }
}
