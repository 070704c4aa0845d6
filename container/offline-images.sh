#!/bin/bash
# The images that everything else is built on or runs beside, from Debian's packages alone: for a
# site without an image registry, and for our own container tests.
#
#   container/offline-images.sh NAME...
#
#   debian      tackybox/offline/debian, as debian:trixie-slim: Debian 13 and its security updates
#   mysql       tackybox/offline/mysql, as mysql: the server of Debian's unstable suite
#   mariadb     tackybox/offline/mariadb, as mariadb: Debian 13's
#
# Needs root (debootstrap), and this machine's way to Debian's packages; its certificates and pip's
# settings go along where there are any, so that builds reach what this machine reaches. An image
# that is there already is kept; remove it to have it made afresh.
set -euo pipefail
cd "$(dirname "$0")"
made=$(mktemp --directory)
trap 'rm -rf "$made"' EXIT

have() { docker image inspect "$1" > /dev/null 2>&1; }

# A minimal system of one suite, imported as an image.
base() { # image, suite, security suite or ""
    local image=$1 suite=$2 security=$3 root=$made/$2 mirror
    have "$image" && return
    echo "Making $image from Debian's $suite" >&2
    debootstrap --variant=minbase "$suite" "$root" > "$made/log" 2>&1 || {
        tail -n 20 "$made/log" >&2
        exit 69
    }
    mirror=$(awk '$1 == "deb" { print $2; exit }' "$root/etc/apt/sources.list")
    if [ -n "$security" ]; then
        echo "deb ${mirror%/debian*}/debian-security $security main" >> "$root/etc/apt/sources.list"
    fi
    for file in /usr/local/share/ca-certificates/*.crt /etc/ssl/certs/ca-certificates.crt \
        /etc/pip.conf /etc/apt/apt.conf.d/*proxy*; do
        [ ! -e "$file" ] || install -D --mode 644 "$file" "$root$file"
    done
    cat > "$root/etc/apt/apt.conf.d/90-image" << 'APT'
APT::Install-Recommends "false";
Dir::Cache::pkgcache "";
Dir::Cache::srcpkgcache "";
DPkg::Post-Invoke { "rm -f /var/cache/apt/archives/*.deb"; };
APT
    if [ -z "$security" ]; then # unstable; and a mirror of it may be some weeks behind
        echo 'Acquire::Check-Valid-Until "false";' >> "$root/etc/apt/apt.conf.d/90-image"
    fi
    rm -rf "$root"/var/cache/apt/archives/*.deb "$root"/var/lib/apt/lists/* \
        "$root"/usr/share/doc/* "$root"/usr/share/man/* "$root"/usr/share/locale/*
    tar --create --directory "$root" . | docker import - "$image" > /dev/null
    rm -rf "$root"
}

# A database server on one of them.
database() { # image, base, packages
    have "$1" && return
    echo "Making $1" >&2
    docker build --quiet --tag "$1" --build-arg BASE="$2" --build-arg PACKAGES="$3" \
        offline-database > /dev/null
}

for name in "$@"; do
    case $name in
        debian) base tackybox/offline/debian trixie trixie-security ;;
        mysql)
            have tackybox/offline/mysql || base tackybox/offline/debian-unstable sid ""
            database tackybox/offline/mysql tackybox/offline/debian-unstable mysql-server
            ;;
        mariadb)
            base tackybox/offline/debian trixie trixie-security
            database tackybox/offline/mariadb tackybox/offline/debian mariadb-server
            ;;
        *)
            echo "usage: container/offline-images.sh debian | mysql | mariadb ..." >&2
            exit 64
            ;;
    esac
done
