#!/bin/sh
# VM r of lab t, as `orchestrator up` starts it.
# The switch of network front has to listen on /run/user/1000/vhost-lab/t/r-0.vu
# The switch of network back has to listen on /run/user/1000/vhost-lab/t/r-1.vu
set -e
umask 077
mkdir -p /run/user/1000/vhost-lab/t /state/vhost-lab/labs/t/vms/r
if [ -r "${0%.sh}.conf" ]; then
	cp "${0%.sh}.conf" /state/vhost-lab/labs/t/vms/r/guest.conf
fi
exec /usr/bin/qemu-system-x86_64 \
	-name guest=r \
	-nodefaults \
	-no-user-config \
	-display none \
	-machine q35,accel=kvm,memory-backend=mem0 \
	-cpu host \
	-smp 1 \
	-m 256M \
	-object memory-backend-memfd,id=mem0,size=256M,share=on \
	-kernel /c/kernel \
	-initrd /c/initrd \
	-append 'console=ttyS0 quiet it'\''s "x"' \
	-fw_cfg name=opt/org.vhost-lab/config,file=/state/vhost-lab/labs/t/vms/r/guest.conf \
	-chardev socket,id=con0,path=/run/user/1000/vhost-lab/t/r.con,server=on,wait=off,logfile=/state/vhost-lab/labs/t/vms/r/console.log,logappend=on \
	-serial chardev:con0 \
	-chardev file,id=ready0,path=/state/vhost-lab/labs/t/vms/r/ready,append=on \
	-serial chardev:ready0 \
	-chardev socket,id=qmp0,path=/run/user/1000/vhost-lab/t/r.qmp,server=on,wait=off \
	-mon chardev=qmp0,mode=control \
	-chardev socket,id=vu0,path=/run/user/1000/vhost-lab/t/r-0.vu,reconnect-ms=200 \
	-netdev vhost-user,id=net0,chardev=vu0,queues=1 \
	-device virtio-net-pci,id=nic0,netdev=net0,mac=52:54:00:78:d7:33,romfile=,vectors=4 \
	-chardev socket,id=vu1,path=/run/user/1000/vhost-lab/t/r-1.vu,reconnect-ms=200 \
	-netdev vhost-user,id=net1,chardev=vu1,queues=4 \
	-device virtio-net-pci,id=nic1,netdev=net1,mac=52:54:00:ab:cd:ef,romfile=,mq=on,vectors=10 \
	-device virtio-rng-pci
