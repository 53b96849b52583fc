//! `tenantry.toml` as written.

use std::ops::Range;

use super::form::{Entries, form};
use super::scalar::{Anything, Count, Plain};
use super::tenant::WrittenRetention;
use crate::desired::rules;
use crate::domain::{
    ByteSize, ChangeControlMode, Diagnostic, Length, OnRewrite, Position, Span, Spanned, TenantId, Tier,
    WorkflowId,
};
use crate::yaml::{Kind, Node, Style};

form! {
    /// `tenantry.toml`: settings and policy of the platform.
    WrittenSettings {
        /// Always 1 in this version.
        format: Spanned<Plain>,
        /// A UUID that `tenantry init` writes; stands in every approval.
        id: Spanned<String>,
        /// The repository's name.
        name: Spanned<String>,
        /// How the branch is followed.
        reconcile: Option<Spanned<WrittenReconcile>>,
        /// How changes are agreed to.
        change_control: Option<Spanned<WrittenChangeControl>>,
        /// Where reviews happen.
        forge: Option<Spanned<WrittenForge>>,
        /// Ceilings that no tenant can raise.
        limits: Option<Spanned<WrittenCeilings>>,
        /// Floors that no tenant can lower.
        retention: Option<Spanned<WrittenRetention>>,
        /// Keys of the platform.
        secrets: Option<Spanned<WrittenRecovery>>,
        /// The only way into private ranges.
        network: Option<Spanned<WrittenNetwork>>,
        /// Where Python packages come from.
        python: Option<Spanned<WrittenPython>>,
        /// Where mail leaves.
        smtp: Option<Spanned<WrittenSmtp>>,
        /// Where alerts about the platform itself go.
        alerts: Option<Spanned<WrittenPlatformAlerts>>,
    }
    /// How the branch is followed.
    WrittenReconcile {
        /// The branch that is applied; `main` by default.
        #[example = "main"]
        branch: Option<Spanned<String>>,
        /// What a force-push does: hold, or follow (mode `open` only).
        on_rewrite: Option<Spanned<OnRewrite>>,
    }
    /// How changes are agreed to.
    WrittenChangeControl {
        /// pull-request, signed or open.
        mode: Option<Spanned<ChangeControlMode>>,
        /// Class of change to who agrees.
        require: Option<Spanned<Entries<ChangeClass, WrittenRequirement>>>,
        /// The same for tenants of one environment.
        environment: Option<Spanned<Entries<WorkflowId, Entries<ChangeClass, WrittenRequirement>>>>,
    }
    /// Who agrees to a class of change.
    WrittenRequirement {
        /// Roles.
        from: Option<Spanned<Vec<Spanned<String>>>>,
        /// How many people.
        count: Option<Spanned<Count>>,
    }
    /// Where reviews happen.
    WrittenForge {
        /// github, gitlab, gitea or forgejo.
        kind: Spanned<ForgeKind>,
        /// OWNER/NAME.
        #[example = "northwind/automations"]
        repo: Option<Spanned<String>>,
        /// The address of its API, where it is not the public one.
        #[example = "https://git.northwind.example/api/v3"]
        url: Option<Spanned<String>>,
    }
    /// Ceilings that no tenant can raise.
    WrittenCeilings {
        /// Runs of one tenant at one time.
        concurrency: Option<Spanned<u32>>,
        /// Memory of one attempt, with a unit.
        memory: Option<Spanned<ByteSize>>,
        /// Time of one run, with a unit.
        run_timeout: Option<Spanned<Length>>,
        /// Length of an elevation, with a unit; 8h by default.
        elevation_max: Option<Spanned<Length>>,
        /// The weakest tier that steps may run in: bubblewrap or sandbox.
        tier: Option<Spanned<Tier>>,
    }
    /// Keys of the platform.
    WrittenRecovery {
        /// Offline keys that are recipients of every tenant's secrets.
        recovery: Option<Spanned<Vec<Spanned<String>>>>,
    }
    /// The only way into private ranges.
    WrittenNetwork {
        /// One opening each.
        private: Option<Spanned<Vec<Spanned<WrittenPrivate>>>>,
    }
    /// One opening into a private range.
    WrittenPrivate {
        /// Whose.
        tenant: Spanned<TenantId>,
        /// A name or address.
        #[example = "alerts"]
        host: Spanned<String>,
        /// A port.
        port: Spanned<u16>,
    }
    /// Where Python packages come from.
    WrittenPython {
        /// Beginnings of URLs: of indexes as locks name them, such as `https://pypi.org/simple`, and of where their files
        /// lie, such as `https://files.pythonhosted.org`. None by default.
        indexes: Option<Spanned<Vec<Spanned<String>>>>,
    }
    /// Where mail leaves.
    WrittenSmtp {
        /// HOST:PORT.
        server: Spanned<crate::domain::HostPort>,
        /// The sender.
        from: Spanned<String>,
    }
    /// Where alerts about the platform itself go.
    WrittenPlatformAlerts {
        /// One mapping each, named for its kind.
        routes: Option<Spanned<Vec<Spanned<Anything>>>>,
    }
}

/// A kind of forge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ForgeKind {
    /// GitHub.
    GitHub,
    /// GitLab.
    GitLab,
    /// Gitea.
    Gitea,
    /// Forgejo.
    Forgejo,
}

/// A class of change, as `[change_control.require]` names it. Source: design page `access.md`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChangeClass(pub &'static str);

super::words! {
    ForgeKind: "a kind of forge" {
        "github" => ForgeKind::GitHub, "gitlab" => ForgeKind::GitLab, "gitea" => ForgeKind::Gitea,
        "forgejo" => ForgeKind::Forgejo,
    }
    ChangeClass: "a class of change" {
        "reduce" => ChangeClass("reduce"), "code" => ChangeClass("code"), "reach" => ChangeClass("reach"),
        "secret_value" => ChangeClass("secret_value"), "settings" => ChangeClass("settings"),
        "grant" => ChangeClass("grant"), "people" => ChangeClass("people"),
        "recipients" => ChangeClass("recipients"), "shared" => ChangeClass("shared"),
        "tenant" => ChangeClass("tenant"), "platform" => ChangeClass("platform"),
    }
}

/// Reads TOML into the tree that forms are decoded from; its texts count as quoted, since TOML knows types.
///
/// # Errors
/// Every mistake of syntax.
pub fn parse_toml(bytes: &[u8], path: &str) -> Result<Node, Vec<Diagnostic>> {
    let start = Position { offset: 0, line: 1, column: 1 };
    let whole = Span { start, end: start };
    if bytes.len() > 1 << 20 {
        return Err(vec![rules::TOO_LARGE.at(path, Some(whole), "the file has more than 1 MiB")]);
    }
    let Ok(text) = std::str::from_utf8(bytes) else {
        return Err(vec![rules::NOT_UTF8.at(path, Some(whole), "the file is not UTF-8")]);
    };
    let (table, errors) = toml::de::DeTable::parse_recoverable(text);
    if errors.is_empty() {
        return Ok(table_node(table.get_ref(), span_of(text, table.span()), text));
    }
    Err(errors
        .iter()
        .take(20)
        .map(|error| {
            let span = span_of(text, error.span().unwrap_or(0..0));
            let message = error.message().lines().next().unwrap_or("not TOML").to_owned();
            let duplicate = message.contains("duplicate key");
            let rule = if duplicate { &rules::DUPLICATE_KEY } else { &rules::SYNTAX };
            rule.at(path, Some(span), format!("not TOML: {message}"))
        })
        .collect())
}

fn span_of(text: &str, range: Range<usize>) -> Span {
    let place = |offset: usize| {
        let offset = (0..=offset.min(text.len())).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
        let before = &text[..offset];
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        Position {
            offset,
            line: before.bytes().filter(|byte| *byte == b'\n').count() + 1,
            column: before[line_start..].chars().count() + 1,
        }
    };
    Span { start: place(range.start), end: place(range.end) }
}

fn table_node(table: &toml::de::DeTable<'_>, span: Span, text: &str) -> Node {
    let entries = table
        .iter()
        .map(|(key, value)| {
            let name = scalar(key.get_ref().to_string(), Style::Double, None, span_of(text, key.span()));
            (name, value_node(value.get_ref(), span_of(text, value.span()), text))
        })
        .collect();
    Node { span, kind: Kind::Mapping(entries) }
}

fn scalar(text: String, style: Style, tag: Option<&str>, span: Span) -> Node {
    Node { span, kind: Kind::Scalar { text, style, tag: tag.map(str::to_owned) } }
}

fn value_node(value: &toml::de::DeValue<'_>, span: Span, text: &str) -> Node {
    use toml::de::DeValue;
    match value {
        DeValue::String(written) => scalar(written.to_string(), Style::Double, None, span),
        DeValue::Integer(number) => {
            let prefix = match number.radix() {
                16 => "0x",
                8 => "0o",
                _ => "",
            };
            scalar(format!("{prefix}{}", number.as_str()), Style::Plain, Some("int"), span)
        }
        DeValue::Float(number) => scalar(number.as_str().to_owned(), Style::Plain, Some("float"), span),
        DeValue::Boolean(flag) => scalar(flag.to_string(), Style::Plain, Some("bool"), span),
        DeValue::Datetime(time) => scalar(time.to_string(), Style::Double, None, span),
        DeValue::Array(items) => {
            let items = items
                .iter()
                .map(|item| value_node(item.get_ref(), span_of(text, item.span()), text))
                .collect();
            Node { span, kind: Kind::Sequence(items) }
        }
        DeValue::Table(table) => table_node(table, span, text),
    }
}
