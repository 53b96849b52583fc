#!/bin/sh
# Checks the price list line by line and names every line that is wrong, not only the first.
set -eu
wrong=0 lines=0
while IFS=, read -r article price currency; do
    lines=$((lines + 1))
    case $currency in
        EUR | GBP | SEK) ;;
        *) echo "article $article costs $price of what?" >&2; wrong=$((wrong + 1)) ;;
    esac
done <"$(dirname "$0")/data/prices.csv"
echo "$lines prices checked, $wrong wrong"
[ "$wrong" -eq 0 ]
