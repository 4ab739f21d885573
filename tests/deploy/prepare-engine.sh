#!/usr/bin/env bash
# Makes what the tests of the image and of docker-compose.yml need, in the folder given as $1: a base image as base.tar,
# and the wheels that go into the image. Nothing can be pulled where the tests run, so both are made here once.
# Needs root: it installs Docker's engine and podman where they are missing. Never skips: it fails with the reason.
set -euo pipefail
made="$1"
cd "$(dirname "$0")/../.."
python="${PYTHON_BIN:-.venv/bin/python}"

fail() { echo "tests/deploy: $*" >&2; exit 1; }
[ "$(id -u)" = 0 ] || fail "expected root, got uid $(id -u): a container engine cannot be started otherwise"

missing=()
need() { command -v "$1" >/dev/null || missing+=("$2"); }
need dockerd docker.io
need docker docker.io
need iptables iptables
need debootstrap debootstrap
need podman podman
need runc runc
need catatonit catatonit
need unshare util-linux
need ip iproute2
if [ "${#missing[@]}" -gt 0 ]; then
    command -v apt-get >/dev/null || fail "expected ${missing[*]}, got no apt-get to install them"
    echo "installing ${missing[*]} …"
    export DEBIAN_FRONTEND=noninteractive
    # The packages would start a daemon of their own; the tests start theirs where it can disturb nobody.
    export RUNLEVEL=1
    apt-get update -qq
    apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
fi
unshare --net --mount --pid --fork --mount-proc true || fail "expected to be allowed namespaces of our own, got a refusal"

mkdir -p "$made"
if [ ! -f "$made/base.tar" ]; then
    echo "making a base image …"
    root="$(mktemp -d)"
    trap 'rm -rf "$root"' EXIT
    # From where this machine gets its own packages, if that is Debian 12; else from debootstrap's own mirror.
    mirror="$(apt-get indextargets --format '$(CODENAME) $(REPO_URI)' 'Created-By: Packages' 2>/dev/null |
        awk '$1 == "bookworm" { print $2; exit }')"
    # One base serves as Python's, Redis' and haproxy's image.
    debootstrap --variant=minbase --include=python3,python3-venv,ca-certificates,redis-server,haproxy bookworm \
        "$root" ${mirror:+"$mirror"} >"$made/debootstrap.log" 2>&1 ||
        fail "debootstrap failed: $(tail -3 "$made/debootstrap.log")"
    rm -rf "$root"/var/cache/apt/* "$root"/var/lib/apt/lists/* "$root"/usr/share/{doc,man,locale}/*
    # As in the official images: uid 999 keeps Redis' data, haproxy's configuration has its place.
    install -d -o 999 -g 999 "$root/data"
    install -d "$root/usr/local/etc/haproxy"
    tar -C "$root" -c . >"$made/base.tar.part"
    mv "$made/base.tar.part" "$made/base.tar"
fi

"$python" -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' ||
    fail "expected Python 3.11, as the base has, got $("$python" --version): the wheels would not fit"
if [ ! -f "$made/wheels" ] || [ pyproject.toml -nt "$made/wheels" ] || [ requirements/web.txt -nt "$made/wheels" ]; then
    rm -rf "$made/wheelhouse"
    # What is locked, with what Debian's Python 3.11.2 needs beside the one here; then what builds the package itself.
    sed "s/ ; python_full_version < '3.11.3'//" requirements/web.txt >"$made/web.txt"
    pip() { "$python" -m pip --disable-pip-version-check download --quiet --dest "$made/wheelhouse" "$@" >>"$made/pip.log" 2>&1; }
    : >"$made/pip.log"
    { pip --only-binary=:all: --require-hashes -r "$made/web.txt" && pip 'hatchling>=1.27'; } ||
        fail "pip could not fetch the wheels: $(tail -3 "$made/pip.log")"
    touch "$made/wheels"
fi
