# Sourced. Makes sure that cargo runs, or says what is missing.
#
# rustup's cargo looks for its toolchains in ~/.rustup. Where HOME is another one than at installation (CI, containers,
# sudo), they are still beside the folder in which that cargo lies.

if ! command -v cargo >/dev/null && [ -x "${CARGO_HOME:-${HOME:-}/.cargo}/bin/cargo" ]; then
  PATH="${CARGO_HOME:-$HOME/.cargo}/bin:$PATH"
fi

if ! command -v cargo >/dev/null; then
  echo "error: Rust is needed and cargo is not on the PATH: install it from https://rustup.rs" >&2
  exit 1
fi

if [ -z "${RUSTUP_HOME:-}" ] && ! cargo --version >/dev/null 2>&1; then
  found=$(command -v cargo)
  for cargo in "$found" "$(readlink -f "$found")"; do
    folder=$(dirname "$(dirname "$(dirname "$cargo")")")
    for home in "$folder/.rustup" "$folder/rustup"; do
      if RUSTUP_HOME=$home cargo --version >/dev/null 2>&1; then
        export RUSTUP_HOME=$home
        break 2
      fi
    done
  done
fi

if ! problem=$(cargo --version 2>&1); then
  printf 'error: cargo does not run; set RUSTUP_HOME, or choose a toolchain with `rustup default stable`:\n%s\n' "$problem" >&2
  exit 1
fi

if ! command -v cc >/dev/null; then
  echo "error: a C compiler is needed to build the extension (Debian and Ubuntu: apt-get install gcc libc6-dev)" >&2
  exit 1
fi
