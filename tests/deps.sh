#!/bin/sh
# Installs the Debian packages named as arguments, where missing, and Rust when there is no cargo.
# Without root it only says what to install.
set -eu

# Cargo would name every crate that it cannot build instead.
check_rust() {
    wanted=$(sed -n 's/^rust-version = "\(.*\)"/\1/p' "$(dirname "$0")/../Cargo.toml")
    have=$(rustc --version | cut -d ' ' -f 2)
    [ "$(printf '%s\n' "$wanted" "$have" | sort -V | head -n 1)" = "$wanted" ] && return
    echo "Rust $have is too old, $wanted is needed. Debian 12 has it among its security updates: name the suite" >&2
    echo "bookworm-security in /etc/apt/sources.list, then apt-get update, and" >&2
    echo "apt-get install rustc-web cargo-web rustfmt-web rust-web-clippy" >&2
    return 1
}

missing=""
for package in "$@"; do
    dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || missing="$missing $package"
done
if ! command -v cargo >/dev/null; then
    # Debian 12 keeps its first Rust for ever; this package follows upstream for the web browsers.
    missing="$missing rustc-web cargo-web rustfmt-web rust-web-clippy"
fi
[ -n "$missing" ] || { check_rust; exit; }

if [ "$(id -u)" -ne 0 ]; then
    echo "missing packages:$missing" >&2
    echo "run as root: apt-get update && apt-get install --no-install-recommends$missing" >&2
    exit 1
fi
echo "installing:$missing"
export DEBIAN_FRONTEND=noninteractive
apt-get update -qq
# shellcheck disable=SC2086 # a list of words on purpose
apt-get install -y -qq --no-install-recommends $missing >/dev/null 2>&1 && { check_rust; exit; }
# qemu-utils from backports refuses its older sibling: then take both from the same suite.
suite=$(. /etc/os-release && echo "$VERSION_CODENAME")
apt-get install -y -qq --no-install-recommends --allow-downgrades $missing "qemu-utils/$suite" >/dev/null
check_rust
