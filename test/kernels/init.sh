#!/bin/busybox sh
# First process of the guest: makes its root of the machine's files, by 9p and read-only, under a tmpfs, and goes there.
# What goes wrong is seen on the console, ttyS0.
/bin/busybox --install -s /bin
mkdir -p /proc /sys /dev /machine /over /root
mount -t devtmpfs none /dev
mount -t proc none /proc
mount -t sysfs none /sys
for module in /modules/*; do insmod "$module"; done
mount -t 9p -o trans=virtio,version=9p2000.L,msize=1048576,cache=loose,ro machine /machine || poweroff -f
mount -t tmpfs -o size=75% none /over
mkdir /over/upper /over/work
mount -t overlay -o lowerdir=/machine,upperdir=/over/upper,workdir=/over/work none /root || poweroff -f
cp -r /guest /root/guest
for each in dev proc sys; do mount --move "/$each" "/root/$each"; done
exec switch_root /root /guest/start.sh
