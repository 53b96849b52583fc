//! The shape of a file: its JSON Schema, walked along the way to a place. What the editor shows of a field is
//! what `schemas/` says of it, and that is the doc comment of the form that reads it.

use std::sync::OnceLock;

use serde_json::Value;

use super::outline::Part;
use crate::desired::schema;

/// References that are followed one after the other.
const FOLLOWED_MAX: usize = 16;

/// One schema and its definitions.
#[derive(Debug)]
pub struct Shape {
    document: Value,
}

/// What may stand at a place: one of several forms, with what is said of it.
#[derive(Clone, Copy, Debug)]
pub struct Form<'s> {
    schema: &'s Value,
    about: Option<&'s str>,
}

/// A field that may stand in a mapping.
#[derive(Clone, Copy, Debug)]
pub struct Field<'s> {
    /// Its name.
    pub name: &'s str,
    /// Whether it must be there.
    pub required: bool,
    /// What may stand behind it.
    pub form: Form<'s>,
}

impl Shape {
    /// The shape of the files that a schema describes; made once.
    #[must_use]
    pub fn of(name: &str) -> Option<&'static Self> {
        static ALL: [OnceLock<Shape>; schema::ALL.len()] = [const { OnceLock::new() }; schema::ALL.len()];
        let index = schema::ALL.iter().position(|schema| schema.name == name)?;
        Some(ALL[index].get_or_init(|| Self { document: schema::ALL[index].document() }))
    }

    /// What may stand at the end of a way; nothing where the way leads nowhere.
    #[must_use]
    pub fn at(&self, way: &[Part]) -> Vec<Form<'_>> {
        let mut forms = self.spread(Form { schema: &self.document, about: None });
        for part in way {
            let next: Vec<Form<'_>> = forms.iter().filter_map(|form| step(*form, part)).collect();
            forms = next.into_iter().flat_map(|form| self.spread(form)).collect();
        }
        forms
    }

    /// The fields of the mapping at the end of a way.
    #[must_use]
    pub fn fields(&self, way: &[Part]) -> Vec<Field<'_>> {
        let mut fields: Vec<Field<'_>> = Vec::new();
        for form in self.at(way) {
            let required = form.schema.get("required").and_then(Value::as_array);
            let must = |name: &str| required.is_some_and(|names| names.iter().any(|one| one == name));
            for (name, schema) in
                form.schema.get("properties").and_then(Value::as_object).into_iter().flatten()
            {
                if !fields.iter().any(|field| field.name == name) {
                    let about = schema.get("description").and_then(Value::as_str);
                    fields.push(Field { name, required: must(name), form: Form { schema, about } });
                }
            }
        }
        fields
    }

    /// One field with everything that may stand behind it.
    #[must_use]
    pub fn field(&self, way: &[Part]) -> Option<(Field<'_>, Vec<Form<'_>>)> {
        let (Part::Key(name), above) = way.split_last()? else { return None };
        let field = self.fields(above).into_iter().find(|field| field.name == name)?;
        Some((field, self.at(way)))
    }

    /// A form with its references followed and its choices side by side.
    fn spread<'s>(&'s self, form: Form<'s>) -> Vec<Form<'s>> {
        let mut done = Vec::new();
        let mut todo = vec![(form, 0)];
        while let Some((form, depth)) = todo.pop() {
            let about = form.about.or_else(|| form.schema.get("description").and_then(Value::as_str));
            if depth > FOLLOWED_MAX {
                continue;
            }
            if let Some(name) = form.schema.get("$ref").and_then(Value::as_str) {
                let name = name.trim_start_matches("#/$defs/");
                if let Some(schema) = self.document.get("$defs").and_then(|all| all.get(name)) {
                    todo.push((Form { schema, about }, depth + 1));
                }
            } else if let Some(choices) = form.schema.get("anyOf").and_then(Value::as_array) {
                todo.extend(choices.iter().rev().map(|schema| (Form { schema, about }, depth + 1)));
            } else {
                done.push(Form { schema: form.schema, about });
            }
        }
        done
    }
}

fn step<'s>(form: Form<'s>, part: &Part) -> Option<Form<'s>> {
    let schema = match part {
        Part::Item(_) => form.schema.get("items")?,
        Part::Key(name) => {
            let known = form.schema.get("properties").and_then(|fields| fields.get(name));
            known.or_else(|| form.schema.get("additionalProperties").filter(|other| other.is_object()))?
        }
    };
    Some(Form { schema, about: None })
}

impl<'s> Form<'s> {
    /// What is said of it.
    #[must_use]
    pub fn about(self) -> Option<&'s str> {
        self.about
    }

    /// The words it may be, `true` and `false` included.
    pub fn words(self) -> impl Iterator<Item = String> {
        let listed = self.schema.get("enum").and_then(Value::as_array).into_iter().flatten();
        let listed = listed.map(|word| word.as_str().map_or_else(|| word.to_string(), str::to_owned));
        let yes_or_no = self.is("boolean").then_some(["true", "false"]).into_iter().flatten();
        listed.chain(yes_or_no.map(str::to_owned))
    }

    /// Values that show how it is written.
    pub fn examples(self) -> impl Iterator<Item = String> {
        let examples = self.schema.get("examples").and_then(Value::as_array).into_iter().flatten();
        examples.map(|example| example.as_str().map_or_else(|| example.to_string(), str::to_owned))
    }

    /// Whether a schema type is among its own.
    #[must_use]
    pub fn is(self, wanted: &str) -> bool {
        match self.schema.get("type") {
            Some(Value::String(one)) => one == wanted,
            Some(Value::Array(all)) => all.iter().any(|one| one == wanted),
            _ => false,
        }
    }

    /// What it is, in a word or two.
    #[must_use]
    pub fn word(self) -> String {
        let words: Vec<String> = self.words().collect();
        if self.schema.get("enum").is_some() {
            return words.join(" | ");
        }
        let known = [
            ("string", "text"),
            ("boolean", "true | false"),
            ("integer", "whole number"),
            ("number", "number"),
            ("array", "list"),
            ("object", "mapping"),
        ];
        let names: Vec<&str> =
            known.iter().filter(|(name, _)| self.is(name)).map(|(_, word)| *word).collect();
        if names.is_empty() { "value".to_owned() } else { names.join(" | ") }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn way(text: &str) -> Vec<Part> {
        text.split('.')
            .filter(|part| !part.is_empty())
            .map(|part| part.parse().map_or_else(|_| Part::Key(part.to_owned()), Part::Item))
            .collect()
    }

    #[track_caller]
    fn check(name: &str, at: &str, want: &str) {
        let shape = Shape::of(name).unwrap();
        let mut words: Vec<String> = shape.at(&way(at)).into_iter().map(Form::word).collect();
        words.dedup();
        assert_eq!(words.join(" / "), want, "{name} {at}");
    }

    #[test]
    fn a_way_leads_to_what_may_stand_there() {
        check("workflow", "steps.pull.shell", "sh | bash | python | node");
        check("workflow", "steps.pull.needs", "text / list");
        check("workflow", "steps.pull.secrets.0", "text / mapping");
        check("workflow", "steps.pull.secrets.0.env", "text");
        check("workflow", "on", "commit | manual / list / mapping");
        check("workflow", "on.schedule.0.cron", "text");
        check("tenant", "limits.concurrency", "whole number");
        check("roles", "elevations.0.user", "text");
        check("tenantry", "reconcile.on_rewrite", "hold | follow");
        check("workflow", "steps.pull.nonsense", "");
        check("workflow", "timeout.0", "");
        assert!(Shape::of("nothing").is_none());
    }

    #[test]
    fn a_field_says_what_it_is_for() {
        let shape = Shape::of("tenant").unwrap();
        let (field, _) = shape.field(&way("owner")).unwrap();
        assert!(field.required);
        assert!(field.form.about().unwrap().contains("agrees to changes of access"));
        assert!(
            shape.fields(&way("limits")).iter().any(|field| field.name == "run_timeout" && !field.required)
        );
    }
}
