// SPDX-License-Identifier: Apache-2.0

package mysqlcheck

// Statement names a piece of SQL whose text depends on the server. The table
// behind it has two halves: what a Probe asks (below), and what changes a
// server (statement_control.go).
type Statement string

// What a Probe asks.
const (
	// StmtVersion returns @@version and @@version_comment. It is the one
	// statement that every server of either flavour understands.
	StmtVersion Statement = "version"
	// StmtIdentity returns the server's identity and the second its process
	// started, as text. See [Sample.ServerUUID] and [Sample.StartID].
	StmtIdentity Statement = "identity"
	// StmtState returns one row with what may change at any time: see stateRow.
	StmtState Statement = "state"
	// StmtReplication returns the receiver and applier of the default channel,
	// one row, or none where no source was ever set.
	StmtReplication Statement = "replication"
	// StmtFilters returns the replication filters as name and rule. MariaDB
	// tells them in StmtReplication.
	StmtFilters Statement = "filters"
	// StmtSettings returns the global variables that a Sample keeps, as name
	// and value. A name the server does not know is simply missing.
	StmtSettings Statement = "settings"
	// StmtOrigins returns name, origin and persisted value (NULL: none) of the
	// settings that must hold right after boot.
	StmtOrigins Statement = "origins"
	// StmtCounters returns the status counters that a Sample keeps, as name
	// and value.
	StmtCounters Statement = "counters"
	// StmtReplicas is run by [Dumps].
	StmtReplicas Statement = "replicas"
	// StmtPrepared lists prepared XA transactions, one row each.
	StmtPrepared Statement = "prepared"
	// StmtBinaryLogs lists binary logs, oldest first, the name in column one.
	// Only MariaDB needs it: MySQL has @@gtid_purged.
	StmtBinaryLogs Statement = "binary_logs"
	// StmtBinaryLogStart takes a log's name and returns the position in which
	// it begins.
	StmtBinaryLogStart Statement = "binary_log_start"
	// StmtThread takes a connection id and returns its thread, with what it
	// waits for in the server's words, or "Waiting for row lock"; no row when it
	// is gone. MariaDB tells of row locks in StmtRowLock, which takes the same
	// id and counts them.
	StmtThread  Statement = "thread"
	StmtRowLock Statement = "row_lock"
	// StmtProgress returns counters of bytes written, as name and value: a
	// commit that waits while they move is not hung.
	StmtProgress Statement = "progress"
	// StmtGrants lists the privileges of the current user.
	StmtGrants Statement = "grants"
	// StmtHeartbeatSchema, StmtHeartbeatTable and StmtHeartbeatWrite make and
	// write the heartbeat table. {schema} and {table} are replaced.
	StmtHeartbeatSchema Statement = "heartbeat_schema"
	StmtHeartbeatTable  Statement = "heartbeat_table"
	StmtHeartbeatWrite  Statement = "heartbeat_write"
)

// variant is the text of a statement for one flavour, from release since
// (inclusive; zero: from the first) until release until (exclusive; zero: to
// this day). UnknownFlavor means both.
type variant struct {
	flavor       Flavor
	since, until release
	sql          string
}

func (r variant) holds(v Version) bool {
	if r.flavor != UnknownFlavor && r.flavor != v.Flavor {
		return false
	}
	at := release{v.Major, v.Minor, v.Patch}
	return at.compare(r.since) >= 0 && (r.until == release{} || at.compare(r.until) < 0)
}

// SQL returns the text of s for this server. False means that this flavour or
// release has no such thing.
func (v Version) SQL(s Statement) (string, bool) {
	variants, ok := probeStatements[s]
	if !ok {
		variants = controlStatements[s]
	}
	for _, r := range variants {
		if r.holds(v) {
			return r.sql, true
		}
	}
	return "", false
}

// probeStatements is the table. In each list the first variant that holds wins.
var probeStatements = map[Statement][]variant{
	StmtVersion: {{sql: `SELECT @@version, @@version_comment`}},

	StmtIdentity: {
		// Both terms of the difference come from the same second of the same
		// clock, so the start neither jitters between reads nor moves when the
		// clock is set.
		{flavor: MySQL, sql: `SELECT @@global.server_uuid, CAST(UNIX_TIMESTAMP() - VARIABLE_VALUE AS CHAR)
			FROM performance_schema.global_status WHERE VARIABLE_NAME = 'Uptime'`},
		// MariaDB has no server UUID; its GTIDs carry the server id.
		{flavor: MariaDB, sql: `SELECT CAST(@@global.server_id AS CHAR), CAST(UNIX_TIMESTAMP() - VARIABLE_VALUE AS CHAR)
			FROM information_schema.GLOBAL_STATUS WHERE VARIABLE_NAME = 'UPTIME'`},
	},

	StmtState: {
		{flavor: MySQL, sql: `SELECT @@global.read_only, @@global.super_read_only, @@global.offline_mode,
			@@global.gtid_executed, @@global.gtid_purged, ''`},
		// There is no super_read_only and no offline_mode. read_only is an
		// enumeration since 12.0 and comes as text there.
		// The binary log's state names the last transaction of every server of
		// a domain, gtid_binlog_pos only the last of all.
		{flavor: MariaDB, sql: `SELECT @@global.read_only, 0, 0, @@global.gtid_binlog_state, '', @@global.gtid_slave_pos`},
	},

	StmtReplication: {
		// One row out of performance_schema rather than SHOW REPLICA STATUS:
		// only here are the applier's commit timestamps, the last heartbeat and
		// the receiver's state with microseconds. They come as ages by the
		// server's own clock, NULL where there is no such instant. The tables
		// have these columns from 8.0.22 on; the aggregate over the workers
		// keeps it one row whatever replica_parallel_workers is.
		{flavor: MySQL, sql: `SELECT cc.HOST, cc.PORT, cc.AUTO_POSITION, cc.HEARTBEAT_INTERVAL,
			cs.SERVICE_STATE, cs.SOURCE_UUID, cs.LAST_ERROR_NUMBER, cs.LAST_ERROR_MESSAGE, cs.RECEIVED_TRANSACTION_SET,
			TIMESTAMPDIFF(MICROSECOND, cs.LAST_HEARTBEAT_TIMESTAMP, NOW(6)),
			TIMESTAMPDIFF(MICROSECOND, cs.LAST_QUEUED_TRANSACTION_END_QUEUE_TIMESTAMP, NOW(6)),
			TIMESTAMPDIFF(MICROSECOND, cs.QUEUEING_TRANSACTION_START_QUEUE_TIMESTAMP, NOW(6)),
			(SELECT SUM_NUMBER_OF_BYTES_WRITE FROM performance_schema.file_summary_by_event_name
				WHERE EVENT_NAME = 'wait/io/file/sql/relaylog'),
			TIMESTAMPDIFF(MICROSECOND, cs.LAST_QUEUED_TRANSACTION_IMMEDIATE_COMMIT_TIMESTAMP, NOW(6)),
			ast.SERVICE_STATE, ac.DESIRED_DELAY, co.LAST_ERROR_NUMBER, co.LAST_ERROR_MESSAGE,
			w.error_number, w.error_message, w.applying_original, w.applying_immediate, w.applied_original, w.applied_immediate,
			(SELECT COUNT(*) FROM performance_schema.replication_connection_configuration
				WHERE CHANNEL_NAME NOT IN ('', 'group_replication_applier', 'group_replication_recovery'))
			FROM performance_schema.replication_connection_configuration cc
			JOIN performance_schema.replication_connection_status cs ON cs.CHANNEL_NAME = cc.CHANNEL_NAME
			JOIN performance_schema.replication_applier_configuration ac ON ac.CHANNEL_NAME = cc.CHANNEL_NAME
			JOIN performance_schema.replication_applier_status ast ON ast.CHANNEL_NAME = cc.CHANNEL_NAME
			LEFT JOIN performance_schema.replication_applier_status_by_coordinator co ON co.CHANNEL_NAME = cc.CHANNEL_NAME
			JOIN (SELECT MAX(LAST_ERROR_NUMBER) AS error_number, MAX(LAST_ERROR_MESSAGE) AS error_message,
				MAX(TIMESTAMPDIFF(MICROSECOND, APPLYING_TRANSACTION_ORIGINAL_COMMIT_TIMESTAMP, NOW(6))) AS applying_original,
				MAX(TIMESTAMPDIFF(MICROSECOND, APPLYING_TRANSACTION_IMMEDIATE_COMMIT_TIMESTAMP, NOW(6))) AS applying_immediate,
				MIN(TIMESTAMPDIFF(MICROSECOND, LAST_APPLIED_TRANSACTION_ORIGINAL_COMMIT_TIMESTAMP, NOW(6))) AS applied_original,
				MIN(TIMESTAMPDIFF(MICROSECOND, LAST_APPLIED_TRANSACTION_IMMEDIATE_COMMIT_TIMESTAMP, NOW(6))) AS applied_immediate
				FROM performance_schema.replication_applier_status_by_worker WHERE CHANNEL_NAME = '') w
			WHERE cc.CHANNEL_NAME = ''`},
		// Only this form has the heartbeat counters; one row per connection,
		// the default one has the empty name.
		{flavor: MariaDB, sql: `SHOW ALL SLAVES STATUS`},
	},

	StmtFilters: {
		{flavor: MySQL, sql: `SELECT FILTER_NAME, FILTER_RULE FROM performance_schema.replication_applier_filters
			WHERE CHANNEL_NAME = '' AND FILTER_RULE <> ''
			UNION ALL SELECT FILTER_NAME, FILTER_RULE FROM performance_schema.replication_applier_global_filters
			WHERE FILTER_RULE <> ''`},
	},

	StmtSettings: {
		{flavor: MySQL, sql: `SHOW GLOBAL VARIABLES WHERE Variable_name IN (
			'read_only', 'super_read_only', 'server_id', 'gtid_mode', 'log_bin', 'log_replica_updates', 'log_slave_updates',
			'binlog_format', 'sync_binlog', 'innodb_flush_log_at_trx_commit', 'innodb_read_only', 'innodb_force_recovery',
			'replica_parallel_workers', 'slave_parallel_workers', 'replica_preserve_commit_order', 'slave_preserve_commit_order',
			'replica_skip_errors', 'slave_skip_errors', 'skip_replica_start', 'skip_slave_start', 'relay_log_recovery',
			'replica_net_timeout', 'slave_net_timeout', 'skip_name_resolve', 'event_scheduler', 'datadir',
			'binlog_expire_logs_seconds',
			'rpl_semi_sync_source_enabled', 'rpl_semi_sync_source_timeout', 'rpl_semi_sync_source_wait_point',
			'rpl_semi_sync_source_wait_for_replica_count', 'rpl_semi_sync_source_wait_no_replica', 'rpl_semi_sync_replica_enabled',
			'rpl_semi_sync_master_enabled', 'rpl_semi_sync_master_timeout', 'rpl_semi_sync_master_wait_point',
			'rpl_semi_sync_master_wait_for_slave_count', 'rpl_semi_sync_master_wait_no_slave', 'rpl_semi_sync_slave_enabled')`},
		{flavor: MariaDB, sql: `SHOW GLOBAL VARIABLES WHERE Variable_name IN (
			'read_only', 'server_id', 'gtid_strict_mode', 'log_bin', 'log_slave_updates', 'binlog_format', 'sync_binlog',
			'innodb_flush_log_at_trx_commit', 'innodb_read_only', 'innodb_force_recovery', 'slave_parallel_threads',
			'slave_skip_errors', 'relay_log_recovery', 'slave_net_timeout',
			'skip_name_resolve', 'event_scheduler', 'datadir', 'binlog_expire_logs_seconds', 'rpl_semi_sync_master_enabled', 'rpl_semi_sync_master_timeout',
			'rpl_semi_sync_master_wait_point', 'rpl_semi_sync_master_wait_no_slave', 'rpl_semi_sync_slave_enabled')`},
	},

	StmtOrigins: {
		{flavor: MySQL, sql: `SELECT i.VARIABLE_NAME, i.VARIABLE_SOURCE, p.VARIABLE_VALUE
			FROM performance_schema.variables_info i
			LEFT JOIN performance_schema.persisted_variables p ON p.VARIABLE_NAME = i.VARIABLE_NAME
			WHERE i.VARIABLE_NAME IN ('read_only', 'super_read_only', 'skip_replica_start', 'skip_slave_start',
				'rpl_semi_sync_replica_enabled', 'rpl_semi_sync_slave_enabled')`},
		// Variables cannot be persisted here.
		{flavor: MariaDB, sql: `SELECT LOWER(VARIABLE_NAME), GLOBAL_VALUE_ORIGIN, NULL FROM information_schema.SYSTEM_VARIABLES
			WHERE VARIABLE_NAME IN ('READ_ONLY', 'SKIP_SLAVE_START', 'RPL_SEMI_SYNC_SLAVE_ENABLED')`},
	},

	StmtCounters: {{sql: `SHOW GLOBAL STATUS WHERE Variable_name IN (
		'Rpl_semi_sync_source_status', 'Rpl_semi_sync_source_clients', 'Rpl_semi_sync_source_wait_sessions', 'Rpl_semi_sync_replica_status',
		'Rpl_semi_sync_master_status', 'Rpl_semi_sync_master_clients', 'Rpl_semi_sync_master_wait_sessions', 'Rpl_semi_sync_slave_status')`}},

	StmtReplicas: {
		// Neither table takes a lock that a session could hold.
		{flavor: MySQL, sql: `SELECT PROCESSLIST_ID AS Id, PROCESSLIST_USER AS User, PROCESSLIST_HOST AS Host,
				PROCESSLIST_COMMAND AS Command, PROCESSLIST_STATE AS State
			FROM performance_schema.threads WHERE PROCESSLIST_COMMAND IN ('Binlog Dump', 'Binlog Dump GTID')`},
		{flavor: MariaDB, sql: `SHOW PROCESSLIST`},
	},

	StmtPrepared: {{sql: `XA RECOVER`}},

	StmtBinaryLogs:     {{flavor: MariaDB, sql: `SHOW BINARY LOGS`}},
	StmtBinaryLogStart: {{flavor: MariaDB, sql: `SELECT BINLOG_GTID_POS(?, 4)`}},

	StmtThread: {
		// Neither flavour has a state for a wait on a row lock.
		{flavor: MySQL, sql: `SELECT PROCESSLIST_ID AS Id, PROCESSLIST_COMMAND AS Command,
				IF(EXISTS (SELECT 1 FROM information_schema.INNODB_TRX
					WHERE trx_mysql_thread_id = PROCESSLIST_ID AND trx_state = 'LOCK WAIT'),
					'Waiting for row lock', PROCESSLIST_STATE) AS State
			FROM performance_schema.threads WHERE PROCESSLIST_ID = ?`},
		{flavor: MariaDB, sql: `SHOW PROCESSLIST`},
	},
	StmtRowLock: {{flavor: MariaDB, sql: `SELECT COUNT(*) FROM information_schema.INNODB_TRX
		WHERE trx_mysql_thread_id = ? AND trx_state = 'LOCK WAIT'`}},

	StmtProgress: {
		// Counted when a write returns, so a write that never returns does not
		// count.
		{flavor: MySQL, sql: `SELECT EVENT_NAME, SUM_NUMBER_OF_BYTES_WRITE FROM performance_schema.file_summary_by_event_name
			WHERE EVENT_NAME IN ('wait/io/file/sql/binlog', 'wait/io/file/innodb/innodb_log_file')`},
		// performance_schema is off by default.
		{flavor: MariaDB, sql: `SHOW GLOBAL STATUS WHERE Variable_name IN ('Binlog_bytes_written', 'Innodb_os_log_written')`},
	},

	StmtGrants: {{sql: `SHOW GRANTS`}},

	StmtHeartbeatSchema: {{sql: `CREATE DATABASE IF NOT EXISTS {schema}`}},
	StmtHeartbeatTable: {{sql: `CREATE TABLE IF NOT EXISTS {table} (
		id TINYINT UNSIGNED NOT NULL PRIMARY KEY,
		node VARCHAR(255) CHARACTER SET ascii NOT NULL,
		beat BIGINT UNSIGNED NOT NULL,
		written DATETIME(6) NOT NULL) ENGINE=InnoDB`}},
	// The condition holds our own account off too, which may have the
	// privilege that read_only does not stop. Zero rows affected: read-only.
	StmtHeartbeatWrite: {{sql: `INSERT INTO {table} (id, node, beat, written)
		SELECT 1, ?, 1, UTC_TIMESTAMP(6) FROM DUAL WHERE CAST(@@global.read_only AS CHAR) IN ('0', 'OFF')
		ON DUPLICATE KEY UPDATE node = ?, beat = beat + 1, written = UTC_TIMESTAMP(6)`}},
}
