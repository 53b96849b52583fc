#!/bin/sh
# Fetches yesterday's orders. The shop is a file here; the token is asked for as it would be in earnest,
# and printed to show that no log ever holds it.
set -eu
token=$(tenantry-secret get shop_api_token)
echo "calling the shop with token $token"
rows=$(tail -n +2 "$(dirname "$0")/data/orders.csv" | wc -l)
echo "fetched $((rows)) orders"
printf '{"rows": %d}\n' "$rows" >"$TENANTRY_OUTPUT"
