#!/bin/sh
# Measures the throughput of one paced line and the gateway's memory with 16 ports (only that: measure.sh memory). Same needs as soak.sh.
exec "$(dirname "$0")/soak.sh" measure "$@"
