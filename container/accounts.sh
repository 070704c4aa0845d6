# Run once by the database image's entrypoint, MySQL's or MariaDB's, when its volume is new. Makes
# the two accounts that are not the owner's (MYSQL_USER, who loads tackybox.sql):
#
#   boxes     what TACKYBOX_SQL logs in with: adds events, changes and removes none
#   reader    for people: reads the views and what is under them
#
# A password that is not set makes no account. Sourced, not run: docker_process_sql is the image's.
# shellcheck shell=bash

tackybox_account() { # name, password, rights
    [ -n "$2" ] || return 0
    case $2 in *[!A-Za-z0-9._~-]*)
        echo "tackybox: the password of $1 may hold letters, digits and . _ ~ - only; not made" >&2
        return 0 ;;
    esac
    docker_process_sql --database=mysql <<SQL
CREATE USER IF NOT EXISTS '$1'@'%' IDENTIFIED BY '$2';
GRANT $3 ON \`$MYSQL_DATABASE\`.* TO '$1'@'%';
SQL
}

# UPDATE is for the journal's own cursor (table shipment).
tackybox_account boxes "${TACKYBOX_DB_PASSWORD:-}" "SELECT, INSERT, UPDATE"
tackybox_account reader "${TACKYBOX_DB_READER_PASSWORD:-}" "SELECT, SHOW VIEW"
