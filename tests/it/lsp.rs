//! `tenantry lsp`, spoken to over its standard input and output as an editor does.

mod client;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};

use crate::workbench::TENANTRY;
use client::{Client, under, uri};

/// A copy of the example repository under Git, in a directory whose name is a trial.
struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Self {
        let place = Self(tempfile::tempdir().unwrap());
        std::fs::create_dir(place.root()).unwrap();
        let example = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("example-repo/.");
        assert!(Command::new("cp").arg("-r").arg(example).arg(place.root()).status().unwrap().success());
        let git = Command::new("git").arg("-C").arg(place.root()).args(["init", "-q"]).status();
        assert!(git.unwrap().success());
        place
    }
    fn root(&self) -> PathBuf {
        self.0.path().join("my repo %41 é")
    }
    fn path(&self, path: &str) -> PathBuf {
        self.root().join(path)
    }
    fn read(&self, path: &str) -> String {
        std::fs::read_to_string(self.path(path)).unwrap()
    }
    fn write(&self, path: &str, text: &str) {
        std::fs::create_dir_all(self.path(path).parent().unwrap()).unwrap();
        std::fs::write(self.path(path), text).unwrap();
    }
    /// What `validate` finds: path, line, column in scalars, rule.
    fn validate(&self) -> BTreeSet<(String, u64, u64, String)> {
        let output = Command::new(TENANTRY)
            .args(["validate", "--format", "json", "--repo"])
            .arg(self.root())
            .output()
            .unwrap();
        let document: Value = serde_json::from_slice(&output.stdout).unwrap();
        let findings = document["findings"].as_array().unwrap();
        let number = |value: &Value| value.as_u64().unwrap();
        findings
            .iter()
            .map(|one| {
                let path = one["path"].as_str().unwrap().to_owned();
                (path, number(&one["line"]), number(&one["column"]), one["rule"].as_str().unwrap().to_owned())
            })
            .collect()
    }
}

const SYNC: &str = "tenants/acme/workflows/sync.yaml";

fn labels(answer: &Value) -> Vec<&str> {
    answer["items"].as_array().unwrap().iter().map(|item| item["label"].as_str().unwrap()).collect()
}

#[test]
fn it_says_what_validate_says() {
    let place = Place::new();
    place.write(SYNC, "# 😀 é\nname: sync\nsteps:\n  pull: { run: scripts/nothing.sh, timout: 5m }\n");
    place.write("tenants/emea/tenant.yaml", "owner: group:nobody\nkind: custmer\n");
    place.write("tenants/Bad/tenant.yaml", "owner: alice\n");
    place.write("tenants/acme/workflows/old.yml", "run: x\n");
    let want = place.validate();
    assert!(want.len() >= 5, "{want:?}");
    let mut client = Client::on(&place.root());
    let told = |client: &Client| -> BTreeSet<(String, u64, u64, String)> {
        let mut all = BTreeSet::new();
        for (address, (_, findings)) in &client.published {
            let path = client::path(address);
            let path = path.strip_prefix(place.root()).unwrap().to_str().unwrap().to_owned();
            let text = std::fs::read_to_string(place.path(&path)).unwrap_or_default();
            for finding in findings {
                let at = &text[..client::offset(&text, &finding["range"]["start"])];
                let line = at.matches('\n').count() as u64 + 1;
                let column = at.rsplit('\n').next().unwrap().chars().count() as u64 + 1;
                all.insert((path.clone(), line, column, finding["code"].as_str().unwrap().to_owned()));
            }
        }
        all
    };
    client.until("every finding of validate", |client| told(client) == want);
    // Nothing else comes.
    client.listen(Duration::from_millis(300));
    assert_eq!(told(&client), want);
    assert_eq!(client.end(), 0);
}

#[test]
fn what_is_typed_is_judged_before_it_is_saved() {
    let place = Place::new();
    let mut client = Client::on(&place.root());
    let sync = client.open(
        &place.path(SYNC),
        "steps:\n  pull: { script: \"true\" }\n  load: { script: \"true\", needs: [pull] }\n",
    );
    assert_eq!(client.rules(&sync), [""; 0]);
    client.type_over(&sync, "[pull]", "[pul]");
    let found = client.findings(&sync);
    assert_eq!(found[0]["code"], "W201", "{found:?}");
    assert_eq!(found[0]["severity"], 1);
    assert_eq!(found[0]["source"], "tenantry");
    assert_eq!(under(client.text(&sync), &found[0]["range"]), "pul");
    assert!(found[0]["message"].as_str().unwrap().contains("did you mean `pull`?"), "{found:?}");
    // Half a text is a finding, and the next one is judged again.
    client.type_over(&sync, "[pul]", "[pul");
    assert_eq!(client.rules(&sync), ["Y001"]);
    client.type_over(&sync, "[pul", "[pull]");
    assert_eq!(client.rules(&sync), [""; 0]);
    // What people.yaml says in the editor counts for every tenant, saved or not.
    let people = client.open(&place.path("platform/people.yaml"), &place.read("platform/people.yaml"));
    let roles = client.open(&place.path("tenants/acme/roles.yaml"), &place.read("tenants/acme/roles.yaml"));
    assert_eq!(client.rules(&roles), [""; 0]);
    client.type_over(&people, "  dan: {", "  dana: {");
    let is = |client: &Client| {
        client.published.get(&roles).is_some_and(|(_, found)| found.iter().any(|one| one["code"] == "R401"))
    };
    client.until("that dan is unknown", is);
    // A text that nobody saved is gone with its window.
    client.close(&people);
    client.until("that dan is known", |client| client.published[&roles].1.is_empty());
    assert_eq!(client.end(), 0);
}

#[test]
fn columns_are_counted_as_agreed() {
    let place = Place::new();
    let text = "description: 😀é\nsteps: { a: { script: \"true 😀é\", shel: sh } }\n";
    for (encodings, column) in [
        (json!(["utf-16"]), 34),
        (json!(["utf-8", "utf-16"]), 37),
        (json!(["utf-32"]), 33),
        (Value::Null, 34),
    ] {
        let general = if encodings.is_null() { json!({}) } else { json!({ "positionEncodings": encodings }) };
        let mut client = Client::with(&place.root(), json!({ "general": general }));
        let sync = client.open(&place.path(SYNC), text);
        let found = client.findings(&sync);
        assert_eq!(found[0]["code"], "S101", "{found:?}");
        assert_eq!(found[0]["range"]["start"], json!({ "line": 1, "character": column }), "{encodings}");
        assert_eq!(client.end(), 0);
    }
}

#[test]
fn what_may_stand_at_a_place_is_offered() {
    let place = Place::new();
    place.write(
        "shared/invoices/workflow.yaml",
        "inputs: { region: { type: string } }\nrun: pull.sh\nsecrets: [db_url]\n",
    );
    place.write("shared/invoices/pull.sh", "#!/bin/sh\n");
    let mut client = Client::on(&place.root());
    let sync = uri(&place.path(SYNC));
    let roles = uri(&place.path("tenants/acme/roles.yaml"));
    let tenant = uri(&place.path("tenants/acme/tenant.yaml"));
    let people = uri(&place.path("platform/people.yaml"));
    let settings = uri(&place.path("tenantry.toml"));
    let mut check = |address: &str, marked: &str, want: &[&str], not: &[&str]| {
        let answer = client.at("textDocument/completion", address, marked);
        let got = labels(&answer);
        for one in want {
            assert!(got.contains(one), "{marked}: no {one} in {got:?}");
        }
        for one in not {
            assert!(!got.contains(one), "{marked}: {one} in {got:?}");
        }
    };
    check(&sync, "¦", &["steps", "on", "timeout", "uses"], &["needs"]);
    check(&sync, "timeout: 1m\n¦\nrun: x\n", &["steps", "retry"], &["timeout", "run"]);
    check(
        &sync,
        "steps:\n  a:\n    script: x\n    ¦\n",
        &["needs", "secrets", "timeout", "if"],
        &["script", "on"],
    );
    check(&sync, "steps:\n  a: { script: x, ret¦ }\n", &["retry"], &["script"]);
    check(&sync, "steps:\n  a: { script: x }\n  b: { needs: [¦] }\n", &["a"], &["b"]);
    check(&sync, "steps:\n  a: { script: x }\n  b: { needs: [¦\n  c:\n    script: x\n", &["a", "c"], &["b"]);
    check(&sync, "steps:\n  a: { script: x }\n  b:\n    needs: ¦\n", &["a"], &["b"]);
    check(&sync, "steps:\n  a:\n    shell: ¦\n", &["sh", "bash", "python", "node"], &[]);
    check(&sync, "replay_safe: ¦\n", &["true", "false"], &[]);
    check(&sync, "on: ¦\n", &["commit", "manual"], &[]);
    check(&sync, "on:\n  ¦\n", &["commit", "schedule", "webhook", "manual"], &[]);
    check(
        &sync,
        "on: { schedule: [{ cron: \"0 2 * * *\", ¦ }] }\n",
        &["timezone", "catch_up", "overlap"],
        &["cron"],
    );
    check(&sync, "on: { schedule: [{ cron: \"0 2 * * *\", timezone: Eur¦ }] }\n", &["Europe/Berlin"], &[]);
    check(&sync, "secrets: [¦]\nrun: x\n", &["shop_api_token", "warehouse_url"], &[]);
    check(&sync, "secrets: [warehouse_url, ¦]\nrun: x\n", &["shop_api_token"], &["warehouse_url"]);
    check(&sync, "steps:\n  a:\n    secrets:\n      - ¦\n", &["shop_api_token", "name"], &[]);
    check(&sync, "steps:\n  a:\n    secrets:\n      - { name: ¦ }\n", &["shop_api_token"], &[]);
    check(&sync, "run: ¦\n", &["scripts/stock-levels.sh"], &["secrets/shop_api_token.v1.sops.yaml"]);
    check(&sync, "run: scripts/st¦\n", &["scripts/stock-levels.sh"], &[]);
    check(&sync, "uses: ¦\n", &["shared/invoices"], &[]);
    check(&sync, "uses: shared/invoices\nwith: { ¦ }\n", &["region"], &[]);
    check(&sync, "uses: shared/invoices\nsecrets:\n  ¦\n", &["db_url"], &[]);
    check(&sync, "uses: shared/invoices\nsecrets: { db_url: ¦ }\n", &["warehouse_url"], &[]);
    check(
        &sync,
        "inputs: { day: {} }\nsteps:\n  a: { script: x, outputs: { count: int } }\n  b:\n    with: { d: \"${{ ¦ }}\" }\n",
        &["inputs", "steps", "trigger", "tenant"],
        &["item", "secrets", "a"],
    );
    check(&sync, "inputs: { day: {} }\nrun: x\nwith: { d: \"${{ inputs.¦ }}\" }\n", &["day"], &["inputs"]);
    check(
        &sync,
        "steps:\n  a: { script: x, outputs: { count: int } }\n  b:\n    if: steps.a.outputs.¦\n",
        &["count"],
        &[],
    );
    check(&sync, "steps:\n  a: { script: x }\n  b:\n    if: steps.¦\n", &["a"], &["b"]);
    check(&sync, "script: |\n  ¦\n", &[], &["steps"]);
    check(&sync, "# ¦\n", &[], &["steps"]);
    check(&roles, "operator: [¦]\n", &["bob", "group:acme-ops", "service:ci-bot"], &[]);
    check(&roles, "elevations:\n  - { user: ¦ }\n", &["dan"], &["group:acme-ops"]);
    check(&roles, "elevations:\n  - { role: ¦ }\n", &["operator", "auditor"], &["admin"]);
    check(&roles, "¦", &["operator", "elevations"], &["owner"]);
    check(&tenant, "owner: ¦\n", &["group:acme-owners", "alice"], &[]);
    check(&tenant, "timezone: ¦\n", &["UTC", "Europe/Berlin"], &[]);
    check(&people, "users: { a: {}, b: {} }\ngroups:\n  g: [a, ¦]\n", &["b"], &["a"]);
    check(&settings, "[change_control]\nmode = \"¦\"\n", &["pull-request", "open"], &[]);
    check(&settings, "[reconcile]\n¦\n", &["branch", "on_rewrite"], &[]);
    check(&settings, "¦", &["format", "reconcile"], &[]);
    check(&settings, "[network]\nprivate = [{ tenant = ¦ }]\n", &["acme", "emea"], &[]);
    assert_eq!(client.end(), 0);
}

#[test]
fn a_completion_is_inserted_where_it_belongs() {
    let place = Place::new();
    let mut client = Client::on(&place.root());
    let sync = uri(&place.path(SYNC));
    let settings = uri(&place.path("tenantry.toml"));
    let mut check = |address: &str, marked: &str, label: &str, want: &str| {
        let answer = client.at("textDocument/completion", address, marked);
        let item = answer["items"].as_array().unwrap().iter().find(|item| item["label"] == label).unwrap();
        let edit = json!({ "changes": { address: [item["textEdit"]] } });
        client.apply(&edit);
        assert_eq!(client.text(address), want);
    };
    check(&sync, "# 😀\ntim¦\nrun: x\n", "timeout", "# 😀\ntimeout: \nrun: x\n");
    check(&sync, "tim¦: 5m\n", "timeout", "timeout: 5m\n");
    check(&sync, "st¦\n", "steps", "steps:\n");
    check(&sync, "steps:\n  a: { shell:¦ }\n", "sh", "steps:\n  a: { shell: sh }\n");
    check(
        &sync,
        "steps:\n  a: { script: x }\n  b:\n    needs:\n      - ¦\n",
        "a",
        "steps:\n  a: { script: x }\n  b:\n    needs:\n      - a\n",
    );
    check(
        &sync,
        "steps:\n  a:\n    secrets: ¦\n",
        "warehouse_url",
        "steps:\n  a:\n    secrets: [warehouse_url]\n",
    );
    check(
        &sync,
        "steps:\n  a:\n    secrets:\n      ¦\n",
        "warehouse_url",
        "steps:\n  a:\n    secrets:\n      - warehouse_url\n",
    );
    check(&sync, "run: scripts/stock-¦levels\n", "scripts/stock-levels.sh", "run: scripts/stock-levels.sh\n");
    check(
        &sync,
        "inputs: { day: {} }\nwith: { é: \"😀 ${{ inputs.d¦ }}\" }\n",
        "day",
        "inputs: { day: {} }\nwith: { é: \"😀 ${{ inputs.day }}\" }\n",
    );
    check(&settings, "[change_control]\nmode = ¦\n", "open", "[change_control]\nmode = \"open\"\n");
    check(&settings, "[change_control]\nmo¦\n", "mode", "[change_control]\nmode = \n");
    assert_eq!(client.end(), 0);
}

#[test]
fn a_word_says_what_it_is_and_where_it_is_defined() {
    let place = Place::new();
    place.write(
        "shared/invoices/workflow.yaml",
        "inputs: { region: { type: string } }\nrun: pull.sh\nsecrets: [db_url]\n",
    );
    let mut client = Client::on(&place.root());
    let sync = uri(&place.path(SYNC));
    let roles = uri(&place.path("tenants/acme/roles.yaml"));
    let index = uri(&place.path("tenants/acme/secrets.yaml"));
    let secrets = place.read("tenants/acme/secrets.yaml");
    let mut hover = |address: &str, marked: &str, want: &[&str]| {
        let answer = client.at("textDocument/hover", address, marked);
        let text = answer["contents"]["value"].as_str().unwrap_or_default();
        for one in want {
            assert!(text.contains(one), "{marked}: no {one:?} in {answer}");
        }
    };
    hover(&sync, "time¦out: 10m\n", &["**`timeout`**", "The time of a run"]);
    hover(&sync, "timeout: 1¦0m\n", &["**`timeout`**", "`30s`"]);
    hover(&sync, "steps:\n  a: { shell: ba¦sh }\n", &["sh | bash | python | node"]);
    hover(
        &sync,
        "steps:\n  pull: { script: x, outputs: { n: int } }\n  b: { needs: pu¦ll }\n",
        &["step `pull`", "writes `n`", "The steps it waits for"],
    );
    hover(
        &sync,
        "secrets: [shop¦_api_token]\n",
        &["secret `shop_api_token`", "`v2` `current`", "`orders-import`"],
    );
    hover(&sync, "on: { schedule: \"0 ¦2 * * *\" }\n", &["fires next, in `Europe/Berlin`"]);
    hover(
        &sync,
        "run: scripts/stock¦-levels.sh\n",
        &["script `tenants/acme/scripts/stock-levels.sh`, executable"],
    );
    hover(&sync, "run: x\nwith: { a: \"${{ trig¦ger.time }}\" }\n", &["what started the run"]);
    hover(&roles, "operator: [group:acme¦-ops]\n", &["group `acme-ops`: `bob`, `carol`"]);
    hover(&roles, "developer: [d¦an]\n", &["person `dan`: `Dan Lindqvist`"]);
    assert_eq!(client.at("textDocument/hover", &sync, "# noth¦ing\n"), Value::Null);

    let mut goes = |address: &str, marked: &str, file: &str, name: &str| {
        let answer = client.at("textDocument/definition", address, marked);
        let target = answer["uri"].as_str().unwrap_or_else(|| panic!("{marked} leads nowhere"));
        let found = client::path(target);
        assert_eq!(found, place.path(file), "{marked}");
        let text = if target == address { client.text(address).to_owned() } else { place.read(file) };
        assert_eq!(under(&text, &answer["range"]), name, "{marked}");
    };
    goes(&sync, "run: scripts/stock¦-levels.sh\n", "tenants/acme/scripts/stock-levels.sh", "");
    goes(&sync, "secrets: [shop¦_api_token]\n", "tenants/acme/secrets.yaml", "shop_api_token");
    goes(&sync, "steps:\n  pull: { script: x }\n  b: { needs: pu¦ll }\n", SYNC, "pull");
    goes(&sync, "steps:\n  pull: { script: x }\n  b: { if: \"steps.pu¦ll.status == ''\" }\n", SYNC, "pull");
    goes(&sync, "inputs: { day: {} }\nwith: { é: \"${{ inputs.d¦ay }}\" }\n", SYNC, "day");
    goes(&sync, "uses: shared/inv¦oices\n", "shared/invoices/workflow.yaml", "");
    goes(&sync, "uses: shared/invoices\nwith: { reg¦ion: us }\n", "shared/invoices/workflow.yaml", "region");
    goes(
        &sync,
        "uses: shared/invoices\nsecrets: { db¦_url: warehouse_url }\n",
        "shared/invoices/workflow.yaml",
        "db_url",
    );
    goes(
        &sync,
        "uses: shared/invoices\nsecrets: { db_url: ware¦house_url }\n",
        "tenants/acme/secrets.yaml",
        "warehouse_url",
    );
    goes(&roles, "operator: [group:acme¦-ops]\n", "platform/people.yaml", "acme-ops");
    goes(&roles, "operator: [b¦ob]\n", "platform/people.yaml", "bob");
    goes(
        &index,
        &secrets.replacen("id: v2", "id: v¦2", 1),
        "tenants/acme/secrets/shop_api_token.v2.sops.yaml",
        "",
    );
    assert_eq!(client.at("textDocument/definition", &sync, "run: scripts/noth¦ing.sh\n"), Value::Null);
    assert_eq!(client.end(), 0);
}

#[test]
fn a_file_has_an_outline() {
    let place = Place::new();
    let mut client = Client::on(&place.root());
    let text = place.read("tenants/acme/workflows/orders-import.yaml");
    let address = client.open(&place.path("tenants/acme/workflows/orders-import.yaml"), &text);
    let symbols =
        client.request("textDocument/documentSymbol", json!({ "textDocument": { "uri": address } }));
    let steps = symbols.as_array().unwrap().iter().find(|symbol| symbol["name"] == "steps").unwrap();
    let names: Vec<&str> =
        steps["children"].as_array().unwrap().iter().map(|step| step["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["fetch", "customers", "revenue", "publish"]);
    assert!(under(&text, &steps["children"][0]["range"]).ends_with("{ rows: int"), "{steps}");
    assert_eq!(client.end(), 0);
}

#[test]
fn a_fix_gives_a_file_that_passes() {
    let place = Place::new();
    let mut client = Client::on(&place.root());
    let text = "# 😀 é\ndescription: \"😀\"\nsteps:\n  a: { script: \"true\", timout: 5m }\n  b: { scrpt: \"true\", args: [no] }\n";
    let sync = client.open(&place.path(SYNC), text);
    assert_eq!(client.findings(&sync).len(), 3);
    let ask = |client: &mut Client, only: Value, from: usize, to: usize| {
        let text = client.text(&sync).to_owned();
        let range = json!({ "start": client::position(&text, from), "end": client::position(&text, to) });
        let params = json!({ "textDocument": { "uri": sync }, "range": range, "context": { "diagnostics": [], "only": only } });
        client.request("textDocument/codeAction", params).as_array().unwrap().clone()
    };
    // One fix, at its place alone.
    let at = text.find("timout").unwrap();
    let one = ask(&mut client, json!(["quickfix"]), at, at + 6);
    assert_eq!(one.len(), 1, "{one:?}");
    assert_eq!(one[0]["title"], "write `timeout`");
    assert_eq!(one[0]["diagnostics"][0]["code"], "S101");
    client.apply(&one[0]["edit"]);
    // Asked at once: the answer waits until the new text was judged.
    let all = ask(&mut client, json!(["source.fixAll"]), 0, 0);
    assert_eq!(all.len(), 1, "{all:?}");
    client.apply(&all[0]["edit"]);
    assert_eq!(client.rules(&sync), [""; 0], "{}", client.text(&sync));
    place.write(SYNC, client.text(&sync));
    assert_eq!(place.validate(), BTreeSet::new());
    assert!(ask(&mut client, Value::Null, 0, 20).is_empty());
    // A file that only has to be called something else.
    let old = client.open(&place.path("tenants/acme/workflows/old.yml"), "script: \"true\"\n");
    client.findings(&old);
    let range = json!({ "start": { "line": 0, "character": 3 }, "end": { "line": 0, "character": 3 } });
    let params = json!({ "textDocument": { "uri": old }, "range": range, "context": { "diagnostics": [] } });
    let actions = client.request("textDocument/codeAction", params);
    let rename = &actions[0]["edit"]["documentChanges"][0];
    assert_eq!(rename["kind"], "rename", "{actions}");
    assert_eq!(
        client::path(rename["newUri"].as_str().unwrap()),
        place.path("tenants/acme/workflows/old.yaml")
    );
    assert_eq!(client.end(), 0);
}

#[test]
fn what_is_not_the_protocol_ends_nothing() {
    let place = Place::new();
    let mut client = Client::start();
    let id = client.ask("textDocument/hover", json!({}));
    assert_eq!(client.answer(id)["error"]["code"], -32002);
    client.notify("textDocument/didOpen", json!({ "before": "its time" }));
    let params = json!({ "processId": null, "rootUri": uri(&place.root()), "capabilities": {} });
    client.request("initialize", params.clone());
    let id = client.ask("initialize", params);
    assert_eq!(client.answer(id)["error"]["code"], -32600);
    client.raw(b"Content-Length: 5\r\n\r\n{nope");
    assert_eq!(client.answer("null")["error"]["code"], -32700);
    client.raw(b"Content-Length: 2\r\n\r\n[]");
    assert_eq!(client.answer("null")["error"]["code"], -32600);
    client.raw(b"no header at all\r\n\r\n");
    assert_eq!(client.answer("null")["error"]["code"], -32700);
    let id = client.ask("textDocument/nonsense", json!({}));
    assert_eq!(client.answer(id)["error"]["code"], -32601);
    client.notify("$/nonsense", json!({}));
    client.notify("textDocument/didChange", json!({ "textDocument": 3 }));
    client.notify("textDocument/didChange", json!({ "textDocument": { "uri": "file:///never/opened", "version": 2 }, "contentChanges": [{ "text": "x" }] }));
    let id = client.ask("textDocument/hover", json!({ "textDocument": { "uri": "file:///x" } }));
    assert_eq!(client.answer(id)["result"], Value::Null, "a file that is not open");
    let id = client.ask("textDocument/completion", json!("text"));
    assert_eq!(client.answer(id)["error"]["code"], -32602);
    // A position that is nowhere is brought into the text.
    let sync = client.open(&place.path(SYNC), "run: x");
    let far = json!({ "textDocument": { "uri": sync }, "position": { "line": 4_000_000_000_u32, "character": 4_000_000_000_u32 } });
    client.request("textDocument/completion", far.clone());
    let id = client.ask("textDocument/hover", json!({ "textDocument": { "uri": sync }, "position": "here" }));
    assert_eq!(client.answer(id)["error"]["code"], -32602);
    // An id may be a text, and a request may be taken back.
    client.raw(
        framed(&json!({ "jsonrpc": "2.0", "id": "é", "method": "textDocument/hover", "params": far }))
            .as_slice(),
    );
    client.answer("\"é\"");
    client.notify("$/cancelRequest", json!({ "id": 4711 }));
    let id = client.ask("shutdown", Value::Null);
    client.answer(id);
    let id = client.ask("textDocument/hover", far);
    assert_eq!(client.answer(id)["error"]["code"], -32600);
    client.notify("exit", Value::Null);
    assert_eq!(client.wait(), 0);
    // Hanging up is no proper end.
    assert_eq!(Client::on(&place.root()).hang_up(), 1);
}

fn framed(message: &Value) -> Vec<u8> {
    let body = message.to_string();
    format!("Content-Length: {}\r\n\r\n{body}", body.len()).into_bytes()
}

#[test]
fn a_request_that_is_taken_back_is_answered_as_cancelled() {
    let place = Place::new();
    let mut client = Client::on(&place.root());
    let sync = client.open(&place.path(SYNC), "run: x\n");
    client.findings(&sync);
    // In one write, so that the server has the cancellation before it comes to the request.
    let mut bytes = Vec::new();
    for id in 100..140 {
        let params = json!({ "textDocument": { "uri": sync }, "position": { "line": 0, "character": 0 } });
        bytes.extend(framed(
            &json!({ "jsonrpc": "2.0", "id": id, "method": "textDocument/completion", "params": params }),
        ));
    }
    for id in 100..140 {
        bytes.extend(framed(
            &json!({ "jsonrpc": "2.0", "method": "$/cancelRequest", "params": { "id": id } }),
        ));
    }
    client.raw(&bytes);
    let answers: Vec<Value> = (100..140).map(|id| client.answer(id)).collect();
    let cancelled = answers.iter().filter(|answer| answer["error"]["code"] == -32800).count();
    assert!(answers.iter().all(|answer| answer["error"]["code"] == -32800 || answer.get("result").is_some()));
    assert!(cancelled > 0, "{cancelled} of 40 cancelled");
    assert_eq!(client.end(), 0);
}

#[test]
fn a_message_without_bounds_is_left_out() {
    let place = Place::new();
    let mut client = Client::on(&place.root());
    let sync = client.open(&place.path(SYNC), "run: x\ntimout: 1m\n");
    assert!(client.rules(&sync).contains(&"S101".to_owned()));
    let huge = 17 << 20;
    client.raw(format!("Content-Length: {huge}\r\n\r\n").as_bytes());
    client.raw(&vec![b'x'; huge]);
    client.until("a word about it", |client| {
        client.others.iter().any(|one| one["params"]["message"].to_string().contains("open your files again"))
    });
    // What was open is no longer trusted, what is opened again is.
    client.open(&place.path(SYNC), "script: \"true\"\n");
    client.until("the new text", |client| client.published[&sync] == (Some(1), vec![]));
    // A file of more than 1 MiB is judged as `validate` judges it.
    let long = format!("script: \"true\"\n{}", "# filler\n".repeat(150_000));
    client.replace(&sync, &long);
    assert_eq!(client.rules(&sync), ["Y013"]);
    assert_eq!(client.end(), 0);
}

#[test]
fn a_file_outside_a_repository_is_left_alone() {
    let place = Place::new();
    let outside = tempfile::tempdir().unwrap();
    let mut client = Client::on(outside.path());
    for address in [
        uri(&outside.path().join("tenants/acme/workflows/x.yaml")),
        "untitled:Untitled-1".to_owned(),
        "git:/x".to_owned(),
    ] {
        assert_eq!(labels(&client.at("textDocument/completion", &address, "¦")), [""; 0]);
        assert_eq!(client.at("textDocument/hover", &address, "ru¦n: x\n"), Value::Null);
    }
    // A repository elsewhere is found by a file of it.
    let sync = client.open(&place.path(SYNC), "timout: 1m\nscript: x\n");
    assert_eq!(client.rules(&sync), ["S101"]);
    // Files of no known kind in it, too.
    let readme = uri(&place.path("README.md"));
    assert_eq!(labels(&client.at("textDocument/completion", &readme, "¦")), [""; 0]);
    // A repository that comes to be is found when its settings come.
    std::fs::create_dir_all(outside.path().join("platform")).unwrap();
    std::fs::copy(place.path("tenantry.toml"), outside.path().join("tenantry.toml")).unwrap();
    std::fs::copy(place.path("platform/people.yaml"), outside.path().join("platform/people.yaml")).unwrap();
    std::fs::copy(place.path("platform/roles.yaml"), outside.path().join("platform/roles.yaml")).unwrap();
    let created = json!({ "changes": [{ "uri": uri(&outside.path().join("tenantry.toml")), "type": 1 }] });
    client.notify("workspace/didChangeWatchedFiles", created);
    let address = uri(&outside.path().join("tenants/acme/workflows/x.yaml"));
    assert!(labels(&client.at("textDocument/completion", &address, "¦")).contains(&"steps"));
    assert_eq!(client.end(), 0);
}

#[test]
fn files_that_change_beside_the_editor_are_read_again() {
    let place = Place::new();
    let mut client = Client::on(&place.root());
    client.until("a registration", |client| {
        client.others.iter().any(|one| one["method"] == "client/registerCapability")
    });
    let sync = client.open(&place.path(SYNC), "run: scripts/new.sh\n");
    assert_eq!(client.rules(&sync), ["W208"]);
    place.write("tenants/acme/scripts/new.sh", "#!/bin/sh\n");
    std::os::unix::fs::symlink("new.sh", place.path("tenants/acme/scripts/link.sh")).unwrap();
    let _ = Command::new("chmod").arg("+x").arg(place.path("tenants/acme/scripts/new.sh")).status();
    let change = |path: &str| json!({ "changes": [{ "uri": uri(&place.path(path)), "type": 1 }] });
    client.notify("workspace/didChangeWatchedFiles", change("tenants/acme/scripts/new.sh"));
    client.until("that the script is there", |client| client.published[&sync].1.is_empty());
    // What lies behind a link is not read, whatever the editor shows of it.
    let link = client.open(&place.path("tenants/acme/scripts/link.sh"), "#!/bin/sh\n");
    assert_eq!(client.rules(&link), ["G507"]);
    // A tenant that goes takes its findings along.
    place.write("tenants/gone/tenant.yaml", "owner: group:nobody\n");
    client.notify("workspace/didChangeWatchedFiles", change("tenants/gone/tenant.yaml"));
    let gone = |client: &Client| {
        client.published.iter().any(|(address, (_, found))| address.contains("/gone/") && !found.is_empty())
    };
    client.until("the new tenant", gone);
    std::fs::remove_dir_all(place.path("tenants/gone")).unwrap();
    client.notify("workspace/didChangeWatchedFiles", change("tenants/gone/tenant.yaml"));
    client.until("that it has gone", |client| !gone(client));
    assert_eq!(client.end(), 0);
}

#[test]
fn nothing_of_a_file_of_secrets_is_shown() {
    const CANARY: &str = "hunter2-canary-0451";
    let place = Place::new();
    let file = "tenants/acme/secrets/warehouse_url.v1.sops.yaml";
    place.write(file, &format!("warehouse_url:\n    v1: {CANARY}\n"));
    let mut client = Client::on(&place.root());
    let secret = client.open(&place.path(file), &place.read(file));
    for text in [
        format!("warehouse_url:\n    v1: {CANARY}\n"),
        format!("{CANARY}: [\n"),
        format!("\t{CANARY}\n"),
        format!("a: !{CANARY} b\n"),
        format!("a: *{CANARY}\n"),
        format!("{CANARY}: 1\n{CANARY}: 2\n"),
        format!("sops:\n  {CANARY}: {CANARY}\n"),
        format!("# {CANARY}\nsops: {CANARY}\n"),
        format!(
            "sops: {{ age: [{{ recipient: {CANARY}, enc: {CANARY} }}], mac: {CANARY}, lastmodified: {CANARY} }}\n"
        ),
    ] {
        client.replace(&secret, &text);
        assert!(!client.findings(&secret).is_empty(), "{text}");
        for line in 0..3 {
            for character in [0, 2, 8, 20] {
                let place = json!({ "textDocument": { "uri": secret }, "position": { "line": line, "character": character } });
                assert_eq!(client.request("textDocument/hover", place.clone()), Value::Null);
                assert_eq!(client.request("textDocument/definition", place.clone()), Value::Null);
                client.request("textDocument/completion", place);
            }
        }
        let range = json!({ "start": { "line": 0, "character": 0 }, "end": { "line": 9, "character": 0 } });
        client.request(
            "textDocument/codeAction",
            json!({ "textDocument": { "uri": secret }, "range": range, "context": { "diagnostics": [] } }),
        );
        client.request("textDocument/documentSymbol", json!({ "textDocument": { "uri": secret } }));
    }
    let sync = uri(&place.path(SYNC));
    client.at("textDocument/completion", &sync, "secrets: [¦]\n");
    client.at("textDocument/hover", &sync, "secrets: [ware¦house_url]\n");
    client.raw(format!("Content-Length: 40\r\n\r\n{{\"{CANARY}\": ").as_bytes());
    client.raw(&[b' '; 40][..40 - 4 - CANARY.len() - 1]);
    client.notify("textDocument/didOpen", json!({ "textDocument": { "uri": CANARY } }));
    client.listen(Duration::from_millis(300));
    for line in &client.transcript {
        assert!(!line.contains(CANARY), "{line}");
    }
    assert!(client.transcript.len() > 100);
}

/// An editor that somebody else wrote: the client of pygls checks every message against the protocol's model.
#[test]
fn the_client_of_pygls_understands_it() {
    let have = Command::new("python3").args(["-c", "import pygls.lsp.client"]).output();
    if !have.is_ok_and(|output| output.status.success()) {
        assert!(
            std::env::var("TENANTRY_TEST_OFFLINE").as_deref() == Ok("1"),
            "pygls is not here: install `pygls` from PyPI, or set TENANTRY_TEST_OFFLINE=1"
        );
        println!("missing: pygls");
        return;
    }
    let place = Place::new();
    let script = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/it/lsp/editor.py");
    let output = Command::new("python3").arg(script).arg(TENANTRY).arg(place.root()).output().unwrap();
    let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    assert!(output.status.success(), "{said}");
    assert_eq!(said.matches("ok: ").count(), 10, "{said}");
}
