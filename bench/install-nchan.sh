#!/bin/sh
# Installs nginx with nchan, which the fan-out is compared with, and fails with the reason where it cannot.
set -eu

[ -f /usr/lib/nginx/modules/ngx_nchan_module.so ] && command -v nginx >/dev/null && exit 0
if ! command -v apt-get >/dev/null; then
    echo "expected nginx with nchan, got no apt-get to install it: this comparison is made for Debian" >&2
    exit 1
fi
sudo=""
[ "$(id -u)" = 0 ] || sudo="sudo -n"
export DEBIAN_FRONTEND=noninteractive
$sudo apt-get update -qq
$sudo apt-get install -y -qq --no-install-recommends libnginx-mod-nchan nginx-light >/dev/null
