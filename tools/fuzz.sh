#!/usr/bin/env bash
# Runs every fuzz target there is for a time, one after the other, and says how many inputs each has tried.
#
#   tools/fuzz.sh 30s [PACKAGE...]
#
# An input that fails is kept by Go in testdata/fuzz/ of its package, where it is a test from then on.
set -euo pipefail
cd "$(dirname "$0")/.."

time=${1:?how long for each target, such as 30s}
shift
packages=("$@")
if [ ${#packages[@]} = 0 ]; then
  mapfile -t packages < <(grep -rl --include='*_test.go' '^func Fuzz' . | xargs -n1 dirname | sort -u)
fi
# tried is how many inputs the last run says that it tried.
tried() { grep -o 'execs: [0-9]*' "$out" | tail -n 1 | cut -d' ' -f2 || true; }

# try runs one target for a time. At the end of its time Go now and then calls it failed with nothing but "context deadline exceeded":
# no input is kept then, and it is run once more.
try() {
  local again
  for again in yes no; do
    if go test -run '^$' -fuzz "^$1\$" -fuzztime "$3" "$2" >"$out" 2>&1; then return; fi
    if [ "$again" = no ] || grep -q 'Failing input written' "$out" || ! grep -q 'context deadline exceeded' "$out"; then return 1; fi
  done
}

out=$(mktemp)
trap 'rm -f "$out"' EXIT
failed=0 targets=0
for package in "${packages[@]}"; do
  names=$(go test -list '^Fuzz' "$package")
  for target in $(grep '^Fuzz' <<<"$names"); do
    targets=$((targets + 1))
    if try "$target" "$package" "$time"; then
      execs=$(tried)
      # On a busy machine a short time may be over before the first input.
      if [ "${execs:-0}" = 0 ] && try "$target" "$package" 60s; then execs=$(tried); fi
      [ "${execs:-0}" -gt 0 ] || { echo "fuzz: $package $target tried nothing" >&2; failed=1; }
      printf '%-40s %-28s %10s inputs\n' "$package" "$target" "${execs:-0}"
    else
      printf '%-40s %-28s FAILED\n' "$package" "$target"
      grep -v '^fuzz: elapsed' "$out" | head -n 40
      failed=1
    fi
  done
done
echo "$targets targets, $time each"
[ "$targets" -gt 0 ] || { echo "fuzz: no target was found" >&2; exit 1; }
exit $failed
