//! `audit`: who did what, and whether the record of it is whole.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader, Read as _};
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::Ending;
use super::door::{Door, ReachArgs};
use super::page::{self, Format, FormatArgs, columns, shown, text};
use crate::client::Question;
use crate::domain::TenantId;
use crate::record::{ChainFault, Verifier};

/// The longest line of an export: a record is a few names and a sentence.
const LINE_BYTES_MAX: u64 = 1024 * 1024;
/// Records that are asked for at one time.
const PAGE: u32 = 1_000;

/// The options of `tenantry audit`.
#[derive(Clone, Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct AuditArgs {
    #[command(subcommand)]
    command: Option<AuditCommand>,
    /// Whose audit; the platform's without one
    pub tenant: Option<TenantId>,
    /// Only what stands behind the record of this number
    #[arg(long, value_name = "NUMBER", default_value_t = 0)]
    after: u64,
    /// Prints every record as one line of JSON, for keeping and for `audit verify`
    #[arg(long, conflicts_with = "format")]
    export: bool,
    #[command(flatten)]
    reach: ReachArgs,
    #[command(flatten)]
    format: FormatArgs,
}

#[derive(Clone, Debug, clap::Subcommand)]
enum AuditCommand {
    /// Checks an export without a daemon: names each edit, gap, insertion and truncation
    Verify(VerifyArgs),
}

/// The options of `tenantry audit verify`.
#[derive(Clone, Debug, clap::Args)]
pub struct VerifyArgs {
    /// The export: one record as JSON on each line
    #[arg(long, value_name = "FILE")]
    from: PathBuf,
    /// A record known from elsewhere, so that a missing end shows; `platform` names the platform's chain
    #[arg(long, value_name = "TENANT:NUMBER:HASH")]
    known: Vec<Known>,
    #[command(flatten)]
    format: FormatArgs,
}

/// A record of one chain that is known from elsewhere.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Known {
    chain: String,
    sequence: u64,
    hash: String,
}

impl std::str::FromStr for Known {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let mut parts = text.splitn(3, ':');
        let (Some(chain), Some(sequence), Some(hash)) = (parts.next(), parts.next(), parts.next()) else {
            return Err("it is not of the form TENANT:NUMBER:HASH".to_owned());
        };
        let sequence = sequence.parse().map_err(|_| format!("`{sequence}` is no number of a record"))?;
        if hash.len() != 64 || !hash.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(format!("`{hash}` is no hash of 64 hex digits"));
        }
        Ok(Self { chain: chain.to_owned(), sequence, hash: hash.to_ascii_lowercase() })
    }
}

/// Lists a chain of the audit, or checks an export.
///
/// # Errors
/// [`Ending`]; no, if an export is not whole.
pub async fn run(args: &AuditArgs) -> Result<(), Ending> {
    if let Some(AuditCommand::Verify(verify)) = &args.command {
        return run_verify(verify);
    }
    let door = Door::to_look(&args.reach).await?;
    let path = match &args.tenant {
        Some(tenant) => format!("/api/v1/tenants/{tenant}/audit"),
        None => "/api/v1/audit".to_owned(),
    };
    let mut after = args.after;
    loop {
        let limit = if args.export { PAGE } else { 100 };
        let document = door.ask(Question::get(format!("{path}?after={after}&limit={limit}"))).await?;
        match (args.export, args.format.format) {
            (true, _) => {
                for record in records(&document) {
                    page::line(&record.to_string());
                }
            }
            (false, Format::Json) => page::json(&document),
            (false, Format::Human) => list(&document),
        }
        match document["next"].as_u64() {
            Some(next) if args.export => after = next,
            _ => return Ok(()),
        }
    }
}

fn records(document: &Value) -> &[Value] {
    document["records"].as_array().map(Vec::as_slice).unwrap_or_default()
}

fn list(document: &Value) {
    let row = |record: &Value| {
        vec![
            record["sequence"].to_string(),
            text(record, "at").to_owned(),
            shown(text(record, "actor")),
            shown(text(record, "action")),
            shown(text(record, "resource")),
            if record["allowed"] == json!(true) { "yes" } else { "no" }.to_owned(),
            shown(text(record, "reason")),
        ]
    };
    let rows: Vec<_> = records(document).iter().map(row).collect();
    page::line(&columns(&["", "AT", "WHO", "DID", "TO", "ALLOWED", "WHY"], &rows));
    if let Some(next) = document["next"].as_u64() {
        page::line(&format!("more: --after {next}"));
    }
}

/// What was found of one chain.
#[derive(Debug, PartialEq, Eq)]
struct Verified {
    chain: String,
    records: u64,
    head: Option<(u64, String)>,
    faults: Vec<ChainFault>,
}

fn run_verify(args: &VerifyArgs) -> Result<(), Ending> {
    let found = verify(open(&args.from)?, &args.known)?;
    match args.format.format {
        Format::Json => page::json(&document(&found)),
        Format::Human => {
            for chain in &found {
                page::line(&sentence(chain));
                for fault in &chain.faults {
                    page::line(&format!("  {fault}"));
                }
            }
        }
    }
    let broken = found.iter().filter(|chain| !chain.faults.is_empty()).count();
    match (found.is_empty(), broken) {
        (true, _) => Err(Ending::No("the export holds no record".to_owned())),
        (false, 0) => Ok(()),
        (false, 1) => Err(Ending::No("1 chain is not whole".to_owned())),
        (false, broken) => Err(Ending::No(format!("{broken} chains are not whole"))),
    }
}

#[expect(clippy::disallowed_methods, reason = "reads the export that was named")]
fn open(path: &Path) -> Result<BufReader<File>, Ending> {
    let fault = |error| Ending::CouldNot(format!("`{}` cannot be read: {error}", path.display()));
    File::open(path).map(BufReader::new).map_err(fault)
}

/// Checks every chain of an export, each in the order in which its records stand.
fn verify(mut export: impl BufRead, known: &[Known]) -> Result<Vec<Verified>, Ending> {
    let mut chains: BTreeMap<String, (Verifier, u64)> = BTreeMap::new();
    let mut line = Vec::new();
    for number in 1_u64.. {
        line.clear();
        let read = (&mut export).take(LINE_BYTES_MAX).read_until(b'\n', &mut line);
        let count =
            read.map_err(|error| Ending::CouldNot(format!("line {number} cannot be read: {error}")))?;
        if count == 0 {
            break;
        }
        if line.iter().all(u8::is_ascii_whitespace) {
            continue;
        }
        let record: Value = serde_json::from_slice(&line)
            .map_err(|error| Ending::No(format!("line {number} is no record: {error}")))?;
        let name = match &record["tenant"] {
            Value::String(tenant) => tenant.clone(),
            _ => PLATFORM.to_owned(),
        };
        let (verifier, records) = chains.entry(name).or_default();
        verifier.push(&record);
        *records += 1;
    }
    for one in known {
        chains.entry(one.chain.clone()).or_default();
    }
    let finish = |(chain, (verifier, records)): (String, (Verifier, u64))| {
        let head = verifier.head().map(|(sequence, hash)| (sequence, hash.to_owned()));
        let known = known.iter().find(|known| known.chain == chain);
        let faults = verifier.finish(known.map(|known| (known.sequence, known.hash.as_str())));
        Verified { chain, records, head, faults }
    };
    Ok(chains.into_iter().map(finish).collect())
}

/// The name of the platform's chain; no tenant can have it.
const PLATFORM: &str = "platform";

fn sentence(chain: &Verified) -> String {
    let name = shown(&chain.chain);
    match (&chain.head, chain.faults.len()) {
        (Some((sequence, hash)), 0) => {
            format!("{name}: {} records, whole; the last is {name}:{sequence}:{hash}", chain.records)
        }
        (_, 1) => format!("{name}: {} records, 1 fault", chain.records),
        (_, faults) => format!("{name}: {} records, {faults} faults", chain.records),
    }
}

/// `tenantry.audit-verify/1`.
fn document(found: &[Verified]) -> Value {
    let chain = |chain: &Verified| {
        let faults: Vec<String> = chain.faults.iter().map(ToString::to_string).collect();
        let head = chain.head.as_ref().map(|(sequence, hash)| json!({ "sequence": sequence, "hash": hash }));
        json!({ "chain": chain.chain, "records": chain.records, "head": head, "faults": faults })
    };
    json!({ "schema": "tenantry.audit-verify/1", "chains": found.iter().map(chain).collect::<Vec<_>>() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{Actor, AuditEntry, AuditRecord, Timestamp};
    use crate::record::link;

    fn export(tenant: Option<&str>, count: usize) -> Vec<String> {
        let mut records: Vec<AuditRecord> = Vec::new();
        for _ in 0..count {
            let entry = AuditEntry {
                at: Timestamp::from_millis(0),
                tenant: tenant.map(|tenant| tenant.parse().unwrap()),
                actor: Actor::Local(0),
                action: "view".to_owned(),
                resource: "tenant".to_owned(),
                allowed: true,
                reason: "asked".to_owned(),
                commit: None,
                run: None,
            };
            let head = records.last().map(|last| (last.sequence, last.hash.as_str()));
            records.push(link(head, entry));
        }
        records.iter().map(|record| serde_json::to_string(record).unwrap()).collect()
    }

    fn told(lines: &[String], known: &[Known]) -> Vec<String> {
        let found = verify(lines.join("\n").as_bytes(), known).unwrap();
        let tell = |chain: &Verified| {
            std::iter::once(sentence(chain))
                .chain(chain.faults.iter().map(ToString::to_string))
                .collect::<Vec<_>>()
        };
        found.iter().flat_map(tell).collect()
    }

    #[test]
    fn each_chain_of_an_export_is_checked_for_itself() {
        let (acme, platform) = (export(Some("acme"), 2), export(None, 1));
        // As they come from a store: one chain between the records of another.
        let mixed = [acme[0].clone(), platform[0].clone(), acme[1].clone()];
        let found = verify(mixed.join("\n").as_bytes(), &[]).unwrap();
        assert!(found.iter().all(|chain| chain.faults.is_empty()));
        let names: Vec<_> = found.iter().map(|chain| (chain.chain.as_str(), chain.records)).collect();
        assert_eq!(names, [("acme", 2), ("platform", 1)]);
    }

    #[test]
    fn what_was_done_to_an_export_is_told() {
        let mut edited = export(Some("acme"), 3);
        edited[1] = edited[1].replace("asked", "ASKED");
        assert_eq!(told(&edited, &[]), ["acme: 3 records, 1 fault", "record 2 was edited"]);
        let mut cut = export(Some("acme"), 3);
        let last: Value = serde_json::from_str(&cut.pop().unwrap()).unwrap();
        let known: Known = format!("acme:3:{}", last["hash"].as_str().unwrap()).parse().unwrap();
        assert_eq!(
            told(&cut, std::slice::from_ref(&known)),
            ["acme: 2 records, 1 fault", "the chain ends at record 2, but record 3 was written"]
        );
        assert_eq!(
            told(&[], &[known]),
            ["acme: 0 records, 1 fault", "the chain ends at record 0, but record 3 was written"]
        );
        let broken = verify("{".as_bytes(), &[]).unwrap_err();
        assert!(matches!(broken, Ending::No(text) if text.starts_with("line 1 is no record")));
    }

    #[test]
    fn a_known_record_is_named_whole() {
        for text in ["acme", "acme:x:00", "acme:1:zz"] {
            assert!(text.parse::<Known>().is_err(), "{text}");
        }
    }
}
