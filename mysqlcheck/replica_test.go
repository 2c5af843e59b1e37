// SPDX-License-Identifier: Apache-2.0

package mysqlcheck

import (
	"fmt"
	"testing"
	"time"

	"highwater/mysqlcheck/gtid"
	"highwater/test/lab"
)

// TestReplica walks a real replica through everything that can be wrong with
// one. The subtests share the pair, and each leaves it as it found it.
func TestReplica(t *testing.T) {
	flavors(t, func(t *testing.T, flavor lab.Flavor) {
		p := startPair(t, flavor)
		startReplica := p.sql("START REPLICA", "START SLAVE")
		stopReplica := p.sql("STOP REPLICA", "STOP SLAVE")

		t.Run("healthy", func(t *testing.T) {
			a := p.onReplica(t, nil)
			v := a.untilEligible()
			v = a.until("caught up", func(v Verdict) bool { return v.CaughtUp && v.LagKnown })
			if len(v.Reasons) != 0 || len(v.Warnings) != 0 {
				t.Errorf("reasons %v, warnings %v", v.Reasons, v.Warnings)
			}
			if v.Health != HealthAlive || v.Writable || v.Queue != 0 || v.Lag > time.Second || !v.DrainFits {
				t.Errorf("verdict %+v", v)
			}
			if got, want := v.Executed, executed(t, p.primary); !got.Equal(want) {
				t.Errorf("executed %s, want %s", got, want)
			}
			if a.last.Storage.Known && a.last.Storage.FreeBytes == 0 {
				t.Errorf("storage %+v", a.last.Storage)
			}
		})

		t.Run("receiver stopped", func(t *testing.T) {
			a := p.onReplica(t, nil)
			a.untilEligible()
			p.exec(t, p.replica, p.sql("STOP REPLICA IO_THREAD", "STOP SLAVE IO_THREAD"))
			a.untilReason(ReasonReceiverStopped)
			a.want.Sealed = true
			a.until("no reason while sealed", func(v Verdict) bool { return v.Eligible })
			p.exec(t, p.replica, startReplica)
		})

		t.Run("applier stopped", func(t *testing.T) {
			a := p.onReplica(t, nil)
			p.exec(t, p.replica, p.sql("STOP REPLICA SQL_THREAD", "STOP SLAVE SQL_THREAD"))
			a.untilReason(ReasonApplierStopped)
			p.exec(t, p.primary, "INSERT INTO app.t (v) VALUES ('queued'), ('queued')")
			v := a.until("a queue and its lag", func(v Verdict) bool { return v.Queue == 1 && v.LagKnown && v.Lag > time.Second })
			if hasReason(v.Reasons, ReasonReceiverStopped) {
				t.Errorf("reasons %v", v.Reasons)
			}
			p.exec(t, p.replica, startReplica)
			a.until("drained", func(v Verdict) bool { return v.Eligible && v.Queue == 0 && v.CaughtUp })
		})

		t.Run("applier error", func(t *testing.T) {
			a := p.onReplica(t, nil)
			a.untilEligible()
			p.exec(t, p.replica, p.sql("SET GLOBAL super_read_only = OFF", "SET GLOBAL read_only = OFF"))
			p.exec(t, p.replica, "SET SESSION sql_log_bin = 0", "INSERT INTO app.t (id) VALUES (1000)", "SET SESSION sql_log_bin = 1")
			p.exec(t, p.primary, "INSERT INTO app.t (id) VALUES (1000)")
			a.untilReason(ReasonApplierError)
			if got := a.last.Replication.Applier; got.ErrorNumber != 1062 || got.Error == "" {
				t.Errorf("applier %+v", got)
			}
			p.exec(t, p.replica, "SET SESSION sql_log_bin = 0", "DELETE FROM app.t WHERE id = 1000", "SET SESSION sql_log_bin = 1",
				p.sql("SET GLOBAL super_read_only = ON", "SET GLOBAL read_only = ON"), startReplica)
			a.untilEligible()
		})

		t.Run("delayed", func(t *testing.T) {
			a := p.onReplica(t, nil)
			// MariaDB's CHANGE MASTER takes the heartbeat period back to its default.
			change := p.sql("CHANGE REPLICATION SOURCE TO SOURCE_DELAY = %d", "CHANGE MASTER TO MASTER_DELAY = %d, MASTER_HEARTBEAT_PERIOD = 0.5")
			p.exec(t, p.replica, stopReplica, fmt.Sprintf(change, 3600), startReplica)
			a.untilReason(ReasonDelayed)
			p.exec(t, p.replica, stopReplica, fmt.Sprintf(change, 0), startReplica)
			a.untilEligible()
		})

		t.Run("filters", func(t *testing.T) {
			a := p.onReplica(t, nil)
			p.exec(t, p.replica, stopReplica, p.sql("CHANGE REPLICATION FILTER REPLICATE_IGNORE_DB = (junk)", "SET GLOBAL replicate_ignore_db = 'junk'"), startReplica)
			a.untilReason(ReasonFilters)
			p.exec(t, p.replica, stopReplica, p.sql("CHANGE REPLICATION FILTER REPLICATE_IGNORE_DB = ()", "SET GLOBAL replicate_ignore_db = ''"), startReplica)
			a.untilEligible()
		})

		t.Run("wrong source", func(t *testing.T) {
			a := p.onReplica(t, nil)
			a.want.SourceHosts = []string{"192.0.2.1"}
			a.untilReason(ReasonWrongSource)
			identity := a.last.Replication.SourceUUID
			a.want.SourceUUID = identity
			a.untilEligible()
			a.want.SourceUUID = "00000000-0000-0000-0000-000000000001"
			a.untilReason(ReasonWrongSource)
		})

		t.Run("read_only", func(t *testing.T) {
			a := p.onReplica(t, nil)
			p.exec(t, p.replica, "SET GLOBAL read_only = OFF")
			v := a.untilWarning(WarnReplicaWritable)
			if !v.Writable {
				t.Errorf("verdict %+v", v)
			}
			p.exec(t, p.replica, p.sql("SET GLOBAL super_read_only = ON", "SET GLOBAL read_only = ON"))
			a.until("read-only", func(v Verdict) bool { return !v.Writable && !hasReason(v.Warnings, WarnReplicaWritable) })
		})

		t.Run("commit order", func(t *testing.T) {
			if p.mariadb() {
				t.Skip("MariaDB always commits in order within a domain")
			}
			a := p.onReplica(t, nil)
			p.exec(t, p.replica, "STOP REPLICA SQL_THREAD", "SET GLOBAL replica_preserve_commit_order = OFF", "START REPLICA SQL_THREAD")
			a.untilReason(ReasonCommitOrder)
			p.exec(t, p.replica, "STOP REPLICA SQL_THREAD", "SET GLOBAL replica_preserve_commit_order = ON", "START REPLICA SQL_THREAD")
			a.untilEligible()
		})

		t.Run("purged transactions that a sibling needs", func(t *testing.T) {
			a := p.onReplica(t, nil)
			first := p.sql("", fmt.Sprintf("0-%d-1", p.primary.Config().ServerID))
			if !p.mariadb() {
				first = executed(t, p.primary).String()[:36] + ":1"
			}
			behind, err := gtid.Parse(first)
			if err != nil {
				t.Fatal(err)
			}
			a.want.Siblings = map[string]gtid.Set{"db3": behind}
			a.untilEligible()
			if hasReason(a.v.Warnings, WarnPurgedNeeded) {
				t.Errorf("warnings %v", a.v.Warnings)
			}
			p.exec(t, p.replica, "FLUSH NO_WRITE_TO_BINLOG BINARY LOGS", "FLUSH NO_WRITE_TO_BINLOG BINARY LOGS")
			eventually(t, func() string {
				logs := rows(t, p.replica, "SHOW BINARY LOGS")
				name := logs[len(logs)-1]["Log_name"]
				p.exec(t, p.replica, fmt.Sprintf("PURGE BINARY LOGS TO '%s'", name))
				if hasReason(a.step().Warnings, WarnPurgedNeeded) {
					return ""
				}
				return fmt.Sprintf("warnings %v, purged %q", a.v.Warnings, a.v.Purged)
			})
			if a.v.Purged.IsEmpty() || !a.v.Eligible {
				t.Errorf("purged %q, reasons %v", a.v.Purged, a.v.Reasons)
			}
		})

		// A source that freezes says nothing, and Seconds_Behind_Source goes on
		// saying 0.
		t.Run("frozen source", func(t *testing.T) {
			a := p.onReplica(t, nil)
			a.untilEligible()
			a.until("source heard", func(v Verdict) bool { return v.SourceAge.Known && !v.SourceSilent })
			if err := p.primary.Stop(); err != nil {
				t.Fatal(err)
			}
			defer p.primary.Cont()
			v := a.until("source silent", func(v Verdict) bool { return v.SourceSilent && v.SourceAge.Value > 2*time.Second })
			if behind := secondsBehind(t, p); behind != "0" {
				t.Logf("Seconds_Behind is %q", behind)
			} else if v.LagKnown || v.Lag < 2*time.Second {
				t.Errorf("Seconds_Behind is 0, and lag %v (known: %t)", v.Lag, v.LagKnown)
			}
			if !v.Eligible || !hasReason(v.Warnings, WarnSourceSilent) {
				t.Errorf("eligible %t, reasons %v, warnings %v", v.Eligible, v.Reasons, v.Warnings)
			}
		})

		// The other reason to freeze: nobody must take it for a fault of the
		// replica when its source dies.
		t.Run("dead source", func(t *testing.T) {
			a := p.onReplica(t, nil)
			a.untilEligible()
			p.primary.Kill()
			v := a.untilWarning(WarnReceiverConnecting)
			for range 5 {
				v = a.step()
			}
			if !v.Eligible || len(v.Reasons) != 0 {
				t.Errorf("a replica whose source died: eligible %t, reasons %v, receiver %+v", v.Eligible, v.Reasons, a.last.Replication.Receiver)
			}
			if err := p.primary.Start(t.Context()); err != nil {
				t.Fatal(err)
			}
			a.until("source heard again", func(v Verdict) bool { return v.Eligible && !v.SourceSilent && v.CaughtUp })
		})

		// Last: there is no way back from errant transactions.
		t.Run("errant", func(t *testing.T) {
			a := p.onReplica(t, nil)
			a.policy.ErrantConfirm = 200 * time.Millisecond
			a.want.PrimaryExecuted = executed(t, p.primary)
			a.untilEligible()
			p.exec(t, p.replica, "SET GLOBAL read_only = OFF", "INSERT INTO app.t (v) VALUES ('errant')",
				p.sql("SET GLOBAL super_read_only = ON", "SET GLOBAL read_only = ON"))
			v := a.untilReason(ReasonErrant)
			if v.Errant.Count() != 1 {
				t.Errorf("errant %q", v.Errant)
			}
		})
	})
}

// secondsBehind reads what everybody reads.
func secondsBehind(t *testing.T, p *pair) string {
	t.Helper()
	status := rows(t, p.replica, p.sql("SHOW REPLICA STATUS", "SHOW SLAVE STATUS"))[0]
	return status["Seconds_Behind_Source"] + status["Seconds_Behind_Master"]
}
