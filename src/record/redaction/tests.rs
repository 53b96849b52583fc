use proptest::prelude::*;

use super::*;

fn name(text: &str) -> SecretName {
    text.parse().unwrap()
}

fn value(bytes: &[u8]) -> Plaintext {
    Plaintext::new(bytes.to_vec())
}

fn patterns(values: &[(&str, &[u8])]) -> Arc<Patterns> {
    let values: Vec<(SecretName, Plaintext)> =
        values.iter().map(|(key, bytes)| (name(key), value(bytes))).collect();
    Arc::new(Patterns::new(values.iter().map(|(key, value)| (key.clone(), value))).unwrap())
}

/// Redacts in one piece, checks every cut into two, and gives the text.
#[track_caller]
fn redact(patterns: &Arc<Patterns>, text: &[u8]) -> String {
    let whole = patterns.redact(text);
    for cut in 0..=text.len() {
        let mut redactor = Redactor::over(Arc::clone(patterns));
        let mut out = redactor.push(&text[..cut]);
        out.extend(redactor.push(&text[cut..]));
        out.extend(redactor.finish());
        assert_eq!(String::from_utf8_lossy(&out), String::from_utf8_lossy(&whole), "cut at {cut}");
    }
    String::from_utf8_lossy(&whole).into_owned()
}

#[track_caller]
fn check(values: &[(&str, &str)], text: &str, want: &str) {
    let values: Vec<(&str, &[u8])> = values.iter().map(|(key, value)| (*key, value.as_bytes())).collect();
    assert_eq!(redact(&patterns(&values), text.as_bytes()), want, "{text:?}");
}

#[test]
fn a_value_becomes_its_name() {
    let key = [("api_key", "sk_live_0123")];
    check(&key, "key=sk_live_0123!", "key=[redacted:api_key]!");
    check(&key, "sk_live_0123sk_live_0123", "[redacted:api_key][redacted:api_key]");
    check(&key, "sk_live_012", "sk_live_012");
    check(&key, "sk_sk_live_0123", "sk_[redacted:api_key]");
    check(&key, "nothing here", "nothing here");
    check(&[], "sk_live_0123", "sk_live_0123");
}

#[test]
fn overlapping_values_leave_nothing() {
    let two = [("a", "zbcdefgh"), ("b", "efghijkl")];
    check(&two, "-zbcdefghijkl-", "-[redacted:a][redacted:b]-");
    check(&two, "-zbcdefghzbcdefgh-", "-[redacted:a][redacted:a]-");
    // A value that begins another: only the longer one is named where the longer one stands.
    let prefix = [("short", "password-1"), ("long", "password-1-and-more")];
    check(&prefix, "password-1 password-1-and-more", "[redacted:short] [redacted:long]");
    check(&prefix, "password-1-and-mor", "[redacted:short]-and-mor");
    // A value inside another, and one that overlaps itself.
    check(&[("in", "cdefghij"), ("out", "abcdefghijkl")], "abcdefghijkl", "[redacted:out]");
    check(&[("x", "abababab")], "-ababababababab-", "-[redacted:x]-");
    check(&[("b", "samesame-1"), ("a", "samesame-1")], "samesame-1", "[redacted:a]");
}

#[test]
fn every_form_is_found() {
    use base64::Engine;
    use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
    let secret = "p@ss w/ö\"<rd>&'?ÿÿ>>";
    let bytes = secret.as_bytes();
    let set = patterns(&[("s", bytes)]);
    let gone = |text: &[u8], form: Form| {
        let out = redact(&set, text);
        assert!(out.contains("[redacted:s]"), "{form:?}: {out}");
        let mut redactor = Redactor::over(Arc::clone(&set));
        redactor.push(text);
        redactor.finish();
        assert_eq!(redactor.hits().keys().collect::<Vec<_>>(), [&form], "{}", String::from_utf8_lossy(text));
        out
    };
    assert_eq!(gone(bytes, Form::Raw), "[redacted:s]");
    for (before, after) in [("", ""), ("u:", "!"), ("x", ""), ("", "\n"), ("abc", "yz"), ("ab", "\n")] {
        let text = format!("{before}{secret}{after}");
        let out = gone(STANDARD.encode(&text).as_bytes(), Form::Base64);
        // At most the characters that share bits with a byte around it are left.
        let left = out.replace("[redacted:s]", "").trim_end_matches('=').len();
        assert!(left <= 2 + (before.len() + after.len()) * 8 / 6, "{before:?} {after:?}: {out}");
        gone(URL_SAFE_NO_PAD.encode(&text).as_bytes(), Form::Base64Url);
    }
    gone(STANDARD.encode(STANDARD.encode(secret)).as_bytes(), Form::Base64Twice);
    assert_eq!(gone(hex::encode(secret).as_bytes(), Form::Hex), "[redacted:s]");
    assert_eq!(gone(hex::encode_upper(secret).as_bytes(), Form::Hex), "[redacted:s]");
    for text in [
        "p%40ss%20w%2F%C3%B6%22%3Crd%3E%26%27%3F%C3%BF%C3%BF%3E%3E",
        "p%40ss+w%2F%C3%B6%22%3Crd%3E%26%27%3F%C3%BF%C3%BF%3E%3E",
        "p%40ss%20w/%C3%B6%22%3Crd%3E%26%27%3F%C3%BF%C3%BF%3E%3E",
        "p%40ss%20w%2f%c3%b6%22%3crd%3e%26%27%3f%c3%bf%c3%bf%3e%3e",
        "p@ss%20w/%C3%B6%22%3Crd%3E&'%3F%C3%BF%C3%BF%3E%3E",
    ] {
        assert_eq!(gone(text.as_bytes(), Form::Percent), "[redacted:s]");
    }
    for text in [
        r#"p@ss w/ö\"<rd>&'?ÿÿ>>"#,
        r#"p@ss w\/ö\"<rd>&'?ÿÿ>>"#,
        r#"p@ss w/ö\"\u003crd\u003e\u0026'?ÿÿ\u003e\u003e"#,
        r#"p@ss w/\u00f6\"<rd>&'?\u00ff\u00ff>>"#,
    ] {
        assert_eq!(gone(text.as_bytes(), Form::Json), "[redacted:s]");
    }
    assert_eq!(gone("p@ss w/ö&quot;&lt;rd&gt;&amp;&apos;?ÿÿ&gt;&gt;".as_bytes(), Form::Xml), "[redacted:s]");
    assert_eq!(gone("p@ss w/ö\"<rd>&'\\''?ÿÿ>>".as_bytes(), Form::Shell), "[redacted:s]");
    let wide: Vec<u8> = secret.encode_utf16().flat_map(u16::to_le_bytes).collect();
    assert_eq!(gone(&wide, Form::Utf16), "[redacted:s]");
}

/// Breaks a text into lines of `width` bytes, the first of them shorter by `used`.
fn wrapped(text: &str, width: usize, used: usize, broken_by: &str) -> String {
    let mut out = String::new();
    for (at, c) in text.chars().enumerate() {
        if at > 0 && (at + used).is_multiple_of(width) {
            out.push_str(broken_by);
        }
        out.push(c);
    }
    out
}

#[test]
fn a_form_broken_into_lines_is_found_wherever_the_breaks_fall() {
    use base64::Engine;
    use base64::engine::general_purpose::STANDARD;
    let secret = "correct horse battery staple, said nobody who was ever asked for a passphrase twice";
    let set = patterns(&[("s", secret.as_bytes())]);
    for before in ["", "u", "us", "user:"] {
        let encoded = STANDARD.encode(format!("{before}{secret}"));
        let dump = hex::encode(format!("{before}{secret}"));
        for width in [16, 60, 64, 76] {
            for used in 0..width {
                for broken_by in ["\n", "\r\n", "\n    "] {
                    for (text, unit) in [(&encoded, 3), (&dump, 2)] {
                        let text = wrapped(text, width, used, broken_by);
                        let out = String::from_utf8(set.redact(text.as_bytes())).unwrap();
                        assert!(out.contains("[redacted:s]"), "{text:?}");
                        // Up to three characters of the beginning, the bytes before the secret, its end.
                        let left = out.replace("[redacted:s]", "");
                        let left = left.chars().filter(|c| !c.is_ascii_whitespace() && *c != '=').count();
                        assert!(left <= 3 + (before.len() * 4).div_ceil(unit) + 1, "{text:?}: {out:?}");
                    }
                }
            }
        }
    }
    // Cut anywhere into chunks it is the same.
    let encoded = wrapped(&STANDARD.encode(secret), 20, 13, "\r\n  ");
    redact(&set, format!("> {encoded}\n\nnext\n").as_bytes());
    // A blank page between two lines is no break, and what only begins like a secret stays.
    let (first, rest) = encoded.split_once('\n').unwrap();
    let apart = format!("{first}\n{}{rest}", " ".repeat(80));
    assert!(redact(&set, apart.as_bytes()).starts_with(first));
    let begins = format!("{first}\nother text\n");
    assert_eq!(redact(&set, begins.as_bytes()), begins);
}

#[test]
fn the_end_of_a_line_waits_only_where_a_secret_may_go_on() {
    let mut redactor = Redactor::new([(name("a"), &value(b"begin-of-secret"))]).unwrap();
    assert_eq!(redactor.push(b"a tab\n"), b"a tab\n", "too little to be broken");
    assert_eq!(redactor.push(b"then begin-\n"), b"then ");
    assert_eq!(redactor.push(b"  "), b"");
    assert_eq!(redactor.push(b"x\n"), b"begin-\n  x\n");
    assert_eq!(redactor.push(b"then begin-\n  of-secret!"), b"then [redacted:a]!");
    // Blank lines without end are given out.
    assert_eq!(redactor.push(b"begin-"), b"");
    for _ in 0..1_000 {
        redactor.push(b"\n");
    }
    assert!(redactor.held.is_empty(), "{}", redactor.held.len());
}

#[test]
fn lines_and_parts_are_secrets_too() {
    let pem = "-----BEGIN KEY-----\nMIIEvQIBADANBgkq\nhkiG9w0BAQEFAASC\nAb==\n-----END KEY-----\n";
    check(&[("k", pem)], pem, "[redacted:k]");
    check(&[("k", pem)], "> hkiG9w0BAQEFAASC", "> [redacted:k]");
    check(&[("k", pem)], "-----BEGIN KEY-----\nother\n", "-----BEGIN KEY-----\nother\n");
    check(&[("k", "  padded-value \n")], "<padded-value>", "<[redacted:k]>");
    let json = r#"{"user": "svc", "client_secret": "s3cr3t\/value", "n": ["another-one"]}"#;
    check(
        &[("j", json)],
        "s3cr3t/value another-one client_secret",
        "[redacted:j] [redacted:j] client_secret",
    );
    let joined = "MIIEvQIBADANBgkqhkiG9w0BAQEFAASCAb==";
    check(&[("k", pem)], &format!("{joined} {}", hex::encode(joined)), "[redacted:k] [redacted:k]");
    let url = "postgres://app:hunter2%2Fhunter2@db.example:5432/app";
    check(&[("u", url)], "pass hunter2/hunter2 hunter2%2Fhunter2", "pass [redacted:u] [redacted:u]");
    check(&[("u", url)], "aHVudGVyMi9odW50ZXIy 68756e746572322f68756e74657232", "[redacted:u] [redacted:u]");
    check(&[("u", url)], "host db.example:5432/app", "host db.example:5432/app");
}

#[test]
fn what_cannot_be_told_from_text_is_refused() {
    let check = |bytes: &[u8], want| {
        assert_eq!(redactable(&value(bytes)), want, "{:?}", String::from_utf8_lossy(bytes))
    };
    check(b"1234567", Err(Unredactable::TooShort));
    check(b"    short    ", Err(Unredactable::TooShort));
    check(b"Password", Err(Unredactable::Common));
    check(b"00000000000", Err(Unredactable::Common));
    check(b" changeme\n", Err(Unredactable::Common));
    check(&[b'a'; VALUE_BYTES_MAX + 1], Err(Unredactable::TooLong));
    check(b"correct-horse", Ok(()));
    let long = |seed| value(&(0..VALUE_BYTES_MAX).map(|at| ((at + seed) % 251) as u8).collect::<Vec<_>>());
    let long = [0, 1, 2, 3, 4].map(long);
    let many = long.iter().map(|long| (name("k"), long));
    assert_eq!(Patterns::new(many).unwrap_err(), (name("k"), Unredactable::TooLong));
}

#[test]
fn a_value_can_be_registered_while_the_stream_runs() {
    let mut redactor = Redactor::new([(name("a"), &value(b"first-secret"))]).unwrap();
    let mut out = redactor.push(b"one first-sec");
    assert_eq!(out, b"one ");
    redactor.register(&name("b"), &value(b"second-secret")).unwrap();
    out.extend(redactor.push(b"ret two second-"));
    out.extend(redactor.push(b"secret three"));
    out.extend(redactor.finish());
    assert_eq!(String::from_utf8_lossy(&out), "one [redacted:a] two [redacted:b] three");
    assert_eq!(redactor.hits().get(&Form::Raw), Some(&2));
    assert!(redactor.register(&name("c"), &value(b"short")).is_err());
}

#[test]
fn a_value_asked_for_many_times_is_kept_once() {
    let set = patterns(&[("a", b"first-secret")]);
    let again = set.with(&name("a"), &value(b"first-secret")).unwrap();
    assert!(Arc::ptr_eq(&set, &again));
    let other = set.with(&name("b"), &value(b"first-secret")).unwrap();
    assert_eq!(redact(&other, b"first-secret"), "[redacted:a]");
    let versions = other.with(&name("a"), &value(b"older-secret")).unwrap();
    assert_eq!(redact(&versions, b"older-secret first-secret"), "[redacted:a] [redacted:a]");
}

#[test]
fn what_is_held_is_judged_again_by_new_patterns() {
    let long = value(b"x secret-one y secret-two zzzz");
    let (one, two) = (value(b"secret-one"), value(b"secret-two"));
    let values = [(name("long"), &long), (name("one"), &one), (name("two"), &two)];
    let mut redactor = Redactor::new(values).unwrap();
    assert_eq!(redactor.push(b"x secret-one y secret-two z"), b"", "it may become the long one");
    redactor.register(&name("new"), &value(b" y secret")).unwrap();
    let mut out = redactor.push(b"!");
    out.extend(redactor.finish());
    assert_eq!(String::from_utf8_lossy(&out), "x [redacted:one][redacted:new][redacted:two] z!");
    // A region that began before what is held stays one.
    let mut redactor = Redactor::new([(name("a"), &value(b"abababab"))]).unwrap();
    let mut out = redactor.push(b"-abababababab");
    redactor.register(&name("b"), &value(b"other-secret")).unwrap();
    out.extend(redactor.push(b"abab-"));
    out.extend(redactor.finish());
    assert_eq!(String::from_utf8_lossy(&out), "-[redacted:a]-");
}

#[test]
fn only_what_may_be_a_beginning_is_held_back() {
    let mut redactor = Redactor::new([(name("a"), &value(b"begin-of-secret"))]).unwrap();
    assert_eq!(redactor.push(b"a line of text\n"), b"a line of text\n", "nothing waits");
    assert_eq!(redactor.push(b"progress: begin-of"), b"progress: ");
    assert_eq!(redactor.push(b"f\n"), b"begin-off\n");
    // A region that never ends does not grow what is held.
    let mut redactor = Redactor::new([(name("a"), &value(b"abababab"))]).unwrap();
    for _ in 0..10_000 {
        assert!(redactor.push(b"ab").is_empty());
    }
    assert!(redactor.held.len() <= 32, "{}", redactor.held.len());
    assert_eq!(redactor.finish(), b"[redacted:a]");
}

#[test]
fn debug_shows_no_value() {
    let redactor = Redactor::over(patterns(&[("a", b"first-secret")]));
    assert!(!format!("{:?}", redactor.patterns).contains("first"), "{redactor:?}");
}

/// The same by brute force: every occurrence of every form. Gives for each byte whether it is part of one, and
/// whether it is part of one if forms may also be broken after few bytes.
fn oracle(values: &[(SecretName, Plaintext)], text: &[u8]) -> (Vec<bool>, Vec<bool>) {
    // Where each byte of the text without breaks lies, and the first byte of its line there.
    let (mut lies, mut line, mut lines) = (Vec::new(), 0, Vec::new());
    let mut within = false;
    for (at, byte) in text.iter().enumerate() {
        within = matches!(byte, b'\n' | b'\r') || (within && matches!(byte, b' ' | b'\t'));
        if within {
            line = lies.len();
        } else {
            lies.push(at);
            lines.push(line);
        }
    }
    let (mut gone, mut may_go) = (vec![false; text.len()], vec![false; text.len()]);
    for (_, value) in values {
        for (_, form) in forms::all(value.expose()) {
            for start in 0..text.len() {
                if text[start..].starts_with(&form) {
                    gone[start..start + form.len()].fill(true);
                }
            }
            for start in 0..lies.len() {
                let here = lies[start..].iter().map(|at| text[*at]).take(form.len());
                if here.eq(form.iter().copied()) {
                    let last = start + form.len() - 1;
                    let region = lies[start]..lies[last] + 1;
                    let first_break = (start..=last).find(|at| lines[*at] > start);
                    if first_break.is_none_or(|at| at - start >= BEFORE_BREAK_MIN) {
                        gone[region.clone()].fill(true);
                    }
                    may_go[region].fill(true);
                }
            }
        }
    }
    may_go.iter_mut().zip(&gone).for_each(|(may, gone)| *may |= gone);
    (gone, may_go)
}

fn secrets() -> impl Strategy<Value = Vec<(SecretName, Plaintext)>> {
    let bytes = prop::collection::vec(prop::sample::select(b"ab\"/ \n<".to_vec()), 8..14)
        .prop_filter("redactable", |bytes| redactable_bytes(bytes).is_ok());
    prop::collection::vec(bytes, 1..4).prop_map(|values| {
        values.iter().enumerate().map(|(index, bytes)| (name(&format!("s{index}")), value(bytes))).collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(192))]

    #[test]
    fn chunks_do_not_matter_and_nothing_is_left(
        secrets in secrets(),
        pieces in prop::collection::vec((0..8_usize, 0..4_usize, "[ab\"/ \n<x]{0,6}"), 0..12),
        cuts in prop::collection::vec(1..9_usize, 1..8),
    ) {
        let mut text = Vec::new();
        for (form, secret, noise) in &pieces {
            let forms = forms::all(secrets[secret % secrets.len()].1.expose());
            let shown = &forms[form * 3 % forms.len()].1;
            text.extend_from_slice(&shown[..shown.len() - noise.len() % 2]);
            text.extend_from_slice(noise.as_bytes());
        }
        let set = Arc::new(Patterns::new(secrets.iter().map(|(name, value)| (name.clone(), value))).unwrap());
        let whole = set.redact(&text);
        let mut redactor = Redactor::over(Arc::clone(&set));
        let (mut out, mut at, mut turn) = (Vec::new(), 0, 0);
        while at < text.len() {
            let to = (at + cuts[turn % cuts.len()]).min(text.len());
            out.extend(redactor.push(&text[at..to]));
            (at, turn) = (to, turn + 1);
        }
        out.extend(redactor.finish());
        prop_assert_eq!(&out, &whole);
        // What is left is what no form covers; what no form could cover is left.
        let (gone, may_go) = oracle(&secrets, &text);
        let mut left = Vec::new();
        let mut rest = whole.as_slice();
        while !rest.is_empty() {
            if rest.starts_with(b"[redacted:") {
                let close = rest.iter().position(|byte| *byte == b']').unwrap();
                rest = &rest[close + 1..];
            } else {
                left.push(rest[0]);
                rest = &rest[1..];
            }
        }
        let without = |gone: &[bool]| -> Vec<u8> {
            text.iter().zip(gone).filter(|(_, gone)| !**gone).map(|(byte, _)| *byte).collect()
        };
        let is_within = |few: &[u8], many: &[u8]| {
            let mut many = many.iter();
            few.iter().all(|byte| many.any(|other| other == byte))
        };
        prop_assert!(is_within(&left, &without(&gone)), "{:?}", String::from_utf8_lossy(&whole));
        prop_assert!(is_within(&without(&may_go), &left), "{:?}", String::from_utf8_lossy(&whole));
    }

    #[test]
    fn a_canary_never_comes_through(
        canary in "[A-Za-z0-9+/=_-]{16,40}",
        before in "[a-z ]{0,20}",
        cut in 1..7_usize,
    ) {
        let secret = value(canary.as_bytes());
        prop_assume!(redactable(&secret).is_ok());
        let mut redactor = Redactor::new([(name("canary"), &secret)]).unwrap();
        let text = format!("{before}{canary}{before}");
        let mut out = Vec::new();
        for chunk in text.as_bytes().chunks(cut) {
            out.extend(redactor.push(chunk));
        }
        out.extend(redactor.finish());
        let out = String::from_utf8(out).unwrap();
        prop_assert!(!out.contains(&canary));
        prop_assert!(out.contains("[redacted:canary]"));
    }
}

#[test]
fn ordinary_text_makes_no_automaton() {
    let set =
        patterns(&[("token", b"00112233445566778899aabbccddeeff"), ("url", b"https://u:hunter2-hunter2@x/")]);
    let made = |text: &str| {
        let set = set.with(&name("more"), &value(b"another-secret")).unwrap();
        redact(&set, text.as_bytes());
        set.search.get().is_some()
    };
    assert!(!made("loaded 17 rows from http://db.example:5432 in 12 ms\nhttps:/ 0011223 MDAx 0011"));
    assert!(made("0011\n2233"), "a form may be broken after four bytes");
    assert!(made("a 00112233"));
    assert!(made("see https://docs.example"));
    assert!(made("not 00112233445566778899aabbccddeef"));
}

#[test]
fn a_head_is_found_where_a_form_may_begin() {
    let text = Zeroizing::new(b"abcdefghij".to_vec());
    let other = Zeroizing::new(b"abcdxxxxxx".to_vec());
    let heads = Heads::of([&text, &other].into_iter());
    let check = |text: &str, want| assert_eq!(heads.next(text.as_bytes(), 0), want, "{text:?}");
    let nothing = |decided| Next::Nothing { decided };
    let head = |start, end| Next::Head { start, end };
    check("", nothing(0));
    check("text without", nothing(12));
    check("text with abcdefgh", head(10, 18));
    check("abcdxxxxx", head(0, 8));
    check("abcdefgx", nothing(8));
    // The end may go on as a head, from its first byte that does.
    for (text, decided) in
        [("-a", 1), ("-abc", 1), ("-abcdefg", 1), ("-abcdefx", 8), ("ab-ab", 3), ("abab", 2)]
    {
        check(text, nothing(decided));
    }
    // Four bytes are enough before a break, three are not, and others are none.
    check("-abcd\n", head(1, 6));
    check("-abcdefg\r", head(1, 9));
    check("-abc\n", nothing(5));
    check("-bcde\n", nothing(6));
    assert_eq!(heads.next(b"abcdefgh", 1), nothing(8));
    assert_eq!(Heads::default().next(b"abcdefgh", 0), nothing(8));
}
