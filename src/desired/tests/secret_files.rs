//! Encrypted files, judged without any key; nothing of them is ever quoted.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::desired::fixture::{self, PEOPLE, SETTINGS};
use crate::desired::{read, read_platform, report};
use crate::domain::{Diagnostic, Severity};

/// Made by sops 3.11.0 for the example repository's tenant `emea`, to throwaway keys.
pub(super) const FILE: &str =
    include_str!("../../../example-repo/tenants/emea/secrets/warehouse_url.v1.sops.yaml");
pub(super) const TENANT_KEY: &str = "age1g44fx6pdehuttu73fn6gdu7y2ksrpzx4vgdh3chy7y06njv0ev3sp2n7g6";
pub(super) const RECOVERY_KEY: &str = "age1r37harrq8ah6ptxknc3k2ruk5jchx73jlg3hsv8pmqgfz6932p4sxk4y9n";
pub(super) const OTHER_KEY: &str = "age1wz553qwvhqpufqc4hw46ymd2n20hdk7kxvujyym9rpqr6t4pj5yschzdqe";
const INDEX: &str = "secrets: { warehouse_url: { versions: [{ id: v1, state: current }] } }\n";
const WORKFLOW: &str = "run: scripts/a.sh\nsecrets: [warehouse_url]\n";
const PATH: &str = "secrets/warehouse_url.v1.sops.yaml";

fn found_with(recipient: &str, index: &str, workflow: &str, path: &str, file: &str) -> Vec<Diagnostic> {
    let toml = format!("{SETTINGS}[secrets]\nrecovery = [\"{RECOVERY_KEY}\"]\n");
    let platform = fixture::platform_tree(&[("tenantry.toml", &toml), ("platform/people.yaml", PEOPLE)]);
    let tenant = format!("owner: alice\nsecrets: {{ recipients: [{recipient}] }}\n");
    let tree = fixture::tenant_tree(&[
        ("tenant.yaml", &tenant),
        ("secrets.yaml", index),
        ("workflows/sync.yaml", workflow),
        (path, file),
    ]);
    let settings = read_platform(&platform).0.unwrap();
    read(&settings, &fixture::listing(), &platform, &tree, &"acme".parse().unwrap()).1
}

fn found(file: &str) -> Vec<Diagnostic> {
    found_with(TENANT_KEY, INDEX, WORKFLOW, PATH, file)
}

#[track_caller]
fn check(file: &str, want: &[&str]) {
    assert_eq!(ids(&found(file)), want);
}

fn ids(found: &[Diagnostic]) -> Vec<&'static str> {
    let mut ids: Vec<_> = found.iter().map(|finding| finding.rule.id).collect();
    ids.sort_unstable();
    ids.dedup();
    ids
}

/// The file with a second stanza in its first wrapped key.
pub(super) fn with_hidden_stanza() -> String {
    let begin = FILE.find("-----BEGIN AGE").unwrap();
    let end = FILE.find("-----END AGE").unwrap();
    let body: String = FILE[begin..end].lines().skip(1).map(str::trim).collect();
    let mut bytes = STANDARD.decode(&body).unwrap();
    let mac = bytes.windows(4).position(|window| window == b"\n---").unwrap() + 1;
    let stanza = b"-> X25519 SGxwVDl6OCtyTVk0dnNncWc3M3hleDJSRnB0SWJQZE0\nR3AyQytsbGdXNlQxK01JSkl5N242a1MreWkwL3U4cUE\n";
    bytes.splice(mac..mac, stanza.iter().copied());
    let wrapped = STANDARD.encode(&bytes);
    let lines: Vec<String> = wrapped
        .as_bytes()
        .chunks(64)
        .map(|line| format!("            {}\n", String::from_utf8_lossy(line)))
        .collect();
    format!(
        "{}-----BEGIN AGE ENCRYPTED FILE-----\n{}            {}",
        &FILE[..begin],
        lines.concat(),
        &FILE[end..]
    )
}

fn without_line(start: &str) -> String {
    FILE.lines()
        .filter(|line| !line.trim_start().starts_with(start))
        .map(|line| format!("{line}\n"))
        .collect()
}

#[test]
fn a_file_of_the_tenant_is_in_order() {
    check(FILE, &[]);
}

#[test]
fn k_a_file_is_encrypted_to_exactly_its_readers() {
    assert_eq!(ids(&found_with(OTHER_KEY, INDEX, WORKFLOW, PATH, FILE)), ["K305", "K306"]);
    check(&with_hidden_stanza(), &["K307"]);
    check(&FILE.replace("    lastmodified", "    kms:\n        - arn: x\n    lastmodified"), &["K314"]);
    check(&FILE.replace(RECOVERY_KEY, "age1plugin1qqqq"), &["K306", "K314"]);
}

#[test]
fn k_a_file_is_encrypted_at_all() {
    check("warehouse_url: { v1: canary-canary }\n", &["K303"]);
    check(
        &FILE.replacen("warehouse_url:\n", "warehouse_url:\n    v0: canary-canary\n", 1),
        &["K304", "K309"],
    );
    check(
        &FILE.replace("warehouse_url:", "warehouse_url_unencrypted:").replacen("ENC[", "canary[", 1),
        &["K304", "K309"],
    );
}

#[test]
fn k_a_file_can_be_checked_for_changes() {
    check(&without_line("mac:"), &["K308"]);
    check(&without_line("lastmodified:"), &["K308"]);
    check(&FILE.replace("    age:", "    age: 5\n    ages:"), &["K308"]);
    check(
        &FILE.replacen("ENC[", "\tENC[", 0).replace("    version: 3.11.0", "    version: [3.11.0"),
        &["Y001"],
    );
}

#[test]
fn k_index_and_file_agree() {
    check(&FILE.replace("    v1:", "    v2:"), &["K309"]);
    assert_eq!(
        ids(&found_with(TENANT_KEY, INDEX, WORKFLOW, "secrets/other.v1.sops.yaml", FILE)),
        ["K309", "K315"]
    );
    assert_eq!(ids(&found_with(TENANT_KEY, INDEX, "run: scripts/a.sh\n", PATH, FILE)), ["K302"]);
    let webhook = INDEX.replace("versions", "use: [webhook], versions");
    assert_eq!(ids(&found_with(TENANT_KEY, &webhook, WORKFLOW, PATH, FILE)), ["K316"]);
    let two = INDEX.replace("[{ id: v1", "[{ id: v2, state: current }, { id: v1");
    assert!(ids(&found_with(TENANT_KEY, &two, WORKFLOW, PATH, FILE)).contains(&"K310"));
}

#[test]
fn w_secrets_arrive_as_the_tenant_allows() {
    let of = |uses: &str| {
        ids(&found_with(TENANT_KEY, INDEX, &format!("run: scripts/a.sh\nsecrets: [{uses}]\n"), PATH, FILE))
    };
    assert_eq!(of("{ name: warehouse_url, env: DATABASE_URL }"), ["W224"]);
    assert_eq!(of("{ name: warehouse_url, file: DATABASE_URL_FILE }"), [""; 0]);
    assert_eq!(of("{ name: warehouse_url, file: LD_PRELOAD }"), ["W225"]);
    assert_eq!(of("{ name: warehouse_url, file: a-b }"), ["W225"]);
    assert_eq!(of("warehouse_url, warehouse_url"), ["Y003"]);
    let strict = format!("{TENANT_KEY}], delivery: [socket");
    let uses = "run: scripts/a.sh\nsecrets: [{ name: warehouse_url, file: F }]\n";
    assert_eq!(ids(&found_with(&strict, INDEX, uses, PATH, FILE)), ["W223"]);
}

#[test]
fn k_a_key_beside_the_files_is_found() {
    let key = format!("AGE-SECRET-KEY-1{}", "Q".repeat(58));
    let tree = fixture::tenant_tree(&[("scripts/key.txt", &key)]);
    assert_eq!(ids(&fixture::read(&tree, &[]).1), ["K313"]);
}

#[test]
fn no_finding_shows_what_a_secret_file_holds() {
    const CANARY: &str = "canaryCANARYcanary";
    let mutations = [
        format!("{CANARY}\n"),
        format!("warehouse_url: {{ v1: {CANARY} }}\n"),
        format!("{CANARY}: {{ v1: x }}\n"),
        format!("warehouse_url: !{CANARY} x\n"),
        format!("warehouse_url: [{CANARY}\n"),
        format!("warehouse_url: {CANARY}: {CANARY}: x\n"),
        format!("{CANARY}: 1\n{CANARY}: 2\n{FILE}"),
        format!("*{CANARY}\n"),
        FILE.replacen("ENC[", CANARY, 1),
        FILE.replace("warehouse_url:", &format!("{CANARY}:")),
        FILE.replace(TENANT_KEY, CANARY),
        FILE.replace("    age:", &format!("    {CANARY}: x\n    age:")),
        FILE.replace("    mac: ENC", &format!("    mac: {CANARY}")),
        FILE.replace("lastmodified: ", &format!("lastmodified: {CANARY}")),
        FILE.replace("unencrypted_suffix: _unencrypted", &format!("encrypted_regex: \"({CANARY}\"")),
        format!("{FILE}---\n{CANARY}: x\n"),
    ];
    for file in mutations {
        let found = found(&file);
        assert!(found.iter().any(|finding| finding.severity == Severity::Error), "nothing found in {file}");
        let shown = [
            report::human(&found, &|_| Some(file.clone()), false),
            report::json(&found, None, report::Checked { checked: 1, clean: 0, broken: 1 }).to_string(),
            report::sarif(&found, "0").to_string(),
            report::github(&found),
            report::gitlab(&found).to_string(),
            report::junit(&found, &["acme".into()]),
        ];
        for text in shown {
            assert!(!text.contains("canary") && !text.contains("CANARY"), "{text}\nfrom {file}");
        }
    }
}

/// A private key is found wherever it lies, and no finding of the file quotes any of it.
#[test]
fn a_private_key_is_found_wherever_it_lies() {
    let age = format!("AGE-SECRET-KEY-1{}", "QZRY9X8GF2TVDW0S3JN54KHCE6MUA7L".repeat(2));
    let pem = format!(
        "-----BEGIN {} KEY-----\nMIIEvQIBADANBgkqhkiG9w0B\n-----END {} KEY-----\n",
        "PRIVATE", "PRIVATE"
    );
    let ssh = format!("-----BEGIN {} PRIVATE KEY-----\nb3BlbnNzaC1rZXktdjEAAAAA\n", "OPENSSH");
    for key in [&age, &pem, &ssh] {
        for path in [
            "key",
            "notes/deep/down/here.txt",
            ".hidden",
            "scripts/data/blob.bin",
            "secrets/token.v1.sops.yaml",
            "workflows/sync.yaml",
            "secrets.yaml",
            "README.md",
        ] {
            let text = format!("\0a: 1\nb: \"x\" {key}\n");
            let (_, found) = fixture::read(&fixture::tenant_tree(&[(path, &text)]), &[]);
            let keys: Vec<_> = found.iter().filter(|finding| finding.rule.id == "K313").collect();
            assert_eq!(keys.len(), 1, "{path}: {found:?}");
            let said = format!("{found:?}");
            for part in ["QZRY9X8", "MIIEvQ", "b3BlbnN"] {
                assert!(!said.contains(part), "{path}: {said}");
            }
        }
    }
}

#[test]
fn the_settings_hold_no_hidden_characters_and_no_mask() {
    for (line, rule) in [
        ("name = \"a\u{200b}cme\"", "Y020"),
        ("name = \"a\u{202e}cme\"", "Y020"),
        ("# a\u{2066}comment", "Y020"),
        ("name = \"[redacted:db_url]\"", "K323"),
    ] {
        let toml = SETTINGS.replacen("name = ", "# ", 1);
        let (_, found) =
            read_platform(&fixture::platform_tree(&[("tenantry.toml", &format!("{line}\n{toml}"))]));
        assert!(found.iter().any(|finding| finding.rule.id == rule), "{line:?}: {found:?}");
    }
}
