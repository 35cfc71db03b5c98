#!/bin/sh
# Makes this machine a streaming standby of the scenario's database, which answers reads alone.
set -eu
export DEBIAN_FRONTEND=noninteractive
apt-get update -q
apt-get install -y -q --no-install-recommends postgresql
pg_dropcluster --stop 17 main
pg_createcluster 17 main
data=/var/lib/postgresql/17/main
rm -r $data
primary="host=10.215.0.11 user=standby password=test-only-password-of-the-replica sslmode=require"
runuser -u postgres -- pg_basebackup -d "$primary" -D $data --write-recovery-conf --checkpoint=fast
# No less than the primary has of each, or it would not follow.
cat >/etc/postgresql/17/main/conf.d/replica.conf <<END
listen_addresses = '*'
max_connections = 1000
max_wal_senders = 50
max_worker_processes = 64
max_locks_per_transaction = 256
END
cat >/etc/postgresql/17/main/pg_hba.conf <<END
local all postgres peer
hostssl parkme parkme 10.215.0.0/24 scram-sha-256
END
systemctl start postgresql@17-main
