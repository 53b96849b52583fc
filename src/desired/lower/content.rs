//! What no file may hold wherever it lies: keys, tokens, masks, hidden characters, merge markers.
//!
//! One pass over the bytes looks for marks; only where one stands is the place looked at. Nothing that is found
//! here is ever quoted, by this finding or by another one of the same file.

use std::sync::LazyLock;

use aho_corasick::{AhoCorasick, MatchKind};

use super::file::Found;
use crate::desired::rules::{self, Rule};
use crate::domain::{Diagnostic, Entry, Mode, Position, SEARCH_BYTES_MAX, Seen, SeenSecret, Span};

/// Bytes of the large files of one tree that are searched together.
const LARGE_BYTES_MAX: u64 = 64 << 20;

/// How a token goes on behind its mark: letters of `alphabet`, at least `least` of them.
struct Token {
    mark: &'static str,
    what: &'static str,
    alphabet: fn(u8) -> bool,
    least: usize,
}

fn alnum(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
}

fn wordy(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_')
}

fn capitals(byte: u8) -> bool {
    byte.is_ascii_uppercase() || byte.is_ascii_digit()
}

const fn token(mark: &'static str, what: &'static str, alphabet: fn(u8) -> bool, least: usize) -> Token {
    Token { mark, what, alphabet, least }
}

/// Kinds of tokens that are known by their shape. Sources: the issuers' pages on token formats.
const TOKENS: [Token; 22] = [
    token("AKIA", "an AWS access key", capitals, 16),
    token("ASIA", "an AWS access key", capitals, 16),
    token("ghp_", "a GitHub token", alnum, 36),
    token("gho_", "a GitHub token", alnum, 36),
    token("ghu_", "a GitHub token", alnum, 36),
    token("ghs_", "a GitHub token", alnum, 36),
    token("ghr_", "a GitHub token", alnum, 36),
    token("github_pat_", "a GitHub token", wordy, 40),
    token("glpat-", "a GitLab token", wordy, 20),
    token("xoxb-", "a Slack token", wordy, 24),
    token("xoxp-", "a Slack token", wordy, 24),
    token("xoxa-", "a Slack token", wordy, 24),
    token("xoxr-", "a Slack token", wordy, 24),
    token("sk_live_", "a Stripe key", alnum, 24),
    token("rk_live_", "a Stripe key", alnum, 24),
    token("AIza", "a Google API key", wordy, 35),
    token("npm_", "an npm token", alnum, 36),
    token("pypi-AgEI", "a PyPI token", wordy, 50),
    token("dop_v1_", "a DigitalOcean token", alnum, 64),
    token("sk-ant-", "an Anthropic key", wordy, 40),
    token("hf_", "a Hugging Face token", alnum, 34),
    token("shpat_", "a Shopify token", alnum, 32),
];

/// Marks of private keys, none of which a public file holds by chance.
const AGE_KEYS: [&str; 2] = ["AGE-SECRET-KEY-1", "AGE-SECRET-KEY-PQ-1"];
const PEM: &str = "-----BEGIN ";
const PUTTY: &str = "PuTTY-User-Key-File-";
const URL: &str = "://";
const MASK: &str = "[redacted:";
const CONFLICT: &str = "<<<<<<< ";

/// Characters that show nothing, or that change the order in which text is shown. The joiners U+200C and U+200D
/// are not among them: emoji and several scripts need them.
const HIDDEN: [char; 21] = [
    '\u{ad}', '\u{61c}', '\u{180e}', '\u{200b}', '\u{200e}', '\u{200f}', '\u{202a}', '\u{202b}', '\u{202c}',
    '\u{202d}', '\u{202e}', '\u{2060}', '\u{2061}', '\u{2062}', '\u{2063}', '\u{2064}', '\u{2066}',
    '\u{2067}', '\u{2068}', '\u{2069}', '\u{feff}',
];

#[derive(Clone, Copy)]
enum Mark {
    AgeKey,
    Pem,
    Putty,
    Url,
    Mask,
    Conflict,
    Hidden,
    Token(usize),
}

static MARKS: LazyLock<Option<(AhoCorasick, Vec<Mark>)>> = LazyLock::new(|| {
    let mut patterns: Vec<String> = Vec::new();
    let mut marks = Vec::new();
    let mut add = |text: &str, mark: Mark| {
        patterns.push(text.to_owned());
        marks.push(mark);
    };
    AGE_KEYS.iter().for_each(|text| add(text, Mark::AgeKey));
    add(PEM, Mark::Pem);
    add(PUTTY, Mark::Putty);
    add(URL, Mark::Url);
    add(MASK, Mark::Mask);
    add(CONFLICT, Mark::Conflict);
    HIDDEN.iter().for_each(|hidden| add(&hidden.to_string(), Mark::Hidden));
    TOKENS.iter().enumerate().for_each(|(index, token)| add(token.mark, Mark::Token(index)));
    let searcher = AhoCorasick::builder().match_kind(MatchKind::LeftmostLongest).build(&patterns).ok()?;
    Some((searcher, marks))
});

/// One thing that stands in a text and should not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Hit {
    pub(super) start: usize,
    pub(super) end: usize,
    pub(super) what: What,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum What {
    PrivateKey,
    Token(&'static str),
    UrlPassword,
    Mask,
    Conflict,
    Hidden,
}

impl What {
    /// Whether the text itself must never be shown.
    fn is_secret(self) -> bool {
        matches!(self, Self::PrivateKey | Self::Token(_) | Self::UrlPassword)
    }
}

/// Finds everything; in order of place.
pub(super) fn hits(text: &[u8]) -> Vec<Hit> {
    // INVARIANT: a fixed list of short texts builds a searcher; without one nothing would be found.
    let Some((searcher, marks)) = MARKS.as_ref() else { return Vec::new() };
    let mut found = Vec::new();
    for at in searcher.find_iter(text) {
        let (start, end) = (at.start(), at.end());
        let hit = match marks[at.pattern().as_usize()] {
            Mark::AgeKey => {
                // A mention in prose is followed by something other than a key.
                let rest = run(&text[end..], alnum);
                (rest >= 50).then_some((start, end + rest, What::PrivateKey))
            }
            Mark::Pem => pem(text, start).map(|end| (start, end, What::PrivateKey)),
            // The file holds both halves; this line opens it.
            Mark::Putty => {
                let opens = start == 0 || text[start - 1] == b'\n';
                let numbered =
                    text.get(end).is_some_and(u8::is_ascii_digit) && text.get(end + 1) == Some(&b':');
                (opens && numbered).then_some((start, end + 1, What::PrivateKey))
            }
            Mark::Url => {
                let place = password(text, start, end);
                place.map(|(start, end)| (start, end, What::UrlPassword))
            }
            Mark::Mask => {
                let rest = run(&text[end..], wordy);
                let closed = text.get(end + rest) == Some(&b']');
                (rest > 0 && closed).then_some((start, end + rest + 1, What::Mask))
            }
            Mark::Conflict => conflict(text, start).then_some((start, end - 1, What::Conflict)),
            Mark::Hidden => (start > 0).then_some((start, end, What::Hidden)),
            Mark::Token(index) => whole_token(text, start, end, &TOKENS[index])
                .map(|end| (start, end, What::Token(TOKENS[index].what))),
        };
        found.extend(hit.map(|(start, end, what)| Hit { start, end, what }));
    }
    found
}

/// Bytes at the start of `text` that are in the alphabet.
fn run(text: &[u8], alphabet: fn(u8) -> bool) -> usize {
    text.iter().take(4096).take_while(|byte| alphabet(**byte)).count()
}

fn whole_token(text: &[u8], start: usize, end: usize, token: &Token) -> Option<usize> {
    if start > 0 && wordy(text[start - 1]) {
        return None;
    }
    let length = run(&text[end..], token.alphabet);
    let body = &text[end..end + length];
    // What stands in a manual repeats one letter, or says that it is an example.
    let mut seen = [false; 256];
    body.iter().for_each(|byte| seen[usize::from(*byte)] = true);
    let letters = seen.iter().filter(|seen| **seen).count();
    let example = body.windows(7).any(|window| window.eq_ignore_ascii_case(b"example"));
    (length >= token.least && letters >= 8 && !example).then_some(end + length)
}

/// The end of the line of a PEM block's head that says `PRIVATE KEY`.
fn pem(text: &[u8], start: usize) -> Option<usize> {
    let line = text[start..].split(|byte| *byte == b'\n').next().unwrap_or_default();
    // In a quoted scalar the line ends where its escape begins.
    let line = line.get(..80).unwrap_or(line);
    let ends = |words: &[u8]| {
        line.windows(words.len()).position(|window| window == words).map(|at| at + words.len())
    };
    // OpenPGP calls its blocks so.
    let end = ends(b"PRIVATE KEY-----").or_else(|| ends(b"PRIVATE KEY BLOCK-----"))?;
    Some(start + end)
}

/// The user and password of a URL whose `://` lies between `start` and `end`.
fn password(text: &[u8], start: usize, end: usize) -> Option<(usize, usize)> {
    let schemed = start > 0 && text[start - 1].is_ascii_alphanumeric();
    let rest = &text[end..text.len().min(end + 512)];
    let stop = rest.iter().position(|byte| {
        matches!(byte, b'/' | b'?' | b'#' | b'"' | b'\'' | b'`' | b'<' | b'>') || byte.is_ascii_whitespace()
    });
    let authority = &rest[..stop.unwrap_or(rest.len())];
    let at = authority.iter().rposition(|byte| *byte == b'@')?;
    let colon = authority[..at].iter().position(|byte| *byte == b':')?;
    let secret = &authority[colon + 1..at];
    // A variable or a place holder is filled in later.
    let holder = secret.iter().any(|byte| matches!(byte, b'$' | b'{' | b'}' | b'%' | b'*' | b'(' | b'['))
        || [&b"password"[..], b"pass", b"secret", b"xxx", b"..."].contains(&&secret.to_ascii_lowercase()[..]);
    (schemed && !secret.is_empty() && !holder).then_some((end, end + at))
}

/// Whether the three marks of an unresolved merge stand there, each at the start of a line.
fn conflict(text: &[u8], start: usize) -> bool {
    let starts_line = start == 0 || text[start - 1] == b'\n';
    let mut halves = false;
    starts_line
        && text[start..].split(|byte| *byte == b'\n').take(10_000).any(|line| {
            halves |= line.strip_suffix(b"\r").unwrap_or(line) == b"=======";
            halves && line.starts_with(b">>>>>>> ")
        })
}

/// Whether a text holds a key, a token or a password, so that nothing of it may be shown.
#[must_use]
pub fn holds_secret(text: &[u8]) -> bool {
    hits(text).iter().any(|hit| hit.what.is_secret())
}

/// Line and column of a byte offset, columns in Unicode scalars.
pub(super) fn position(text: &[u8], offset: usize) -> Position {
    let before = &text[..offset];
    let line_start = before.iter().rposition(|byte| *byte == b'\n').map_or(0, |newline| newline + 1);
    let line = 1 + before.iter().filter(|byte| **byte == b'\n').count();
    let column = 1 + before[line_start..].iter().filter(|byte| **byte & 0xC0 != 0x80).count();
    Position { offset, line, column }
}

/// Looks through one file. Files of ciphertext are judged by the K rules that know them; of those only private
/// keys are looked for.
pub(super) fn check(path: &str, entry: &Entry, found: &mut Found) {
    let Some(bytes) = &entry.content else { return check_large(path, entry, found) };
    let ciphertext = path.contains("/secrets/");
    let yaml = path.ends_with(".yaml");
    let settings = yaml || path.ends_with(".toml");
    let code = bytes.starts_with(b"#!")
        || [".sh", ".py", ".js", ".ts", ".rb", ".pl", ".sql", ".ps1"].iter().any(|end| path.ends_with(end));
    let mut seen: Vec<What> = Vec::new();
    for hit in hits(bytes) {
        // One of a kind is enough for a file: the cure is the same.
        if seen.contains(&hit.what) || (ciphertext && hit.what != What::PrivateKey) {
            continue;
        }
        // A comment that says what a log shows is no value.
        if hit.what == What::Mask && is_in_comment(bytes, hit.start) {
            continue;
        }
        let span = Span { start: position(bytes, hit.start), end: position(bytes, hit.end) };
        let shown = match hit.what {
            What::Mask => settings,
            // YAML has a reader of its own that says the same of these.
            What::Conflict => !yaml && !path.ends_with(".md"),
            What::Hidden => code || (settings && !(yaml && is_bidi(&bytes[hit.start..hit.end]))),
            What::PrivateKey | What::Token(_) | What::UrlPassword => true,
        };
        if shown {
            seen.push(hit.what);
            found.push(finding(path, bytes, &hit, span));
        }
    }
}

/// Reports what a search saw in a file that is not held, and that one was not searched. What a tree's files may have
/// together is counted here, in the order of paths, so that a laptop and the daemon say the same.
fn check_large(path: &str, entry: &Entry, found: &mut Found) {
    if !matches!(entry.mode, Mode::File | Mode::Executable) {
        return;
    }
    found.large_bytes = found.large_bytes.saturating_add(entry.size);
    let Some(seen) = entry.searched.as_ref().filter(|_| found.large_bytes <= LARGE_BYTES_MAX) else {
        // Settings of that size are refused as a whole (Y013).
        if !path.contains("/scripts/") && (path.ends_with(".yaml") || path.ends_with(".toml")) {
            return;
        }
        let message = format!(
            "the file has {} MiB and was not searched for keys and tokens: {} MiB of a file are, and {} MiB of a tenant's large files",
            entry.size >> 20,
            SEARCH_BYTES_MAX >> 20,
            LARGE_BYTES_MAX >> 20
        );
        let help = "keep data out of the repository and have a step fetch it, or split the file";
        found.push(rules::NOT_SEARCHED.at(path, None, message).help(help));
        return;
    };
    for Seen { what, span } in seen.iter() {
        let what = match what {
            SeenSecret::PrivateKey => What::PrivateKey,
            SeenSecret::Token(kind) => What::Token(kind),
            SeenSecret::UrlPassword => What::UrlPassword,
        };
        if path.contains("/secrets/") && what != What::PrivateKey {
            continue;
        }
        let hit = Hit { start: span.start.offset, end: span.end.offset, what };
        found.push(finding(path, &[], &hit, *span));
    }
}

/// Whether a `#` that begins a comment, in YAML as in a script, stands before a place on its line.
fn is_in_comment(bytes: &[u8], at: usize) -> bool {
    let begin = bytes[..at].iter().rposition(|byte| *byte == b'\n').map_or(0, |line| line + 1);
    let line = &bytes[begin..at];
    let begins = |index: usize| index == 0 || line[index - 1].is_ascii_whitespace();
    line.iter().enumerate().any(|(index, byte)| *byte == b'#' && begins(index))
}

fn finding(path: &str, bytes: &[u8], hit: &Hit, span: Span) -> Diagnostic {
    let at = |rule: &Rule, message: &str| rule.at(path, Some(span), message);
    match hit.what {
        What::PrivateKey => at(&rules::PRIVATE_KEY, "a private key stands in the repository").help(
            "take it for leaked: make a new key, re-encrypt what it opens, and remove it from the history",
        ),
        What::Token(kind) => at(&rules::PLAIN_SECRET, &format!("{kind} stands readable in the repository"))
            .help("take it for leaked: revoke it, make a new one, and keep that with `tenantry secrets set`"),
        What::UrlPassword => at(&rules::PASSWORD_IN_URL, "a URL holds a user and a password")
            .help("keep the URL with `tenantry secrets set`, and let the script ask for it"),
        What::Mask => at(&rules::MASKED_VALUE, "this value is the mask of a secret, copied from a log")
            .help("declare the secret in `secrets:` of the step, and let its script ask for it"),
        What::Conflict => at(&rules::CONFLICT_MARKER, "a merge conflict is not resolved")
            .help("keep one side and remove the lines of `<`, `=` and `>`"),
        What::Hidden => {
            let character = std::str::from_utf8(&bytes[hit.start..hit.end]).ok();
            let number = character.and_then(|text| text.chars().next()).map_or(0, u32::from);
            let how = if is_bidi(&bytes[hit.start..hit.end]) {
                "shows text in another order than it is read"
            } else {
                "shows nothing"
            };
            let message = format!("the file holds U+{number:04X}, which {how}");
            rules::HIDDEN_CHARACTER.at(path, Some(span), message).help("remove it, or write it as an escape")
        }
    }
}

fn is_bidi(character: &[u8]) -> bool {
    let character = std::str::from_utf8(character).ok().and_then(|text| text.chars().next());
    matches!(character, Some('\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}'))
}

/// Takes out of a finding what its file holds and nobody may see: in a file with a key, a token or a password no
/// text in backticks is left.
pub(super) fn unquoted(finding: &mut Diagnostic) {
    let texts = [&mut finding.message, &mut finding.label]
        .into_iter()
        .chain(finding.help.as_mut())
        .chain(finding.related.iter_mut().map(|place| &mut place.message));
    for text in texts {
        let parts: Vec<&str> = text.split('`').collect();
        // Backticks come in pairs; where they do not, everything behind the first is left out.
        let shown: Vec<&str> =
            parts.iter().enumerate().map(|(at, part)| if at % 2 == 0 { *part } else { "…" }).collect();
        *text = if parts.len() % 2 == 1 { shown.join("`") } else { format!("{}`…`", shown[0]) };
    }
    finding.fix = None;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, want: &[What]) {
        let found: Vec<What> = hits(text.as_bytes()).iter().map(|hit| hit.what).collect();
        assert_eq!(found, want, "{text:?}");
    }

    fn github() -> String {
        format!("{}{}", "ghp_", "0aB1cD2eF3gH4iJ5kL6mN7oP8qR9sT0uV1wX")
    }

    #[test]
    fn keys_and_tokens_are_known_by_their_shape() {
        check(&format!("a\nAGE-SECRET-KEY-1{}\n", "Q".repeat(58)), &[What::PrivateKey]);
        check("see AGE-SECRET-KEY-1... in the manual", &[]);
        check(&format!("x\n-----BEGIN {} KEY-----\nabc\n", "OPENSSH PRIVATE"), &[What::PrivateKey]);
        check(&format!("x\n-----BEGIN {} KEY BLOCK-----\nabc\n", "PGP PRIVATE"), &[What::PrivateKey]);
        check(&format!("{}-3: ssh-ed25519\n", "PuTTY-User-Key-File"), &[What::PrivateKey]);
        check("see PuTTY-User-Key-File-3: in the manual", &[]);
        check("-----BEGIN PUBLIC KEY-----\n", &[]);
        check(&github(), &[What::Token("a GitHub token")]);
        check(&format!("x{}", github()), &[]);
        check(&format!("ghp_{}", "x".repeat(36)), &[]);
        check(&format!("{}IOSFODNN7EXAMPLE", "AKIA"), &[]);
        check(&format!("{}Q7RZ2MK5VJ9WB3HD", "AKIA"), &[What::Token("an AWS access key")]);
        check("", &[]);
    }

    #[test]
    fn a_password_in_a_url_is_found_and_a_place_holder_is_not() {
        check("x: postgres://app:h7fQx2@db.acme.example:5432/app", &[What::UrlPassword]);
        check("x: https://user@host.example/a", &[]);
        check("x: https://user:$TOKEN@host.example/a", &[]);
        check("x: https://user:{{password}}@host.example/", &[]);
        check("x: https://host.example/a:b@c", &[]);
        check("ratio 1 ://a:b@c", &[]);
    }

    #[test]
    fn a_mask_in_a_comment_is_no_value() {
        let place = |text: &str| text.find("[redacted").unwrap_or_default();
        for (text, want) in [
            ("a: \"[redacted:db_url]\"", false),
            ("a: b#[redacted:db_url]", false),
            ("# one\na: [redacted:db_url]", false),
            ("# [redacted:db_url]", true),
            ("a: b  # prints [redacted:db_url]", true),
            ("  echo \"$X\" #> [redacted:db_url]", true),
        ] {
            assert_eq!(is_in_comment(text.as_bytes(), place(text)), want, "{text}");
        }
    }

    #[test]
    fn masks_markers_and_hidden_characters_are_found() {
        check("a: \"[redacted:db_url]\"", &[What::Mask]);
        check("a: [redacted: no]", &[]);
        check("<<<<<<< HEAD\na\n=======\nb\n>>>>>>> topic\n", &[What::Conflict]);
        check("cat <<<<<<< HEAD\n", &[]);
        check("\u{feff}a\u{200b}b", &[What::Hidden]);
    }

    #[test]
    fn a_finding_of_such_a_file_quotes_nothing() {
        let mut finding = rules::BAD_VALUE.at("a", None, "`s3cret` is not `x`").help("write `y`");
        unquoted(&mut finding);
        assert_eq!(
            (finding.message.as_str(), finding.help.as_deref()),
            ("`…` is not `…`", Some("write `…`"))
        );
        let mut odd = rules::BAD_VALUE.at("a", None, "`s3c`ret` is bad");
        unquoted(&mut odd);
        assert_eq!(odd.message, "`…`");
    }

    proptest::proptest! {
        /// Columns count Unicode scalars, lines newlines, as the YAML reader counts them.
        #[test]
        fn a_position_counts_as_an_editor_does(text in "[a-zé😀\\n\t]{0,40}", at in 0usize..40) {
            let at = (0..=at.min(text.len())).rev().find(|at| text.is_char_boundary(*at)).unwrap();
            let place = position(text.as_bytes(), at);
            let before = &text[..at];
            let line = before.split('\n').count();
            proptest::prop_assert_eq!((place.line, place.column), (line, before.rsplit('\n').next().unwrap().chars().count() + 1));
        }
    }
}
