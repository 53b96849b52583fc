//! Random documents of every store: what the real sops encrypts, tenantry opens to the same bytes; what tenantry
//! writes, sops opens; what sops refuses, tenantry refuses with the same exit code.

use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;

use tenantry::domain::Timestamp;
use tenantry::secrets::{edit_fresh, reseal_fresh};
use tenantry::sops::{self, Editable, Format, Identity};

use super::sops::{have_sops, identity, key_file, run_sops};

/// A small generator with a fixed seed: the documents are the same everywhere.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as usize % sides
    }

    fn pick<'t>(&mut self, from: &[&'t str]) -> &'t str {
        from[self.roll(from.len())]
    }
}

const PLAIN: [&str; 66] = [
    "1",
    "0",
    "-1",
    "42",
    "007",
    "0o17",
    "0x1F",
    "0b11",
    "-0b11",
    "1_000",
    "9223372036854775807",
    "-9223372036854775808",
    "99999999999999999999",
    "0.1",
    "-0",
    "-0.0",
    "1.50",
    "2.0",
    "1e3",
    "1e21",
    "1e+21",
    "1e-07",
    "1e-7",
    "123456789.125",
    "1000000.5",
    "1e6",
    "123456.75",
    "0.00001",
    "1e20",
    "3.14159265358979",
    "1e300",
    ".5",
    "5.",
    "+7",
    ".inf",
    "-.inf",
    ".nan",
    "true",
    "False",
    "null",
    "~",
    "yes",
    "on",
    "n",
    "2024-05-06",
    "2024-05-06T07:08:09Z",
    "2024-05-06T07:08:09.5+02:00",
    "2024-05-06 07:08:09.120",
    "2024-5-6",
    "22:22",
    "190:20:30",
    "1.2.3",
    "v1",
    "a b",
    "héllo",
    "日本",
    "x",
    "x#y",
    "http://a/b?c=d",
    "a,b",
    "-x",
    "?x",
    "=",
    "<<x",
    "_1",
    "1__0",
];

const TEXTS: [&str; 44] = [
    "",
    " ",
    "plain",
    "a: b",
    "a #b",
    "#x",
    "- a",
    "? a",
    "@a",
    "`a",
    "%a",
    "&a",
    "*a",
    "!a",
    "|",
    ">",
    "{a}",
    "[a]",
    "a,b",
    "it's",
    "say \"hi\"",
    "back\\slash",
    "tab\there",
    " lead",
    "trail ",
    "true",
    "no",
    "12",
    "0x1F",
    "1e3",
    "2024-05-06",
    "null",
    "~",
    "22:22",
    "日本 🔑",
    "naïve",
    "\u{85}x",
    "\u{2028}",
    "bell\u{7}",
    "---",
    "...",
    "<html>&amp;",
    "\u{FEFF}bom",
    "a\u{A0}b",
];

const LINES: [&str; 12] = [
    "a\nb",
    "a\nb\n",
    "a\n\nb\n\n",
    "\na",
    " a\nb",
    "a \nb",
    "a\n b\n",
    "a\tb\nc",
    "-----BEGIN K-----\nAbC\n-----END K-----\n",
    "\n",
    "x\n\n\n",
    "é\n🔑",
];

const KEYS: [&str; 24] = [
    "a",
    "b",
    "key",
    "user_name",
    "on",
    "y",
    "12",
    "0x1",
    "true",
    "null",
    "~",
    "a b",
    "a:b",
    "a: b",
    "é",
    "日本",
    "#k",
    "-k",
    "k-",
    "x_unencrypted",
    "1.5",
    "2024-05-06",
    " lead",
    "it's",
];

/// A JSON string is a YAML string in double quotes.
fn quoted(text: &str) -> String {
    serde_json::to_string(text)
        .unwrap()
        .replace('\u{7f}', "\\u007f")
        .replace('\u{85}', "\\u0085")
        .replace('\u{2028}', "\\u2028")
        .replace('\u{FEFF}', "\\uFEFF")
}

fn yaml_key(dice: &mut Dice, used: &mut Vec<String>) -> String {
    loop {
        let key = match dice.roll(4) {
            0 => format!("k{}", dice.roll(1000)),
            _ => dice.pick(&KEYS).to_owned(),
        };
        if !used.contains(&key) {
            used.push(key.clone());
            return key;
        }
    }
}

fn yaml_scalar(dice: &mut Dice, indent: usize) -> String {
    match dice.roll(8) {
        0..4 => dice.pick(&PLAIN).to_owned(),
        4 | 5 => quoted(dice.pick(&TEXTS)),
        6 => quoted(dice.pick(&LINES)),
        _ => {
            let pad = " ".repeat(indent + 2);
            let sign = dice.pick(&["|", "|-", "|+", ">", ">-"]);
            format!("{sign}\n{pad}first line\n{pad}  second\n\n{pad}third")
        }
    }
}

fn maybe_comment(dice: &mut Dice, comments: bool, indent: usize, out: &mut String) {
    if comments && dice.roll(4) == 0 {
        let _ = writeln!(out, "{}# note {}", " ".repeat(indent), dice.roll(100));
        if dice.roll(3) == 0 {
            let _ = writeln!(out, "{}#second: line", " ".repeat(indent));
        }
    }
}

fn yaml_map(dice: &mut Dice, indent: usize, depth: usize, comments: bool, out: &mut String) {
    let mut used = Vec::new();
    for _ in 0..1 + dice.roll(4) {
        maybe_comment(dice, comments, indent, out);
        let key = yaml_key(dice, &mut used);
        let _ = write!(out, "{}{}:", " ".repeat(indent), quoted(&key));
        yaml_value(dice, indent, depth, comments, out);
    }
}

fn yaml_value(dice: &mut Dice, indent: usize, depth: usize, comments: bool, out: &mut String) {
    match dice.roll(if depth > 0 { 10 } else { 6 }) {
        0..5 => {
            let scalar = yaml_scalar(dice, indent);
            let inline = comments && !scalar.contains('\n') && dice.roll(5) == 0;
            let _ = writeln!(out, " {scalar}{}", if inline { " # beside" } else { "" });
        }
        5 => {
            let _ = writeln!(
                out,
                " {}",
                dice.pick(&["[]", "{}", "[1, two, \"3\"]", "{x: 1, y: [a]}", "[[a], [b, [c]]]"])
            );
        }
        6 | 7 => {
            out.push('\n');
            yaml_map(dice, indent + 2, depth - 1, comments, out);
        }
        _ => {
            out.push('\n');
            for _ in 0..1 + dice.roll(3) {
                maybe_comment(dice, comments, indent + 2, out);
                let _ = write!(out, "{}-", " ".repeat(indent + 2));
                if dice.roll(3) == 0 {
                    // A mapping whose first key stands behind the dash.
                    let mut inner = String::new();
                    yaml_map(dice, indent + 4, depth - 1, false, &mut inner);
                    let _ = write!(out, " {}", inner.trim_start());
                } else {
                    let scalar = yaml_scalar(dice, indent + 2);
                    let _ = writeln!(out, " {scalar}");
                }
            }
        }
    }
}

fn json_value(dice: &mut Dice, depth: usize) -> String {
    match dice.roll(if depth > 0 { 9 } else { 6 }) {
        0 | 1 => dice
            .pick(&[
                "1",
                "0",
                "-1",
                "-0",
                "0.1",
                "1e3",
                "1E+2",
                "1e21",
                "1e-07",
                "123456789012345678",
                "1.0",
                "2.50",
                "1e300",
                "9007199254740993",
                "0.000001",
                "0.0000001",
            ])
            .to_owned(),
        2 => dice.pick(&["true", "false", "null", "\"\"", "[]", "{}"]).to_owned(),
        3 => dice.pick(&["\"\\ud83d\\ude00\"", "\"\\u00e9\\/\"", "\"\\ud800\"", "\"a\\u0000b\""]).to_owned(),
        4 => serde_json::to_string(dice.pick(&LINES)).unwrap(),
        5 => serde_json::to_string(dice.pick(&TEXTS)).unwrap(),
        6 | 7 => json_object(dice, depth - 1),
        _ => {
            let items: Vec<String> = (0..dice.roll(4)).map(|_| json_value(dice, depth - 1)).collect();
            format!("[{}]", items.join(" ,"))
        }
    }
}

fn json_object(dice: &mut Dice, depth: usize) -> String {
    let mut used = Vec::new();
    let fields: Vec<String> = (0..dice.roll(5))
        .map(|_| {
            let key = serde_json::to_string(&yaml_key(dice, &mut used)).unwrap();
            format!("{key} : {}", json_value(dice, depth))
        })
        .collect();
    format!("{{ {}\n}}", fields.join(",\n"))
}

fn dotenv(dice: &mut Dice) -> String {
    let mut text = String::new();
    for at in 0..1 + dice.roll(6) {
        match dice.roll(5) {
            0 => text.push_str(dice.pick(&["# comment\n", "#\n", "#=x\n", "\n"])),
            _ => {
                let value = dice.pick(&[
                    "v",
                    "",
                    "a=b",
                    " spaced ",
                    "\"quoted\"",
                    "a\\nb",
                    "#x",
                    "日本",
                    "1",
                    "true",
                    "a\\\\nb",
                    "'x'",
                    "$Y",
                ]);
                let _ = writeln!(text, "{}{at}={value}", dice.pick(&["KEY", "a.b", "x-y", "é", "A B"]));
            }
        }
    }
    text
}

fn ini(dice: &mut Dice) -> String {
    let mut text = String::new();
    for section in 0..1 + dice.roll(3) {
        if section > 0 || dice.roll(2) == 0 {
            if dice.roll(3) == 0 {
                text.push_str("; about it\n");
            }
            let _ = writeln!(text, "[{}{section}]", dice.pick(&["db", "my section", "é", "a.b"]));
        }
        for at in 0..dice.roll(5) {
            if dice.roll(4) == 0 {
                text.push_str(dice.pick(&["# hash\n", "; semi\n", ";two\n; lines\n", "\n"]));
            }
            let sign = dice.pick(&["=", " = ", ": ", "   ="]);
            let value = dice.pick(&[
                "v",
                "",
                "a=b",
                "  spaced  ",
                "\"quoted\"",
                "'single'",
                "a ; inline",
                "a # inline",
                "`back;tick`",
                "\"\"\"tri\nple\"\"\"",
                "a \\\n  continued",
                "日本",
                "1",
                "true",
                "a\"b",
                "x`y",
                "\" lead\"",
                "%(a)s",
            ]);
            let _ = writeln!(
                text,
                "{}{at}{sign}{value}",
                dice.pick(&["key", "Long Key Name", "k.x", "é", "q\"q"])
            );
        }
    }
    text
}

fn encrypt(plain: &[u8], format: Format, options: &[&str]) -> Result<Vec<u8>, String> {
    let recipient = identity("acme").recipient().to_string();
    let word = format.as_str();
    let mut arguments = vec!["encrypt", "--input-type", word, "--output-type", word, "--age", &recipient];
    arguments.extend(options);
    arguments.push("/dev/stdin");
    let output = run_sops(&arguments, &[], plain).unwrap();
    if output.status.success() {
        Ok(output.stdout)
    } else {
        Err(String::from_utf8_lossy(&output.stderr).into_owned())
    }
}

/// Some rules have no option.
fn encrypt_by_rule(plain: &[u8], format: Format, rule: &str) -> Vec<u8> {
    let directory = tempfile::tempdir().unwrap();
    let settings = directory.path().join("settings.yaml");
    let rules = format!("creation_rules: [{{age: {}, {rule}}}]\n", identity("acme").recipient());
    std::fs::write(&settings, rules).unwrap();
    let (settings, word) = (settings.display().to_string(), format.as_str());
    let arguments =
        ["--config", &settings, "encrypt", "--input-type", word, "--output-type", word, "/dev/stdin"];
    let output = run_sops(&arguments, &[], plain).unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

/// What sops prints, or its exit code.
fn sops_decrypts(file: &[u8], from: Format, to: Format) -> Result<Vec<u8>, i32> {
    sops_decrypts_with("acme", file, from, to)
}

fn sops_decrypts_with(who: &str, file: &[u8], from: Format, to: Format) -> Result<Vec<u8>, i32> {
    let key = key_file(&format!("{who}.agekey")).display().to_string();
    let arguments = ["decrypt", "--input-type", from.as_str(), "--output-type", to.as_str(), "/dev/stdin"];
    let output = run_sops(&arguments, &[("SOPS_AGE_KEY_FILE", &key)], file).unwrap();
    if output.status.success() { Ok(output.stdout) } else { Err(output.status.code().unwrap_or(-1)) }
}

fn keys() -> [Identity; 1] {
    [identity("acme")]
}

/// Encrypts with sops, and compares what both print, byte for byte.
#[track_caller]
fn check(plain: &str, format: Format, options: &[&str]) -> bool {
    // Some of what is generated sops itself does not take, such as a number that YAML holds and Go does not.
    let Ok(encrypted) = encrypt(plain.as_bytes(), format, options) else { return false };
    let shown = String::from_utf8_lossy(&encrypted);
    let theirs = sops_decrypts(&encrypted, format, format);
    let ours = sops::open_as(&encrypted, format, &keys());
    let theirs = match (theirs, &ours) {
        (Ok(theirs), Ok(_)) => theirs,
        (Err(_), Err(_)) => return false,
        (theirs, ours) => panic!("{plain}\n{shown}\nsops {theirs:?}\nours {ours:?}"),
    };
    let ours = ours.unwrap();
    let printed = sops::print(&ours.documents, format).unwrap();
    assert_eq!(String::from_utf8_lossy(&printed), String::from_utf8_lossy(&theirs), "{plain}\n{shown}");
    if format != Format::Binary
        && let Ok(theirs) = sops_decrypts(&encrypted, format, Format::Json)
    {
        assert_eq!(sops::json(&ours.documents[0]).as_str(), String::from_utf8_lossy(&theirs), "{plain}");
    }
    true
}

/// Runs `count` random documents and says how many were compared; most have to be.
fn check_many(count: usize, seed: u64, format: Format, make: impl Fn(&mut Dice) -> String) {
    if !have_sops() {
        return;
    }
    let mut dice = Dice(seed);
    let compared = (0..count).filter(|_| check(&make(&mut dice), format, &[])).count();
    assert!(compared * 2 > count, "only {compared} of {count} documents were compared");
}

#[test]
fn random_yaml_opens_as_sops_opens_it() {
    check_many(40, 0x5eed, Format::Yaml, |dice| {
        let mut text = String::new();
        yaml_map(dice, 0, 3, false, &mut text);
        text
    });
}

#[test]
fn random_yaml_with_comments_opens_as_sops_opens_it() {
    check_many(40, 0xc0de, Format::Yaml, |dice| {
        let mut text = String::new();
        yaml_map(dice, 0, 3, true, &mut text);
        text
    });
}

#[test]
fn random_json_opens_as_sops_opens_it() {
    check_many(30, 0x150, Format::Json, |dice| json_object(dice, 3));
}

#[test]
fn random_dotenv_opens_as_sops_opens_it() {
    check_many(25, 0xe4f, Format::Dotenv, dotenv);
}

#[test]
fn random_ini_opens_as_sops_opens_it() {
    check_many(40, 0x171, Format::Ini, ini);
}

#[test]
fn random_bytes_open_as_sops_opens_them() {
    if !have_sops() {
        return;
    }
    let mut dice = Dice(0xb1);
    for len in [0, 1, 7, 4096] {
        let bytes: Vec<u8> = (0..len).map(|_| dice.roll(256) as u8).collect();
        let Ok(encrypted) = encrypt(&bytes, Format::Binary, &[]) else { continue };
        let theirs = sops_decrypts(&encrypted, Format::Binary, Format::Binary).unwrap();
        let ours = sops::open_as(&encrypted, Format::Binary, &keys()).unwrap();
        assert_eq!(sops::print(&ours.documents, Format::Binary).unwrap().as_slice(), theirs);
        assert_eq!(theirs, bytes);
    }
}

/// Scalars that only matter for the MAC: they stand in plain.
#[test]
fn plain_scalars_feed_the_mac_in_go_form() {
    if !have_sops() {
        return;
    }
    let mut text = String::new();
    // What sops writes of a plain `-0.0` it does not open itself.
    for (index, scalar) in PLAIN.iter().enumerate().filter(|(_, scalar)| **scalar != "-0.0") {
        let _ = writeln!(text, "k{index}_unencrypted: {scalar}");
    }
    text.push_str("secret: x\n");
    assert!(check(&text, Format::Yaml, &[]), "{text}");
    let numbers: Vec<String> = ["12", "1e3", "0.1", "1e21", "9007199254740993", "1e-7"]
        .iter()
        .enumerate()
        .map(|(index, number)| format!("\"n{index}_unencrypted\": {number}"))
        .collect();
    assert!(check(&format!("{{{}, \"s\": \"x\"}}", numbers.join(",")), Format::Json, &[]));
}

#[test]
fn several_documents_open_as_sops_opens_them() {
    if !have_sops() {
        return;
    }
    for text in [
        "a: 1\n---\nb: two\n",
        "# c\na: 1\n# end\n---\n# d\nb: two\n",
        "a: 1\n---\n---\nb: 2\n",
        "---\na: 1\n---\nb: {}\n",
    ] {
        check(text, Format::Yaml, &[]);
    }
}

/// Every selection rule in every store that has keys.
#[test]
fn selection_rules_hold_in_every_store() {
    if !have_sops() {
        return;
    }
    let texts = [
        (Format::Yaml, "host: h\nport: 5\ndata: {user: u, n: [1, x]}\npw_key: s\nhost_plain: p\n"),
        (
            Format::Json,
            "{\"host\": \"h\", \"port\": 5, \"data\": {\"user\": \"u\", \"n\": [1, \"x\"]}, \"pw_key\": \"s\", \"host_plain\": \"p\"}",
        ),
        (Format::Dotenv, "host=h\n#c\nport=5\ndata=d\npw_key=s\nhost_plain=p\n"),
        (Format::Ini, "[data]\nuser = u\nport = 5\n[other]\n; c\npw_key = s\nhost_plain = p\n"),
    ];
    for (format, text) in texts {
        for options in [
            ["--encrypted-regex", "^(data|pw_.*)$"],
            ["--unencrypted-regex", "^(host|port)$"],
            ["--encrypted-suffix", "_key"],
            ["--unencrypted-suffix", "_plain"],
        ] {
            assert!(check(text, format, &options), "{format} {options:?}");
        }
        // These have no option: they come from a file like `.sops.yaml`.
        for rule in [
            "encrypted_regex: '^(data|pw_.*)$', mac_only_encrypted: true",
            "encrypted_comment_regex: c",
            "encrypted_comment_regex: c, mac_only_encrypted: true",
            "unencrypted_comment_regex: '^ ?c$'",
        ] {
            let encrypted = encrypt_by_rule(text.as_bytes(), format, rule);
            let theirs = sops_decrypts(&encrypted, format, format).unwrap();
            let ours = sops::open_as(&encrypted, format, &keys());
            let ours = ours.unwrap_or_else(|error| panic!("{format} {rule}: {error}"));
            let printed = sops::print(&ours.documents, format).unwrap();
            assert_eq!(
                String::from_utf8_lossy(&printed),
                String::from_utf8_lossy(&theirs),
                "{format} {rule}"
            );
        }
    }
}

/// Changes a file of sops's with tenantry and opens the result with sops; ciphertexts of other values stay.
#[track_caller]
fn check_edit(plain: &str, edited: &str, format: Format, spliced: bool) {
    let encrypted = encrypt(plain.as_bytes(), format, &[]).unwrap();
    let file = Editable::open(&encrypted, format, &keys()).unwrap();
    let now = Timestamp::from_millis(1_795_000_000_000);
    let printed = sops::print(&file.opened().documents, format).unwrap();
    assert_eq!(edit_fresh(&file, &printed, now).unwrap(), None, "{plain}: nothing was changed");
    let changed = edit_fresh(&file, edited.as_bytes(), now).unwrap().expect("something was changed");
    let theirs = sops_decrypts(changed.as_bytes(), format, format);
    let theirs = theirs.unwrap_or_else(|code| panic!("{code}\n{changed}"));
    let wanted = sops::print(&sops::plain(edited.as_bytes(), format).unwrap(), format).unwrap();
    assert_eq!(String::from_utf8_lossy(&theirs), String::from_utf8_lossy(&wanted), "{changed}");
    if spliced {
        let (before, after) = (String::from_utf8(encrypted).unwrap(), changed.clone());
        let differing = before.lines().zip(after.lines()).filter(|(a, b)| a != b).count();
        assert_eq!(before.lines().count(), after.lines().count());
        assert_eq!(differing, 3, "the value, mac and lastmodified alone:\n{before}\n{after}");
    }
    let to = [identity("globex").recipient().clone(), identity("recovery").recipient().clone()];
    let again = Editable::open(changed.as_bytes(), format, &keys()).unwrap();
    let rekeyed = reseal_fresh(&again, &to, now).unwrap();
    let opened = sops_decrypts_with("globex", rekeyed.as_bytes(), format, format).unwrap();
    assert_eq!(opened, theirs);
    assert_eq!(sops_decrypts(rekeyed.as_bytes(), format, format), Err(128), "the old key opens it no more");
    for line in changed.lines().filter(|line| line.contains("ENC[")) {
        assert!(!rekeyed.contains(line), "a ciphertext was kept: {line}");
    }
}

#[test]
fn what_is_edited_opens_with_sops() {
    if !have_sops() {
        return;
    }
    let yaml =
        "# top\na: one # beside\nb:\n  - x\n  # in\n  - y\nn: 5\nz_unencrypted: z\npem: |\n  l1\n  l2\n";
    let shown = "# top\n# beside\na: one\nb:\n    - x\n    # in\n    - y\nn: 5\nz_unencrypted: z\npem: |\n    l1\n    l2\n";
    check_edit(yaml, &shown.replace("one", "two"), Format::Yaml, true);
    check_edit(yaml, &shown.replace("- y", "- z"), Format::Yaml, true);
    check_edit(yaml, &shown.replace("n: 5", "n: 6.5"), Format::Yaml, true);
    check_edit(yaml, &shown.replace("l2", "l3"), Format::Yaml, true);
    check_edit(yaml, &shown.replace("_unencrypted: z", "_unencrypted: 'y: #'"), Format::Yaml, true);
    check_edit(yaml, &shown.replace("n: 5\n", ""), Format::Yaml, false);
    check_edit(yaml, &format!("{shown}new: {{deep: [1, ~]}}\n"), Format::Yaml, false);
    check_edit(yaml, &shown.replace("# in", "# out"), Format::Yaml, false);
    check_edit(yaml, &shown.replace("n: 5", "n: ''"), Format::Yaml, true);
    check_edit("a: 1\n---\nb: two\n", "a: 1\n---\nb: three\n", Format::Yaml, false);
    let json = "{\n\t\"a\": \"one\",\n\t\"l\": [\n\t\t1,\n\t\ttrue\n\t]\n}\n";
    check_edit(json, &json.replace("one", "t\\\"wo"), Format::Json, true);
    check_edit(json, &json.replace("true", "null"), Format::Json, false);
    check_edit("A=1\n# c\nB=two\n", "A=1\n# c\nB=three\\nlines\n", Format::Dotenv, true);
    check_edit("A=1\n# c\nB=two\n", "A=1\nC=x\n", Format::Dotenv, false);
    let ini = "[s]\n; c\na   = one\nbcd = two\n";
    check_edit(
        ini,
        &ini.replace("one", "three # x").replace("= three # x", "= `three # x`"),
        Format::Ini,
        true,
    );
    check_edit(ini, "[s]\na = one\n\n[t]\nx = y\n", Format::Ini, false);
    check_edit("some bytes", "other bytes\n", Format::Binary, true);
}

/// Comment rules decide anew where a file is written anew.
#[test]
fn comment_rules_are_kept_by_an_edit() {
    if !have_sops() {
        return;
    }
    let plain = "a: 1\n# enc\nb: two\nc:\n    # enc\n    - x\n    - y\n";
    for option in ["encrypted_comment_regex", "unencrypted_comment_regex"] {
        let rule = format!("{option}: '^ ?enc$'");
        let encrypted = encrypt_by_rule(plain.as_bytes(), Format::Yaml, &rule);
        let file = Editable::open(&encrypted, Format::Yaml, &keys()).unwrap();
        let now = Timestamp::from_millis(1_795_000_000_000);
        let edited = format!("{plain}d: 4\n# enc\ne: {{f: five}}\n");
        let changed = edit_fresh(&file, edited.as_bytes(), now).unwrap().unwrap();
        let theirs = sops_decrypts(changed.as_bytes(), Format::Yaml, Format::Yaml);
        assert!(theirs.is_ok(), "{option} {theirs:?}\n{changed}");
        let plain_d = changed.lines().any(|line| line == "d: 4");
        let plain_f = changed.contains("f: five");
        assert_eq!((plain_d, plain_f), (option.starts_with("enc"), option.starts_with("un")), "{changed}");
    }
}

/// Runs the real command as a person would, away from anybody's keys.
fn tenantry_decrypts(file: &[u8], format: Format) -> (Option<i32>, Vec<u8>, String) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("file");
    std::fs::write(&path, file).unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_tenantry"))
        .args(["secrets", "decrypt", "--input-type", format.as_str()])
        .arg(&path)
        .env_clear()
        .env("HOME", directory.path())
        .env("SOPS_AGE_KEY_FILE", key_file("acme.agekey"))
        .output()
        .unwrap();
    (output.status.code(), output.stdout, String::from_utf8_lossy(&output.stderr).into_owned())
}

/// Where both refuse, with the same exit code, no plaintext and a reason; where sops opens, the same bytes.
#[track_caller]
fn check_mutation(what: &str, file: &[u8], format: Format) {
    let theirs = sops_decrypts(file, format, format);
    let (code, out, said) = tenantry_decrypts(file, format);
    match theirs {
        Ok(theirs) => {
            assert_eq!(code, Some(0), "{format} {what}: sops opens it: {said}");
            assert_eq!(String::from_utf8_lossy(&out), String::from_utf8_lossy(&theirs), "{format} {what}");
        }
        Err(theirs) => {
            // A flipped character in a metadata key lets sops stop in one of its own crashes, whose code is Go's.
            match what.ends_with("flipped") {
                true => assert_ne!(code, Some(0), "{format} {what}: {said}"),
                false => assert_eq!(code, Some(theirs), "{format} {what}: {said}"),
            }
            assert!(out.is_empty(), "{format} {what}");
            assert!(said.starts_with("error: `"), "{format} {what}: {said}");
            assert!(!said.contains("hunter2"), "{format} {what}: {said}");
        }
    }
}

#[test]
fn what_sops_refuses_is_refused_with_its_exit_code() {
    if !have_sops() {
        return;
    }
    let texts = [
        (Format::Yaml, "user: admin\npass: hunter2-hunter2\nlist: [one, two]\nhost_unencrypted: h1\n"),
        (
            Format::Json,
            "{\"user\": \"admin\", \"pass\": \"hunter2-hunter2\", \"list\": [\"one\", \"two\"], \"host_unencrypted\": \"h1\"}",
        ),
        (Format::Dotenv, "user=admin\npass=hunter2-hunter2\nhost_unencrypted=h1\n"),
        (Format::Ini, "[s]\nuser = admin\npass = hunter2-hunter2\nhost_unencrypted = h1\n"),
        (Format::Binary, "hunter2-hunter2"),
    ];
    for (format, text) in texts {
        let encrypted = String::from_utf8(encrypt(text.as_bytes(), format, &[]).unwrap()).unwrap();
        let values: Vec<&str> = encrypted
            .split("ENC[")
            .skip(1)
            .filter_map(|rest| rest.split_once(']').map(|(value, _)| value))
            .collect();
        let mac = *values.iter().max_by_key(|value| value.len()).unwrap();
        let first = values[0];
        let mutate = |what: &str, changed: String| {
            assert_ne!(changed, encrypted, "{format} {what} changed nothing");
            check_mutation(what, changed.as_bytes(), format);
        };
        let lines_without = |part: &str| {
            encrypted
                .lines()
                .filter(|line| !line.contains(part))
                .map(|line| format!("{line}\n"))
                .collect::<String>()
        };
        if values.len() > 2 {
            let second = values[1];
            mutate("swapped", encrypted.replace(first, "@").replace(second, first).replace('@', second));
        }
        mutate("plain in place of ciphertext", encrypted.replace(&format!("ENC[{first}]"), "plain"));
        mutate("another type", encrypted.replacen(",type:str", ",type:int", 1));
        mutate("an unknown type", encrypted.replacen(",type:str", ",type:what", 1));
        mutate("a comment in place of a value", encrypted.replacen(",type:str", ",type:comment", 1));
        mutate("no iv", encrypted.replacen(",iv:", ",xx:", 1));
        mutate("mac of another text", encrypted.replace(mac, first));
        mutate("mac garbled", encrypted.replace(mac, "garbled"));
        mutate("time changed", encrypted.replace("lastmodified", "lastmodifieX"));
        mutate("version garbled", encrypted.replace("3.11.0", "garbled"));
        mutate("version two numbers", encrypted.replace("3.11.0", "3.11"));
        mutate("version of the future", encrypted.replace("3.11.0", "99.0.0"));
        mutate("armour cut", encrypted.replace("-----END AGE ENCRYPTED FILE-----", ""));
        mutate("armour garbled", encrypted.replace("YWdlLWVuY3J5cHRpb24", "YWdlLWVuY3J5cHRpb2X"));
        mutate("no key", encrypted.replace("age", "aga"));
        if format != Format::Json && format != Format::Binary {
            mutate("no mac", lines_without("mac"));
            mutate("no lastmodified", lines_without("lastmodified"));
            mutate("no version", lines_without("version"));
            mutate("a value removed", lines_without("user"));
            mutate("plain value changed", encrypted.replace("h1", "h2"));
            mutate("plain key renamed", encrypted.replace("host_un", "other_un"));
        }
        mutate("empty", String::new());
        mutate("only text", "hello".to_owned());
        mutate("cut in half", encrypted[..encrypted.len() / 2].to_owned());
        // Flipped characters, spread over the whole file.
        let mut dice = Dice(0xf11b + format as u64);
        for _ in 0..25 {
            let at = dice.roll(encrypted.len());
            let mut changed = encrypted.clone().into_bytes();
            changed[at] = if changed[at] == b'A' { b'B' } else { b'A' };
            check_mutation(&format!("byte {at} flipped"), &changed, format);
        }
    }
}

/// What is refused though sops takes it, each for a reason that the design gives.
#[test]
fn what_is_stricter_than_sops() {
    let refused = |file: &str, format: Format, why: &str| {
        let error = sops::open_as(file.as_bytes(), format, &keys()).unwrap_err();
        assert!(error.to_string().contains(why), "{error}");
    };
    let vector = |name: &str| {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/sops-vectors/vectors/enc").join(name);
        std::fs::read_to_string(path).unwrap()
    };
    refused(&vector("json.sops.json").replacen("\"z\"", "\"n\"", 1), Format::Json, "n is written twice");
    refused(
        &vector("dotenv.sops.env").replacen("USER=", "PASSWORD=", 1),
        Format::Dotenv,
        "PASSWORD is written twice",
    );
    refused(
        &vector("ini.sops.ini").replacen("user ", "password ", 1),
        Format::Ini,
        "db.password is written twice",
    );
}
