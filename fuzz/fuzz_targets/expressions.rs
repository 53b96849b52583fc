//! An expression is refused, or has a value or a reason within its bounds, over any scope.
#![no_main]

use libfuzzer_sys::fuzz_target;
use serde_json::json;
use tenantry::expression::{Expression, Kinds, RESULT_BYTES_MAX, Root, Scope, Template};

fuzz_target!(|text: &str| {
    let scope = Scope::default()
        .with(Root::Inputs, json!({ "day": "2026-11-23", "list": [1, "a", null], "map": { "a": 1.5 } }))
        .with(Root::Steps, json!({ "pull": { "status": "success", "outputs": { "count": 3 } } }))
        .with(Root::Trigger, json!({ "kind": "manual", "time": "2026-11-23T02:00:00Z" }));
    if let Ok(expression) = Expression::parse(text) {
        assert_eq!(expression.text(), text);
        let _ = (expression.references(), expression.kind(&Kinds::default()), expression.test(&scope));
        if let Ok(value) = expression.evaluate(&scope) {
            assert!(value.to_string().len() <= RESULT_BYTES_MAX);
        }
    }
    if let Ok(template) = Template::parse(text) {
        assert_eq!(template.text(), text);
        let _ = (template.references(), template.check_kinds(&Kinds::default()), template.evaluate(&scope));
    }
});
