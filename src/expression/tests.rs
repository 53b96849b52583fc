use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

fn scope() -> Scope {
    Scope::default()
        .with(Root::Inputs, json!({"day": "2026-11-23", "count": 3, "rate": 1.5, "wanted": true}))
        .with(Root::Steps, json!({"pull": {"status": "succeeded", "outputs": {"count": 2, "customers": [{"id": 7}, {"id": 8}]}}}))
        .with(Root::Item, json!({"id": 7}))
        .with(Root::Trigger, json!({"kind": "schedule", "time": "2026-11-23T23:30:00Z"}))
}

#[track_caller]
fn check(text: &str, want: Result<Value, &str>) {
    let got = Expression::parse(text).and_then(|expression| expression.evaluate(&scope()));
    assert_eq!(got.map_err(|cause| cause.to_string()), want.map_err(str::to_owned), "{text}");
}

#[test]
fn an_expression_reads_its_scope() {
    check("inputs.day", Ok(json!("2026-11-23")));
    check("inputs['count'] + 1", Ok(json!(4)));
    check("inputs.rate * 2.0", Ok(json!(3.0)));
    check("steps.pull.outputs.count > 0 && steps.pull.status == 'succeeded'", Ok(json!(true)));
    check("steps.pull.outputs.customers.map(c, c.id)", Ok(json!([7, 8])));
    check("steps.pull.outputs.customers.filter(c, c.id > 7)", Ok(json!([{"id": 8}])));
    check("steps.pull.outputs.customers.exists(c, c.id == item.id)", Ok(json!(true)));
    check("steps.pull.outputs.customers.all(c, c.id < 8)", Ok(json!(false)));
    check("steps.pull.outputs.customers.exists_one(c, c.id == 7)", Ok(json!(true)));
    check("has(inputs.day) && !has(inputs.other)", Ok(json!(true)));
    check("{'a': [1, 2.5, 'x', null, true]}", Ok(json!({"a": [1, 2.5, "x", null, true]})));
    check("inputs.wanted ? 'yes' : 'no'", Ok(json!("yes")));
    check("size(inputs.day)", Ok(json!(10)));
    check("7 in [7, 8] && 'a' in {'a': 1}", Ok(json!(true)));
    check("string(inputs.count) + '!'", Ok(json!("3!")));
    check("int('12') + int(2.9)", Ok(json!(14)));
}

#[test]
fn every_function_that_is_named_can_be_called() {
    check("'abc'.contains('b') && 'abc'.startsWith('a') && 'abc'.endsWith('c')", Ok(json!(true)));
    check("'abc'.matches('^a.c$') && matches('abc', 'b')", Ok(json!(true)));
    check("uint(1) == 1u && double(1) == 1.0 && bool('true') && size(bytes('ab')) == 2", Ok(json!(true)));
    check("type(1) == int && dyn(1) == 1", Ok(json!(true)));
}

#[test]
fn a_day_is_counted_in_a_zone() {
    check("day(trigger.time, -1)", Ok(json!("2026-11-22")));
    check("day(trigger.time, 0, 'Europe/Berlin')", Ok(json!("2026-11-24")));
    check("day('2028-02-28', 1)", Ok(json!("2028-02-29")));
    let wrong = "`day` takes a time such as 2026-11-23T14:00:00Z or a day such as 2026-11-23, a number of days, and may take a zone";
    check("day('monday', 1)", Err(wrong));
    check("day('2026-11-23', 99999999999)", Err(wrong));
    check("day('2026-11-23', 1, 'Mars/Base')", Err(wrong));
}

#[test]
fn a_mistake_is_named_without_the_values() {
    check("inputs.other", Err("no field `other`"));
    check("inputs.day + 1", Err("`+` does not take (string, int)"));
    check("inputs.day > 1", Err("`>` does not take (string, int)"));
    check("1 / 0", Err("division by zero"));
    check("9223372036854775807 + 1", Err("a number is out of range"));
    check("[1][3]", Err("an index is past the end of its list"));
    check("{}[inputs.day]", Err("a field that does not exist"));
    check("b'ab'", Err("the result is bytes, which has no JSON form"));
    check("{1: 2}", Err("the result is a map whose keys are not texts, which has no JSON form"));
    check("'a'.matches('(')", Err("`matches` takes a regular expression, and a small one"));
    check("'a'.matches('(a{1000}){1000}')", Err("`matches` takes a regular expression, and a small one"));
}

#[track_caller]
fn check_parse(text: &str, want: &str, offset: Option<usize>) {
    let error = Expression::parse(text).expect_err(text);
    assert_eq!((error.to_string().as_str(), error.offset()), (want, offset), "{text}");
}

#[test]
fn a_name_nobody_has_is_found_before_it_runs() {
    check_parse("", "an expression cannot be empty", None);
    check_parse("input.day", "unknown name `input`", Some(0));
    check_parse("'é' + secrets.stripe", "unknown name `secrets`", Some(7));
    check_parse("[1].map(x, x + y)", "unknown name `y`", Some(15));
    check_parse("now()", "unknown function `now`", Some(3));
    check_parse("1 +", "something is missing at the end", Some(3));
    check_parse("a b", "`b` is not expected here", Some(2));
    check_parse("'é' b", "`b` is not expected here", Some(5));
    check_parse("inputs.?day", "`.` is not expected here", Some(6));
    assert!(
        Expression::parse("secrets.x")
            .expect_err("no root")
            .help()
            .is_some_and(|help| help.contains("`secrets:`"))
    );
}

#[test]
fn references_are_listed() {
    let text = "inputs.day + inputs['x'] + steps.pull.outputs.count + [1].map(inputs, inputs.hidden)[0] + trigger.kind";
    let found = Expression::parse(text).expect("parses").references().clone();
    assert_eq!(found.inputs.iter().map(String::as_str).collect::<Vec<_>>(), ["day", "x"]);
    let steps: Vec<_> =
        found.steps.iter().map(|s| (s.step.as_str(), s.field.as_deref(), s.output.as_deref())).collect();
    assert_eq!(steps, [("pull", Some("outputs"), Some("count"))]);
    assert!(found.fields.contains(&(Root::Trigger, "kind".into())));
    assert!(found.computed.is_empty());
    let found = Expression::parse("inputs[item.name]").expect("parses").references().clone();
    assert!(found.computed.contains(&Root::Inputs) && found.roots.contains(&Root::Item));
}

#[test]
fn what_is_too_much_is_refused() {
    let text = format!("{}1{}", "(".repeat(25), ")".repeat(25));
    check_parse(&text, "an expression nests at most 24 brackets deep", Some(24));
    check_parse(&"-".repeat(301), "an expression has at most 300 operators, dots and brackets", None);
    check_parse(&"1".repeat(2001), "an expression has at most 2000 characters, this one has 2001", None);
    let many = "[0,1,2,3,4,5,6,7,8,9]";
    let costly = format!(
        "{many}.map(a, {many}.map(b, {many}.map(c, {many}.map(d, {many}.map(e, {many}.map(f, 1))))))"
    );
    check(&costly, Err("the expression does too much work; let a step do it"));
    // Without the charge these would double a text and a list for each bracket.
    let doubled = (0..20)
        .fold("'0123456789abcdef'".to_owned(), |inner, _| format!("[{inner}].map(x, x + x + x + x + x)[0]"));
    check(&doubled, Err("the expression does too much work; let a step do it"));
    let doubled =
        (0..11).fold("[1]".to_owned(), |inner, _| format!("[{inner}].map(x, [x, x, x, x, x, x])[0]"));
    check(&doubled, Err("the expression does too much work; let a step do it"));
    check(&format!("{costly} == [] || true"), Err("the expression does too much work; let a step do it"));
    let large = Scope::default().with(Root::Inputs, json!({"text": "x".repeat(40_000)}));
    let error = Expression::parse("inputs.text + inputs.text").expect("parses").evaluate(&large);
    assert_eq!(error, Err(ExpressionError::TooLarge));
}

#[test]
fn deep_and_long_texts_end_quickly() {
    let texts = [
        format!("{}1{}", "(".repeat(24), ")".repeat(24)),
        format!("{}1{}", "[".repeat(24), "]".repeat(24)),
        format!("{}1{}", "{'a':".repeat(24), "}".repeat(24)),
        format!("{}1{}", "size(".repeat(24), ")".repeat(24)),
        "1+".repeat(PARTS_MAX) + "1",
        "1-".repeat(PARTS_MAX) + "1",
        "!".repeat(PARTS_MAX) + "a",
        "-".repeat(PARTS_MAX) + "1",
        format!("inputs{}", ".a".repeat(PARTS_MAX)),
        "true?1:".repeat(280) + "1",
        "true&&".repeat(PARTS_MAX / 2) + "true",
        "true||".repeat(PARTS_MAX / 2) + "true",
        "[0]".repeat(PARTS_MAX),
        "[0].map(x,x)".to_owned() + &".map(x,x)".repeat(PARTS_MAX / 2 - 2),
        "1,".repeat(999),
        "(".repeat(24),
        "{[(".repeat(8),
    ];
    for text in texts {
        // Only that it ends, without ending the process, matters here.
        let _ = Expression::parse(&text).map(|expression| expression.evaluate(&scope()));
    }
}

#[track_caller]
fn check_template(text: &str, want: Result<Value, &str>) {
    let got = match Template::parse(text) {
        Ok(template) => template.evaluate(&scope()).map_err(|cause| cause.to_string()),
        Err(cause) => Err(format!("{}: {cause}", cause.offset())),
    };
    assert_eq!(got, want.map_err(str::to_owned), "{text}");
}

#[test]
fn a_template_keeps_the_type_of_a_lone_expression() {
    check_template("plain", Ok(json!("plain")));
    check_template("", Ok(json!("")));
    check_template("${{ inputs.count }}", Ok(json!(3)));
    check_template("${{ steps.pull.outputs.customers }}", Ok(json!([{"id": 7}, {"id": 8}])));
    check_template(" ${{ inputs.count }}", Ok(json!(" 3")));
    check_template("a${{ inputs.count }}b${{ inputs.wanted }}", Ok(json!("a3btrue")));
    check_template("${{ {'a': {'b': 1}} }}", Ok(json!({"a": {"b": 1}})));
    check_template("x${{ '}}' + \"${{\" }}", Ok(json!("x}}${{")));
    check_template(
        "é ${{ [1] }}",
        Err("only a text, a number, true or false may stand inside a text, not a list"),
    );
    check_template("a ${{ inputs.day", Err("2: `${{` is never closed by `}}`"));
    check_template("é ${{ inputz }}", Err("7: unknown name `inputz`"));
    check_template("${{ }}", Err("4: an expression cannot be empty"));
}

#[test]
fn a_list_never_stands_in_a_text() {
    let kinds = Kinds { inputs: [("names".to_owned(), Kind::List)].into(), ..Kinds::default() };
    let check = |text: &str| Template::parse(text).expect(text).check_kinds(&kinds);
    assert_eq!(check("${{ inputs.names }}"), Ok(()));
    assert_eq!(check("all: ${{ inputs.names }}"), Err(ExpressionError::NotScalar("a list")));
    assert_eq!(check("all: ${{ inputs.other }}"), Ok(()));
}

#[test]
fn a_condition_is_true_or_false() {
    let test = |text: &str| Expression::parse(text).and_then(|expression| expression.test(&scope()));
    assert_eq!(test("inputs.count == 3"), Ok(true));
    assert_eq!(test("inputs.count"), Err(ExpressionError::NotBool("a number")));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]
    #[test]
    fn no_text_panics(text in "\\PC{0,60}") {
        let _ = Template::parse(&text);
        let _ = Expression::parse(&text).map(|expression| expression.evaluate(&scope()));
    }
    #[test]
    fn no_mix_of_tokens_panics(tokens in prop::collection::vec(prop::sample::select(vec![
        "inputs", ".", "count", "[", "]", "(", ")", "{", "}", "'a'", "1", "-", "!", "?", ":", ",", "+", "*", "%", "in",
        "has", "map", "x", "steps.pull.outputs.customers", "==", "&&", "||", "0u", "1.5", "null", "b'x'", "type", "int",
    ]), 0..14)) {
        let _ = Expression::parse(&tokens.concat()).map(|expression| expression.evaluate(&scope()));
        let _ = Expression::parse(&tokens.join(" ")).map(|expression| expression.evaluate(&scope()));
    }
    #[test]
    fn a_value_goes_in_and_comes_out(number in any::<i64>(), text in ".{0,20}", flag in any::<bool>()) {
        let value = json!({"n": number, "t": text, "f": flag, "l": [number, null]});
        let scope = Scope::default().with(Root::Item, value.clone());
        prop_assert_eq!(Expression::parse("item").expect("parses").evaluate(&scope), Ok(value));
    }
}

#[test]
fn what_was_read_before_is_the_same_as_what_is_read_again() {
    let mut parsed = Parsed::default();
    for text in ["inputs.day != 'never'", "steps.", "inputs.day != 'never'", "secrets.token", "steps."] {
        let again = Expression::parse(text);
        let before = parsed.expression(text);
        assert_eq!(before, again, "{text}");
        assert_eq!(
            before.ok().map(|one| one.references().clone()),
            again.ok().map(|one| one.references().clone())
        );
    }
    // However many a fleet has: what is kept has an end, what is read has none.
    for number in 0..1_000 {
        assert!(parsed.expression(&format!("inputs.n == {number}")).is_ok());
    }
}
