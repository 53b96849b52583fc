//! `doctor`: what this machine can and cannot do, found out by doing it, each gap with its cure.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::Ending;
use super::page::{self, Format, FormatArgs};
use super::run::{Canary, canary};
use super::serve::TierArg;
use crate::domain::Tier;
use crate::sandbox::{self, Capabilities, FeatureState, LimitsPolicy, Need, Settings};

/// The options of `tenantry doctor`.
#[derive(Clone, Debug, clap::Args)]
pub struct DoctorArgs {
    /// Only lets a canary take the way of a secret: sealed, opened, asked for, written by a step, looked for
    #[arg(long)]
    redaction: bool,
    /// The tier that is looked at
    #[arg(long, value_enum, default_value_t, value_name = "TIER", env = "TENANTRY_TIER")]
    tier: TierArg,
    #[command(flatten)]
    format: FormatArgs,
}

/// Programs that tenantry or scripts use, and what for.
const PROGRAMS: [(&str, &str); 5] = [
    ("git", "fetching the repository"),
    ("sh", "scripts of `shell: sh`"),
    ("bash", "scripts of `shell: bash`"),
    ("python3", "scripts of `shell: python`"),
    ("node", "scripts of `shell: node`"),
];

/// A program and where it was found.
struct Found {
    name: &'static str,
    purpose: &'static str,
    path: Option<String>,
}

/// Looks at this machine and says what it saw.
///
/// # Errors
/// [`Ending::Quiet`] with 1 if steps are refused, `git` is missing or a secret would come through;
/// [`Ending::CouldNot`] if not even that can be found out.
pub async fn run(args: &DoctorArgs) -> Result<(), Ending> {
    if args.redaction {
        let found = canary().await?;
        match args.format.format {
            Format::Json => page::json(&json!({
                "schema": "tenantry.doctor-redaction/1",
                "redaction": redaction(Some(&found)),
            })),
            Format::Human => page::line(&redaction_lines(&found).join("\n")),
        }
        return if found.problems.is_empty() { Ok(()) } else { Err(Ending::Quiet(1)) };
    }
    let settings = Settings {
        program: this_program()?,
        instance: format!("doctor-{}", std::process::id()),
        tier: Tier::default(),
        limits: LimitsPolicy::Enforced,
        unsandboxed: BTreeSet::new(),
        packages: None,
        runtimes: None,
    };
    let tiers = args.tier.tier().map_or_else(|| sandbox::TIERS_WITH_WALLS.to_vec(), |tier| vec![tier]);
    let capabilities = sandbox::probe(settings, &tiers).await.map_err(Ending::could_not)?;
    let programs = look_for_programs();
    // Its step is content with best-effort limits, which the machine may lack for others.
    let canary = match canary().await {
        Ok(found) => Some(found),
        Err(_) if capabilities.refusal().is_some() => None,
        Err(ending) => {
            let problems = vec![format!("it could not be tried: {}", said(&ending))];
            Some(Canary { hits: Default::default(), problems })
        }
    };
    match args.format.format {
        Format::Json => page::json(&document(&capabilities, &programs, canary.as_ref())),
        Format::Human => page::line(&text(&capabilities, &programs, canary.as_ref())),
    }
    let has_git = programs.iter().any(|one| one.name == "git" && one.path.is_some());
    let comes_through = canary.is_some_and(|canary| !canary.problems.is_empty());
    if capabilities.refusal().is_some() || !has_git || comes_through { Err(Ending::Quiet(1)) } else { Ok(()) }
}

/// The path of this very program, which is its own sandbox helper.
fn this_program() -> Result<std::path::PathBuf, Ending> {
    std::env::current_exe().map_err(Ending::could_not)
}

#[expect(clippy::disallowed_methods, reason = "the search path is what is asked about")]
fn look_for_programs() -> Vec<Found> {
    use std::os::unix::fs::PermissionsExt as _;
    let path = std::env::var_os("PATH").unwrap_or_default();
    let find = |name: &str| {
        std::env::split_paths(&path).map(|directory| directory.join(name)).find(|file| {
            std::fs::metadata(file)
                .is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0)
        })
    };
    let found = PROGRAMS.iter().map(|(name, purpose)| Found {
        name,
        purpose,
        path: find(name).map(|file| file.display().to_string()),
    });
    found.collect()
}

fn said(ending: &Ending) -> String {
    match ending {
        Ending::No(why) | Ending::Usage(why) | Ending::CouldNot(why) => why.clone(),
        Ending::Quiet(_) => "no reason given".to_owned(),
    }
}

/// What a canary showed; `not_tried` where steps are refused.
fn redaction(canary: Option<&Canary>) -> Value {
    match canary {
        None => json!({ "state": "not_tried" }),
        Some(Canary { hits, problems }) => {
            let state = if problems.is_empty() { "ok" } else { "failed" };
            json!({ "state": state, "hits": hits, "problems": problems })
        }
    }
}

fn redaction_lines(canary: &Canary) -> Vec<String> {
    if canary.problems.is_empty() {
        let hits: Vec<String> = canary.hits.iter().map(|(form, count)| format!("{form} {count}")).collect();
        return vec![format!(
            "ok       redaction: a canary was taken out of all that a step wrote ({})",
            hits.join(", ")
        )];
    }
    let problems = canary.problems.iter().map(|problem| format!("           why   {problem}"));
    std::iter::once("FAILED   redaction: secrets may come through in logs".to_owned())
        .chain(problems)
        .collect()
}

fn document(capabilities: &Capabilities, programs: &[Found], canary: Option<&Canary>) -> Value {
    let programs: Vec<Value> = programs
        .iter()
        .map(|one| json!({"name": one.name, "purpose": one.purpose, "path": one.path}))
        .collect();
    json!({
        "schema": "tenantry.doctor/1",
        "steps": if capabilities.refusal().is_some() { "refused" } else { "accepted" },
        "tier": capabilities.tier,
        "limits": capabilities.limits,
        "features": capabilities.features,
        "notes": capabilities.notes,
        "redaction": redaction(canary),
        "programs": programs,
    })
}

fn tier(tier: Tier) -> &'static str {
    match tier {
        Tier::Sandbox => "sandbox",
        Tier::Bubblewrap => "sandbox of `bwrap`",
        Tier::UnsafeNone => "open",
    }
}

fn text(capabilities: &Capabilities, programs: &[Found], canary: Option<&Canary>) -> String {
    let mut lines = Vec::new();
    lines.push(match (capabilities.refusal().is_some(), capabilities.limits) {
        (true, _) => "steps are refused on this machine; validate, plan and reconcile work".to_owned(),
        (false, limits) => format!("steps run in the {}, their limits {limits}", tier(capabilities.tier)),
    });
    lines.push(String::new());
    for feature in &capabilities.features {
        match &feature.state {
            FeatureState::Ok => lines.push(format!("ok       {}", feature.name)),
            FeatureState::Missing { why, cure } => {
                let weight = match feature.need {
                    Need::Required => "required",
                    Need::Recorded => "steps run without it, and their record says so",
                };
                lines.push(format!("missing  {} ({weight})", feature.name));
                lines.push(format!("           why   {why}"));
                lines.push(format!("           cure  {cure}"));
            }
        }
    }
    lines.extend(canary.into_iter().flat_map(redaction_lines));
    lines.push(String::new());
    for one in programs {
        match &one.path {
            Some(path) => lines.push(format!("ok       {} at {path}", one.name)),
            None => lines.push(format!("missing  {}, for {}", one.name, one.purpose)),
        }
    }
    lines.extend(capabilities.notes.iter().map(|note| format!("note     {note}")));
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::LimitsKind;
    use crate::sandbox::Feature;

    fn capabilities(need: Need) -> Capabilities {
        let missing =
            FeatureState::Missing { why: "no such call".to_owned(), cure: "use another".to_owned() };
        Capabilities {
            tier: Tier::Sandbox,
            limits: LimitsKind::Enforced,
            features: vec![
                Feature { name: "pid namespace".to_owned(), need: Need::Required, state: FeatureState::Ok },
                Feature { name: "seccomp".to_owned(), need, state: missing },
            ],
            notes: vec!["steps can read `/opt/python`".to_owned()],
        }
    }

    #[test]
    fn a_gap_stands_with_its_cure() {
        let programs = [
            Found { name: "git", purpose: "fetching", path: None },
            Found { name: "sh", purpose: "x", path: Some("/bin/sh".to_owned()) },
        ];
        insta::assert_snapshot!(text(&capabilities(Need::Required), &programs, None), @r"
        steps are refused on this machine; validate, plan and reconcile work

        ok       pid namespace
        missing  seccomp (required)
                   why   no such call
                   cure  use another

        missing  git, for fetching
        ok       sh at /bin/sh
        note     steps can read `/opt/python`
        ");
        assert!(
            text(&capabilities(Need::Recorded), &[], None)
                .starts_with("steps run in the sandbox, their limits enforced")
        );
    }

    #[test]
    fn a_canary_that_comes_through_is_told_without_its_value() {
        let hits = [("raw".to_owned(), 3)].into_iter().collect();
        let fine = Canary { hits, problems: vec![] };
        assert_eq!(redaction(Some(&fine)), json!({ "state": "ok", "hits": { "raw": 3 }, "problems": [] }));
        assert_eq!(redaction_lines(&fine).len(), 1);
        let broken = Canary { problems: vec!["the canary came through as it is in the log".into()], ..fine };
        assert!(text(&capabilities(Need::Recorded), &[], Some(&broken)).contains("FAILED   redaction"));
        assert_eq!(redaction(Some(&broken))["state"], "failed");
        assert_eq!(redaction(None), json!({ "state": "not_tried" }));
    }

    #[test]
    fn the_document_has_its_schema_and_every_gap() {
        let document = document(&capabilities(Need::Required), &[], None);
        assert_eq!(document["schema"], "tenantry.doctor/1");
        assert_eq!(document["steps"], "refused");
        assert_eq!(document["features"][1]["state"], "missing");
        assert_eq!(document["features"][1]["cure"], "use another");
        assert_eq!(
            document["features"][0],
            json!({"name": "pid namespace", "need": "required", "state": "ok"})
        );
    }
}
