//! What has been found, file by file, and what the editor has been told of it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use gen_lsp_types as lsp;

use crate::domain::{Diagnostic, TenantId};

/// Where findings come from: each replaces its own earlier ones and leaves the others' alone.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Origin {
    /// `tenantry.toml`, `platform/`, `shared/`, and what lies below `tenants/` and is no tenant.
    Platform,
    /// All tenants together.
    Fleet,
    /// One tenant.
    Tenant(TenantId),
}

/// A finding, and how the editor is told.
#[derive(Clone, Debug, PartialEq)]
pub struct Finding {
    /// As it was found.
    pub diagnostic: Diagnostic,
    /// In the editor's columns.
    pub shown: lsp::Diagnostic,
}

/// What the editor is told of one file.
#[derive(Clone, Debug, PartialEq)]
pub struct Notice {
    /// From the repository's root.
    pub path: String,
    /// Of the text that was judged, where the file is open.
    pub version: Option<i32>,
    /// All that is found in it.
    pub diagnostics: Vec<lsp::Diagnostic>,
}

type ByOrigin = BTreeMap<Origin, Vec<Arc<Finding>>>;

/// The findings of a repository by file.
#[derive(Default)]
pub struct Board {
    found: BTreeMap<String, ByOrigin>,
    paths: BTreeMap<Origin, BTreeSet<String>>,
    told: BTreeMap<String, (Option<i32>, Vec<lsp::Diagnostic>)>,
}

impl Board {
    /// Puts the findings of an origin in the place of its earlier ones; gives the files that either names.
    pub fn put(&mut self, origin: &Origin, found: Vec<Arc<Finding>>) -> BTreeSet<String> {
        let mut touched = self.paths.remove(origin).unwrap_or_default();
        for path in &touched {
            if let Some(here) = self.found.get_mut(path) {
                here.remove(origin);
                if here.is_empty() {
                    self.found.remove(path);
                }
            }
        }
        let mut named = BTreeSet::new();
        for finding in found {
            let path = &finding.diagnostic.at.path;
            if !named.contains(path) {
                named.insert(path.clone());
            }
            self.found.entry(path.clone()).or_default().entry(origin.clone()).or_default().push(finding);
        }
        touched.extend(named.iter().cloned());
        if !named.is_empty() {
            self.paths.insert(origin.clone(), named);
        }
        touched
    }

    /// Every tenant that something was found in.
    pub fn tenants(&self) -> impl Iterator<Item = &TenantId> {
        self.paths.keys().filter_map(|origin| match origin {
            Origin::Tenant(tenant) => Some(tenant),
            Origin::Platform | Origin::Fleet => None,
        })
    }

    /// What is found in a file. A mistake in `shared/` that several tenants meet stands there once.
    #[must_use]
    pub fn of(&self, path: &str) -> Vec<Arc<Finding>> {
        let mut all: Vec<Arc<Finding>> = Vec::new();
        for finding in self.found.get(path).into_iter().flat_map(BTreeMap::values).flatten() {
            if !all.iter().any(|one| one.shown == finding.shown) {
                all.push(Arc::clone(finding));
            }
        }
        all
    }

    /// What the editor has not been told of a file; `None` where it knows.
    ///
    /// An open file is told again with each version, so that the editor knows which text was judged.
    pub fn news(&mut self, path: &str, version: Option<i32>) -> Option<Notice> {
        let diagnostics: Vec<lsp::Diagnostic> =
            self.of(path).iter().map(|finding| finding.shown.clone()).collect();
        let told = (version, diagnostics);
        let known = match self.told.get(path) {
            Some(before) => *before == told || (version.is_none() && before.1 == told.1),
            None => version.is_none() && told.1.is_empty(),
        };
        if known {
            return None;
        }
        if told.1.is_empty() && version.is_none() {
            self.told.remove(path);
        } else {
            self.told.insert(path.to_owned(), told.clone());
        }
        Some(Notice { path: path.to_owned(), version, diagnostics: told.1 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::desired::rules;

    fn finding(path: &str, message: &str) -> Arc<Finding> {
        let shown = lsp::Diagnostic { message: message.to_owned().into(), ..lsp::Diagnostic::default() };
        Arc::new(Finding { diagnostic: rules::LINK.at(path, None, message), shown })
    }

    #[test]
    fn the_editor_is_told_what_it_does_not_know() {
        let mut board = Board::default();
        assert_eq!(board.news("a", None), None, "nothing was ever found there");
        let acme = Origin::Tenant("acme".parse().unwrap());
        let touched = board.put(&acme, vec![finding("a", "one"), finding("b", "two")]);
        assert_eq!(touched, BTreeSet::from(["a".to_owned(), "b".to_owned()]));
        assert_eq!(board.news("a", None).map(|notice| notice.diagnostics.len()), Some(1));
        assert_eq!(board.news("a", None), None);
        assert!(board.news("a", Some(3)).is_some(), "a version is news");
        // Two origins say the same of one file: it stands there once, and stays while one of them says it.
        board.put(&Origin::Platform, vec![finding("a", "one")]);
        assert_eq!(board.of("a").len(), 1);
        let touched = board.put(&acme, vec![]);
        assert_eq!(touched.len(), 2);
        assert_eq!(board.of("a").len(), 1);
        assert_eq!(board.of("b").len(), 0);
        assert_eq!(board.news("b", None), None, "the editor was never told of it");
        board.put(&Origin::Platform, vec![]);
        assert_eq!(board.news("a", None).map(|notice| notice.diagnostics.len()), Some(0));
        assert_eq!(board.tenants().count(), 0);
    }
}
