#!/bin/bash
# Deploys one box as a stack on a swarm, from the same compose file and .env as `docker compose`.
#
#   container/stack-deploy.sh STACK COMPOSE-FILE ENV-FILE [OPTION of `docker stack deploy`...]
#   container/stack-deploy.sh mother-a docker-compose.mother.yml mother-a.env --resolve-image never
#
# On a manager of the swarm; needs `docker compose` version 2. TACKYBOX_NODE in ENV-FILE is the node
# (as `docker node ls` names it) that the box stays on: its spool is a volume of that node.
#
# `docker stack deploy` knows an older format, reads no .env, and knows no profiles. So `docker
# compose config` resolves all that, and what the older format hasn't, or has otherwise, is changed:
#
#   version       asked for by docker before 25, allowed by later ones
#   name          refused; the stack's own name does it, also in the names of networks and volumes
#   profiles      refused; what is not asked for is gone already
#   published, size   must be numbers
#   mode: host    in place of ingress, behind which every scanner would have a swarm's own address,
#                 and TACKYBOX_MODALITIES names scanners by theirs
#   host_ip       refused: a swarm publishes on all addresses of a node, or not. So that a port that
#                 was for one address only (the database's) is not opened to all, it is left out
#
# Passed over by a swarm, which says so: build, restart (it always does), security_opt (to have it:
# "no-new-privileges": true in the node's daemon.json).
set -euo pipefail

if [ $# -lt 3 ]; then
    echo "usage: container/stack-deploy.sh STACK COMPOSE-FILE ENV-FILE [OPTION...]" >&2
    exit 64
fi
stack=$1 file=$2 settings=$3
shift 3
if ! docker compose version > /dev/null 2>&1; then
    echo "docker compose version 2 is needed here; install the package docker-compose-plugin" >&2
    exit 69
fi

config=$(docker compose -p "$stack" -f "$file" --env-file "$settings" config)
if grep -q '^ *- node.hostname == unset$' <<< "$config"; then
    echo "TACKYBOX_NODE is not set in $settings; write the node that keeps this box's spool" >&2
    exit 78
fi

# What `config` writes has one indentation, and one line for each key.
awk '
    function end_of_port() { if (!bound) kept = kept port; port = ""; bound = 0 }
    BEGIN { print "version: \"3.9\"" }
    /^name:/ { next }
    /^    profiles:$/ { in_profiles = 1; next }
    in_profiles && /^      / { next }
    { in_profiles = 0 }
    /published: "|size: "/ { gsub("\"", "") }
    /mode: ingress$/ { sub("ingress", "host") }
    /^    ports:$/ { in_ports = 1; kept = port = ""; next }
    in_ports && /^      / {
        if (/^      - /) end_of_port()
        port = port $0 "\n"
        if (/host_ip:/) bound = 1
        next
    }
    in_ports { end_of_port(); if (kept) printf "    ports:\n%s", kept; in_ports = 0 }
    { print }
' <<< "$config" | docker stack deploy --compose-file - "$@" "$stack"
