//! The example repository and its throwaway keys, as they lie in the binary.

/// One file of the example.
pub struct File {
    /// From the root of the repository.
    pub path: &'static str,
    /// What it holds.
    pub bytes: &'static [u8],
}

impl File {
    /// Scripts are started by their shebang, so they are executable; data beside them is not.
    pub fn is_executable(&self) -> bool {
        self.path.contains("/scripts/") && self.bytes.starts_with(b"#!")
    }
}

macro_rules! files {
    ($($path:literal)*) => {
        &[$(File { path: $path, bytes: include_bytes!(concat!("../../../example-repo/", $path)) }),*]
    };
}

macro_rules! identities {
    ($($tenant:literal)*) => {
        &[$(($tenant, include_str!(concat!("../../../tests/keys/", $tenant, ".txt")))),*]
    };
}

/// THROWAWAY age identities of the example's tenants: published, and good for its invented secrets only.
pub const THROWAWAY_IDENTITIES: &[(&str, &str)] = identities! { "acme" "emea" "finance" };

/// Every file of `example-repo/`, in byte order of paths.
pub const FILES: &[File] = files! {
    ".sops.yaml"
    "README.md"
    "platform/people.yaml"
    "platform/roles.yaml"
    "tenantry.toml"
    "tenants/acme/roles.yaml"
    "tenants/acme/scripts/count-customers.sh"
    "tenants/acme/scripts/data/orders.csv"
    "tenants/acme/scripts/fetch-orders.sh"
    "tenants/acme/scripts/publish.sh"
    "tenants/acme/scripts/stock-levels.sh"
    "tenants/acme/scripts/sum-revenue.sh"
    "tenants/acme/scripts/warehouse-load.sh"
    "tenants/acme/secrets.yaml"
    "tenants/acme/secrets/shop_api_token.v1.sops.yaml"
    "tenants/acme/secrets/shop_api_token.v2.sops.yaml"
    "tenants/acme/secrets/shop_api_token.v3.sops.yaml"
    "tenants/acme/secrets/warehouse_url.v1.sops.yaml"
    "tenants/acme/tenant.yaml"
    "tenants/acme/workflows/orders-import.yaml"
    "tenants/acme/workflows/stock-levels.yaml"
    "tenants/acme/workflows/warehouse-load.yaml"
    "tenants/emea/roles.yaml"
    "tenants/emea/scripts/data/prices.csv"
    "tenants/emea/scripts/data/vat.csv"
    "tenants/emea/scripts/price-check.sh"
    "tenants/emea/scripts/vat-rates.sh"
    "tenants/emea/scripts/vat-report.sh"
    "tenants/emea/secrets.yaml"
    "tenants/emea/secrets/warehouse_url.v1.sops.yaml"
    "tenants/emea/tenant.yaml"
    "tenants/emea/workflows/price-check.yaml"
    "tenants/emea/workflows/vat-report.yaml"
    "tenants/finance/roles.yaml"
    "tenants/finance/scripts/collect.sh"
    "tenants/finance/scripts/data/balances.csv"
    "tenants/finance/scripts/data/entries.csv"
    "tenants/finance/scripts/data/revenue.csv"
    "tenants/finance/scripts/forecast.py"
    "tenants/finance/scripts/tell-accounting.sh"
    "tenants/finance/scripts/trial-balance.sh"
    "tenants/finance/scripts/warehouse-margin.sh"
    "tenants/finance/secrets.yaml"
    "tenants/finance/secrets/warehouse_url.v1.sops.yaml"
    "tenants/finance/tenant.yaml"
    "tenants/finance/workflows/forecast.yaml"
    "tenants/finance/workflows/month-close.yaml"
    "tenants/finance/workflows/trial-balance.yaml"
    "tenants/finance/workflows/warehouse-margin.yaml"
};

#[cfg(test)]
mod tests {
    #![expect(clippy::disallowed_methods, reason = "compares with the directory")]

    use std::collections::BTreeSet;
    use std::os::unix::fs::PermissionsExt;
    use std::path::{Path, PathBuf};

    use super::*;

    fn walk(directory: &Path, into: &mut Vec<PathBuf>) {
        for entry in std::fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() { walk(&path, into) } else { into.push(path) }
        }
    }

    #[test]
    fn the_binary_holds_every_file_of_the_example() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("example-repo");
        let mut found = Vec::new();
        walk(&root, &mut found);
        let found: BTreeSet<&str> =
            found.iter().map(|path| path.strip_prefix(&root).unwrap().to_str().unwrap()).collect();
        let held: BTreeSet<&str> = FILES.iter().map(|file| file.path).collect();
        assert_eq!(held, found);
        for file in FILES {
            let mode = std::fs::metadata(root.join(file.path)).unwrap().permissions().mode();
            assert_eq!(file.is_executable(), mode & 0o111 != 0, "{}", file.path);
        }
    }

    #[test]
    fn the_keys_say_that_they_are_thrown_away() {
        for (tenant, text) in THROWAWAY_IDENTITIES {
            assert!(text.contains("THROWAWAY"), "{tenant}");
        }
    }
}
