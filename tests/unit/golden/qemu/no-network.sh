#!/bin/sh
# VM n1 of lab t, as `orchestrator up` starts it.
set -e
umask 077
mkdir -p /run/user/1000/vhost-lab/t /state/vhost-lab/labs/t/vms/n1
if [ -r "${0%.sh}.conf" ]; then
	cp "${0%.sh}.conf" /state/vhost-lab/labs/t/vms/n1/guest.conf
fi
exec /usr/bin/qemu-system-x86_64 \
	-name guest=n1 \
	-nodefaults \
	-no-user-config \
	-display none \
	-machine q35,accel=tcg,memory-backend=mem0 \
	-cpu max \
	-smp 1 \
	-m 256M \
	-object memory-backend-memfd,id=mem0,size=256M,share=on \
	-kernel /c/kernel \
	-fw_cfg name=opt/org.vhost-lab/config,file=/state/vhost-lab/labs/t/vms/n1/guest.conf \
	-chardev socket,id=con0,path=/run/user/1000/vhost-lab/t/n1.con,server=on,wait=off,logfile=/state/vhost-lab/labs/t/vms/n1/console.log,logappend=on \
	-serial chardev:con0 \
	-chardev file,id=ready0,path=/state/vhost-lab/labs/t/vms/n1/ready,append=on \
	-serial chardev:ready0 \
	-chardev socket,id=qmp0,path=/run/user/1000/vhost-lab/t/n1.qmp,server=on,wait=off \
	-mon chardev=qmp0,mode=control \
	-device virtio-rng-pci
