// SPDX-License-Identifier: Apache-2.0

package mysqlcheck

import (
	"strings"
	"time"
)

// What changes a server, and the reads that belong to it. A question mark is an
// argument, which our connections interpolate on our side: it may stand where
// a prepared statement would not take one.
const (
	// StmtChannel returns everything of the default channel, one row, or none
	// where no source was ever set. Columns are known by their names.
	StmtChannel Statement = "channel"
	// StmtReceiver returns what StmtChannel lacks: the heartbeat period in
	// seconds, and the microseconds since the source's last event or heartbeat
	// (NULL: none yet). MariaDB has the former in StmtChannel and the latter
	// nowhere.
	StmtReceiver Statement = "receiver"
	// StmtThreads, StmtSessions, StmtSession and StmtWaiting are run by [Threads],
	// [Sessions], [Session] and [Waiting], which see to it that on MariaDB, where
	// each is SHOW PROCESSLIST, only the threads that are meant are left.
	// StmtSession takes a connection id. Unlike StmtThread it does not look into
	// the storage engine.
	StmtThreads  Statement = "threads"
	StmtSessions Statement = "sessions"
	StmtSession  Statement = "session"
	StmtWaiting  Statement = "waiting"
	// StmtOwnUser returns the user we logged in as (MariaDB).
	StmtOwnUser Statement = "own_user"
	// StmtExempt returns the accounts that read_only does not bind.
	StmtExempt Statement = "exempt"
	// StmtKill takes a connection id.
	StmtKill Statement = "kill"
	// StmtLockWait takes the seconds, at least 1, that statements of this
	// session wait for a metadata lock.
	StmtLockWait Statement = "lock_wait"

	StmtStopReceiver Statement = "stop_receiver"
	// StmtBoundStop bounds how long a MariaDB semi-sync replica that stops its receiver tries to
	// have its source end the dump thread: 5 s by default, of which a frozen source costs 2. A
	// second is the least that the server takes.
	StmtBoundStop     Statement = "bound_stop"
	StmtStopReplica   Statement = "stop_replica"
	StmtStartReceiver Statement = "start_receiver"
	StmtStartApplier  Statement = "start_applier"
	StmtStartReplica  Statement = "start_replica"
	// StmtResetReplica forgets the source, its credentials and the relay logs.
	StmtResetReplica Statement = "reset_replica"
	// StmtWrittenPosition returns the end of each domain in the binary log, and
	// StmtSetReplicaPosition takes the position after which a replica asks its
	// source to send. MySQL needs neither.
	StmtWrittenPosition    Statement = "written_position"
	StmtSetReplicaPosition Statement = "set_replica_position"
	// StmtRelayLogEvents lists what a relay log holds, from {file}, quoted, and {pos} on.
	StmtRelayLogEvents Statement = "relay_log_events"
	// StmtByOffset and StmtByGTID say how a stopped replica asks its source for
	// what follows. On MariaDB only; MySQL's always ask by GTID.
	StmtByOffset Statement = "by_offset"
	StmtByGTID   Statement = "by_gtid"

	// StmtReadOnly makes the server refuse writes, also those of
	// administrators where it can. It waits for running statements: it takes
	// the seconds that it may wait. MySQL does not bound a wait for a semi-sync
	// acknowledgement by them.
	StmtReadOnly Statement = "read_only"
	// StmtReadOnlyMost makes the server refuse writes of all but administrators:
	// MySQL's CLONE is refused under super_read_only (9.7.4).
	StmtReadOnlyMost Statement = "read_only_most"
	// StmtWritable opens writes.
	StmtWritable Statement = "writable"

	// StmtSemiSync returns the settings of semi-sync as name and value; none
	// where its plugins are not loaded.
	StmtSemiSync Statement = "semi_sync"

	// StmtSemiSyncStatus returns its status variables as name and value.
	StmtSemiSyncStatus Statement = "semi_sync_status"
	// StmtDumpVariables returns connection id, name and value of the user
	// variables with which a reader of the binary log introduced itself. Without
	// performance_schema MariaDB returns none.
	StmtDumpVariables Statement = "dump_variables"
	// StmtAccounts takes users, as many as {users} is replaced by placeholders, and
	// returns user, host and whether it is locked, one row for each account.
	StmtAccounts Statement = "accounts"
	// StmtLockAccount and StmtUnlockAccount take user and host of each account that
	// {accounts} is replaced by a ?@? for.
	StmtLockAccount   Statement = "lock_account"
	StmtUnlockAccount Statement = "unlock_account"

	// StmtOwned returns the GTIDs of transactions under way, each with the
	// connection that it belongs to: those, too, that are in the binary log and
	// wait for an acknowledgement. MariaDB has such in StmtState.
	StmtOwned Statement = "owned"
	// StmtLastWritten returns the GTID of the last transaction of this session
	// (MariaDB).
	StmtLastWritten Statement = "last_written"
	// StmtBarrierWrite is StmtHeartbeatWrite on another row, whose id it takes
	// first; {table} is replaced.
	StmtBarrierWrite Statement = "barrier_write"

	// StmtUptime returns a name and the seconds since the server process started.
	StmtUptime Statement = "uptime"

	// StmtBootSettings returns name, value, origin and persisted value (NULL:
	// none) of what decides whether a server replicates or acknowledges at boot.
	StmtBootSettings Statement = "boot_settings"
	// StmtDurability returns the other settings that lossless needs, as name and
	// value.
	StmtDurability Statement = "durability"

	// StmtEventsEnabled, StmtEventsIdle and StmtEventsDisabled return schema, name
	// and definer of the events that run here, that do not, or that do not because
	// this is a replica.
	StmtEventsEnabled  Statement = "events_enabled"
	StmtEventsIdle     Statement = "events_idle"
	StmtEventsDisabled Statement = "events_disabled"
	// StmtEventEnable and StmtEventDisable change one event; {definer} and
	// {event} are replaced. Without its definer an event would be ours from then
	// on.
	StmtEventEnable  Statement = "event_enable"
	StmtEventDisable Statement = "event_disable"
	// StmtNoBinlog keeps what this session does out of the binary log.
	StmtNoBinlog Statement = "no_binlog"

	// StmtBinlogEnd returns name and size of the current binary log in its first
	// columns.
	StmtBinlogEnd Statement = "binlog_end"
	// StmtBinlogBase returns the path of the binary logs without their number.
	StmtBinlogBase Statement = "binlog_base"
	// StmtBinlogFiles lists the binary logs, oldest first, the name in column one.
	StmtBinlogFiles Statement = "binlog_files"
	// StmtBinlogEvents takes a log's name and a number of events, and returns
	// those from its start: type in column three, text in column six.
	StmtBinlogEvents Statement = "binlog_events"

	// StmtErrorLog returns the error log, oldest first and of earlier runs too, as
	// thread and code. Entries of a thread are not those of a start.
	StmtErrorLog Statement = "error_log"

	// StmtClonePlugin returns the state of the CLONE plugin, if it is loaded.
	StmtClonePlugin Statement = "clone_plugin"
	// StmtCloneInstall loads it.
	StmtCloneInstall Statement = "clone_install"
	// StmtCloneDonors takes the host:port that StmtClone may copy from.
	StmtCloneDonors Statement = "clone_donors"
	// StmtClone takes user, host, port and password.
	StmtClone Statement = "clone"
	// StmtCloneProgress returns stage, state, estimated and copied bytes.
	StmtCloneProgress Statement = "clone_progress"
	// StmtCloneStatus returns begin, state, error number and error text of the
	// last one.
	StmtCloneStatus Statement = "clone_status"
)

// controlStatements is the half of the table that changes a server.
var controlStatements = map[Statement][]variant{
	StmtChannel: {
		{flavor: MySQL, sql: `SHOW REPLICA STATUS FOR CHANNEL ''`},
		// Only this form has Gtid_Slave_Pos and the heartbeat period. Sessions of
		// ours have no default_master_connection, so the others act on the row
		// with the empty name.
		{flavor: MariaDB, sql: `SHOW ALL SLAVES STATUS`},
	},
	StmtReceiver: {
		{flavor: MySQL, sql: `SELECT cc.HEARTBEAT_INTERVAL, TIMESTAMPDIFF(MICROSECOND,
			GREATEST(cs.LAST_HEARTBEAT_TIMESTAMP, cs.LAST_QUEUED_TRANSACTION_END_QUEUE_TIMESTAMP), NOW(6))
			FROM performance_schema.replication_connection_configuration cc
			JOIN performance_schema.replication_connection_status cs ON cs.CHANNEL_NAME = cc.CHANNEL_NAME
			WHERE cc.CHANNEL_NAME = ''`},
	},
	StmtThreads: {
		{flavor: MySQL, sql: `SELECT PROCESSLIST_ID AS Id, PROCESSLIST_USER AS User, PROCESSLIST_HOST AS Host,
				PROCESSLIST_COMMAND AS Command, PROCESSLIST_STATE AS State
			FROM performance_schema.threads WHERE NAME LIKE '%one\_connection' AND PROCESSLIST_ID IS NOT NULL`},
		{flavor: MariaDB, sql: `SHOW PROCESSLIST`},
	},
	StmtSessions: {
		// Clients and running events; appliers and dump threads have other names
		// or commands.
		{flavor: MySQL, sql: `SELECT PROCESSLIST_ID AS Id, PROCESSLIST_USER AS User, PROCESSLIST_HOST AS Host,
				PROCESSLIST_COMMAND AS Command, PROCESSLIST_STATE AS State
			FROM performance_schema.threads
			WHERE (NAME LIKE '%one\_connection' OR NAME = 'thread/sql/event_worker') AND PROCESSLIST_ID IS NOT NULL
				AND COALESCE(PROCESSLIST_COMMAND, '') NOT IN ('Binlog Dump', 'Binlog Dump GTID', 'Daemon')
				AND COALESCE(PROCESSLIST_USER, '') <> SUBSTRING_INDEX(USER(), '@', 1)`},
		{flavor: MariaDB, sql: `SHOW PROCESSLIST`},
	},
	StmtSession: {
		{flavor: MySQL, sql: `SELECT PROCESSLIST_ID AS Id, PROCESSLIST_COMMAND AS Command, PROCESSLIST_STATE AS State
			FROM performance_schema.threads WHERE PROCESSLIST_ID = ?`},
		{flavor: MariaDB, sql: `SHOW PROCESSLIST`},
	},
	StmtWaiting: {
		{flavor: MySQL, sql: `SELECT PROCESSLIST_ID AS Id, PROCESSLIST_COMMAND AS Command, PROCESSLIST_STATE AS State
			FROM performance_schema.threads
			WHERE (NAME LIKE '%one\_connection' OR NAME = 'thread/sql/event_worker')
				AND PROCESSLIST_STATE LIKE 'Waiting for semi-sync ACK%'`},
		{flavor: MariaDB, sql: `SHOW PROCESSLIST`},
	},
	StmtOwnUser: {{flavor: MariaDB, sql: `SELECT SUBSTRING_INDEX(USER(), '@', 1)`}},
	StmtExempt: {
		// SUPER includes the privilege until 10.11 (MDEV-29596). Without SELECT on
		// the schema mysql only our own account shows.
		{flavor: MariaDB, until: release{10, 11}, sql: `SELECT DISTINCT GRANTEE FROM information_schema.USER_PRIVILEGES
			WHERE PRIVILEGE_TYPE LIKE 'READ_ONLY ADMIN' OR PRIVILEGE_TYPE = 'SUPER'`},
		{flavor: MariaDB, sql: `SELECT DISTINCT GRANTEE FROM information_schema.USER_PRIVILEGES
			WHERE PRIVILEGE_TYPE LIKE 'READ_ONLY ADMIN'`},
	},
	StmtKill:     {{sql: `KILL ?`}},
	StmtLockWait: {{sql: `SET SESSION lock_wait_timeout = ?`}},

	StmtBoundStop: {{flavor: MariaDB, sql: `SET GLOBAL rpl_semi_sync_slave_kill_conn_timeout = 1`}},
	StmtStopReceiver: {
		{flavor: MySQL, sql: `STOP REPLICA IO_THREAD FOR CHANNEL ''`},
		{flavor: MariaDB, sql: `STOP SLAVE IO_THREAD`},
	},
	StmtStopReplica: {
		{flavor: MySQL, sql: `STOP REPLICA FOR CHANNEL ''`},
		{flavor: MariaDB, sql: `STOP SLAVE`},
	},
	StmtStartReceiver: {
		{flavor: MySQL, sql: `START REPLICA IO_THREAD FOR CHANNEL ''`},
		{flavor: MariaDB, sql: `START SLAVE IO_THREAD`},
	},
	StmtStartApplier: {
		{flavor: MySQL, sql: `START REPLICA SQL_THREAD FOR CHANNEL ''`},
		{flavor: MariaDB, sql: `START SLAVE SQL_THREAD`},
	},
	StmtStartReplica: {
		{flavor: MySQL, sql: `START REPLICA FOR CHANNEL ''`},
		{flavor: MariaDB, sql: `START SLAVE`},
	},
	StmtResetReplica: {
		{flavor: MySQL, sql: `RESET REPLICA ALL FOR CHANNEL ''`},
		{flavor: MariaDB, sql: `RESET SLAVE ALL`},
	},
	StmtWrittenPosition:    {{flavor: MariaDB, sql: `SELECT @@global.gtid_binlog_pos`}},
	StmtSetReplicaPosition: {{flavor: MariaDB, sql: `SET GLOBAL gtid_slave_pos = ?`}},
	StmtRelayLogEvents:     {{flavor: MariaDB, sql: `SHOW RELAYLOG EVENTS IN {file} FROM {pos}`}},
	StmtByOffset:           {{flavor: MariaDB, sql: `CHANGE MASTER TO MASTER_USE_GTID = no`}},
	StmtByGTID:             {{flavor: MariaDB, sql: `CHANGE MASTER TO MASTER_USE_GTID = slave_pos`}},

	StmtReadOnly: {
		// lock_wait_timeout is for the wait for other sessions' locks.
		{flavor: MySQL, sql: `SET SESSION lock_wait_timeout = ?, GLOBAL super_read_only = ON`},
		{flavor: MariaDB, sql: `SET STATEMENT max_statement_time = ? FOR SET GLOBAL read_only = ON`},
	},
	StmtReadOnlyMost: {{flavor: MySQL, sql: `SET GLOBAL super_read_only = OFF, GLOBAL read_only = ON`}},
	// On MySQL it clears super_read_only as well.
	StmtWritable: {{sql: `SET GLOBAL read_only = OFF`}},

	StmtSemiSync: {{sql: `SHOW GLOBAL VARIABLES LIKE 'rpl\_semi\_sync\_%'`}},

	StmtSemiSyncStatus: {{sql: `SHOW GLOBAL STATUS LIKE 'Rpl\_semi\_sync\_%'`}},
	StmtDumpVariables: {{sql: `SELECT t.PROCESSLIST_ID, v.VARIABLE_NAME, COALESCE(CAST(v.VARIABLE_VALUE AS CHAR), '')
		FROM performance_schema.threads t JOIN performance_schema.user_variables_by_thread v ON v.THREAD_ID = t.THREAD_ID
		WHERE t.PROCESSLIST_COMMAND LIKE 'Binlog Dump%'`}},
	StmtAccounts: {
		{flavor: MySQL, sql: `SELECT User, Host, account_locked = 'Y' FROM mysql.user WHERE User IN ({users})`},
		{flavor: MariaDB, sql: `SELECT User, Host, COALESCE(JSON_VALUE(Priv, '$.account_locked'), '0') IN ('1', 'true')
			FROM mysql.global_priv WHERE User IN ({users})`},
	},
	StmtLockAccount:   {{sql: `ALTER USER {accounts} ACCOUNT LOCK`}},
	StmtUnlockAccount: {{sql: `ALTER USER {accounts} ACCOUNT UNLOCK`}},

	StmtOwned:       {{flavor: MySQL, sql: `SELECT @@global.gtid_owned`}},
	StmtLastWritten: {{flavor: MariaDB, sql: `SELECT @@last_gtid`}},
	// See StmtHeartbeatWrite.
	StmtBarrierWrite: {{sql: `INSERT INTO {table} (id, node, beat, written)
		SELECT ?, ?, 1, UTC_TIMESTAMP(6) FROM DUAL WHERE CAST(@@global.read_only AS CHAR) IN ('0', 'OFF')
		ON DUPLICATE KEY UPDATE node = ?, beat = beat + 1, written = UTC_TIMESTAMP(6)`}},

	StmtUptime: {{sql: `SHOW GLOBAL STATUS LIKE 'Uptime'`}},

	StmtBootSettings: {
		{flavor: MySQL, sql: `SELECT v.VARIABLE_NAME, v.VARIABLE_VALUE, i.VARIABLE_SOURCE, p.VARIABLE_VALUE
			FROM performance_schema.global_variables v
			JOIN performance_schema.variables_info i ON i.VARIABLE_NAME = v.VARIABLE_NAME
			LEFT JOIN performance_schema.persisted_variables p ON p.VARIABLE_NAME = v.VARIABLE_NAME
			WHERE v.VARIABLE_NAME IN ('skip_replica_start', 'skip_slave_start',
				'rpl_semi_sync_replica_enabled', 'rpl_semi_sync_slave_enabled')`},
		{flavor: MariaDB, sql: `SELECT LOWER(VARIABLE_NAME), GLOBAL_VALUE, GLOBAL_VALUE_ORIGIN, NULL
			FROM information_schema.SYSTEM_VARIABLES
			WHERE VARIABLE_NAME IN ('SKIP_SLAVE_START', 'RPL_SEMI_SYNC_SLAVE_ENABLED')`},
	},
	StmtDurability: {{sql: `SHOW GLOBAL VARIABLES WHERE Variable_name IN
		('sync_binlog', 'innodb_flush_log_at_trx_commit', 'relay_log_recovery', 'log_bin')`}},

	StmtEventsEnabled: {{sql: `SELECT EVENT_SCHEMA, EVENT_NAME, DEFINER FROM information_schema.EVENTS
		WHERE STATUS = 'ENABLED' ORDER BY 1, 2`}},
	StmtEventsIdle: {{sql: `SELECT EVENT_SCHEMA, EVENT_NAME, DEFINER FROM information_schema.EVENTS
		WHERE STATUS <> 'ENABLED' ORDER BY 1, 2`}},
	// SLAVESIDE_DISABLED, or REPLICA_SIDE_DISABLED since 8.4.
	StmtEventsDisabled: {{sql: `SELECT EVENT_SCHEMA, EVENT_NAME, DEFINER FROM information_schema.EVENTS
		WHERE STATUS LIKE '%SIDE\_DISABLED' ORDER BY 1, 2`}},
	StmtEventEnable: {{sql: `ALTER DEFINER = {definer} EVENT {event} ENABLE`}},
	StmtEventDisable: {
		{flavor: MySQL, since: release{8, 4}, sql: `ALTER DEFINER = {definer} EVENT {event} DISABLE ON REPLICA`},
		{sql: `ALTER DEFINER = {definer} EVENT {event} DISABLE ON SLAVE`},
	},
	StmtNoBinlog: {{sql: `SET SESSION sql_log_bin = 0`}},

	StmtBinlogEnd: {
		{flavor: MySQL, since: release{8, 4}, sql: `SHOW BINARY LOG STATUS`},
		{sql: `SHOW MASTER STATUS`},
	},
	StmtBinlogBase:   {{sql: `SELECT @@global.log_bin_basename`}},
	StmtBinlogFiles:  {{sql: `SHOW BINARY LOGS`}},
	StmtBinlogEvents: {{sql: `SHOW BINLOG EVENTS IN ? LIMIT ?`}},

	// In the order of the log: that of LOGGED is the wall clock's.
	StmtErrorLog: {{flavor: MySQL, since: release{8, 0, 22}, sql: `SELECT COALESCE(THREAD_ID, 0), COALESCE(ERROR_CODE, '')
		FROM performance_schema.error_log`}},

	StmtClonePlugin: {{flavor: MySQL, sql: `SELECT PLUGIN_STATUS FROM information_schema.PLUGINS WHERE PLUGIN_NAME = 'clone'`}},
	StmtCloneInstall: {
		{flavor: MySQL, sql: `INSTALL PLUGIN clone SONAME 'mysql_clone.so'`},
	},
	StmtCloneDonors: {{flavor: MySQL, sql: `SET GLOBAL clone_valid_donor_list = ?`}},
	StmtClone:       {{flavor: MySQL, sql: `CLONE INSTANCE FROM ?@?:? IDENTIFIED BY ?`}},
	StmtCloneProgress: {{flavor: MySQL, sql: `SELECT STAGE, STATE, COALESCE(ESTIMATE, 0), COALESCE(DATA, 0)
		FROM performance_schema.clone_progress ORDER BY BEGIN_TIME IS NULL, BEGIN_TIME DESC, STAGE LIMIT 1`}},
	StmtCloneStatus: {{flavor: MySQL, sql: `SELECT CAST(BEGIN_TIME AS CHAR), STATE, ERROR_NO, ERROR_MESSAGE
		FROM performance_schema.clone_status`}},
}

// SourceOptions are the options of CHANGE REPLICATION SOURCE that Highwater
// sets. All others stay as the channel has them.
type SourceOptions struct {
	Host           string
	Port           uint16
	User, Password string
	// ConnectRetry is the pause between attempts to connect, in whole seconds.
	ConnectRetry time.Duration
	// RetryCount is how many such attempts are made. With the default of 10 a
	// receiver gives up 14 s after its source died (MySQL 9.7.4).
	RetryCount uint32
	// Heartbeat is the period of the source's heartbeats. Unless it is given,
	// the server sets it to half of replica_net_timeout whenever the host is.
	Heartbeat time.Duration
	// PublicKey lets the receiver ask its source for the key with which it
	// encrypts the password for caching_sha2_password on a connection
	// without TLS.
	PublicKey bool
	// TLS, if not nil, replaces what the channel had.
	TLS *SourceTLS
}

// SourceTLS are a channel's TLS options. Files are paths on the server's host;
// empty ones are not set.
type SourceTLS struct {
	CAFile, CertFile, KeyFile string
	// Verify has the receiver compare the source's certificate with its host.
	Verify bool
}

// ChangeSource returns the statement that points the default channel to o, with
// automatic positioning, and its arguments. It does not depend on the channel
// that is there: an option with a zero value that could be meant is set too.
func (v Version) ChangeSource(o SourceOptions) (query string, args []any) {
	prefix, statement := "SOURCE_", "CHANGE REPLICATION SOURCE TO "
	if v.Flavor == MariaDB || !v.AtLeast(8, 0, 23) {
		prefix, statement = "MASTER_", "CHANGE MASTER TO "
	}
	var options []string
	set := func(name string, value any) {
		options = append(options, prefix+name+" = ?")
		args = append(args, value)
	}
	set("HOST", o.Host)
	set("PORT", o.Port)
	set("USER", o.User)
	set("PASSWORD", o.Password)
	set("CONNECT_RETRY", int64(o.ConnectRetry/time.Second))
	set("HEARTBEAT_PERIOD", o.Heartbeat.Seconds())
	if o.TLS != nil {
		set("SSL", 1)
		set("SSL_VERIFY_SERVER_CERT", boolean(o.TLS.Verify))
		for _, file := range [...]struct{ name, path string }{
			{"SSL_CA", o.TLS.CAFile}, {"SSL_CERT", o.TLS.CertFile}, {"SSL_KEY", o.TLS.KeyFile},
		} {
			if file.path != "" {
				set(file.name, file.path)
			}
		}
	}
	if v.Flavor == MariaDB {
		// master_retry_count is an option of the server there, 100000 by default.
		options = append(options, "MASTER_USE_GTID = slave_pos")
		return statement + strings.Join(options, ", "), args
	}
	set("RETRY_COUNT", o.RetryCount)
	set("AUTO_POSITION", 1)
	if o.PublicKey {
		options = append(options, "GET_"+prefix+"PUBLIC_KEY = 1")
	}
	return statement + strings.Join(options, ", ") + " FOR CHANNEL ''", args
}

func boolean(on bool) int {
	if on {
		return 1
	}
	return 0
}

// SemiSyncNames are the global variables of semi-sync on one server, which
// differ by flavour, release and the plugin loaded; those it lacks are empty.
type SemiSyncNames struct {
	SourceEnabled, ReplicaEnabled           string
	Acks, Timeout, WaitPoint, WaitNoReplica string
}

// FindSemiSync picks the names out of what [StmtSemiSync] returned.
func FindSemiSync(variables map[string]string) SemiSyncNames {
	first := func(names ...string) string {
		for _, name := range names {
			if _, ok := variables[name]; ok {
				return name
			}
		}
		return ""
	}
	return SemiSyncNames{
		SourceEnabled:  first("rpl_semi_sync_source_enabled", "rpl_semi_sync_master_enabled"),
		ReplicaEnabled: first("rpl_semi_sync_replica_enabled", "rpl_semi_sync_slave_enabled"),
		Acks:           first("rpl_semi_sync_source_wait_for_replica_count", "rpl_semi_sync_master_wait_for_slave_count"),
		Timeout:        first("rpl_semi_sync_source_timeout", "rpl_semi_sync_master_timeout"),
		WaitPoint:      first("rpl_semi_sync_source_wait_point", "rpl_semi_sync_master_wait_point"),
		WaitNoReplica:  first("rpl_semi_sync_source_wait_no_replica", "rpl_semi_sync_master_wait_no_slave"),
	}
}
