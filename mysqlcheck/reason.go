// SPDX-License-Identifier: Apache-2.0

package mysqlcheck

// Reason is one word of a closed vocabulary: why a server may not be, or should
// not stay, primary. It is at once log key, metric label, status line and
// heading in the documentation, so a word once given keeps its meaning.
type Reason string

// The server cannot be observed.
const (
	// ReasonServerDead: the server process is gone, and nothing answers.
	ReasonServerDead Reason = "server_dead"
	// ReasonServerSilent: no answer within check.timeout, fewer than check.fall
	// times in a row. Nothing is known.
	ReasonServerSilent Reason = "server_silent"
	// ReasonServerHung: no connection has answered within check.timeout,
	// check.fall times in a row.
	ReasonServerHung Reason = "server_hung"
	// ReasonServerShuttingDown: errors 1053 and 3168, or the process is there
	// and listens no more. The server is alive.
	ReasonServerShuttingDown Reason = "server_shutting_down"
	// ReasonTooManyConnections: errors 1040, 1203 and 1226. The server is alive.
	ReasonTooManyConnections Reason = "too_many_connections"
	// ReasonAccessDenied: the server refuses our account (1044, 1045, 1698,
	// 1862, 3118, 3159 and kin). It is alive, and the fault is ours to fix.
	ReasonAccessDenied Reason = "access_denied"
	// ReasonHostDenied: the server refuses our host (1129, 1130).
	ReasonHostDenied Reason = "host_denied"
	// ReasonTLSFailed: no TLS session came about. The server is alive.
	ReasonTLSFailed Reason = "tls_failed"
	// ReasonOfflineMode: error 3032, or offline_mode=ON.
	ReasonOfflineMode Reason = "offline_mode"
	// ReasonPrivilegeMissing: a statement was refused (1142, 1143, 1227). See
	// `highwater grants`.
	ReasonPrivilegeMissing Reason = "privilege_missing"
	// ReasonProbeFailed: the server answered with an error that has no word of
	// its own.
	ReasonProbeFailed Reason = "probe_failed"
	// ReasonNotObserved: the server answers, and its settings or replication
	// state have not been read yet, or not for too long.
	ReasonNotObserved Reason = "not_observed"
	// ReasonVersionUnsupported: see [Version.Supported].
	ReasonVersionUnsupported Reason = "version_unsupported"
	// ReasonCrashLoop: the server has restarted too often of late.
	ReasonCrashLoop Reason = "crash_loop"
	// ReasonSettling: nothing is wrong, but not for check.rise samples yet.
	ReasonSettling Reason = "settling"
)

// What is missing for the server to be a primary that others can follow.
const (
	// ReasonGTIDModeOff: gtid_mode is not ON (MySQL).
	ReasonGTIDModeOff Reason = "gtid_mode_off"
	// ReasonGTIDStrictModeOff: gtid_strict_mode=OFF (MariaDB): sequence numbers
	// may repeat, and positions cannot be compared.
	ReasonGTIDStrictModeOff Reason = "gtid_strict_mode_off"
	// ReasonBinaryLogOff: log_bin=OFF.
	ReasonBinaryLogOff Reason = "binary_log_off"
	// ReasonBinaryLogFormat: binlog_format is not ROW.
	ReasonBinaryLogFormat Reason = "binary_log_format"
	// ReasonReplicaUpdatesNotLogged: log_replica_updates=OFF: after promotion
	// nobody could fetch what came from the old primary.
	ReasonReplicaUpdatesNotLogged Reason = "replica_updates_not_logged"
	// ReasonCommitOrder: replica_preserve_commit_order=OFF with several
	// workers: after a crash, gtid_executed may have holes.
	ReasonCommitOrder Reason = "commit_order_not_preserved"
	// ReasonInnoDBReadOnly: innodb_read_only=ON or innodb_force_recovery > 0.
	ReasonInnoDBReadOnly Reason = "innodb_read_only"
	// ReasonDiskFull: no room in the data directory, or the server said so.
	ReasonDiskFull Reason = "disk_full"
	// ReasonDiskReadOnly: the data directory's file system is read-only.
	ReasonDiskReadOnly Reason = "disk_read_only"
)

// What is wrong with a replica.
const (
	// ReasonNotReplicating: no source is configured.
	ReasonNotReplicating Reason = "not_replicating"
	// ReasonWrongSource: it replicates from another server than the primary.
	ReasonWrongSource Reason = "wrong_source"
	// ReasonAutoPositionOff: it replicates by file and offset, not by GTID.
	ReasonAutoPositionOff Reason = "auto_position_off"
	// ReasonReceiverStopped: somebody stopped the receiver; not we, and not a
	// lost connection.
	ReasonReceiverStopped Reason = "receiver_stopped"
	// ReasonReceiverError: the receiver has an error that a dead source does
	// not explain.
	ReasonReceiverError Reason = "receiver_error"
	// ReasonNeedsPurged: the source no longer has what this replica needs next
	// (error 1236). It must be rebuilt.
	ReasonNeedsPurged Reason = "needs_purged_transactions"
	// ReasonApplierStopped: somebody stopped the applier.
	ReasonApplierStopped Reason = "applier_stopped"
	// ReasonApplierError: the applier stopped on an error.
	ReasonApplierError Reason = "applier_error"
	// ReasonDelayed: SOURCE_DELAY is set.
	ReasonDelayed Reason = "delayed"
	// ReasonFilters: replication filters: it does not hold all the data.
	ReasonFilters Reason = "replication_filters"
	// ReasonErrant: it has executed transactions that the primary has not.
	ReasonErrant Reason = "errant_transactions"
)

// What is wrong with a primary.
const (
	// ReasonPrimaryReadOnly: read_only=ON.
	ReasonPrimaryReadOnly Reason = "primary_read_only"
	// ReasonCommitHung: no commit has come through for check.commit_timeout,
	// nothing is written, and no lock or acknowledgement explains it.
	ReasonCommitHung Reason = "commit_hung"
	// ReasonCommitFailed: the heartbeat write was answered by an error.
	ReasonCommitFailed Reason = "commit_failed"
)

// Warnings: they gate hand-overs, rank candidates or ask for attention, and
// never keep the last good server from being primary.
const (
	// WarnLagging: lag, or what is known of it, exceeds check.max_lag.
	WarnLagging Reason = "lagging"
	// WarnDrainTooLong: what is received cannot be applied within
	// promote.timeout, by the rate seen.
	WarnDrainTooLong Reason = "drain_too_long"
	// WarnSourceSilent: nothing has come from the source for longer than its
	// heartbeats allow. The source is frozen, gone, or cut off from here.
	WarnSourceSilent Reason = "source_silent"
	// WarnReceiverConnecting: the receiver has lost its source and tries to
	// reach it, or has given up trying.
	WarnReceiverConnecting Reason = "receiver_connecting"
	// WarnAheadOfPrimary: it holds transactions with the primary's own UUID
	// that the primary has not reported for a while: the primary waits for an
	// acknowledgement, or has lost the end of its log.
	WarnAheadOfPrimary Reason = "ahead_of_primary"
	// WarnPurgedNeeded: a sibling needs transactions that are purged here, so
	// it could not follow this server.
	WarnPurgedNeeded Reason = "purged_transactions_needed"
	// WarnExecutedHoles: gtid_executed has holes among the source's
	// transactions.
	WarnExecutedHoles Reason = "executed_holes"
	// WarnReplicaWritable: a replica that accepts writes.
	WarnReplicaWritable Reason = "replica_writable"
	// WarnPrimaryReplicates: a primary whose receiver runs.
	WarnPrimaryReplicates Reason = "primary_replicates"
	// WarnExtraChannels: replication channels other than the default one.
	WarnExtraChannels Reason = "extra_channels"
	// WarnSkipErrors: replica_skip_errors is set: data may differ silently.
	WarnSkipErrors Reason = "skip_errors"
	// WarnDurabilityRelaxed: sync_binlog or innodb_flush_log_at_trx_commit is
	// not 1: a crash loses transactions that replicas have, and their GTIDs
	// are given out again.
	WarnDurabilityRelaxed Reason = "durability_relaxed"
	// WarnSemiSyncOff: semi-sync is enabled on the primary and not in effect.
	WarnSemiSyncOff Reason = "semi_sync_degraded"
	// WarnPreparedXA: prepared XA transactions: read_only does not stop their
	// commit.
	WarnPreparedXA Reason = "prepared_xa"
	// WarnDiskLow: the data directory is nearly full.
	WarnDiskLow Reason = "disk_low"
	// WarnBootAcker: it may acknowledge after a boot before anybody asked it
	// to: semi-sync and replication both start by themselves.
	WarnBootAcker Reason = "boot_acker"
	// WarnCommitWaitsForAck: the heartbeat commit waits for a semi-sync
	// acknowledgement.
	WarnCommitWaitsForAck Reason = "commit_waits_for_ack"
	// WarnCommitWaitsForGlobalLock: it waits for a global read lock (FLUSH
	// TABLES WITH READ LOCK), a backup lock or a commit lock.
	WarnCommitWaitsForGlobalLock Reason = "commit_waits_for_global_lock"
	// WarnCommitWaitsForLock: it waits for a lock on the heartbeat table or
	// its row.
	WarnCommitWaitsForLock Reason = "commit_waits_for_lock"
	// WarnCommitWaitsForCommit: it waits behind other commits, and the server
	// keeps writing its logs.
	WarnCommitWaitsForCommit Reason = "commit_waits_for_commit"
)

// Reasons returns the whole vocabulary, reasons and warnings, in the order of
// its documentation.
func Reasons() []Reason {
	return []Reason{
		ReasonServerDead, ReasonServerSilent, ReasonServerHung, ReasonServerShuttingDown, ReasonTooManyConnections,
		ReasonAccessDenied, ReasonHostDenied, ReasonTLSFailed, ReasonOfflineMode, ReasonPrivilegeMissing,
		ReasonProbeFailed, ReasonNotObserved, ReasonVersionUnsupported, ReasonCrashLoop, ReasonSettling,
		ReasonGTIDModeOff, ReasonGTIDStrictModeOff, ReasonBinaryLogOff, ReasonBinaryLogFormat,
		ReasonReplicaUpdatesNotLogged, ReasonCommitOrder, ReasonInnoDBReadOnly, ReasonDiskFull, ReasonDiskReadOnly,
		ReasonNotReplicating, ReasonWrongSource, ReasonAutoPositionOff, ReasonReceiverStopped, ReasonReceiverError,
		ReasonNeedsPurged, ReasonApplierStopped, ReasonApplierError, ReasonDelayed, ReasonFilters, ReasonErrant,
		ReasonPrimaryReadOnly, ReasonCommitHung, ReasonCommitFailed, WarnLagging, WarnDrainTooLong, WarnSourceSilent,
		WarnReceiverConnecting, WarnAheadOfPrimary, WarnPurgedNeeded, WarnExecutedHoles, WarnReplicaWritable,
		WarnPrimaryReplicates, WarnExtraChannels, WarnSkipErrors, WarnDurabilityRelaxed, WarnSemiSyncOff,
		WarnPreparedXA, WarnDiskLow, WarnBootAcker, WarnCommitWaitsForAck, WarnCommitWaitsForGlobalLock,
		WarnCommitWaitsForLock, WarnCommitWaitsForCommit,
	}
}
