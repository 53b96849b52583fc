//! Every rule with a file that it speaks of, and the place that it points to.

use crate::desired::fixture::{
    check, check_platform, check_tree, check_workflow, entry, read, tenant_tree, tree, valid,
};
use crate::desired::report;
use crate::domain::{Diagnostic, Entry, Mode, Position, Seen, SeenSecret, Severity, Span, TenantId};

const RUN: &str = "run: scripts/a.sh\n";

/// A workflow that is in order but for what is added.
#[track_caller]
fn with(more: &str, rule: &str, at: &str) {
    check_workflow(&format!("{RUN}{more}"), rule, at);
}

#[test]
fn y_files_are_read_or_refused() {
    check_workflow("run: [a, b", "Y001", "");
    check_workflow("steps:\n\tmain: {}\n", "Y002", "\t");
    with("timeout: 5m\ntimeout: 6m\n", "Y003", "timeout");
    with("description: no\n", "Y004", "no");
    with("args: [3.10]\n", "Y004", "3.10");
    with("args: [22:22]\n", "Y004", "22:22");
    with("retry: { attempts: 014 }\n", "Y004", "014");
    let aliases = format!("description: &a x\nargs: [{}]\n", "*a, ".repeat(200));
    with(&aliases, "Y005", "*a");
    with("---\nrun: scripts/a.sh\n", "Y006", "run: scripts/a.sh");
    check_workflow("# nothing\n", "Y006", "");
    with("description: !mine x\n", "Y007", "!mine");
    check_workflow("steps:\n  a: &a { run: scripts/a.sh }\n  b: { <<: *a, script: echo }\n", "Y008", "<<");
    check_workflow("\u{feff}run: scripts/a.sh\n", "Y010", "\u{feff}");
    with("description: \"a\u{0}b\"\n", "Y011", "\u{0}");
    with("description: \"a\u{202e}b\"\n", "Y012", "\u{202e}");
    with(&format!("description: {}\n", "x".repeat(2 << 20)), "Y013", "");
    with("<<<<<<< HEAD\ntimeout: 5m\n=======\n>>>>>>> topic\n", "Y015", "<<<<<<<");
    check(&[("workflows/sync.yml", RUN)], "Y016", "");
    check(&[("notes.txt", "x")], "Y017", "");
    check(&[("workflows/deep/sync.yaml", RUN)], "Y017", "");
    with(&format!("args: [{}]\n", "a, ".repeat(100_001)), "Y018", "a");
    valid(&[("README.md", "x"), ("workflows/README.md", "x")]);
}

#[test]
fn y_bytes_that_are_no_text() {
    let mut tree = tenant_tree(&[("workflows/sync.yaml", RUN)]);
    let entry = tree.files.get_mut("tenants/acme/workflows/sync.yaml").unwrap();
    entry.content = Some(std::sync::Arc::from(&b"run: \xff"[..]));
    check_tree(&tree, "Y009", "");
    let deep = "[".repeat(100_000);
    let (_, found) = read(&tenant_tree(&[("workflows/sync.yaml", &deep)]), &[]);
    assert_eq!(found.iter().map(|finding| finding.rule.id).collect::<Vec<_>>(), ["Y014"]);
}

#[test]
fn y_only_warnings_are_set_aside_and_for_a_reason() {
    let retry = "retry: { attempts: 9, backoff: 30m, max: 1h }";
    with(&format!("{retry}\n"), "W203", "{ attempts: 9, backoff: 30m, max: 1h }");
    valid(&[(
        "workflows/sync.yaml",
        &format!("{RUN}{retry} # tenantry: ignore[W203] the upstream is slow\n"),
    )]);
    valid(&[(
        "workflows/sync.yaml",
        &format!("{RUN}# tenantry: ignore[W203] the upstream is slow\n{retry}\n"),
    )]);
    let ids = |text: &str| {
        let (_, found) = read(&tenant_tree(&[("workflows/sync.yaml", &format!("{RUN}{text}\n"))]), &[]);
        found.iter().map(|finding| finding.rule.id).collect::<Vec<_>>()
    };
    assert_eq!(ids(&format!("{retry} # tenantry: ignore[W203]")), ["W203", "Y019"]);
    assert_eq!(ids("timout: 5m # tenantry: ignore[S101] meant"), ["S101", "Y019"]);
    assert_eq!(ids("# tenantry: ignore[W999] why"), ["Y019"]);
    assert_eq!(ids("# tenantry: please"), ["Y019"]);
}

#[test]
fn s_fields_are_known_and_of_their_type() {
    with("timout: 5m\n", "S101", "timout");
    check(&[("tenant.yaml", "kind: customer\n")], "S102", "kind: customer");
    check_workflow("description: x\n", "S102", "");
    check_workflow("steps: {}\n", "S102", "{}");
    with("args: [8080]\n", "S103", "8080");
    with("args: scripts\n", "S103", "scripts");
    with("replay_safe: \"true\"\n", "S103", "\"true\"");
    with("timeout:\n", "S103", "");
    with("alert: wake\n", "S104", "wake");
    with("timeout: 30\n", "S105", "30");
    with("resources: { memory: 256 }\n", "S105", "256");
    with("outputs: { Count: int }\n", "S106", "Count");
    check(&[("workflows/Sync.yaml", RUN)], "S106", "");
    check_platform(&[("tenantry.toml", "format = 2\n")], "S107", "2");
    check_platform(&[("tenantry.toml", "id = \"x\"\n")], "S107", "");
    with("timeout: soon\n", "S108", "soon");
    with("timeout: 0s\n", "S108", "0s");
    for runtime in ["sha256:0000", "/srv/debian", "debian:12", &format!("sha256:{}", "A".repeat(64))] {
        with(&format!("runtime: {runtime}\n"), "S108", runtime);
    }
    with("retry: { attempts: 0 }\n", "S108", "0");
    with("script: echo\n", "S109", "echo");
    with("shell: sh\n", "S109", "sh");
    check_workflow("steps: { a: { script: echo } }\nargs: [x]\n", "S109", "[x]");
    let mut tree = tenant_tree(&[]);
    tree.files.remove("tenants/acme/tenant.yaml");
    check_tree(&tree, "S110", "");
}

#[test]
fn s_what_cannot_be_done_yet_is_refused() {
    check(&[("tenant.yaml", "owner: alice\nisolation: hard\n")], "S111", "hard");
    check(&[("policies/a.cedar", "forbid")], "S111", "");
    check_platform(&[("platform/policies/a.cedar", "forbid")], "S111", "");
}

#[test]
fn w_python_scripts_have_a_lock_beside_them() {
    let script = "#!/usr/bin/env python3\n# /// script\n# dependencies = [\"tiny\"]\n# ///\n";
    let lock = |registry: &str, url: &str| {
        format!(
            "version = 1\nrequires-python = \">=3.9\"\nmanifest = {{ requirements = [{{ name = \"tiny\" }}] }}\n\
             [[package]]\nname = \"tiny\"\nsource = {{ registry = \"{registry}\" }}\nwheels = [{{ url = \"{url}\", hash = \"sha256:{}\" }}]\n",
            "0".repeat(64)
        )
    };
    let listed = "\n[python]\nindexes = [\"https://pypi.example/simple\", \"https://files.example\"]\n";
    let settings = format!("{}{listed}", crate::desired::fixture::SETTINGS);
    let ids = |lock: Option<&str>, workflow: &str| {
        let mut files = vec![("scripts/p.py", script), ("workflows/s.yaml", workflow)];
        files.extend(lock.map(|lock| ("scripts/p.py.lock", lock)));
        let wide = crate::desired::fixture::platform_tree(&[("tenantry.toml", &settings)]);
        let platform = crate::desired::read_platform(&wide).0.expect("a platform");
        let listing = crate::desired::fixture::listing();
        let acme = "acme".parse().expect("a name");
        let (_, found) = crate::desired::read(&platform, &listing, &wide, &tenant_tree(&files), &acme);
        found.iter().map(|finding| finding.rule.id).collect::<Vec<_>>()
    };
    let run = "run: scripts/p.py\n";
    let good = lock("https://pypi.example/simple", "https://files.example/tiny.whl");
    assert_eq!(ids(Some(&good), run), Vec::<&str>::new());
    assert_eq!(ids(None, run), ["W240"]);
    assert_eq!(
        ids(Some(&good), "run: scripts/p.py\nfiles: [\"scripts/*.py\"]\n"),
        ["W240"],
        "the step does not see it"
    );
    assert_eq!(ids(Some("version = 1\n"), run), ["W241"]);
    assert_eq!(ids(Some(&good.replace("hash", "size")), run), ["W242"]);
    assert_eq!(ids(Some(&lock("https://evil.example", "https://files.example/tiny.whl")), run), ["W243"]);
    assert_eq!(ids(Some(&lock("https://pypi.example/simple", "https://evil.example/t.whl")), run), ["W243"]);
    // Nothing is listed by default, and an inline script has no place for a lock.
    check(
        &[("scripts/p.py", script), ("scripts/p.py.lock", &good), ("workflows/s.yaml", run)],
        "W243",
        "scripts/p.py",
    );
    let inline = "shell: python\nscript: |\n  # /// script\n  # dependencies = [\"tiny\"]\n  # ///\n";
    let (_, found) = read(&tenant_tree(&[("workflows/s.yaml", inline)]), &[]);
    assert_eq!(found.iter().map(|finding| finding.rule.id).collect::<Vec<_>>(), ["W240"]);
    valid(&[("scripts/p.py", "#!/usr/bin/env python3\n# /// script\n# ///\n"), ("workflows/s.yaml", run)]);
    for index in ["pypi.example", "https://10.0.0.1/simple", "https://x.example/?q"] {
        let text = settings.replace("https://pypi.example/simple", index);
        check_platform(&[("tenantry.toml", &text)], "S108", &format!("\"{index}\""));
    }
    let twice = settings.replace("https://files.example", "https://pypi.example/simple");
    check_platform(&[("tenantry.toml", &twice)], "Y003", "\"https://pypi.example/simple\"");
}

#[test]
fn w_approvals_can_be_given() {
    let asking = |approval: &str, id: &str, at: &str| {
        check_workflow(
            &format!("steps: {{ a: {{ approval: {approval} }}, b: {{ script: echo }} }}\n"),
            id,
            at,
        );
    };
    asking("{ from: [operatr] }", "R402", "operatr");
    asking("{ from: [dan] }", "R401", "dan");
    asking("{ from: [group:opps] }", "R401", "group:opps");
    asking("{ from: [\"service:ci-bot\"] }", "R412", "\"service:ci-bot\"");
    asking("{ from: [\"*\"] }", "S108", "\"*\"");
    asking("{ from: [] }", "S108", "[]");
    asking("{ from: [operator, operator] }", "S108", "operator");
    asking("{ from: [operator], count: 0 }", "S108", "0");
    asking("{ from: [operator], count: 21 }", "S108", "21");
    asking("{ from: [operator], timeout: 59s }", "S108", "59s");
    asking("{ from: [operator], timeout: 31d }", "S108", "31d");
    asking("{ from: [operator], timeout: 24 }", "S105", "24");
    asking("{ from: [operator], on_timeout: approve }", "S104", "approve");
    asking("{ count: 1 }", "S102", "{ count: 1 }");
    // The only auditor is a service, and nobody is a developer.
    asking("{ from: [auditor] }", "W232", "[auditor]");
    asking("{ from: [developer] }", "W232", "[developer]");
    asking("{ from: [group:nobody] }", "W232", "[group:nobody]");
    asking("{ from: [owner, alice], count: 2 }", "W232", "[owner, alice]");
    for beside in ["run: scripts/a.sh", "script: echo", "secrets: []", "with: {}", "retry: {}", "timeout: 1h"]
    {
        let step =
            format!("steps: {{ a: {{ approval: {{ from: [owner] }}, {beside} }}, b: {{ script: echo }} }}\n");
        check_workflow(&step, "S109", beside.split_once(": ").unwrap().1);
    }
    let each = "steps: { a: { approval: { from: [owner] }, for_each: \"[1]\" }, b: { script: echo } }\n";
    check_workflow(each, "S109", "\"[1]\"");
    let after = "steps: { a: { script: echo } }\non_failure: { approval: { from: [owner] } }\n";
    check_workflow(after, "S109", "{ from: [owner] }");
}

#[test]
fn w_what_is_sensitive_stands_by_itself_and_in_no_file() {
    let with = |rest: &str, at: &str| {
        let text =
            format!("script: echo\ninputs: {{ email: {{ sensitive: true, required: false }} }}\n{rest}\n");
        check_workflow(&text, "W228", at);
    };
    with("with: { to: \"<${{ inputs.email }}>\" }", "\"<${{ inputs.email }}>\"");
    with("with: { to: \"${{ inputs.email + 'x' }}\" }", "\"${{ inputs.email + 'x' }}\"");
    with("with: { to: [\"${{ size(inputs.email) }}\"] }", "\"${{ size(inputs.email) }}\"");
    with("on: { schedule: { cron: \"0 4 * * *\", with: { email: a@b.example } } }", "email");
    check_workflow("script: echo\ninputs: { email: { sensitive: true, default: x } }\n", "W228", "x");
    check_workflow(
        "script: echo\ninputs: { pin: { sensitive: true, type: int, required: false } }\n",
        "W228",
        "true",
    );
}

#[test]
fn k_a_hook_is_signed_with_a_secret_for_webhooks() {
    with("on: { webhook: { secret: x } }\n", "K301", "x");
    with("on: { webhook: {} }\n", "S102", "{}");
    with("on: webhook\n", "S102", "webhook");
}

#[test]
fn w_steps_wait_for_steps_that_exist() {
    check_workflow("steps:\n  load: { needs: [fecth], run: scripts/a.sh }\n", "W201", "fecth");
    check_workflow("steps:\n  load: { needs: load, run: scripts/a.sh }\n", "W202", "load");
    let circle = "steps:\n  a: { needs: b, run: scripts/a.sh }\n  b: { needs: c, run: scripts/a.sh }\n  \
                  c: { needs: [a, b], run: scripts/a.sh }\n";
    check_workflow(circle, "W202", "c");
    let (_, found) = read(&tenant_tree(&[("workflows/sync.yaml", circle)]), &[]);
    assert_eq!(
        found[0].message, "steps wait for each other in a circle: `b` → `c` → `b`",
        "the shortest one"
    );
}

#[test]
fn w_limits_and_times_are_kept() {
    with("timeout: 2h\n", "W204", "2h");
    check_workflow("timeout: 5m\nsteps: { a: { script: echo, timeout: 6m } }\n", "W204", "6m");
    with("on: { schedule: \"0 25 * * *\" }\n", "W205", "\"0 25 * * *\"");
    with("on: { schedule: \"@daily\" }\n", "W205", "\"@daily\"");
    with("on: { schedule: \"0 0 30 2 *\" }\n", "W206", "\"0 0 30 2 *\"");
    with("on: { schedule: [{ cron: \"0 4 * * *\", timezone: Berlin }] }\n", "W207", "Berlin");
    check(&[("tenant.yaml", "owner: alice\ntimezone: Mars/Base\n")], "W207", "Mars/Base");
    with("on: { schedule: \"30 2 * * *\" }\n", "W221", "\"30 2 * * *\"");
    with("resources: { memory: 1GiB }\n", "W222", "1GiB");
}

#[test]
fn w_scripts_are_there_and_can_be_started() {
    check_workflow("run: scripts/b.sh\n", "W208", "scripts/b.sh");
    check_workflow("run: scripts/A.sh\n", "W208", "scripts/A.sh");
    check_workflow("run: tenant.yaml\n", "W208", "tenant.yaml");
    check(
        &[
            ("scripts/b.sh", "#!/bin/sh\n"),
            ("workflows/s.yaml", "run: scripts/b.sh\nfiles: [scripts/a.sh]\n"),
        ],
        "W208",
        "scripts/b.sh",
    );
    let mut tree = tenant_tree(&[("workflows/sync.yaml", RUN)]);
    tree.files.get_mut("tenants/acme/scripts/a.sh").unwrap().mode = Mode::File;
    check_tree(&tree, "W209", "scripts/a.sh");
    check(&[("scripts/a.sh", "echo\n"), ("workflows/s.yaml", RUN)], "W210", "scripts/a.sh");
    check(&[("scripts/a.sh", "#!/bin/sh\r\necho\r\n"), ("workflows/s.yaml", RUN)], "W210", "scripts/a.sh");
    check(&[("scripts/a.sh", "#!sh\n"), ("workflows/s.yaml", RUN)], "W210", "scripts/a.sh");
    check_workflow("run: ../globex/scripts/a.sh\n", "W211", "../globex/scripts/a.sh");
    check_workflow("run: /bin/sh\n", "W211", "/bin/sh");
    with("on: { commit: { paths: [../globex/**] } }\n", "W211", "../globex/**");
    check_workflow("run: scripts/a.sh --all\n", "W217", "scripts/a.sh --all");
    check_workflow("run: echo hello | wc\n", "W217", "echo hello | wc");
    with("on: { commit: { paths: [scripts/*.csv] } }\n", "W227", "scripts/*.csv");
}

#[test]
fn w_expressions_name_what_exists() {
    with(
        "with: { day: \"${{ inputs.dya }}\" }\ninputs: { day: { default: x } }\n",
        "W212",
        "\"${{ inputs.dya }}\"",
    );
    with("on: { commit: { with: { day: x } } }\n", "W212", "day");
    check_workflow(
        "steps:\n  a: { script: echo, outputs: { count: int } }\n  b: { if: \"steps.a.outputs.cuont > 0\", script: echo }\n",
        "W213",
        "\"steps.a.outputs.cuont > 0\"",
    );
    check_workflow(
        "steps:\n  a: { script: echo, if: \"steps.b.status == 'success'\" }\n  b: { script: echo }\n",
        "W213",
        "\"steps.b.status == 'success'\"",
    );
    check_workflow("run: \"scripts/${{ inputs.a }}.sh\"\n", "W214", "\"scripts/${{ inputs.a }}.sh\"");
    with("concurrency: { key: \"${{ steps.a.outputs.b }}\" }\n", "W214", "\"${{ steps.a.outputs.b }}\"");
    with("inputs: { a: { default: \"${{ inputs.b }}\" } }\n", "W214", "\"${{ inputs.b }}\"");
    with("with: { key: \"${{ secrets.stripe }}\" }\n", "W215", "\"${{ secrets.stripe }}\"");
    with("args: [\"${{ secrets.stripe }}\"]\n", "W215", "\"${{ secrets.stripe }}\"");
    with("with: { a: \"${{ 1 + }}\" }\n", "W218", "\"${{ 1 + }}\"");
    with("with: { a: \"${{ 1\" }\n", "W218", "\"${{ 1\"");
    with("on: { schedule: \"0 4 * * *\" }\ninputs: { day: {} }\n", "W219", "\"0 4 * * *\"");
    with("inputs: { n: { type: int, default: \"3\" } }\n", "W220", "\"3\"");
    with(
        "inputs: { who: { sensitive: true } }\nconcurrency: { key: \"${{ inputs.who }}\" }\n",
        "W228",
        "\"${{ inputs.who }}\"",
    );
}

#[test]
fn w_hosts_lie_within_the_tenants() {
    valid(&[("workflows/sync.yaml", &format!("{RUN}network: [api.example:443]\n"))]);
    with("network: [evil.example:443]\n", "W216", "evil.example:443");
    with("network: [api.example:80]\n", "W216", "api.example:80");
    with("network: [api.example:443, api.example:443]\n", "Y003", "api.example:443");
    with("network: [api.example]\n", "S108", "api.example");
    with("network: [\"api.example:0\"]\n", "S108", "\"api.example:0\"");
    with("network: [\"api.example:65536\"]\n", "S108", "\"api.example:65536\"");
    with("network: [API.example:443]\n", "S108", "API.example:443");
    with("network: [\"https://api.example\"]\n", "S108", "\"https://api.example\"");
    with("network: [\"${{ inputs.host }}:443\"]\n", "W214", "\"${{ inputs.host }}:443\"");
    // An address, in any form that a resolver takes for one, says nothing about who answers there.
    for address in
        ["10.0.0.1:443", "93.184.216.34:443", "127.1:443", "2130706433:443", "0x7f000001:443", "1.0x7f:443"]
    {
        with(&format!("network: [\"{address}\"]\n"), "S108", &format!("\"{address}\""));
    }
    with("network: [\"[::1]:443\"]\n", "S108", "\"[::1]:443\"");
    for name in ["localhost:5432", "db.localhost:5432", "ip6-localhost:1"] {
        with(&format!("network: [\"{name}\"]\n"), "S108", &format!("\"{name}\""));
    }
    let tenant = |egress: &str| format!("owner: alice\negress: [{egress}]\n");
    check(&[("tenant.yaml", &tenant("127.0.0.1:443"))], "S108", "127.0.0.1:443");
    check(&[("tenant.yaml", &tenant("a.example:443, a.example:443"))], "Y003", "a.example:443");
    let many = |count: usize| (0..count).map(|n| format!("h{n}.example:443")).collect::<Vec<_>>().join(", ");
    let files = |count: usize| [tenant(&many(count)), format!("{RUN}network: [{}]\n", many(count))];
    let [most, uses] = files(64);
    valid(&[("tenant.yaml", &most), ("workflows/sync.yaml", &uses)]);
    let [more, uses] = files(65);
    let hosts = format!("[{}]", many(65));
    check(&[("tenant.yaml", &more), ("workflows/sync.yaml", &uses)], "S108", &hosts);
    with("network: [\"*.example:443\"]\n", "S108", "\"*.example:443\"");
}

#[test]
fn w_shared_workflows_get_what_they_ask_for() {
    check_workflow("uses: shared/nothing\n", "W226", "shared/nothing");
    check_workflow("uses: reports\n", "S108", "reports");
    let shared = [("shared/x/workflow.yaml", "script: tenantry-secret get db_url\nsecrets: [db_url]\n")];
    let ids = |text: &str| {
        let (_, found) = read(&tenant_tree(&[("workflows/sync.yaml", text)]), &shared);
        found.iter().map(|finding| finding.rule.id).collect::<Vec<_>>()
    };
    assert_eq!(ids("uses: shared/x\n"), ["W226"]);
    assert_eq!(ids("uses: shared/x\nsecrets: { db_url: db_url, other: mine }\n"), ["K301", "W226"]);
    assert_eq!(ids("uses: shared/x\nsecrets: { db_url: db_url }\nrun: scripts/a.sh\n"), ["S109"]);
}

#[test]
fn k_what_is_too_large_to_be_held_is_searched_or_said_not_to_be() {
    let place = Position { offset: 2_000_000, line: 40_000, column: 7 };
    let large = |what: Option<SeenSecret>| {
        let span = Span { start: place, end: Position { offset: 2_000_040, line: 40_000, column: 47 } };
        let seen: Vec<_> = what.into_iter().map(|what| Seen { what, span }).collect();
        Entry { content: None, size: 15 << 20, searched: Some(seen.into()), ..entry("", b"") }
    };
    let ids = |files: Vec<(&str, Entry)>| {
        let mut tree = tenant_tree(&[("workflows/sync.yaml", RUN)]);
        let root = |(path, entry): (&str, Entry)| (format!("tenants/acme/scripts/{path}"), entry);
        tree.files.extend(files.into_iter().map(root));
        let (_, found) = read(&tree, &[]);
        let line = |one: &Diagnostic| one.at.span.map(|span| span.start.line);
        found.iter().map(|one| (one.rule.id, one.at.path.clone(), line(one))).collect::<Vec<_>>()
    };
    let at = |rule, name: &str, line| (rule, format!("tenants/acme/scripts/{name}"), line);
    let found = ids(vec![
        ("a.csv", large(None)),
        ("b.csv", large(Some(SeenSecret::PrivateKey))),
        ("c.csv", large(Some(SeenSecret::Token("a GitHub token")))),
        ("d.csv", large(Some(SeenSecret::UrlPassword))),
        // Together more than 64 MiB, which the daemon and a laptop count in the same order.
        ("e.csv", large(Some(SeenSecret::PrivateKey))),
    ]);
    let line = Some(40_000);
    let want = [
        at("K313", "b.csv", line),
        at("K324", "c.csv", line),
        at("K325", "d.csv", line),
        at("K331", "e.csv", None),
    ];
    assert_eq!(found, want);
    assert_eq!(ids(vec![("a.csv", Entry { searched: None, ..large(None) })]), [at("K331", "a.csv", None)]);
    assert_eq!(
        ids(vec![("a.csv", Entry { mode: Mode::Submodule, ..large(None) })]).len(),
        1,
        "a link's rule alone"
    );
}

#[test]
fn k_the_index_is_consistent() {
    with("secrets: [nothing]\n", "K301", "nothing");
    let revoked = "{ id: v1, state: revoked }";
    let (_, found) = read(
        &tenant_tree(&[("secrets.yaml", &format!("secrets: {{ a: {{ versions: [{revoked}] }} }}\n"))]),
        &[],
    );
    let current = found.iter().find(|finding| finding.rule.id == "K311").unwrap();
    assert_eq!(current.severity, Severity::Warning, "revoking must never wait");
    let index = |more: &str| format!("secrets: {{ a: {{ versions: [{revoked}, {revoked}]{more} }} }}\n");
    let (_, found) = read(&tenant_tree(&[("secrets.yaml", &index(""))]), &[]);
    assert!(found.iter().any(|finding| finding.rule.id == "K310"), "{found:?}");
    let (_, found) = read(&tenant_tree(&[("secrets.yaml", &index(", redact: false"))]), &[]);
    assert!(found.iter().any(|finding| finding.rule.id == "K319"), "{found:?}");
    let (_, found) = read(
        &tenant_tree(&[("secrets.yaml", "secrets: { a: { versions: [{ id: v1, state: previous }] } }\n")]),
        &[],
    );
    let ids: Vec<_> = found.iter().map(|finding| finding.rule.id).collect();
    for rule in ["K309", "K311", "K318", "K321"] {
        assert!(ids.contains(&rule), "{rule} is missing in {ids:?}");
    }
}

#[test]
fn k_recipients_are_public_keys_of_their_own() {
    let tenant = |recipient: &str| format!("owner: alice\nsecrets: {{ recipients: [\"{recipient}\"] }}\n");
    check(&[("tenant.yaml", &tenant("age1abc"))], "K317", "\"age1abc\"");
    let ssh = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIETaPnS76G0jWa8hSBd2r31ObuzgjbwZ1eyecX2jEVc0";
    let people = format!(
        "users: {{ alice: {{ keys: [{{ ssh: \"{ssh} alice@laptop\", use: [commit] }}] }}, bob: {{}} }}\n"
    );
    let toml = format!("{}[secrets]\nrecovery = [\"{ssh}\"]\n", crate::desired::fixture::SETTINGS);
    check_platform(
        &[
            ("platform/people.yaml", &people),
            ("tenantry.toml", &toml),
            ("platform/roles.yaml", "admin: [alice]\n"),
        ],
        "K320",
        "",
    );
    let one = "age1wz553qwvhqpufqc4hw46ymd2n20hdk7kxvujyym9rpqr6t4pj5yschzdqe";
    let keys = valid(&[("tenant.yaml", &tenant(one))]).state.settings.recipients;
    let [acme, globex] = ["acme", "globex"].map(|name| name.parse::<TenantId>().unwrap());
    let rules = |of_acme: &[String]| {
        let named = [(&acme, of_acme), (&globex, keys.as_slice())];
        let found = crate::desired::check_fleet(named, &|_| None);
        found.iter().map(|finding| finding.rule.id).collect::<Vec<_>>()
    };
    assert_eq!(rules(&keys), ["K312"]);
    assert_eq!(rules(&[]), [""; 0]);
}

#[test]
fn r_roles_name_people_and_end() {
    let roles = |text: &str, rule: &str, at: &str| {
        check(&[("roles.yaml", &format!("operator: [bob]\n{text}\n"))], rule, at)
    };
    roles("developer: [alicia]", "R401", "alicia");
    roles("developer: [group:opps]", "R401", "group:opps");
    check(&[("tenant.yaml", "owner: nobody-here\n")], "R401", "nobody-here");
    roles("reader: [bob]", "R402", "reader");
    let elevation = |window: &str| {
        format!("elevations:\n  - {{ id: inc, user: bob, role: operator, reason: INC{window} }}")
    };
    roles(&elevation(""), "R403", "{ id: inc, user: bob, role: operator, reason: INC }");
    roles(&elevation(", for: 2h"), "R403", "2h");
    roles(&elevation(", for: 9h, ask_until: 2026-11-23T14:00:00Z"), "R404", "9h");
    roles(
        &elevation(", from: 2026-12-05T23:00:00Z, until: 2026-12-05T20:00:00Z"),
        "R405",
        "2026-12-05T20:00:00Z",
    );
    roles(
        &elevation(", from: 2026-12-05T20:00:00, until: 2026-12-05T23:00:00Z"),
        "R406",
        "2026-12-05T20:00:00",
    );
    roles(
        &elevation(", for: 2h, until: 2026-12-05T23:00:00Z"),
        "S109",
        "{ id: inc, user: bob, role: operator, reason: INC, for: 2h, until: 2026-12-05T23:00:00Z }",
    );
    check(&[("roles.yaml", "developer: [bob]\n")], "R407", "");
    check(&[("tenant.yaml", "owner: group:nobody\n")], "R407", "group:nobody");
    roles("developer: [bob, user:bob]", "R408", "user:bob");
    roles("developer: [\"*\"]", "R409", "\"*\"");
    roles("admin: [bob]", "R410", "admin");
    roles("owner: [bob]", "R411", "owner");
    check(&[("tenant.yaml", "owner: service:ci-bot\n")], "R412", "service:ci-bot");
    check_platform(&[("platform/roles.yaml", "admin: [alice, service:ci-bot]\n")], "R412", "service:ci-bot");
}

#[test]
fn g_git_and_the_platform_set_limits() {
    let (_, found) = read(&tenant_tree(&[("scripts/B.sh", "x"), ("scripts/b.sh", "x")]), &[]);
    assert_eq!(found.iter().map(|finding| finding.rule.id).collect::<Vec<_>>(), ["G501"]);
    let mut executable = tenant_tree(&[]);
    executable.files.get_mut("tenants/acme/tenant.yaml").unwrap().mode = Mode::Executable;
    check_tree(&executable, "G502", "");
    check(&[("tenant.yaml", "owner: alice\nlimits: { run_timeout: 12h }\n")], "G503", "12h");
    check(&[("tenant.yaml", "owner: alice\nlimits: { memory: 4GiB }\n")], "G503", "4GiB");
    let strict = ("tenant.yaml", "owner: alice\nlimits: { tier: sandbox }\n");
    let weak = "script: echo x\nresources: { tier: bubblewrap }\n";
    check(&[strict, ("workflows/sync.yaml", weak)], "G512", "bubblewrap");
    check(&[("tenant.yaml", "owner: alice\nretention: { logs: 1d }\n")], "G504", "1d");
    let mut cut = tenant_tree(&[]);
    cut.truncated = Some("more than 10,000 files".into());
    check_tree(&cut, "G505", "");
    let mut misnamed = tenant_tree(&[]);
    misnamed.misnamed.push("tenants/acme/scripts/caf\\xe9".into());
    check_tree(&misnamed, "G506", "");
    let mut linked = tenant_tree(&[]);
    linked.files.get_mut("tenants/acme/scripts/a.sh").unwrap().mode = Mode::Symlink;
    check_tree(&linked, "G507", "");
}

#[test]
fn one_file_tells_all_its_mistakes() {
    let text = "on: comit\ntimout: 5m\nargs: [1]\nsteps:\n  Load: { run: scripts/a.sh }\n  b: { rum: x, timeout: 3 }\n";
    let (state, found) = read(&tenant_tree(&[("workflows/sync.yaml", text)]), &[]);
    let ids: Vec<_> = found.iter().map(|finding| finding.rule.id).collect();
    assert_eq!((state, ids), (None, vec!["S104", "S101", "S103", "S106", "S101", "S105"]));
}

#[test]
fn a_finding_is_shown_as_its_user_reads_it() {
    let text = "description: sync\nsteps:\n  load:\n    needs: [fecth]\n    run: scripts/a.sh\n";
    let tree = tenant_tree(&[("workflows/sync.yaml", text)]);
    let found = read(&tree, &[]).1;
    let texts = |path: &str| {
        tree.get(path).and_then(|entry| String::from_utf8(entry.content.as_ref()?.to_vec()).ok())
    };
    insta::assert_snapshot!(report::human(&found, &texts, false), @r"
    error[W201]: step `load` needs an unknown step
     --> tenants/acme/workflows/sync.yaml:4:13
      |
    4 |     needs: [fecth]
      |             ^^^^^ no step has this id
      |
      = help: steps of this workflow: load
    ");
    let tree = tenant_tree(&[("workflows/sync.yaml", "run: scripts/a.sh\ntimout: 5m\nargs: [8080]\n")]);
    let found = read(&tree, &[]).1;
    let texts = |path: &str| {
        tree.get(path).and_then(|entry| String::from_utf8(entry.content.as_ref()?.to_vec()).ok())
    };
    insta::assert_snapshot!(report::human(&found, &texts, false), @r"
    error[S101]: unknown field `timout`
     --> tenants/acme/workflows/sync.yaml:2:1
      |
    2 | timout: 5m
      | ^^^^^^ not a field here
      |
      = help: did you mean `timeout`?

    error[S103]: expected a text, YAML read `8080` as an integer
     --> tenants/acme/workflows/sync.yaml:3:8
      |
    3 | args: [8080]
      |        ^^^^ expected a text
      |
      = help: put the value in quotes
    ");
}

/// Others write steps as a list with ids.
#[test]
fn a_list_in_place_of_names_is_told_how_to_become_one() {
    let help = |steps: &str| {
        let tree = tenant_tree(&[("workflows/sync.yaml", steps)]);
        let found = read(&tree, &[]).1;
        assert_eq!(found[0].rule.id, "S103", "{found:?}");
        found[0].help.clone().unwrap()
    };
    let told = help("steps:\n  - id: load\n    run: scripts/a.sh\n");
    assert_eq!(told, "write each under its name and not in a list: `load:`, without `-`");
    assert_eq!(help("steps:\n  - run: scripts/a.sh\n"), "write a mapping");
    assert_eq!(help("steps:\n  - id: \"\\u202e\"\n"), "write a mapping");
}

#[test]
fn a_shared_directory_is_checked_for_its_author() {
    let tree =
        tree(&[("shared/x/workflow.yaml", "run: x.sh\ntimout: 5m\n"), ("shared/x/x.sh", "#!/bin/sh\n")]);
    let found = crate::desired::check_shared(&tree);
    assert_eq!(found.iter().map(|finding| finding.rule.id).collect::<Vec<_>>(), ["S101"]);
    assert!(found.iter().all(|finding| finding.severity == Severity::Error && finding.tenant.is_none()));
}

#[test]
fn what_lies_beside_tenants_is_told() {
    let mut listing = crate::desired::fixture::listing();
    listing.misplaced = vec!["tenants/Acme".into(), "tenants/notes.txt".into()];
    let found = crate::desired::check_listing(&listing);
    assert_eq!(found.iter().map(|finding| finding.rule.id).collect::<Vec<_>>(), ["S106", "Y017"]);
}

#[test]
fn toml_is_read_with_places() {
    let toml = |more: &str| format!("{}{more}", crate::desired::fixture::SETTINGS);
    check_platform(&[("tenantry.toml", "format = 1\nid = \n")], "Y001", "");
    check_platform(&[("tenantry.toml", &toml("[limts]\nmemory = 1\n"))], "S101", "limts");
    check_platform(&[("tenantry.toml", &toml("[reconcile]\nbranch = 7\n"))], "S103", "7");
    check_platform(
        &[(
            "platform/people.yaml",
            "users: { alice: {} }\nservices: { ci-bot: { owner: alice } }\ngroups: { ops: [eve] }\n",
        )],
        "R401",
        "eve",
    );
}

#[test]
fn columns_count_scalars_behind_other_scripts_and_tabs() {
    let of = |text: &str| crate::desired::fixture::of_workflow(&format!("{RUN}{text}\n")).join("; ");
    assert!(of("args: [\"é😀\", 8080]").starts_with("S103 2:14 "), "{}", of("args: [\"é😀\", 8080]"));
    assert!(of("args:\t[\"é😀\",\t8080]").starts_with("S103 2:14 "), "{}", of("args:\t[\"é😀\",\t8080]"));
    let combined = "{ description: \"日本\", timout: 5m, run: scripts/a.sh }";
    let found = crate::desired::fixture::of_workflow(combined).join("; ");
    assert!(found.starts_with("S101 1:22 "), "{found}");
}

#[test]
fn several_warnings_are_set_aside_by_one_comment_and_one_that_does_nothing_is_told() {
    let both = "on: { schedule: \"* * * * *\" } # tenantry: ignore[W230, W221] the feed has no events\n";
    let ids = |text: &str| {
        let (_, found) = read(&tenant_tree(&[("workflows/sync.yaml", &format!("{RUN}{text}"))]), &[]);
        found.iter().map(|finding| finding.rule.id).collect::<Vec<_>>()
    };
    assert_eq!(ids(both), ["Y019"], "W221 has nothing to ignore there");
    assert_eq!(ids(&both.replace(", W221", "")), [""; 0]);
    assert_eq!(ids("timeout: 5m # tenantry: ignore[W230] no schedule\n"), ["Y019"]);
    assert_eq!(ids("timout: 5m # tenantry: ignore[W230] no schedule\n"), ["S101"], "not every rule was run");
    assert_eq!(ids("timeout: 5m # tenantry: ignore[K322] the clock may say so later\n"), [""; 0]);
    assert_eq!(ids("timeout: 5m # tenantry: ignore[R414] no\n"), ["Y019"]);
}

#[test]
fn alert_routes_can_work() {
    let tenant =
        |routes: &str| format!("{}alerts: {{ routes: [{routes}] }}\n", crate::desired::fixture::TENANT);
    let bad = |routes: &str, rule: &str, at: &str| check(&[("tenant.yaml", &tenant(routes))], rule, at);
    valid(&[("tenant.yaml", &tenant("{ webhook: \"https://hooks.example/x\", for: [page, notify] }"))]);
    bad("{ email: ops@acme.example }", "G508", "ops@acme.example");
    bad("{ email: nowhere }", "G508", "nowhere");
    bad("{ alertmanager: \"http://alerts:9093\" }", "G508", "\"http://alerts:9093\"");
    bad("{ webhook: \"http://10.0.0.1/x\" }", "G508", "\"http://10.0.0.1/x\"");
    bad("{ webhook: \"ftp://x.example\" }", "G508", "\"ftp://x.example\"");
    bad("{ slack: { webhook: { secret: nothing } } }", "G508", "nothing");
    bad("{ slack: {} }", "S102", "{}");
    bad("{ pager: x }", "S108", "{ pager: x }");
    bad("{ webhook: \"https://x.example\", to: x }", "S101", "to");
    bad("{ webhook: \"https://x.example\", for: [pages] }", "S104", "pages");
}
