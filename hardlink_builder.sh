#!/bin/bash
# Links into each part's folder what its image is built from, so that `docker build .` works there:
#
#   <part>/Dockerfile       container/Dockerfile, the same for all
#   <part>/docker-context/  image.conf, requirements.lock, the part's own modules, and the shared
#                         packages tackybox and mysql_utilities, laid out as they are imported
#
#   ./hardlink_builder.sh [build]    make the links anew where needed, remove what is stale
#   ./hardlink_builder.sh --check    exit 1, and say what, if a link is missing, stale or split
#   ./hardlink_builder.sh --clean    remove all of it
#
# Hard links, because docker sees nothing outside of the folder it builds in, and copies would be
# edited by mistake. But git (checkout, pull, stash) and most editors write a new file in place of
# the old one, which splits a link silently: run `build` again before you build images; the make
# targets do.
set -euo pipefail
cd "$(dirname "$0")"

PARTS=(daughter/receiver daughter/pusher mother/inbox mother/forwarder)
SHARED=(tackybox mysql_utilities)

# Each line: a source and the link that is to be made of it in `part`.
wanted() {
    local part=$1 file
    echo "container/Dockerfile $part/Dockerfile"
    echo "requirements.lock $part/docker-context/requirements.lock"
    echo "$part/image.conf $part/docker-context/image.conf"
    for file in "$part"/*.py; do
        echo "$file $part/docker-context/$file"
    done
    find "${SHARED[@]}" -name __pycache__ -prune -o -type f \( -name '*.py' -o -name '*.sql' \) -print |
        sort | while read -r file; do echo "$file $part/docker-context/$file"; done
}

# Files that stand where links belong, and that nothing wants.
stale() {
    local part=$1
    [ -d "$part/docker-context" ] || return 0
    comm -13 <(wanted "$part" | cut -d' ' -f2 | sort) <(find "$part/docker-context" ! -type d | sort)
}

build() {
    local part source link
    for part in "${PARTS[@]}"; do
        stale "$part" | while read -r link; do rm -f "$link"; done
        wanted "$part" | while read -r source link; do
            [ "$source" -ef "$link" ] && continue
            mkdir -p "$(dirname "$link")"
            ln -f "$source" "$link" || {
                echo "hardlink_builder: $source can't be linked to $link." >&2
                if [ "$(stat -Lc %d "$source")" != "$(stat -Lc %d "$(dirname "$link")")" ]; then
                    echo "They are on two file systems, and a hard link can't cross: keep the whole" \
                        "clone on one (no mount inside it)." >&2
                fi
                exit 1
            }
        done
        [ ! -d "$part/docker-context" ] || find "$part/docker-context" -type d -empty -delete
    done
}

check() {
    local part source link found=0
    while read -r what link; do
        found=1
        echo "$link: $what" | tr _ ' '
    done < <(
        for part in "${PARTS[@]}"; do
            wanted "$part" | while read -r source link; do
                [ "$source" -ef "$link" ] && continue
                if [ ! -e "$link" ]; then
                    echo "missing $link"
                elif cmp -s "$source" "$link"; then
                    echo "split_from_$source,_with_the_same_content $link"
                else
                    echo "split_from_$source,_and_it_differs $link"
                fi
            done
            stale "$part" | while read -r link; do echo "stale $link"; done
        done
    )
    if [ "$found" = 1 ]; then
        echo "Run: ./hardlink_builder.sh build" >&2
        return 1
    fi
}

clean() {
    local part
    for part in "${PARTS[@]}"; do
        rm -rf "$part/docker-context" "$part/Dockerfile"
    done
}

case ${1:-build} in
    build) build ;;
    --check) check ;;
    --clean) clean ;;
    *)
        echo "usage: ./hardlink_builder.sh build | --check | --clean" >&2
        exit 64
        ;;
esac
