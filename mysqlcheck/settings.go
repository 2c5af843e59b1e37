// SPDX-License-Identifier: Apache-2.0

package mysqlcheck

import (
	"strconv"
	"strings"
	"time"
)

// Settings are what a server is configured to do. They seldom change while it
// runs. Names are those of the newest MySQL; SLAVE and MASTER forms are read
// into them.
type Settings struct {
	ServerID             uint32
	GTIDMode             bool // MySQL gtid_mode=ON; MariaDB has GTIDs always
	GTIDStrictMode       bool // MariaDB; true on MySQL, which has no other
	LogBin               bool
	LogReplicaUpdates    bool
	BinlogFormat         string
	SyncBinlog           int
	FlushLogAtTrxCommit  int
	InnoDBReadOnly       bool
	InnoDBForceRecovery  int
	ParallelWorkers      int
	PreserveCommitOrder  bool   // true on MariaDB, which always does within a domain
	SkipErrors           string // "" and "OFF": none
	RelayLogRecovery     bool
	NetTimeout           time.Duration
	SkipNameResolve      bool
	EventScheduler       string
	DataDir              string
	BinlogExpire         time.Duration // 0: never
	Filters              []string      // MySQL; as NAME=rule
	SemiSync             SemiSync
	BootReadOnly         Boot // super_read_only; on MariaDB read_only
	BootSkipReplicaStart Boot // MySQL; MariaDB does not tell
	BootSemiSyncReplica  Boot
}

// SemiSync is how semi-synchronous replication is set up.
type SemiSync struct {
	Available      bool // the plugins are loaded, or built in
	SourceEnabled  bool
	ReplicaEnabled bool
	Timeout        time.Duration
	WaitPoint      string
	WaitCount      int
	WaitNoReplica  bool
}

// Boot is what a setting will be right after the server's next start, as far as
// SQL can tell.
type Boot uint8

// Boot values. A value that was set at run time hides what the option file
// says, so BootUnknown is common on a primary whose option file makes it boot
// read-only.
const (
	BootUnknown Boot = iota
	BootOff
	BootOn
)

// on reads the ways in which servers print a boolean. What is not a way to say
// no is a yes: read_only is one of OFF, ON, NO_LOCK and NO_LOCK_NO_ADMIN from
// MariaDB 12.0 on.
func on(value string) bool {
	switch strings.ToUpper(value) {
	case "", "0", "OFF", "NO", "FALSE":
		return false
	default:
		return true
	}
}

// origin is where a setting's present value comes from.
type origin struct {
	source    string // performance_schema.variables_info, or GLOBAL_VALUE_ORIGIN
	persisted *string
}

// boot derives what the setting will be after a start from what it is now.
func (o origin) boot(current string) Boot {
	value := current
	switch {
	case o.persisted != nil:
		value = *o.persisted // mysqld-auto.cnf is read last and wins
	case o.source == "" || o.source == "DYNAMIC" || o.source == "SQL":
		return BootUnknown
	}
	if on(value) {
		return BootOn
	}
	return BootOff
}

// parseSettings reads the rows of StmtSettings and StmtOrigins.
func parseSettings(v Version, variables map[string]string, origins map[string]origin, filters []string) Settings {
	first := func(names ...string) string {
		for _, name := range names {
			if value, ok := variables[name]; ok {
				return value
			}
		}
		return ""
	}
	number := func(names ...string) int {
		n, err := strconv.Atoi(first(names...))
		if err != nil {
			return 0 // the server does not know the variable
		}
		return n
	}
	s := Settings{
		ServerID:            uint32(number("server_id")),
		GTIDMode:            v.Flavor == MariaDB || strings.EqualFold(first("gtid_mode"), "ON"),
		GTIDStrictMode:      v.Flavor != MariaDB || on(first("gtid_strict_mode")),
		LogBin:              on(first("log_bin")),
		LogReplicaUpdates:   on(first("log_replica_updates", "log_slave_updates")),
		BinlogFormat:        strings.ToUpper(first("binlog_format")),
		SyncBinlog:          number("sync_binlog"),
		FlushLogAtTrxCommit: number("innodb_flush_log_at_trx_commit"),
		InnoDBReadOnly:      on(first("innodb_read_only")),
		InnoDBForceRecovery: number("innodb_force_recovery"),
		ParallelWorkers:     number("replica_parallel_workers", "slave_parallel_workers", "slave_parallel_threads"),
		PreserveCommitOrder: v.Flavor == MariaDB || on(first("replica_preserve_commit_order", "slave_preserve_commit_order")),
		SkipErrors:          first("replica_skip_errors", "slave_skip_errors"),
		RelayLogRecovery:    on(first("relay_log_recovery")),
		NetTimeout:          time.Duration(number("replica_net_timeout", "slave_net_timeout")) * time.Second,
		SkipNameResolve:     on(first("skip_name_resolve")),
		EventScheduler:      strings.ToUpper(first("event_scheduler")),
		DataDir:             first("datadir"),
		BinlogExpire:        time.Duration(number("binlog_expire_logs_seconds")) * time.Second,
		Filters:             filters,
	}
	_, available := variables["rpl_semi_sync_source_enabled"]
	if !available {
		_, available = variables["rpl_semi_sync_master_enabled"]
	}
	waitCount := number("rpl_semi_sync_source_wait_for_replica_count", "rpl_semi_sync_master_wait_for_slave_count")
	if v.Flavor == MariaDB {
		waitCount = 1 // it knows no other
	}
	s.SemiSync = SemiSync{
		Available:      available,
		SourceEnabled:  on(first("rpl_semi_sync_source_enabled", "rpl_semi_sync_master_enabled")),
		ReplicaEnabled: on(first("rpl_semi_sync_replica_enabled", "rpl_semi_sync_slave_enabled")),
		Timeout:        milliseconds(first("rpl_semi_sync_source_timeout", "rpl_semi_sync_master_timeout")),
		WaitPoint:      strings.ToUpper(first("rpl_semi_sync_source_wait_point", "rpl_semi_sync_master_wait_point")),
		WaitCount:      waitCount,
		WaitNoReplica:  on(first("rpl_semi_sync_source_wait_no_replica", "rpl_semi_sync_master_wait_no_slave")),
	}
	boot := func(names ...string) Boot {
		for _, name := range names {
			if o, ok := origins[name]; ok {
				return o.boot(variables[name])
			}
		}
		return BootUnknown
	}
	s.BootReadOnly = boot("super_read_only", "read_only")
	// SET GLOBAL read_only = OFF also clears super_read_only, whose origin does
	// not change with that.
	if o := origins["super_read_only"]; o.persisted == nil && boot("read_only") == BootUnknown {
		s.BootReadOnly = BootUnknown
	}
	s.BootSkipReplicaStart = boot("skip_replica_start", "skip_slave_start")
	s.BootSemiSyncReplica = boot("rpl_semi_sync_replica_enabled", "rpl_semi_sync_slave_enabled")
	return s
}

// milliseconds reads a time-out that may be longer than a Duration can hold:
// an infinite semi-sync time-out is 10^18 ms.
func milliseconds(value string) time.Duration {
	n, err := strconv.ParseUint(value, 10, 64)
	if err != nil {
		return 0
	}
	const most = uint64(1<<63-1) / uint64(time.Millisecond)
	return time.Duration(min(n, most)) * time.Millisecond
}
