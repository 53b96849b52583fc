use super::*;
use proptest::prelude::*;

fn read(text: &str) -> Vec<Document> {
    match parse(text.as_bytes(), &Budget::default()) {
        Ok(documents) => documents,
        Err(problem) => panic!("{text:?}: {problem}"),
    }
}

/// The tree in one line: quotes show the style, `<…>` is the source under the span.
fn show(node: &Node, text: &str) -> String {
    let under = &text[node.span.start.offset..node.span.end.offset];
    match &node.kind {
        Kind::Scalar { .. } => format!("<{}>", under.replace('\n', "⏎")),
        Kind::Sequence(items) => {
            format!("[{}]", items.iter().map(|item| show(item, text)).collect::<Vec<_>>().join(" "))
        }
        Kind::Mapping(entries) => {
            let entry = |(key, value): &(Node, Node)| format!("{}:{}", show(key, text), show(value, text));
            format!("{{{}}}", entries.iter().map(entry).collect::<Vec<_>>().join(" "))
        }
    }
}

#[track_caller]
fn check_spans(text: &str, want: &str) {
    let documents = read(text);
    let got: Vec<String> = documents.iter().map(|document| show(&document.root, text)).collect();
    assert_eq!(got.join(" --- "), want, "{text:?}");
}

#[test]
fn a_scalar_knows_its_exact_place() {
    check_spans("a: b\n", "{<a>:<b>}");
    check_spans("a: 'q' # k\nb: \"é\\\"\"  # '\n", "{<a>:<'q'> <b>:<\"é\\\"\">}");
    check_spans("a: 'it''s'\nb: ''\n", "{<a>:<'it''s'> <b>:<''>}");
    check_spans("a: b\n c\nz: q", "{<a>:<b⏎ c> <z>:<q>}");
    check_spans("日本: ключ # x\n", "{<日本>:<ключ>}");
}

#[test]
fn a_block_scalar_starts_at_its_sign() {
    check_spans("e: |  # c\n  foo\n  bar\n\nf: >-\n  x\n# hi\n", "{<e>:<|  # c⏎  foo⏎  bar> <f>:<>-⏎  x>}");
    check_spans("? |\n  k\n: - v\n", "{<|⏎  k>:[<v>]}");
    check_spans("|\n foo\n", "<|⏎ foo>");
    check_spans("--- >\n foo\n", "<>⏎ foo>");
    check_spans("a: # not | this\n  |\n  x\n", "{<a>:<|⏎  x>}");
    check_spans("a: |\n", "{<a>:<|>}");
    check_spans("a: &x !!str |\n  t\n", "{<a>:<|⏎  t>}");
    check_spans("- |\n  # text\n  x\n- y\n", "[<|⏎  # text⏎  x> <y>]");
}

#[test]
fn what_is_left_out_stands_behind_its_sign() {
    let text = "a:\nb: {c: , d}\ne:\n- \n-\n";
    let root = &read(text)[0].root;
    assert_eq!(root.get("a").unwrap().span.start, Position { offset: 2, line: 1, column: 3 });
    let b = root.get("b").unwrap();
    assert_eq!(b.span.start.offset..b.span.end.offset, 6..14);
    assert_eq!(b.get("c").unwrap().span.start.offset, 9);
    assert_eq!(b.get("d").unwrap().span.start.offset, 13);
    let items = root.get("e").unwrap().as_sequence().unwrap();
    assert_eq!(items[0].span.start, Position { offset: 20, line: 4, column: 3 });
    assert_eq!(items[1].span.start, Position { offset: 22, line: 5, column: 2 });
    assert!(items.iter().all(Node::is_null));
    assert_eq!(read("---\n---\na\n").len(), 2);
    assert_eq!(read("---\n---\na\n")[0].root.span.start.offset, 3);
}

#[test]
fn lists_and_mappings_end_with_their_last_value() {
    let text = "a:\n  b: [1, 2]  # c\n  d: e\n\n# f\ng: {}\n";
    let root = &read(text)[0].root;
    let under = |node: &Node| &text[node.span.start.offset..node.span.end.offset];
    assert_eq!(under(root.get("a").unwrap()), "b: [1, 2]  # c\n  d: e");
    assert_eq!(under(root.get("a").unwrap().get("b").unwrap()), "[1, 2]");
    assert_eq!(under(root.get("g").unwrap()), "{}");
    assert_eq!(under(root), text.trim_end());
}

#[test]
fn order_duplicates_and_merge_keys_are_kept() {
    let root = &read("b: 1\na: 2\nb: 3\n<<: {c: 4}\n")[0].root;
    let keys: Vec<_> = root.as_mapping().unwrap().iter().filter_map(|(key, _)| key.scalar()).collect();
    assert_eq!(keys, ["b", "a", "b", "<<"]);
    assert_eq!(root.get("b").and_then(Node::scalar), Some("1"));
    assert_eq!(root.get("on"), None);
}

#[test]
fn an_alias_stands_for_a_copy() {
    let text = "base: &b {u: x, p: 1}\ncopy: *b\n*b : key\n";
    let root = &read(text)[0].root;
    let copy = root.get("copy").unwrap();
    assert_eq!(copy.get("u").and_then(Node::scalar), Some("x"));
    assert_eq!(&text[copy.span.start.offset..copy.span.end.offset], "*b");
    assert_eq!(root.as_mapping().unwrap().len(), 3);
}

/// Found by the fuzz target `sops_stores`: what followed stood in the tree and in the comment.
#[test]
fn a_comment_ends_where_the_parser_ends_the_line() {
    let documents = parse(b"#0=[\rkey:\r\n# two\r\n", &Budget::default()).unwrap();
    let texts: Vec<_> = documents[0].comments.iter().map(|comment| comment.text.as_str()).collect();
    assert_eq!(texts, ["0=[", " two"]);
    let entries = documents[0].root.as_mapping().unwrap();
    assert_eq!(entries.len(), 1);
    assert_eq!(entries[0].0.scalar(), Some("key"));
}

#[test]
fn comments_stand_beside_the_tree() {
    let text = "# top\na: 'x # no' # one\r\nb: |  # two\n  # no\nc: x#no\n#three\n---\nd: 1 # four\n";
    let documents = read(text);
    let texts = |document: &Document| {
        document.comments.iter().map(|comment| comment.text.clone()).collect::<Vec<_>>()
    };
    assert_eq!(texts(&documents[0]), [" top", " one", " two", "three"]);
    assert_eq!(texts(&documents[1]), [" four"]);
    for comment in documents.iter().flat_map(|document| &document.comments) {
        let under = &text[comment.span.start.offset..comment.span.end.offset];
        assert_eq!(under, format!("#{}", comment.text));
    }
}

#[track_caller]
fn check_problem(bytes: &[u8], kind: ProblemKind, line: usize, column: usize) {
    let shown = String::from_utf8_lossy(&bytes[..bytes.len().min(60)]).into_owned();
    let problem = parse(bytes, &Budget::default()).expect_err(&shown);
    let Position { line: at_line, column: at_column, .. } = problem.span.start;
    assert_eq!((problem.kind, at_line, at_column), (kind, line, column), "{shown:?}");
}

#[test]
fn a_text_that_hides_something_is_refused() {
    check_problem(b"a: \xff\n", ProblemKind::NotUtf8, 1, 4);
    check_problem("é: 1\nb: \u{0}".as_bytes(), ProblemKind::Nul, 2, 4);
    check_problem("\u{FEFF}a: 1".as_bytes(), ProblemKind::ByteOrderMark, 1, 1);
    check_problem("a: é\u{202E}x".as_bytes(), ProblemKind::BidiControl('\u{202E}'), 1, 5);
    check_problem(b"a: \"\x1b[2J\"", ProblemKind::Control('\u{1b}'), 1, 5);
    check_problem(b"a: 1\n<<<<<<< HEAD\nb: 2\n=======\n", ProblemKind::ConflictMarker, 2, 1);
    check_problem(b"a: 1\n>>>>>>> theirs\n", ProblemKind::ConflictMarker, 2, 1);
    check_problem(b"a: !vault x\n", ProblemKind::CustomTag("!vault".into()), 1, 4);
    check_problem(b"a: &b !!set {x}\n", ProblemKind::CustomTag("!!set".into()), 1, 7);
    check_problem(b"- !ruby/object:Gem {}\n", ProblemKind::CustomTag("!ruby/object:Gem".into()), 1, 3);
}

#[test]
fn a_tab_cannot_indent() {
    check_problem(b"a:\n\tb: 1\n", ProblemKind::Tab, 2, 1);
    check_problem(b"a:\n  b: 1\n \tc: 1\n", ProblemKind::Tab, 3, 2);
}

#[test]
fn the_grammar_is_kept() {
    let cases = [
        ("a: b: c\n", 1),
        ("a: [1, 2\nb: 3\n", 2),
        ("a: 'x\n", 1),
        ("a: *nowhere\n", 1),
        ("a: &x 1\n---\nb: *x\n", 3),
        ("a: &x [*x]\n", 1),
        ("a: 1\n b: 2\n", 2),
    ];
    for (text, line) in cases {
        let problem = parse(text.as_bytes(), &Budget::default()).expect_err(text);
        assert!(matches!(problem.kind, ProblemKind::Syntax(_)), "{text:?} {problem:?}");
        assert_eq!(problem.span.start.line, line, "{text:?} {problem}");
    }
}

#[test]
fn a_hostile_text_is_refused_before_it_costs() {
    let max = Budget::default();
    let deep = ProblemKind::TooDeep { max: max.depth_max };
    // Brackets may be keys, so the scanner looks ahead to its own bound of 255 before it tells of any.
    check_problem(&b"[".repeat(100_000), deep.clone(), 1, 256);
    check_problem(&b"{a: ".repeat(100_000), deep.clone(), 1, 1021);
    check_problem(&b"- ".repeat(100_000), deep.clone(), 1, 129);
    check_problem(&b"? ".repeat(100_000), deep.clone(), 1, 129);
    check_problem(&b"!!seq [".repeat(100_000), deep, 1, 1792);
    check_problem(&vec![b' '; 2 << 20], ProblemKind::TooManyBytes { max: max.bytes_max }, 1, 1);
    let many = "- 1\n".repeat(200_000);
    check_problem(many.as_bytes(), ProblemKind::TooManyNodes { max: max.nodes_max }, 100_000, 3);
    let aliases = format!("- &a 1\n{}", "- *a\n".repeat(101));
    check_problem(aliases.as_bytes(), ProblemKind::TooManyAliases { max: 100 }, 102, 3);
    // Nine levels of nine aliases stand for 9^9 values.
    let mut bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n".to_owned();
    for level in 1..9 {
        let aliases = vec![format!("*a{}", level - 1); 9].join(", ");
        bomb.push_str(&format!("a{level}: &a{level} [{aliases}]\n"));
    }
    let problem = parse(bomb.as_bytes(), &Budget::default()).unwrap_err();
    assert_eq!(problem.kind, ProblemKind::TooManyNodes { max: max.nodes_max });
    // One long text, many times over.
    let long = format!("a: &a {}\nb: [{}]\n", "x".repeat(500_000), "*a, ".repeat(50));
    let problem = parse(long.as_bytes(), &Budget::default()).unwrap_err();
    assert_eq!(problem.kind, ProblemKind::TooManyBytes { max: max.bytes_max });
    // Depth counts through aliases.
    let nested =
        format!("a: &a {}1{}\nb: {}*a{}\n", "[".repeat(40), "]".repeat(40), "[".repeat(40), "]".repeat(40));
    let problem = parse(nested.as_bytes(), &Budget::default()).unwrap_err();
    assert_eq!(problem.kind, ProblemKind::TooDeep { max: max.depth_max });
}

#[test]
fn an_empty_text_has_no_documents() {
    assert_eq!(read(""), []);
    assert_eq!(read("# only a comment\n"), []);
    assert_eq!(read("---\n").len(), 1);
}

#[test]
fn tags_of_yaml_itself_are_kept() {
    use super::super::CoreType;
    let root =
        &read("a: !!str 5\nb: ! 5\nc: !!int '5'\nd: !!map {}\ne: !!seq []\nf: !<tag:yaml.org,2002:str> 1\n")
            [0]
        .root;
    assert_eq!(root.get("a").unwrap().core_type(), Some(CoreType::String));
    assert_eq!(root.get("b").unwrap().core_type(), Some(CoreType::String));
    assert_eq!(root.get("c").unwrap().core_type(), Some(CoreType::Int));
    assert_eq!(root.get("f").unwrap().core_type(), Some(CoreType::String));
}

fn check_node(node: &Node, text: &str) {
    let (start, end) = (node.span.start.offset, node.span.end.offset);
    assert!(start <= end && end <= text.len(), "{:?} in {text:?}", node.span);
    assert!(text.is_char_boundary(start) && text.is_char_boundary(end), "{:?} in {text:?}", node.span);
    match &node.kind {
        Kind::Scalar { .. } => {}
        Kind::Sequence(items) => items.iter().for_each(|item| check_node(item, text)),
        Kind::Mapping(entries) => entries.iter().for_each(|(key, value)| {
            check_node(key, text);
            check_node(value, text);
        }),
    }
}

/// Every quoted or plain scalar of one line reads the same when its source is read alone.
fn check_source(node: &Node, text: &str) {
    match &node.kind {
        Kind::Scalar { text: value, style, tag: None } => {
            let source = &text[node.span.start.offset..node.span.end.offset];
            let alone =
                matches!(style, Style::Single | Style::Double | Style::Plain) && !source.contains('\n');
            if alone && !source.starts_with('*') && !source.is_empty() {
                let again = read(source);
                assert_eq!(again[0].root.scalar(), Some(value.as_str()), "{source:?} in {text:?}");
            }
        }
        Kind::Scalar { .. } => {}
        Kind::Sequence(items) => items.iter().for_each(|item| check_source(item, text)),
        Kind::Mapping(entries) => entries.iter().for_each(|(key, value)| {
            check_source(key, text);
            check_source(value, text);
        }),
    }
}

fn yaml_like() -> impl Strategy<Value = String> {
    let piece = prop::sample::select(vec![
        "a",
        "b: ",
        ": ",
        "- ",
        "? ",
        "\n",
        "\n  ",
        "\n    ",
        "[",
        "]",
        "{",
        "}",
        ", ",
        "'",
        "\"",
        "\\",
        "# c",
        " #",
        "|\n",
        ">-\n",
        "&x ",
        "*x",
        "!!str ",
        "!t ",
        "---\n",
        "...\n",
        "é",
        "日",
        "\t",
        "%YAML 1.2\n",
        "1.5",
        "\r\n",
        "<<",
        "''",
        "\\u263a",
    ]);
    prop::collection::vec(piece, 0..40).prop_map(|pieces| pieces.concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn any_text_is_read_or_refused_in_place(text in prop_oneof![yaml_like(), any::<String>()]) {
        match parse(text.as_bytes(), &Budget::default()) {
            Ok(documents) => {
                for document in &documents {
                    check_node(&document.root, &text);
                    for comment in &document.comments {
                        let under = &text[comment.span.start.offset..comment.span.end.offset];
                        prop_assert_eq!(under, format!("#{}", comment.text));
                    }
                }
            }
            Err(problem) => {
                let (start, end) = (problem.span.start.offset, problem.span.end.offset);
                prop_assert!(start <= end && end <= text.len());
                prop_assert!(text.is_char_boundary(start) && text.is_char_boundary(end));
            }
        }
    }

    #[test]
    fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = parse(&bytes, &Budget::default());
    }

    #[test]
    fn the_source_under_a_scalar_reads_as_the_scalar(
        keys in prop::collection::vec("[a-zé]{1,4}", 1..6),
        values in prop::collection::vec("[a-z0-9é日 .'\"#:]{0,12}", 6),
        styles in prop::collection::vec(0..3_u8, 6),
    ) {
        let mut text = String::new();
        for (index, key) in keys.iter().enumerate() {
            let value = &values[index];
            let written = match styles[index] {
                0 => format!("'{}'", value.replace('\'', "''")),
                1 => format!("\"{}\"", value.replace('"', "\\\"")),
                _ => value.chars().filter(|c| c.is_alphanumeric()).collect(),
            };
            text.push_str(&format!("{key}{index}: {written}  # it's\n"));
        }
        let documents = read(&text);
        check_source(&documents[0].root, &text);
        prop_assert_eq!(documents[0].comments.len(), keys.len());
    }
}
