#!/usr/bin/busybox sh
# First process of a Linux guest: makes the machine usable, then runs commands for the bench.

export PATH=/usr/sbin:/usr/bin:/applets HOME=/root
/usr/bin/busybox mount -t devtmpfs dev /dev
/usr/bin/busybox mount -t proc proc /proc
/usr/bin/busybox mount -t sysfs sys /sys
/usr/bin/busybox --install -s /applets
mkdir -p /dev/pts /run/rpcbind /run/lock /var/lib/nfs/sm /var/lib/nfs/sm.bak /var/lib/nfs/v4recovery
chown -R 101:65534 /var/lib/nfs/sm /var/lib/nfs/sm.bak
chown 100:65534 /run/rpcbind
touch /var/lib/nfs/etab /var/lib/nfs/rmtab /var/lib/nfs/state /etc/exports
ulimit -c 0

# Drivers, by what the board has. Everything else is loaded when it is used.
[ -d /sys/bus/pci/devices ] && [ -n "$(ls /sys/bus/pci/devices)" ] && modprobe virtio_pci || modprobe virtio_mmio
modprobe virtio_console
modprobe virtio_blk
modprobe virtio_net

# guest.name=NAME, guest.ip=ethN:ADDRESS/PREFIX[,...], guest.modules=NAME[,...]
ip link set lo up
echo 0 > /proc/sys/net/ipv6/conf/default/accept_dad
for word in $(cat /proc/cmdline); do
    case $word in
    guest.name=*)
        hostname "${word#*=}"
        echo "127.0.0.1 localhost ${word#*=}" > /etc/hosts
        ;;
    guest.modules=*)
        for module in $(echo "${word#*=}" | tr , ' '); do modprobe "$module"; done
        ;;
    esac
done
for word in $(cat /proc/cmdline); do
    case $word in
    guest.ip=*)
        nic=${word#*=}
        addresses=${nic#*:}
        nic=${nic%%:*}
        echo 0 > "/proc/sys/net/ipv6/conf/$nic/accept_dad"
        for address in $(echo "$addresses" | tr , ' '); do ip addr add "$address" dev "$nic"; done
        ip link set "$nic" up
        ;;
    esac
done

for port in /sys/class/virtio-ports/*; do
    [ "$(cat "$port/name")" = agent ] && agent=/dev/${port##*/}
done
[ -c "$agent" ] || { echo "init: no virtio-serial port named agent" > /dev/console; exec sh; }

# A request is a line "ID BASE64-OF-SCRIPT"; an answer is a line "ID STATUS :BASE64-OF-OUTPUT :BASE64-OF-ERRORS".
# Scripts run side by side; each in a session of its own so that it can be killed with its children.
mkdir -p /run/jobs
exec 3<> "$agent"
echo ready >&3
while read -r id script <&3; do
    job=/run/jobs/$id
    (
        echo "$script" | base64 -d > "$job.sh"
        setsid sh "$job.sh" > "$job.out" 2> "$job.err" < /dev/null 3>&-
        status=$?
        {
            flock 9
            { printf '%s %s :' "$id" "$status"; base64 -w 0 < "$job.out"; printf ' :'
              base64 -w 0 < "$job.err"; echo; } >&3
        } 9> /run/jobs/lock
        rm -f "$job".*
    ) &
done
echo "init: the bench has gone" > /dev/console
poweroff -f
