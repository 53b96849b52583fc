#!/bin/sh
# What finance asks the warehouse, as its own role. Its credential does not open Acme's schema; the grant that
# lets it read totals is a view which Acme's role gives. The example has no warehouse, so this is printed.
set -eu
url=$(tenantry-secret get warehouse_url)
role=${url#postgresql://}
role=${role%%:*}
if [ "$role" != "$TENANTRY_TENANT" ]; then
    echo "the credential belongs to another role" >&2
    exit 1
fi
cat <<END
SET ROLE $role;
SET search_path TO $role;
SELECT month, revenue_cents - cost_cents AS margin_cents FROM monthly_totals ORDER BY month;
END
