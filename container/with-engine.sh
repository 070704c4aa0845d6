#!/bin/bash
# Runs a command with a container engine at hand: the one that answers, or else one that is started
# for it and stopped behind it; and with `docker compose` version 2.
#
#   container/with-engine.sh COMMAND [ARGUMENT...]
#
# To start an engine it needs root and Debian's docker.io; to have compose where neither the engine
# nor Debian brings it (Debian 12), the package of Debian 13, unpacked under .venv/.
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
engine=

stop_engine() {
    if [ -n "$engine" ]; then
        kill "$engine" 2> /dev/null || true
        wait "$engine" 2> /dev/null || true
    fi
}
trap stop_engine EXIT

if ! docker info > /dev/null 2>&1; then
    log=$(mktemp)
    # Without a terminal's Ctrl-C: it is ours to stop, after what runs on it.
    setsid dockerd > "$log" 2>&1 &
    engine=$!
    for _ in $(seq 60); do
        docker info > /dev/null 2>&1 && break
        if ! kill -0 "$engine" 2> /dev/null; then
            echo "No container engine answers, and none can be started here:" >&2
            tail -n 3 "$log" >&2
            exit 69
        fi
        sleep 0.5
    done
fi
if ! docker compose version > /dev/null 2>&1; then
    export DOCKER_CONFIG=$root/.venv/docker
    plugin=$DOCKER_CONFIG/cli-plugins/docker-compose
    if [ ! -x "$plugin" ]; then
        mkdir -p "$(dirname "$plugin")"
        "$root/container/offline-images.sh" debian
        docker run --rm tackybox/offline/debian sh -c 'cd /tmp && apt-get update > /dev/null &&
            apt-get download docker-compose > /dev/null && dpkg-deb --fsys-tarfile docker-compose_*.deb' |
            tar --extract --to-stdout ./usr/libexec/docker/cli-plugins/docker-compose > "$plugin.new"
        chmod +x "$plugin.new"
        mv "$plugin.new" "$plugin"
    fi
fi
"$@"
