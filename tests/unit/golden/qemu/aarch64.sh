#!/bin/sh
# VM j of lab t, as `orchestrator up` starts it.
# The switch of network lan has to listen on /run/user/1000/vhost-lab/t/j-0.vu
set -e
umask 077
mkdir -p /run/user/1000/vhost-lab/t /state/vhost-lab/labs/t/vms/j
if [ -r "${0%.sh}.conf" ]; then
	cp "${0%.sh}.conf" /state/vhost-lab/labs/t/vms/j/guest.conf
fi
exec /usr/bin/qemu-system-aarch64 \
	-name guest=j \
	-nodefaults \
	-no-user-config \
	-display none \
	-machine virt,accel=tcg,memory-backend=mem0 \
	-cpu max,pauth-impdef=on \
	-smp 1 \
	-m 256M \
	-object memory-backend-memfd,id=mem0,size=256M,share=on \
	-kernel /c/kernel \
	-fw_cfg name=opt/org.vhost-lab/config,file=/state/vhost-lab/labs/t/vms/j/guest.conf \
	-chardev socket,id=con0,path=/run/user/1000/vhost-lab/t/j.con,server=on,wait=off,logfile=/state/vhost-lab/labs/t/vms/j/console.log,logappend=on \
	-serial chardev:con0 \
	-chardev file,id=ready0,path=/state/vhost-lab/labs/t/vms/j/ready,append=on \
	-device pci-serial,chardev=ready0 \
	-chardev socket,id=qmp0,path=/run/user/1000/vhost-lab/t/j.qmp,server=on,wait=off \
	-mon chardev=qmp0,mode=control \
	-chardev socket,id=vu0,path=/run/user/1000/vhost-lab/t/j-0.vu,reconnect=1 \
	-netdev vhost-user,id=net0,chardev=vu0,queues=1 \
	-device virtio-net-pci,id=nic0,netdev=net0,mac=52:54:00:68:55:a8,romfile=,vectors=0 \
	-device virtio-rng-pci
