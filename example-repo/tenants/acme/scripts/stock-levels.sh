#!/bin/sh
# The shop turns the first call down, as busy shops do. The attempt's number tells this script which call it is.
set -eu
if [ "$TENANTRY_ATTEMPT" -lt 2 ]; then
    echo "the shop answers 503, try again later" >&2
    exit 75
fi
echo "stock levels of 214 articles are up to date"
