#!/bin/sh
# Installs what the tests need from the system, and fails with the reason where it cannot.
# Arguments are further programs, each in a package of its name.
set -eu

has() { command -v "$1" >/dev/null; }

# Chromium without its window: a page takes half the processor time. Debian packages it, other systems may not.
shell=chromium-headless-shell

missing=""
for name in redis-server haproxy nginx openssl faketime "$@"; do
    has "$name" || missing="$missing $name"
done
has $shell || has chromium || missing="$missing $shell"
[ -z "$missing" ] && exit 0

echo "installing$missing …"
if ! has apt-get; then
    echo "expected$missing on PATH, got no apt-get to install them: install them with your package manager" >&2
    exit 1
fi
sudo=""
[ "$(id -u)" = 0 ] || sudo="sudo -n"
export DEBIAN_FRONTEND=noninteractive
$sudo apt-get update -qq
apt-cache show $shell >/dev/null 2>&1 || missing=$(echo "$missing" | sed "s/ $shell/ chromium/")
# shellcheck disable=SC2086  # several packages are meant
$sudo apt-get install -y -qq --no-install-recommends $missing >/dev/null
for name in $missing; do
    has "$name" || { echo "expected $name on PATH after its installation, got none" >&2; exit 1; }
done
