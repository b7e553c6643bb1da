# Prints how this host fares, one `key value` a line. Changes nothing, and takes no root.
LC_ALL=C
export LC_ALL

# Where the engine keeps what it has. It may be on a disk of its own.
place=/
if [ -d /var/lib/docker ]; then place=/var/lib/docker; fi
df -Pk "$place" | while read -r _ total _ free _ mount; do
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
