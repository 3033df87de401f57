#!/bin/sh
# Makes a host of the laboratory look like a machine to what is started on it, then starts it:
# node.sh NAME DISK SBIN COMMAND…   DISK: a folder that outlives a loss of power.
set -e
node=$1 disk=$2 sbin=$3
shift 3
hostname "$node"
mount -t tmpfs tmpfs /run
mount -t tmpfs tmpfs /dev/shm
mkdir -p /run/bench /run/lock /run/resource-agents
rm -f "$disk"/run/*
mount --bind "$disk/run" /run/bench
mount -t overlay overlay -o "lowerdir=$sbin:/usr/sbin" /usr/sbin
# A program that panics the machine must not panic this one.
[ ! -e /proc/sysrq-trigger ] || mount --bind /dev/null /proc/sysrq-trigger
exec "$@"
