#!/bin/sh
# Composes what the warehouse would be told. The credential names a role; it has to be this tenant's own, and
# everything happens in this tenant's schema. The example has no warehouse, so the statements are printed.
set -eu
url=$(tenantry-secret get warehouse_url)
role=${url#postgresql://}
role=${role%%:*}
if [ "$role" != "$TENANTRY_TENANT" ]; then
    echo "the credential belongs to another role" >&2
    exit 1
fi
cat <<END
BEGIN;
SET LOCAL ROLE $role;
SET LOCAL search_path TO $role;
TRUNCATE orders_staging;
END
tail -n +2 "$(dirname "$0")/data/orders.csv" | while IFS=, read -r order customer cents; do
    echo "INSERT INTO orders_staging VALUES ($order, '$customer', $cents);"
done
cat <<END
INSERT INTO orders SELECT * FROM orders_staging ON CONFLICT (id) DO NOTHING;
COMMIT;
END
