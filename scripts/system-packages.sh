#!/usr/bin/env bash
# Sees to programs that the tests run for real. Arguments: program:package ...
# As root on Debian or Ubuntu what is missing is installed; otherwise a message names it.
set -euo pipefail

# Debian keeps servers where only root's PATH leads.
PATH=$PATH:/usr/sbin:/sbin

missing=()
for pair in "$@"; do
  command -v "${pair%%:*}" >/dev/null || missing+=("${pair#*:}")
done
if [ ${#missing[@]} -eq 0 ]; then
  exit 0
fi

if [ "$(id -u)" -eq 0 ] && command -v apt-get >/dev/null; then
  echo "installing for the tests: ${missing[*]}"
  export DEBIAN_FRONTEND=noninteractive
  apt-get update -qq </dev/null
  # A server that starts by itself is not wanted: the tests start their own.
  RUNLEVEL=1 apt-get install -y -qq --no-install-recommends "${missing[@]}" </dev/null >/dev/null
else
  echo "error: the tests need these packages: ${missing[*]} (Debian and Ubuntu: sudo apt-get install ${missing[*]})" >&2
  exit 1
fi
