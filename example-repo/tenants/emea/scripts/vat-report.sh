#!/bin/sh
# One statement per country, in the region's own schema, as the region's own role.
set -eu
url=$(tenantry-secret get warehouse_url)
role=${url#postgresql://}
role=${role%%:*}
if [ "$role" != "$TENANTRY_TENANT" ]; then
    echo "the credential belongs to another role" >&2
    exit 1
fi
echo "SET ROLE $role; SET search_path TO $role;"
while IFS=, read -r country percent; do
    echo "SELECT '$country', sum(cents) * $percent / 100 FROM sales WHERE country = '$country';"
done <"$(dirname "$0")/data/vat.csv"
echo "-- $INPUT_COUNTRIES countries"
