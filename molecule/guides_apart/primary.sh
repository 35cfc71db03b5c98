#!/bin/sh
# Lets the replica of this scenario stream from this machine, until the role writes its rules again.
set -eu
runuser -u postgres -- psql -X -v ON_ERROR_STOP=1 <<END
CREATE ROLE standby LOGIN REPLICATION PASSWORD 'test-only-password-of-the-replica';
END
echo "hostssl replication standby 10.215.0.15/32 scram-sha-256" >>/etc/postgresql/17/main/pg_hba.conf
systemctl reload postgresql@17-main
