#!/usr/bin/env bash
# Makes the virtual environment $1 with the first Python >= 3.11 found; PYTHON says which one to take.
set -euo pipefail

is_recent() {
  "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1
}

python=
for candidate in ${PYTHON:-python3 python3.14 python3.13 python3.12 python3.11 python}; do
  if is_recent "$candidate"; then
    python=$candidate
    break
  fi
done
if [ -z "$python" ]; then
  echo "error: Python 3.11 or newer is needed; looked for: ${PYTHON:-python3, python3.11 to python3.14, python}. PYTHON=/path/to/python says where" >&2
  exit 1
fi
if ! "$python" -m venv "$1"; then
  echo "error: $python has no working venv module (Debian and Ubuntu: apt-get install python3-venv)" >&2
  exit 1
fi
