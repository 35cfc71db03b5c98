# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What a PostgreSQL server is asked, all in one session."""

from __future__ import annotations

# The first line proves the login; everybody may see the second; the third is for pg_monitor alone.
# A server that is asked through the local socket by its superuser still answers when clients get
# no connection any more, so the share is that of what is left for them.
QUERY = r"""
SET statement_timeout = :milliseconds;
SELECT 1;
SELECT pg_has_role('pg_monitor', 'USAGE') AS monitor \gset
SELECT json_build_object(
  'places', current_setting('max_connections')::int
    - current_setting('superuser_reserved_connections')::int
    - coalesce(current_setting('reserved_connections', true), '0')::int,
  'used', (SELECT count(*) FROM pg_stat_activity
    WHERE (backend_type = 'client backend'
      OR backend_type IS NULL AND datid IS NOT NULL) AND pid <> pg_backend_pid()),
  'transaction_age', (SELECT max(age(datfrozenxid)) FROM pg_database),
  'multixact_age', (SELECT max(mxid_age(datminmxid)) FROM pg_database),
  'recovery', pg_is_in_recovery(),
  'archive_mode', current_setting('archive_mode'),
  'archive_command', current_setting('archive_command'),
  'archive_library', coalesce(current_setting('archive_library', true), ''),
  'archive_timeout', (SELECT setting::int FROM pg_settings WHERE name = 'archive_timeout'),
  'checksums', current_setting('data_checksums') = 'on',
  'damaged', (SELECT coalesce(json_agg(json_build_object(
    'name', coalesce(datname, 'what all share'), 'pages', checksum_failures)), '[]')
    FROM pg_stat_database WHERE checksum_failures > 0),
  'read_only', current_setting('default_transaction_read_only') = 'on',
  'databases', (SELECT json_agg(json_build_object('name', datname, 'open', datallowconn,
    'read_only', EXISTS (SELECT FROM pg_db_role_setting, unnest(setconfig) AS setting
      WHERE setdatabase = pg_database.oid AND setrole = 0
        AND setting ~* '^default_transaction_read_only=(on|true|yes|1)$'))) FROM pg_database),
  'roles', (SELECT coalesce(json_agg(json_build_object('name', rolname, 'limit', rolconnlimit,
    'used', (SELECT count(*) FROM pg_stat_activity WHERE usename = rolname
      AND backend_type IS DISTINCT FROM 'parallel worker' AND pid <> pg_backend_pid()))), '[]')
    FROM pg_roles WHERE rolconnlimit > 0 AND NOT rolsuper),
  'archiver', (SELECT json_build_object('failed_count', failed_count,
    'last_failed_wal', last_failed_wal,
    'failing', coalesce(last_failed_time > coalesce(last_archived_time, '-infinity'), false))
    FROM pg_stat_archiver),
  'slots', (SELECT coalesce(json_agg(json_build_object('name', slot_name, 'active', active,
    'status', wal_status, 'bytes', pg_wal_lsn_diff(
      CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_lsn() END,
      restart_lsn))), '[]') FROM pg_replication_slots));
\if :monitor
SELECT json_build_object(
  'oldest', (SELECT extract(epoch FROM max(age)) FROM (
    SELECT clock_timestamp() - xact_start AS age FROM pg_stat_activity
      WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()
    UNION ALL SELECT clock_timestamp() - prepared FROM pg_prepared_xacts) AS transactions),
  'waiting', (SELECT CASE WHEN current_setting('archive_mode') = 'off' THEN '{}'::json
    ELSE (SELECT json_build_object('files', count(*),
      'seconds', extract(epoch FROM clock_timestamp() - min(modification)))
      FROM pg_ls_archive_statusdir() WHERE name LIKE '%.ready') END),
  'replicas', (SELECT coalesce(json_agg(json_build_object(
    'name', coalesce(nullif(application_name, ''), client_addr::text, pid::text), 'state', state,
    'seconds', extract(epoch FROM replay_lag), 'bytes', pg_wal_lsn_diff(
      CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_lsn() END,
      replay_lsn))), '[]') FROM pg_stat_replication WHERE state <> 'backup'),
  'standby', CASE WHEN pg_is_in_recovery() THEN json_build_object(
    'receiving', EXISTS (SELECT FROM pg_stat_wal_receiver WHERE status = 'streaming'),
    'seconds', CASE WHEN pg_last_wal_receive_lsn() = pg_last_wal_replay_lsn()
      AND EXISTS (SELECT FROM pg_stat_wal_receiver WHERE status = 'streaming') THEN 0
      ELSE extract(epoch FROM clock_timestamp() - pg_last_xact_replay_timestamp()) END) END);
\endif
"""
