#!/bin/sh
# Makes this machine a provider's, as DigitalOcean and RDS are met from outside: PostgreSQL and
# Redis over TLS alone, by an authority that Debian does not trust, under ports of its own, and with
# an administrator who is no superuser. Says which authority it is.
set -eu
name=atlas-production.db.ondigitalocean.com
password=test-only-password-of-the-provider
exec 3>&1 >&2

export DEBIAN_FRONTEND=noninteractive
apt-get update -q
apt-get install -y -q --no-install-recommends postgresql postgresql-15-postgis-3 redis-server

mkdir -p /etc/provider
cd /etc/provider
set -- -newkey ec -pkeyopt ec_paramgen_curve:P-256 -noenc -days 3650
openssl req -x509 "$@" -subj "/CN=Provider's authority" -keyout ca.key -out ca.pem \
  -addext basicConstraints=critical,CA:TRUE -addext keyUsage=critical,keyCertSign
openssl req -x509 -CA ca.pem -CAkey ca.key "$@" -subj "/CN=$name" -keyout server.key \
  -out server.pem -addext "subjectAltName=DNS:$name" -addext basicConstraints=critical,CA:FALSE
for user in postgres redis; do
  install -o $user -m 0600 server.key $user.key
done

# Extensions that a provider lets its customers have are `trusted` there.
echo "trusted = true" >>/usr/share/postgresql/15/extension/postgis.control
cat >/etc/postgresql/15/main/conf.d/provider.conf <<END
port = 25060
listen_addresses = '*'
ssl_cert_file = '/etc/provider/server.pem'
ssl_key_file = '/etc/provider/postgres.key'
END
cat >/etc/postgresql/15/main/pg_hba.conf <<END
local all postgres peer
hostssl all all all scram-sha-256
END
systemctl restart postgresql@15-main
runuser -u postgres -- psql -p 25060 -v ON_ERROR_STOP=1 <<END
CREATE ROLE doadmin LOGIN CREATEROLE CREATEDB PASSWORD '$password';
GRANT pg_monitor TO doadmin;
CREATE DATABASE defaultdb OWNER doadmin;
END

cat >/etc/redis/redis.conf <<END
port 0
tls-port 25061
bind 0.0.0.0
tls-cert-file /etc/provider/server.pem
tls-key-file /etc/provider/redis.key
tls-ca-cert-file /etc/provider/ca.pem
tls-auth-clients no
requirepass $password
dir /var/lib/redis
END
chown redis: /etc/redis/redis.conf
systemctl restart redis-server
cat ca.pem >&3
