use proptest::prelude::*;

use super::*;
use crate::yaml::{self, Budget, Kind, Node};

/// `key_of / value_of / what is there`, of the place marked with `|`.
#[track_caller]
fn check(marked: &str, want: &str) {
    let at = marked.find('¦').unwrap();
    let text = marked.replacen('¦', "", 1);
    let shown = |way: &Option<Vec<Part>>| {
        way.as_ref().map_or("-".to_owned(), |way| format!("[{}]", words(way).join(".")))
    };
    let got = spot(&text, at).map_or("none".to_owned(), |spot| {
        format!("{} {} {:?}", shown(&spot.key_of), shown(&spot.value_of), &text[spot.range.clone()])
    });
    assert_eq!(got, want, "{marked}");
}

#[test]
fn what_may_stand_at_a_place() {
    check("¦", "[] - \"\"");
    check("de¦", "[] [] \"de\"");
    check("run: x\nde¦", "[] - \"de\"");
    check("run: x\n¦", "[] - \"\"");
    check("run: ¦", "- [run] \"\"");
    check("run:¦", "- [run] \"\"");
    check("run: scr¦ipts/x # why", "- [run] \"scripts/x\"");
    check("ru¦n: x", "[] - \"run\"");
    check("steps:\n  pull:\n    ¦", "[steps.pull] [steps.pull] \"\"");
    check("steps:\n  pull:\n    run: x\n    ¦", "[steps.pull] - \"\"");
    check("steps:\n  pull:\n    run: x\n    ne¦\n  load:\n    run: y\n", "[steps.pull] - \"ne\"");
    check("steps:\n  pull:\n    run: x\n  ¦\n", "[steps] - \"\"");
    check("steps:\n  pull:\n    needs: [a, b¦]\n", "- [steps.pull.needs.[]] \"b\"");
    check("steps:\n  pull:\n    needs: [¦\n  load:\n    run: x\n", "- [steps.pull.needs.[]] \"\"");
    check("steps:\n  pull:\n    needs:\n      - ¦\n", "[steps.pull.needs.[]] [steps.pull.needs.[]] \"\"");
    check(
        "steps:\n  pull:\n    needs:\n    - a\n    - b¦\n",
        "[steps.pull.needs.[]] [steps.pull.needs.[]] \"b\"",
    );
    check("secrets:\n  - { name: a, en¦ }", "[secrets.[]] - \"en\"");
    check("secrets:\n  - name: a\n    en¦\n", "[secrets.[]] - \"en\"");
    check("secrets:\n  - a\n  - name: a\n    env: ¦\n", "- [secrets.[].env] \"\"");
    check("on: { schedule: \"0 ¦2\" }", "- [on.schedule] \"0 2\"");
    check("on: {¦", "[on] - \"\"");
    check("on: { commit: { ¦ } }", "[on.commit] - \"\"");
    check("on: { commit: {}, ¦", "[on] - \"\"");
    check("on: { commit¦ }", "[on] - \"commit\"");
    check("a: 1 # com¦ment", "none");
    check("# com¦ment", "none");
    check("script: |\n  echo ¦\nrun: x\n", "- [script] \"|\\n  echo \"");
    check("a:\n  script: |\n    echo\n  ¦\n", "[a] - \"\"");
    check("a:\n  script: |\n    echo\n    ¦\n", "none");
    check("with: { d: ${{ inputs.¦ }} }\n", "- [with.d] \"${{ inputs. }}\"");
    check("with:\n  d: \"${{ inputs.¦\nrun: x\n", "- [with.d] \"${{ inputs.\"");
    check("a: é😀\nb¦: ü\n", "[] - \"b\"");
}

/// Every scalar of a tree with its way, as [`Outline`] tells it.
fn of_tree(node: &Node, way: &mut Vec<Part>, found: &mut Vec<(Vec<Part>, bool, usize)>) {
    match &node.kind {
        Kind::Scalar { text, style, .. } => {
            if !(text.is_empty() && *style == yaml::Style::Plain) {
                found.push((way.clone(), false, node.span.start.offset));
            }
        }
        Kind::Sequence(items) => {
            for (index, item) in items.iter().enumerate() {
                way.push(Part::Item(index));
                of_tree(item, way, found);
                way.pop();
            }
        }
        Kind::Mapping(entries) => {
            for (key, value) in entries {
                way.push(Part::Key(key.scalar().unwrap_or_default().to_owned()));
                found.push((way.clone(), true, key.span.start.offset));
                of_tree(value, way, found);
                way.pop();
            }
        }
    }
}

#[track_caller]
fn agrees(text: &str) {
    let documents = yaml::parse(text.as_bytes(), &Budget::default()).expect(text);
    let mut want = Vec::new();
    of_tree(&documents[0].root, &mut Vec::new(), &mut want);
    let outline = Outline::of(text);
    let got: Vec<_> =
        outline.tokens.iter().map(|token| (token.path.clone(), token.key, token.range.start)).collect();
    assert_eq!(got, want, "\n{text}");
}

#[test]
fn it_agrees_with_the_reader_on_what_is_yaml() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("example-repo");
    let mut todo = vec![root];
    let mut files = 0;
    while let Some(path) = todo.pop() {
        if path.is_dir() {
            #[allow(clippy::disallowed_methods, reason = "reads the example")]
            todo.extend(std::fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path()));
        } else if path.extension().is_some_and(|end| end == "yaml")
            && !path.to_string_lossy().contains(".sops.")
        {
            #[allow(clippy::disallowed_methods, reason = "reads the example")]
            agrees(&std::fs::read_to_string(&path).unwrap());
            files += 1;
        }
    }
    assert!(files > 10, "{files} files of the example");
    agrees(
        "a: &x [1, 2]\nb: !!str 3\nc:\n- d: \"e: f # g\"\n  h: 'it''s'\n-\n  i: j\n- - k\n  - l: |\n      # text: no\n\n      more\n\n    m: n\n",
    );
    agrees(
        "a: >-\n  folded: x\n  text\nb: {c: d, \"e\": [f, {g: h}], i: \n  j}\n# end\nl: [\n  m, # n: o\n  p\n]\n",
    );
    agrees("a:\r\n  b: c\r\n  d:\r\n    - e\r\n");
}

/// A tree to be written in either form.
#[derive(Clone, Debug)]
enum Value {
    Scalar(String),
    List(Vec<Value>, bool),
    Map(Vec<(String, Value)>, bool),
}

fn value() -> impl Strategy<Value = Value> {
    let scalar =
        prop_oneof!["[a-z]{1,5}", "\"[a-z:# é]{0,6}\"", "[a-z]{1,3}://[a-z]{1,3}:1", "'[a-z ,{}]{0,5}'"];
    scalar.prop_map(Value::Scalar).prop_recursive(4, 24, 4, |inner| {
        let key = "[a-z]{1,4}|\"[a-z ]{1,4}\"";
        prop_oneof![
            (proptest::collection::vec(inner.clone(), 1..4), any::<bool>())
                .prop_map(|(items, flow)| Value::List(items, flow)),
            (proptest::collection::vec((key, inner), 1..4), any::<bool>())
                .prop_map(|(entries, flow)| Value::Map(entries, flow)),
        ]
    })
}

fn flow(value: &Value) -> String {
    match value {
        Value::Scalar(text) => text.clone(),
        Value::List(items, _) => format!("[{}]", items.iter().map(flow).collect::<Vec<_>>().join(", ")),
        Value::Map(entries, _) => {
            let entries: Vec<_> =
                entries.iter().map(|(key, value)| format!("{key}: {}", flow(value))).collect();
            format!("{{ {} }}", entries.join(", "))
        }
    }
}

fn block(value: &Value, indent: usize, text: &mut String) {
    let pad = " ".repeat(indent);
    match value {
        Value::List(items, false) => {
            for item in items {
                text.push_str(&format!("\n{pad}-"));
                block(item, indent + 2, text);
            }
        }
        Value::Map(entries, false) => {
            for (key, value) in entries {
                text.push_str(&format!("\n{pad}{key}:"));
                block(value, indent + 2, text);
            }
        }
        value => text.push_str(&format!(" {}", flow(value))),
    }
}

proptest! {
    #[test]
    fn it_agrees_with_the_reader_on_any_tree(entries in proptest::collection::vec(("[a-z]{1,4}", value()), 1..5)) {
        let mut text = String::new();
        block(&Value::Map(entries, false), 0, &mut text);
        agrees(text.trim_start());
    }

    /// Half a text, or no text at all, is read as well, at any place.
    #[test]
    fn it_never_fails(text in "([a-z]{1,3}: ?|- |[\\[\\]{}:,#\"'|>&*!é\u{2003}]|\n| |\\$\\{\\{|\\}\\}|[a-z]){0,40}", at in 0usize..60) {
        let outline = Outline::of(&text);
        for token in &outline.tokens {
            prop_assert!(text.get(token.range.clone()).is_some());
        }
        let mut at = at.min(text.len());
        while !text.is_char_boundary(at) { at -= 1; }
        if let Some(spot) = spot(&text, at) {
            prop_assert!(text.get(spot.range.clone()).is_some());
        }
    }
}
