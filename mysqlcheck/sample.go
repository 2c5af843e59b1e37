// SPDX-License-Identifier: Apache-2.0

package mysqlcheck

import (
	"time"

	"highwater/mysqlcheck/gtid"
)

// Role is what the cluster takes a server for.
type Role uint8

// Roles. With RoleUnknown (no primary is known, such as after a power cut of
// all hosts) the state of replication is reported and never a reason.
const (
	RoleUnknown Role = iota
	RolePrimary
	RoleReplica
)

// String returns the role in lower case.
func (r Role) String() string {
	switch r {
	case RolePrimary:
		return "primary"
	case RoleReplica:
		return "replica"
	default:
		return "unknown"
	}
}

// Expectation is what the cluster knows and the server cannot: the other half
// of every judgement. The zero Expectation expects nothing.
type Expectation struct {
	Role Role
	// Sealed: we stopped the receiver ourselves.
	Sealed bool
	// Booted: the server has started and there is no primary to follow yet. That
	// it does not replicate is as it should be, and no reason to refuse it.
	Booted bool
	// Rebuilt: the server's data have been replaced, for which it restarts. What
	// it was like before, and this restart, say nothing of it.
	Rebuilt bool
	// SourceHosts are the names and addresses by which the primary may be
	// called, SourcePort its port (0: any), SourceUUID its server UUID (on
	// MariaDB its server id; "": unknown). A UUID that matches settles it.
	SourceHosts []string
	SourcePort  uint16
	SourceUUID  string
	// PrimaryExecuted is what the primary last reported; empty: unknown. It may
	// be older than our own sample.
	PrimaryExecuted gtid.Set
	// Siblings are the sets that the other replicas hold, by node.
	Siblings map[string]gtid.Set
}

// Age is how long ago something happened, by one clock. The zero Age is unknown.
type Age struct {
	Value time.Duration
	Known bool
}

// plus is the age d later.
func (a Age) plus(d time.Duration) Age {
	if a.Known {
		a.Value = max(0, a.Value+d)
	}
	return a
}

// Sample is what one look at a server found. What could not be read says so in
// place of an error: a Sample is a value, and can be journaled and replayed.
type Sample struct {
	// At is when the look began, a reading of CLOCK_BOOTTIME; Took is how long
	// it took, on either side of check.timeout.
	At, Took time.Duration
	Want     Expectation
	// Process is what the host says about the server process.
	Process Process
	// Failure is why the server's state could not be read; NoFailure: it was,
	// and the fields below it hold.
	Failure Failure

	Version Version
	// ServerUUID is @@server_uuid; on MariaDB, which has none, the server id.
	ServerUUID string
	// StartID names one run of the server process: it changes with every
	// restart. It is the second in which the process started, by its own clock.
	StartID string

	ReadOnly      bool
	SuperReadOnly bool // MySQL
	OfflineMode   bool // MySQL
	// Executed is gtid_executed; on MariaDB the state of the binary log and
	// gtid_slave_pos together.
	Executed gtid.Set
	// Purged is what is no longer in the binary logs: gtid_purged; on MariaDB
	// the position at which the oldest log begins.
	Purged gtid.Set

	// Replication is the default channel as of ReplicationAt, which precedes At
	// where the server would not tell in time (STOP REPLICA makes it wait);
	// zero: never read. ReplicationFailure says why. Its ages are as of At.
	Replication        Replication
	ReplicationAt      time.Duration
	ReplicationFailure Failure

	// Settings are read when the server starts and every few seconds,
	// Counters about once a second; At zero: never read.
	Settings   Settings
	SettingsAt time.Duration
	Counters   Counters
	CountersAt time.Duration
	// SettingsFailure is why the last reading of either failed.
	SettingsFailure Failure

	Storage Storage
	Commit  CommitResult // the last one
}

// ThreadState is the state of a receiver or an applier.
type ThreadState uint8

// Thread states.
const (
	ThreadUnknown ThreadState = iota
	ThreadStopped
	ThreadConnecting // receiver only
	ThreadRunning
)

// String returns the state in lower case.
func (t ThreadState) String() string {
	switch t {
	case ThreadStopped:
		return "stopped"
	case ThreadConnecting:
		return "connecting"
	case ThreadRunning:
		return "running"
	default:
		return "unknown"
	}
}

// Thread is a receiver or an applier.
type Thread struct {
	State       ThreadState
	ErrorNumber uint32
	Error       string
}

// Replication is the default replication channel.
type Replication struct {
	Configured bool
	SourceHost string
	SourcePort uint16
	// SourceUUID is empty until the receiver has connected once; on MariaDB it
	// is the source's server id.
	SourceUUID string
	// AutoPosition: by GTID (MySQL SOURCE_AUTO_POSITION, MariaDB Using_Gtid).
	AutoPosition    bool
	HeartbeatPeriod time.Duration
	Receiver        Thread
	Applier         Thread
	// Received is the set of completely received transactions, without those
	// that were executed before the relay log was last emptied: a union with
	// Executed is what the server holds.
	Received gtid.Set
	// EventAge is the age of the last sign of life from the source, heartbeat
	// or event. MySQL tells it by its own clock. MariaDB does not: there it is
	// the time since the heartbeat counter or a position last moved, and
	// unknown until it has moved once or for two heartbeat periods.
	EventAge Age

	// Ages of transactions by their commit timestamps (MySQL): the oldest that
	// a worker is applying, the newest applied, the newest received. Original
	// is the commit on the first server, immediate on our source: both are
	// another host's clock, and only differences between them are free of it.
	ApplyingOriginal, ApplyingImmediate Age
	AppliedOriginal, AppliedImmediate   Age
	QueuedImmediate                     Age
	// QueuedAge is when the newest transaction was received, by our own clock.
	QueuedAge Age
	// SecondsBehind is Seconds_Behind_Master (MariaDB).
	SecondsBehind Age

	Delay         time.Duration
	Filters       []string // MariaDB; MySQL: in Settings
	ExtraChannels int
}

// later returns the same state with all ages advanced by d.
func (r Replication) later(d time.Duration) Replication {
	for _, a := range []*Age{
		&r.EventAge, &r.ApplyingOriginal, &r.ApplyingImmediate, &r.AppliedOriginal, &r.AppliedImmediate,
		&r.QueuedImmediate, &r.QueuedAge, &r.SecondsBehind,
	} {
		*a = a.plus(d)
	}
	return r
}

// Counters are what is read about once a second.
type Counters struct {
	SemiSyncSource  bool // in effect: Rpl_semi_sync_source_status
	SemiSyncReplica bool
	SemiSyncClients int // replicas attached that acknowledge
	SemiSyncWaiting int // sessions that wait for an acknowledgement
	Replicas        []ReplicaConnection
	// PreparedXA counts prepared XA transactions; PreparedXAFailed: it was
	// refused.
	PreparedXA       int
	PreparedXAFailed bool
}

// ReplicaConnection is a binary log dump thread: a replica attached to us.
type ReplicaConnection struct {
	Host, User, State string
}
