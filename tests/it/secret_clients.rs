//! The single-file clients for Python, Node.js and shell, called by steps in the real sandbox.

use std::fs;
use std::process::{Command, Output};

use sha2::{Digest as _, Sha256};

use super::secrets::Place;
use super::workbench::TENANTRY;

/// Not ASCII, with a break inside and one that `$(…)` would drop at the end.
const VALUE: &str = "grüße-vom-\"Tresor\"\n0123456789";

/// Runs one inline script with the example's `shop_api_token` set to [`VALUE`]; `None` where there is no sandbox.
#[track_caller]
fn run(shell: &str, script: &str) -> Option<String> {
    let place = Place::new();
    let indented: String = script.lines().map(|line| format!("      {line}\n")).collect();
    let workflow = format!(
        "inputs: {{ day: {{ type: string, default: monday }} }}\nsteps:\n  ask:\n    shell: {shell}\n    script: |\n{indented}\
         \x20   secrets: [shop_api_token, {{ name: warehouse_url, env: WAREHOUSE }}]\n    outputs: {{ rows: int, note: string }}\n\
         \x20 later:\n    needs: ask\n    with: {{ rows: \"${{{{ steps.ask.outputs.rows }}}}\" }}\n    script: 'echo rows are $INPUT_ROWS'\n"
    );
    let repo = place.path("repo");
    fs::write(repo.join("tenants/acme/workflows/clients.yaml"), workflow).unwrap();

    let values = format!(
        "shop_api_token={}\nwarehouse_url=postgres://app:hunter2-hunter2@db/x\n",
        serde_json::to_string(VALUE).unwrap()
    );
    fs::write(repo.join(".env.local"), values).unwrap();
    let ran = Command::new(TENANTRY)
        .args(["run", "acme/clients", "--secrets-file", ".env.local"])
        .current_dir(&repo)
        .env_clear()
        .envs([("PATH", std::env::var_os("PATH").unwrap()), ("HOME", place.path("home").into_os_string())])
        .output()
        .unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let Output { status, stdout, stderr } = ran;
    let (out, err) = (text(&stdout), text(&stderr));
    if err.contains("user namespaces") || err.contains("steps are refused on this machine") {
        println!("missing: user namespaces ({err})");
        return None;
    }
    assert!(status.success(), "{shell}: {out}\n{err}");
    for shown in [VALUE, "Tresor", "hunter2"] {
        assert!(!out.contains(shown) && !err.contains(shown), "{shell}: {out}\n{err}");
    }
    Some(out)
}

/// What each client has to print, in this order.
#[track_caller]
fn check(shell: &str, script: &str) {
    let digest = hex::encode(Sha256::digest(VALUE.as_bytes()));
    let Some(out) = run(shell, &script.replace("@DIGEST@", &digest)) else { return };
    let said: Vec<&str> =
        out.lines().filter_map(|line| line.split_once("| ")).map(|(_, said)| said).collect();
    let want = [
        "the value: same",
        "shown: [redacted:shop_api_token]",
        "derived: [redacted:derived]",
        "names: shop_api_token warehouse_url",
        "undeclared: not_declared",
        "revoked: refused",
        "nonsense: refused",
        "rows are 17",
    ];
    let said: Vec<&str> = said
        .into_iter()
        .filter(|line| want.iter().any(|want| want.split(':').next() == line.split(':').next()))
        .collect();
    assert_eq!(said, want, "{shell}: {out}");
}

fn there_is(program: &str) -> bool {
    let there = Command::new(program).arg("--version").output().is_ok_and(|output| output.status.success());
    if !there {
        println!("missing: {program}");
    }
    there
}

#[test]
fn python_asks_masks_and_answers() {
    if !there_is("python3") {
        return;
    }
    check(
        "python",
        "import hashlib, sys
sys.path.insert(0, '/opt/tenantry/lib')
import tenantry
value = tenantry.secret('shop_api_token')
digest = hashlib.sha256(tenantry.secret_bytes('shop_api_token')).hexdigest()
print('the value:', 'same' if digest == '@DIGEST@' and value.encode() else 'another')
print('shown:', value)
derived = value[::-1]
tenantry.mask(derived)
print('derived:', derived)
print('names:', *tenantry.secrets())
try:
    tenantry.secret('other_secret')
except tenantry.Refused as refused:
    print('undeclared:', refused.code if refused.status == 403 else refused)
try:
    tenantry.secret('shop_api_token', 'v1')
except tenantry.Refused as refused:
    print('revoked:', 'refused' if refused.status == 410 else refused)
try:
    tenantry.secret('../globex')
except ValueError:
    print('nonsense: refused')
assert tenantry.accepted('shop_api_token')[0][2] == value.encode()
assert tenantry.inputs() == {'day': 'monday'}, tenantry.inputs()
tenantry.output('note', 'ü')
tenantry.output('rows', 17)
",
    );
}

#[test]
fn node_asks_masks_and_answers() {
    if !there_is("node") {
        return;
    }
    check(
        "node",
        "const tenantry = require('/opt/tenantry/lib/tenantry.js');
const hash = require('crypto').createHash('sha256');
(async () => {
  const value = await tenantry.secret('shop_api_token');
  const digest = hash.update(await tenantry.secretBytes('shop_api_token')).digest('hex');
  console.log('the value:', digest === '@DIGEST@' ? 'same' : 'another');
  console.log('shown:', value);
  const derived = [...value].reverse().join('');
  await tenantry.mask(derived);
  console.log('derived:', derived);
  console.log('names:', (await tenantry.secrets()).join(' '));
  await tenantry.secret('other_secret').catch((refused) =>
    console.log('undeclared:', refused instanceof tenantry.Refused && refused.status === 403 ? refused.code : refused));
  await tenantry.secret('shop_api_token', 'v1').catch((refused) =>
    console.log('revoked:', refused.status === 410 ? 'refused' : refused));
  await tenantry.secret('../globex').catch((error) =>
    console.log('nonsense:', error instanceof TypeError ? 'refused' : error));
  const [{ value: bytes }] = await tenantry.accepted('shop_api_token');
  if (bytes.toString() !== value) throw new Error('another value');
  if (tenantry.inputs().day !== 'monday') throw new Error('other inputs');
  tenantry.output('note', 'ü');
  tenantry.output('rows', 17);
})();
",
    );
}

#[test]
fn a_shell_asks_masks_and_answers() {
    check(
        "sh",
        ". /opt/tenantry/lib/tenantry.sh
value=$(secret shop_api_token)
digest=$(secret shop_api_token | sha256sum)
[ \"${digest%% *}\" = @DIGEST@ ] && echo 'the value: same'
printf 'shown: %s\\n' \"$value\"
derived=\"$value-and-more\"
derived=$(printf %s \"$derived\" | tr 0123456789 9876543210)
mask \"$derived\"
printf 'derived: %s\\n' \"$derived\"
echo \"names: $(secrets | tr '\\n' ' ' | sed 's/ $//')\"
why=$(secret other_secret 2>&1) || case $why in *'403 not_declared'*) echo 'undeclared: not_declared' ;; esac
secret shop_api_token v1 2>/dev/null || echo \"revoked: refused\"
secret ../globex 2>/dev/null || echo 'nonsense: refused'
[ \"$(with_secrets TOKEN=shop_api_token -- sh -c 'printf %s \"$TOKEN\"')\" = \"$value\" ]
[ -z \"${TOKEN-}\" ]
output note ü
tenantry-output --json rows 17
",
    );
}
