#!/bin/sh
# Runs Corosync and Pacemaker on a host that node.sh has prepared: peer.sh DISK
set -e
disk=$1
for kind in cib pengine blackbox cores; do
    install -d -o hacluster -g haclient -m 750 "$disk/pacemaker/$kind"
done
chown hacluster:haclient "$disk/pacemaker"
install -d "$disk/corosync"
install -d -o hacluster -g haclient -m 770 "$disk/log"
mount --bind "$disk/etc" /etc/corosync
mount --bind "$disk/corosync" /var/lib/corosync
mount --bind "$disk/pacemaker" /var/lib/pacemaker
mount --bind "$disk/log" /var/log/pacemaker
mkdir -p /run/crm
chown hacluster:haclient /run/crm
corosync -f &
until corosync-cmapctl -g totem.version >/dev/null 2>&1; do
    kill -0 $!
    sleep 0.05
done
exec pacemakerd -f
