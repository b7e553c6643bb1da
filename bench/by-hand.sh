#!/usr/bin/env bash
# by-hand.sh ADDRESS KEY CERTIFICATES: the script that you would write without Slipway for a host that has an engine.
# One ssh call copies certificates, daemon.json and a drop-in and restarts the engine; then `docker version` is repeated
# over mutual TLS until it succeeds. CERTIFICATES contains ca.pem server-cert.pem server-key.pem cert.pem key.pem,
# created beforehand and not timed.
set -euo pipefail
address=$1 key=$2 certificates=$3
stage=$(mktemp -d)
trap 'rm -rf "$stage"' EXIT
mkdir -p "$stage/etc/docker/tls" "$stage/etc/systemd/system/docker.service.d"
cp "$certificates"/{ca,server-cert,server-key}.pem "$stage/etc/docker/tls/"
cat >"$stage/etc/docker/daemon.json" <<'JSON'
{"hosts": ["fd://", "tcp://0.0.0.0:2376"], "tlsverify": true, "tlscacert": "/etc/docker/tls/ca.pem",
 "tlscert": "/etc/docker/tls/server-cert.pem", "tlskey": "/etc/docker/tls/server-key.pem"}
JSON
cat >"$stage/etc/systemd/system/docker.service.d/tls.conf" <<'UNIT'
[Service]
ExecStart=
ExecStart=/usr/sbin/dockerd --containerd=/run/containerd/containerd.sock $DOCKER_OPTS
UNIT
tar -c -C "$stage" --owner=0 --group=0 . | ssh -i "$key" -o BatchMode=yes -o StrictHostKeyChecking=accept-new -o UserKnownHostsFile="$stage/known_hosts" -o LogLevel=ERROR \
  "root@$address" 'tar -x --no-overwrite-dir -C / && systemctl daemon-reload && systemctl restart docker'
until docker --host "tcp://$address:2376" --tlsverify --tlscacert "$certificates/ca.pem" --tlscert "$certificates/cert.pem" --tlskey "$certificates/key.pem" version >/dev/null 2>&1; do
  sleep 0.05
done
