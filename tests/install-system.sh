#!/bin/sh
# Installs what the tests need from the system, and fails with the reason where it cannot.
set -eu

missing=""
command -v redis-server >/dev/null || missing="$missing redis-server"
command -v haproxy >/dev/null || missing="$missing haproxy"
command -v openssl >/dev/null || missing="$missing openssl"
command -v faketime >/dev/null || missing="$missing faketime"
command -v chromium >/dev/null || missing="$missing chromium"
[ -z "$missing" ] && exit 0

echo "installing$missing …"
if ! command -v apt-get >/dev/null; then
    echo "expected$missing on PATH, got no apt-get to install them: install them with your package manager" >&2
    exit 1
fi
sudo=""
[ "$(id -u)" = 0 ] || sudo="sudo -n"
export DEBIAN_FRONTEND=noninteractive
$sudo apt-get update -qq
# shellcheck disable=SC2086  # several packages are meant
$sudo apt-get install -y -qq --no-install-recommends $missing >/dev/null
for name in $missing; do
    command -v "$name" >/dev/null || { echo "expected $name on PATH after its installation, got none" >&2; exit 1; }
done
