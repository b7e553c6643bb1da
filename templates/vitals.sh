# Prints this host's disk, memory, load and uptime, and what its engine's command line follows from, one `key value` per
# line. Changes nothing and needs no root.
# FAMILIES: names of service managers. The scripts that define their functions `command_of_NAME` come before this one.
LC_ALL=C
export LC_ALL
# The host's login may have printed something without a newline.
echo

# The engine's data may be on a disk of its own.
folder=/
if [ -d /var/lib/docker ]; then folder=/var/lib/docker; fi
df -Pk "$folder" | while read -r _ total _ free _ mount; do
    case $free in *[!0-9]*) ;; *) echo "disk $total $free $mount" ;; esac
done
while read -r name kib _; do
    case $name in
        MemTotal:) echo "memory_total $kib" ;;
        MemAvailable:) echo "memory_free $kib" ;;
    esac
done </proc/meminfo
read -r one five fifteen _ </proc/loadavg
echo "load $one $five $fifteen"
echo "cpus $(grep -c '^processor' /proc/cpuinfo)"
read -r up _ </proc/uptime
echo "uptime ${up%%.*}"
for family in $FAMILIES; do "command_of_$family"; done
