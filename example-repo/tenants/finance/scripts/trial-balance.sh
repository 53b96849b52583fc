#!/bin/sh
# Debit and credit have to be equal. They are not: this is the run that fails in the demo.
set -eu
debit=0 credit=0
while IFS=, read -r account side cents; do
    case $side in
        debit) debit=$((debit + cents)) ;;
        credit) credit=$((credit + cents)) ;;
        side) ;; # the heading
        *) echo "account $account is on no side" >&2; exit 2 ;;
    esac
done <"$(dirname "$0")/data/balances.csv"
if [ "$debit" -ne "$credit" ]; then
    echo "debit $debit, credit $credit: the books are off by $((debit - credit)) cents" >&2
    exit 1
fi
echo "the books balance at $debit cents"
