#!/bin/sh
# Brings together what the two counts found.
set -eu
echo "$INPUT_ROWS orders of $INPUT_CUSTOMERS customers, $((INPUT_CENTS / 100)).$(printf %02d $((INPUT_CENTS % 100))) EUR"
