// SPDX-License-Identifier: Apache-2.0

package mysqlcheck

import (
	"fmt"
	"time"
)

// Severity is how much a finding matters.
type Severity uint8

// Severities.
const (
	// Advice: it works, and could work better.
	Advice Severity = iota
	// Caution: under some fault it will hurt.
	Caution
	// Blocker: the server must not, or cannot, take part like this.
	Blocker
)

// String returns the severity in lower case.
func (s Severity) String() string {
	switch s {
	case Blocker:
		return "blocker"
	case Caution:
		return "caution"
	default:
		return "advice"
	}
}

// Finding is one thing about a server's settings that should be otherwise.
type Finding struct {
	Severity Severity
	Setting  string // as the server's manual calls it
	Problem  string
	Fix      string // a statement, or lines for the option file
}

// CheckSettings returns what `highwater check` has to say about a server, worst
// first. It is pure. The Sample must hold settings.
func CheckSettings(s Sample) []Finding {
	c := checker{s: s, set: s.Settings, maria: s.Version.Flavor == MariaDB}
	if err := s.Version.Supported(); err != nil {
		c.add(Blocker, "version", err.Error(), "upgrade the server")
		return c.findings
	}
	c.prerequisites()
	c.boot()
	c.durability()
	c.replication()
	var sorted []Finding
	for _, severity := range []Severity{Blocker, Caution, Advice} {
		for _, f := range c.findings {
			if f.Severity == severity {
				sorted = append(sorted, f)
			}
		}
	}
	return sorted
}

type checker struct {
	s        Sample
	set      Settings
	maria    bool
	findings []Finding
}

func (c *checker) add(severity Severity, setting, problem, fix string) {
	c.findings = append(c.findings, Finding{severity, setting, problem, fix})
}

// name picks the flavour's name of a setting.
func (c *checker) name(mysql, mariadb string) string {
	if c.maria {
		return mariadb
	}
	return mysql
}

// prerequisites are what a primary must have for others to follow it.
func (c *checker) prerequisites() {
	set := c.set
	if !set.GTIDMode {
		c.add(Blocker, "gtid_mode", "transactions have no GTIDs", "my.cnf: gtid_mode=ON, enforce_gtid_consistency=ON")
	}
	if !set.GTIDStrictMode {
		c.add(Blocker, "gtid_strict_mode", "sequence numbers may repeat, so positions of two servers cannot be compared",
			"SET GLOBAL gtid_strict_mode=ON, and the same in my.cnf")
	}
	if !set.LogBin {
		c.add(Blocker, "log_bin", "no binary log: nobody can follow this server", "my.cnf: log_bin=binlog")
	}
	if !set.LogReplicaUpdates {
		name := c.name("log_replica_updates", "log_slave_updates")
		c.add(Blocker, name, "what this server receives is not in its binary log: after promotion nobody could fetch it", "my.cnf: "+name+"=ON")
	}
	if set.LogBin && set.BinlogFormat != "ROW" {
		c.add(Blocker, "binlog_format", "statements may have another effect on a replica", "SET GLOBAL binlog_format=ROW, and the same in my.cnf")
	}
	if set.InnoDBReadOnly || set.InnoDBForceRecovery > 0 {
		c.add(Blocker, "innodb_read_only, innodb_force_recovery", "InnoDB is in a mode for rescue", "repair the server, then take the setting out of my.cnf")
	}
	if set.ServerID == 0 {
		c.add(Blocker, "server_id", "0 refuses replication", "my.cnf: server_id, another on each server")
	}
}

// boot is what the server does before anybody can ask it not to.
func (c *checker) boot() {
	set := c.set
	name := c.name("super_read_only", "read_only")
	fix := "my.cnf: " + name + "=ON"
	if !c.maria {
		fix = "SET PERSIST_ONLY super_read_only=ON"
	}
	switch set.BootReadOnly {
	case BootOff:
		c.add(Blocker, name, "the server boots writable: a revived host would accept writes before anyone decided", fix)
	case BootUnknown:
		c.add(Caution, name, "it was set at run time, so what my.cnf says cannot be seen: make sure that the server boots read-only", fix)
	case BootOn:
	}
	switch {
	case !c.maria && set.BootSkipReplicaStart != BootOn:
		c.add(Blocker, "skip_replica_start", "replication starts by itself at boot, from whatever source it had", "my.cnf: skip_replica_start=ON")
	case c.maria:
		c.add(Advice, "skip_slave_start", "the server does not tell whether replication starts by itself at boot", "my.cnf: skip_slave_start")
	}
	if set.BootSemiSyncReplica == BootOn {
		name := c.name("rpl_semi_sync_replica_enabled", "rpl_semi_sync_slave_enabled")
		severity, problem := Advice, "the supervisor turns it on when the server may acknowledge"
		if set.BootSkipReplicaStart != BootOn {
			severity, problem = Caution, "the server may acknowledge right after boot, before anybody asked it to"
		}
		c.add(severity, name, problem, "my.cnf: "+name+"=OFF")
	}
}

// durability is what a crash of the host must not take.
func (c *checker) durability() {
	set := c.set
	if set.SyncBinlog != 1 {
		c.add(Caution, "sync_binlog", "a crash of the host loses transactions that replicas have, and gives their GTIDs out again", "SET GLOBAL sync_binlog=1, and the same in my.cnf")
	}
	if set.FlushLogAtTrxCommit != 1 {
		c.add(Caution, "innodb_flush_log_at_trx_commit", "a crash loses committed transactions", "SET GLOBAL innodb_flush_log_at_trx_commit=1, and the same in my.cnf")
	}
	if !set.RelayLogRecovery {
		c.add(Caution, "relay_log_recovery", "after a crash of the host the relay log may be damaged", "my.cnf: relay_log_recovery=ON")
	}
	if semi := set.SemiSync; !semi.Available {
		c.add(Caution, "plugin_load_add", "semi-sync is not loaded: durability can only be best-effort", "my.cnf: plugin_load_add='semisync_source.so;semisync_replica.so'")
	} else {
		if semi.WaitPoint != "AFTER_SYNC" {
			name := c.name("rpl_semi_sync_source_wait_point", "rpl_semi_sync_master_wait_point")
			c.add(Caution, name, "others see a transaction before it is acknowledged", "SET GLOBAL "+name+"=AFTER_SYNC, and the same in my.cnf")
		}
		if semi.SourceEnabled && semi.Timeout < time.Hour {
			name := c.name("rpl_semi_sync_source_timeout", "rpl_semi_sync_master_timeout")
			c.add(Caution, name, fmt.Sprintf("after %v without an acknowledgement the server commits without one", semi.Timeout), "SET GLOBAL "+name+"=1000000000000000000")
		}
	}
	if set.SkipErrors != "" && set.SkipErrors != "OFF" {
		c.add(Caution, c.name("replica_skip_errors", "slave_skip_errors"), "errors of the applier are ignored: the data may differ silently", "take it out of my.cnf")
	}
}

// replication is how well and how soon a replica notices.
func (c *checker) replication() {
	set := c.set
	if len(set.Filters) > 0 || len(c.s.Replication.Filters) > 0 {
		c.add(Blocker, "replication filters", fmt.Sprintf("this server does not hold all the data: %v", append(set.Filters, c.s.Replication.Filters...)),
			"remove them, or set nofailover for this node")
	}
	if set.ParallelWorkers > 1 && !set.PreserveCommitOrder {
		c.add(Blocker, "replica_preserve_commit_order", "several workers commit in any order: after a crash there may be holes", "SET GLOBAL replica_preserve_commit_order=ON, and the same in my.cnf")
	}
	if set.NetTimeout > 10*time.Second || set.NetTimeout == 0 {
		name := c.name("replica_net_timeout", "slave_net_timeout")
		c.add(Caution, name, fmt.Sprintf("a replica notices only after %v that its source is silent", set.NetTimeout), "SET GLOBAL "+name+"=4, and the same in my.cnf")
	}
	if !set.SkipNameResolve {
		c.add(Caution, "skip_name_resolve", "when DNS fails, logins hang and the server looks dead", "my.cnf: skip_name_resolve=ON, and accounts by address")
	}
	if set.BinlogExpire > 0 && set.BinlogExpire < 24*time.Hour {
		c.add(Advice, "binlog_expire_logs_seconds", "a server that is away for longer than this must be rebuilt", "SET GLOBAL binlog_expire_logs_seconds=604800, and the same in my.cnf")
	}
}
