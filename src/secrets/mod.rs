//! Custody of identities, opening with sops.
