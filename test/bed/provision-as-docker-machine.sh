#!/bin/sh
# provision-as-docker-machine.sh ADDRESS NAME
#
# Provisions a host with an engine as Docker Machine does: certificates of an RSA CA in /etc/docker, and dockerd's
# command line in a systemd drop-in. Prints a tar of the client's files, certs/ and machines/NAME/, in base64. Runs on
# the host, as root.
set -eu

address=$1
name=$2
work=$(mktemp -d)
cd "$work"
mkdir -p certs "machines/$name"

create_ca() {
    openssl req -x509 -newkey rsa:2048 -nodes -subj /O=me -days 1080 -keyout certs/ca-key.pem -out certs/ca.pem \
        -addext basicConstraints=critical,CA:true -addext keyUsage=critical,digitalSignature,keyEncipherment,keyAgreement,keyCertSign
}

# FILE KEY SUBJECT EXTENSIONS
create_certificate() {
    openssl req -newkey rsa:2048 -nodes -subj "$3" -keyout "$2" -out request.pem
    printf '%s\n' "$4" >extensions
    openssl x509 -req -in request.pem -CA certs/ca.pem -CAkey certs/ca-key.pem -CAcreateserial -days 1080 -extfile extensions -out "$1"
}

{
    create_ca
    create_certificate certs/cert.pem certs/key.pem '/O=me.<bootstrap>' 'extendedKeyUsage=clientAuth'
    create_certificate "machines/$name/server.pem" "machines/$name/server-key.pem" "/O=me.$name" \
        "extendedKeyUsage=serverAuth
subjectAltName=IP:$address,DNS:localhost"
} >&2 2>/dev/null
# Docker Machine writes keys as PKCS #1.
for key in certs/ca-key.pem certs/key.pem "machines/$name/server-key.pem"; do
    openssl rsa -traditional -in "$key" -out "$key.1" 2>/dev/null || openssl rsa -in "$key" -out "$key.1" 2>/dev/null
    mv "$key.1" "$key"
done
rm -f request.pem extensions certs/*.srl
cp certs/ca.pem certs/cert.pem certs/key.pem "machines/$name/"

systemctl -f stop docker
mkdir -p /etc/docker /etc/systemd/system/docker.service.d
cp certs/ca.pem /etc/docker/ca.pem
cp "machines/$name/server.pem" "machines/$name/server-key.pem" /etc/docker/
dockerd=$(command -v dockerd)
cat >/etc/systemd/system/docker.service.d/10-machine.conf <<DROPIN
[Service]
ExecStart=
ExecStart=$dockerd -H tcp://0.0.0.0:2376 -H unix:///var/run/docker.sock --storage-driver ${STORAGE_DRIVER:-overlay2} --tlsverify --tlscacert /etc/docker/ca.pem --tlscert /etc/docker/server.pem --tlskey /etc/docker/server-key.pem --label team=web --label provider=generic --log-opt=max-size=5m 
Environment="OLD_VARIABLE=kept value" "HTTPS_PROXY=http://me:hunter2@proxy.invalid:3128"
DROPIN
systemctl daemon-reload
systemctl -f start docker
systemctl -f enable docker >&2 2>/dev/null
tar -cf - certs machines | base64 | tr -d '\n'
