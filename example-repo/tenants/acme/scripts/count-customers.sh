#!/bin/sh
# Counts the customers behind the orders.
set -eu
customers=$(tail -n +2 "$(dirname "$0")/data/orders.csv" | cut -d, -f2 | sort -u | wc -l)
echo "$((customers)) customers"
printf '{"customers": %d}\n' "$customers" >"$TENANTRY_OUTPUT"
