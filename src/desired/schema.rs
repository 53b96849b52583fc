//! A JSON Schema for every file that users write, made from the forms that decode it.
//!
//! Editors complete and check by them. A schema is the shape alone: names that must exist elsewhere, places of
//! expressions and limits are the rules' part.

use serde_json::{Value, json};

use super::written::{
    Definitions, Written, WrittenDaemon, WrittenPeople, WrittenPlatformRoles, WrittenRoles, WrittenSecrets,
    WrittenSettings, WrittenTenant, WrittenWorkflow,
};

/// One schema.
#[derive(Clone, Copy, Debug)]
pub struct Schema {
    /// Its name; it lies in `schemas/NAME.schema.json`.
    pub name: &'static str,
    /// The files it describes, as a glob from the repository's root.
    pub files: &'static str,
    title: &'static str,
    make: fn(&mut Definitions) -> Value,
}

/// Every schema.
pub const ALL: [Schema; 8] = [
    Schema {
        name: "workflow",
        files: "{tenants/*/workflows/*.yaml,shared/*/workflow.yaml}",
        title: "A workflow",
        make: WrittenWorkflow::schema,
    },
    Schema { name: "tenant", files: "tenants/*/tenant.yaml", title: "A tenant", make: WrittenTenant::schema },
    Schema {
        name: "roles",
        files: "tenants/*/roles.yaml",
        title: "Roles and elevations of a tenant",
        make: WrittenRoles::schema,
    },
    Schema {
        name: "secrets",
        files: "tenants/*/secrets.yaml",
        title: "The index of a tenant's secrets",
        make: WrittenSecrets::schema,
    },
    Schema {
        name: "people",
        files: "platform/people.yaml",
        title: "Users, services and groups",
        make: WrittenPeople::schema,
    },
    Schema {
        name: "platform-roles",
        files: "platform/roles.yaml",
        title: "Platform admins and maintainers",
        make: WrittenPlatformRoles::schema,
    },
    Schema {
        name: "daemon",
        files: "platform/daemon.yaml",
        title: "Public keys of the daemon",
        make: WrittenDaemon::schema,
    },
    Schema {
        name: "tenantry",
        files: "tenantry.toml",
        title: "Settings and policy of the platform",
        make: WrittenSettings::schema,
    },
];

/// The schema of the file at a path from the repository's root; `None` where nothing that a schema describes is read.
#[must_use]
pub fn of_path(path: &str) -> Option<Schema> {
    let parts: Vec<&str> = path.split('/').collect();
    let name = match parts.as_slice() {
        ["tenantry.toml"] => "tenantry",
        ["platform", "people.yaml"] => "people",
        ["platform", "roles.yaml"] => "platform-roles",
        ["platform", "daemon.yaml"] => "daemon",
        ["shared", _, "workflow.yaml"] => "workflow",
        ["tenants", _, "tenant.yaml"] => "tenant",
        ["tenants", _, "roles.yaml"] => "roles",
        ["tenants", _, "secrets.yaml"] => "secrets",
        ["tenants", _, "workflows", file] if file.ends_with(".yaml") => "workflow",
        _ => return None,
    };
    ALL.into_iter().find(|schema| schema.name == name)
}

impl Schema {
    /// The schema as a document of draft 2020-12.
    #[must_use]
    pub fn document(&self) -> Value {
        let mut definitions = Definitions::new();
        let root = (self.make)(&mut definitions);
        let mut document = json!({
            "$schema": "https://json-schema.org/draft/2020-12/schema",
            "title": self.title,
        });
        if let (Value::Object(document), Value::Object(root)) = (&mut document, root) {
            document.extend(root);
        }
        if !definitions.is_empty() {
            document["$defs"] = json!(definitions);
        }
        document
    }

    /// The document as text, as it lies in `schemas/`.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = serde_json::to_string_pretty(&self.document()).unwrap_or_default();
        text.push('\n');
        text
    }

    /// The globs of the files it describes, one by one.
    pub fn globs(&self) -> impl Iterator<Item = &'static str> {
        let inner = self.files.strip_prefix('{').and_then(|files| files.strip_suffix('}'));
        inner.unwrap_or(self.files).split(',')
    }

    /// The name of its file.
    #[must_use]
    pub fn file(&self) -> String {
        format!("{}.schema.json", self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Calls `look` with every property of a schema: where it is, and what it says.
    fn every(schema: &Value, way: &str, look: &mut impl FnMut(&str, &Value)) {
        match schema {
            Value::Object(fields) => {
                for (name, property) in
                    fields.get("properties").and_then(Value::as_object).into_iter().flatten()
                {
                    look(&format!("{way}/{name}"), property);
                }
                fields.iter().for_each(|(name, inner)| every(inner, &format!("{way}/{name}"), look));
            }
            Value::Array(items) => items.iter().for_each(|item| every(item, way, look)),
            _ => {}
        }
    }

    #[test]
    fn every_field_says_what_it_is_for() {
        let mut count = 0;
        for schema in ALL {
            every(&schema.document(), schema.name, &mut |way, property| {
                count += 1;
                let about = property.get("description").and_then(Value::as_str).unwrap_or_default();
                assert!(about.len() > 3, "{way} is not described");
            });
        }
        assert!(count > 150, "{count} fields");
    }

    #[test]
    fn an_example_is_right() {
        let mut count = 0;
        for schema in ALL {
            let document = schema.document();
            every(&document, schema.name, &mut |way, property| {
                for example in property.get("examples").and_then(Value::as_array).into_iter().flatten() {
                    let mut alone = property.clone();
                    alone["$defs"] = document.get("$defs").cloned().unwrap_or_default();
                    assert!(jsonschema::is_valid(&alone, example), "{way}: {example}");
                    count += 1;
                }
            });
        }
        assert!(count > 20, "{count} examples");
    }

    #[test]
    fn a_path_has_the_schema_whose_globs_match_it() {
        let paths = [
            "tenantry.toml",
            "platform/people.yaml",
            "platform/roles.yaml",
            "platform/daemon.yaml",
            "shared/invoices/workflow.yaml",
            "tenants/acme/tenant.yaml",
            "tenants/acme/roles.yaml",
            "tenants/acme/secrets.yaml",
            "tenants/acme/workflows/sync.yaml",
            "tenants/acme/workflows/deep/sync.yaml",
            "tenants/acme/scripts/data.yaml",
            "tenants/acme/secrets/a.v1.sops.yaml",
            "platform/other.yaml",
            "README.md",
        ];
        for path in paths {
            let matches = |schema: &Schema| {
                schema.globs().any(|glob| {
                    let glob = globset::GlobBuilder::new(glob).literal_separator(true).build().unwrap();
                    glob.compile_matcher().is_match(path)
                })
            };
            let want = ALL.iter().find(|schema| matches(schema)).map(|schema| schema.name);
            assert_eq!(of_path(path).map(|schema| schema.name), want, "{path}");
        }
    }
}
