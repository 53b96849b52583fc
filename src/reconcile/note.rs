//! The result of a pass as the Git note of its commit: `git log --notes=tenantry` on the mirror.

use crate::domain::{Status, StatusRow};
use crate::store::SourceRow;

/// Tenants that a note names.
const NAMED_MAX: usize = 100;

/// One line for the source and the platform each where they matter, one for each tenant that did not come through,
/// and a count of those that did.
pub(super) fn text(source: &SourceRow, platform: Option<&StatusRow>, rows: &[StatusRow]) -> String {
    let mut lines = Vec::new();
    lines.extend(source.message.clone());
    let platform = platform.into_iter().map(|row| ("platform".to_owned(), row));
    let tenants = rows
        .iter()
        .map(|row| (row.tenant.as_ref().map_or_else(|| "platform".to_owned(), ToString::to_string), row));
    let (well, ill): (Vec<_>, Vec<_>) = platform
        .chain(tenants)
        .partition(|(_, row)| matches!(row.status, Status::Applied | Status::Unchanged));
    let counted = |status: Status| well.iter().filter(|(_, row)| row.status == status).count();
    lines.push(format!("applied: {}, unchanged: {}", counted(Status::Applied), counted(Status::Unchanged)));
    for (name, row) in ill.iter().take(NAMED_MAX) {
        let why = match row.status {
            Status::Invalid => row.findings.first().map(|f| format!("{} {}:{}", f.rule, f.path, f.line)),
            Status::Held => row.held.first().map(|line| line.edge.clone()),
            _ => row.conditions.first().map(|condition| condition.message.clone()),
        };
        lines.push(format!("{name}: {} ({})", row.status.as_str(), why.unwrap_or_default()));
    }
    if ill.len() > NAMED_MAX {
        lines.push(format!("and {} more", ill.len() - NAMED_MAX));
    }
    lines.join("\n")
}
