#!/usr/bin/env bash
# Finds the packages that this Debian or Ubuntu machine needs to build and test temporal-capacity, and installs the missing ones.
# The tests themselves download the servers that they start (Temporal, PostgreSQL, Prometheus).
#   deploy/dev/install.sh           installs missing packages (with sudo unless run as root)
#   deploy/dev/install.sh --check   lists missing packages, and exits with 1 if there are any
set -euo pipefail
check=false
case ${1:-} in
  '') ;;
  --check) check=true ;;
  *) echo "unknown argument $1: use --check or no argument" >&2; exit 2 ;;
esac

missing=()
lacks() { # program, package
  command -v "$1" >/dev/null || missing+=("$2")
}
lacks cc build-essential
lacks git git
lacks curl curl
lacks python3 python3
lacks npm npm
lacks buildah buildah
[ -e /etc/ssl/certs/ca-certificates.crt ] || missing+=(ca-certificates)
python3 -c 'import ensurepip' 2>/dev/null || missing+=(python3-venv)
by_hand=()
command -v cargo >/dev/null || by_hand+=("Rust: https://rustup.rs")
command -v go >/dev/null || by_hand+=("Go 1.26 or newer: https://go.dev/doc/install")

if [ ${#missing[@]} -eq 0 ]; then
  echo "no packages are missing"
elif $check; then
  echo "missing packages: ${missing[*]}"
else
  as_root=()
  [ "$(id -u)" = 0 ] || as_root=(sudo)
  command -v apt-get >/dev/null || { echo "no apt-get here: install ${missing[*]} with your package manager" >&2; exit 1; }
  "${as_root[@]}" apt-get update -qq
  "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}"
fi
for tool in "${by_hand[@]}"; do
  echo "install $tool"
done
if [ ${#by_hand[@]} -gt 0 ] || { $check && [ ${#missing[@]} -gt 0 ]; }; then
  exit 1
fi
