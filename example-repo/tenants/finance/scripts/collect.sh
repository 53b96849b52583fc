#!/bin/sh
# Adds up one kind of entry of the month that the given day lies in.
set -eu
kind=$1
cents=0
while IFS=, read -r _date of amount; do
    if [ "$of" = "$kind" ]; then cents=$((cents + amount)); fi
done <"$(dirname "$0")/data/entries.csv"
echo "$kind up to $INPUT_DAY: $cents cents"
printf '{"cents": %d}\n' "$cents" >"$TENANTRY_OUTPUT"
