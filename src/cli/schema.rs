//! `tenantry schema`: JSON Schemas of the files that users write.
#![expect(clippy::disallowed_methods, reason = "writes the schemas where it is told to")]

use std::path::PathBuf;

use super::Ending;
use super::page;
use crate::desired::schema;

/// Arguments of `schema`.
#[derive(Debug, clap::Args)]
pub struct SchemaArgs {
    /// The schema to print, such as workflow; without it all are listed
    name: Option<String>,
    /// Write all of them into this directory
    #[arg(long, value_name = "DIR", conflicts_with = "name")]
    write: Option<PathBuf>,
}

/// Prints or writes schemas.
///
/// # Errors
/// `Usage` for an unknown name; `CouldNot` if a file cannot be written.
pub fn run(args: &SchemaArgs) -> Result<(), Ending> {
    if let Some(directory) = &args.write {
        std::fs::create_dir_all(directory).map_err(Ending::could_not)?;
        for schema in schema::ALL {
            let path = directory.join(schema.file());
            std::fs::write(&path, schema.text())
                .map_err(|error| Ending::CouldNot(format!("cannot write `{}`: {error}", path.display())))?;
        }
        return Ok(());
    }
    let Some(name) = &args.name else {
        let rows: Vec<Vec<String>> =
            schema::ALL.iter().map(|schema| vec![schema.name.to_owned(), schema.files.to_owned()]).collect();
        page::line(page::columns(&["SCHEMA", "FILES"], &rows).trim_end());
        return Ok(());
    };
    match schema::ALL.iter().find(|schema| schema.name == name) {
        Some(schema) => {
            page::line(schema.text().trim_end());
            Ok(())
        }
        None => {
            Err(Ending::Usage(format!("there is no schema `{}`: see `tenantry schema`", name.escape_debug())))
        }
    }
}
