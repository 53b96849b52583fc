//! Names that look alike.

use std::collections::BTreeMap;

use super::file::Found;
use crate::desired::rules;
use crate::domain::Span;

/// What is left of a name for somebody who looks at it quickly.
///
/// Names hold nothing but `a-z`, `0-9`, `-` and `_`, so these are all the pairs that common typefaces confuse.
fn skeleton(name: &str) -> String {
    name.replace("rn", "m").replace("vv", "w").replace('0', "o").replace('1', "l").replace('_', "-")
}

/// Reports each name that looks like an earlier one of its kind. `names` is in written order.
pub(super) fn check<'n>(
    kind: &str,
    names: impl IntoIterator<Item = (&'n str, &'n str, Option<Span>)>,
    found: &mut Found,
) {
    let mut seen: BTreeMap<String, (&str, &str, Option<Span>)> = BTreeMap::new();
    for (name, path, span) in names {
        match seen.get(&skeleton(name)) {
            // The same name twice is told by the rule that forbids it.
            Some((first, ..)) if *first == name => {}
            Some((first, first_path, first_span)) => {
                let message = format!("the {kind} `{name}` looks like `{first}`");
                let finding = rules::CONFUSABLE_NAME.at(path, span, message);
                found.push(finding.help("choose a name that cannot be misread").related(
                    first_path,
                    *first_span,
                    "the other one",
                ));
            }
            None => {
                seen.insert(skeleton(name), (name, path, span));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_look_alike_have_one_skeleton() {
        for (one, other) in
            [("db_url", "db_ur1"), ("acme0", "acmeo"), ("modern", "modem"), ("a-b", "a_b"), ("vva", "wa")]
        {
            assert_eq!(skeleton(one), skeleton(other), "{one} {other}");
        }
        for (one, other) in [("acme-1", "acme-2"), ("mail", "mall"), ("emea", "acme")] {
            assert_ne!(skeleton(one), skeleton(other), "{one} {other}");
        }
    }
}
