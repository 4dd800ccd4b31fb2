#!/usr/bin/env bash
# Prints the arguments of go test for the tests that call pgtest.EachVersion, and for no others: their pattern and their packages.
set -euo pipefail
cd "$(dirname "$0")/../.."
mapfile -t files < <(grep -rlF --include='*_test.go' 'pgtest.EachVersion(' .)
tests=$(awk '
	/^func /              { name = $2; sub(/\(.*/, "", name) }
	/pgtest\.EachVersion\(/ {
		if (name !~ /^Test/) { print FILENAME ":" FNR ": call pgtest.EachVersion in the test itself, so that it is found" > "/dev/stderr"; exit 1 }
		print name
	}' "${files[@]}" | sort -u | paste -sd '|')
echo "-run ^($tests)\$"
dirname "${files[@]}" | sort -u
