#!/bin/sh
# Called by keepalived when the virtual address comes here or goes: the broker that has it leads.
# HEADWATER_HTTP and HEADWATER_USER (NAME:SECRET, where the broker asks for a login) may be set in /etc/default/headwater-keepalived.
set -u
[ -r /etc/default/headwater-keepalived ] && . /etc/default/headwater-keepalived
export HEADWATER_HTTP="${HEADWATER_HTTP:-127.0.0.1:8080}" HEADWATER_USER="${HEADWATER_USER:-}"
[ -n "$HEADWATER_USER" ] || unset HEADWATER_USER

case "${1:-}" in
  MASTER)
    # At a boot the address can be here before the broker is.
    attempt=0
    until headwater promote --if-needed; do
      attempt=$((attempt + 1))
      [ "$attempt" -lt 30 ] || exit 1
      sleep 1
    done
    ;;
  # The other one was promoted: this broker finds its leader epoch and follows by itself.
  BACKUP | FAULT) ;;
  *)
    echo "usage: notify.sh MASTER|BACKUP|FAULT" >&2
    exit 2
    ;;
esac
