//! `tenantry explain RULE`: the page of a rule.

use super::Ending;
use super::page;
use crate::desired::rules;

/// Arguments of `explain`.
#[derive(Debug, clap::Args)]
pub struct ExplainArgs {
    /// The rule's id or name, such as W201 or unknown-needs; without it all rules are listed
    rule: Option<String>,
}

/// Prints the page of a rule, or one line for each rule.
///
/// # Errors
/// `Usage` if there is no such rule.
pub fn run(args: &ExplainArgs) -> Result<(), Ending> {
    let Some(name) = &args.rule else {
        let rows: Vec<Vec<String>> = rules::all()
            .map(|rule| vec![rule.id.to_owned(), rule.name.to_owned(), rule.what.to_owned()])
            .collect();
        page::line(page::columns(&["RULE", "NAME", "WHAT IT FINDS"], &rows).trim_end());
        return Ok(());
    };
    match rules::find(name) {
        Some(rule) => {
            page::line(rule.page().trim_end());
            Ok(())
        }
        None => {
            Err(Ending::Usage(format!("there is no rule `{}`: see `tenantry explain`", name.escape_debug())))
        }
    }
}
