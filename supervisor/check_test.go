// SPDX-License-Identifier: Apache-2.0

package supervisor

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"highwater/configs"
	"highwater/mysqlcheck"
	"highwater/promote"
	"highwater/test/lab"
)

// ofServer returns what is found at the server of the bench.
func (b *accountBench) ofServer() []Finding {
	b.t.Helper()
	var found []Finding
	checkServer(b.t.Context(), b.config, configs.Secrets{MySQL: "hw"}, &b.config.Cluster.Nodes[0],
		func(severity mysqlcheck.Severity, subject, problem, fix string) {
			found = append(found, Finding{severity, subject, problem, fix})
		})
	return found
}

// durabilityReasons are the first words of those findings that are reasons of promote, those
// of blockers in capitals.
func durabilityReasons(found []Finding) []string {
	known := []promote.DurabilityReason{
		promote.DurabilityNoSource, promote.DurabilityNoReplica, promote.DurabilityWaitPoint, promote.DurabilityTimeout,
		promote.DurabilityRelaxed, promote.DurabilityRelayLog, promote.DurabilityBootAcker, promote.DurabilityBootUnknown,
	}
	var words []string
	for _, f := range found {
		word, _, _ := strings.Cut(f.Problem, ": ")
		if !slices.Contains(known, promote.DurabilityReason(word)) {
			continue
		}
		if f.Severity == mysqlcheck.Blocker {
			word = strings.ToUpper(word)
		}
		words = append(words, word)
	}
	return words
}

// mentions returns the findings in which a text stands.
func mentions(found []Finding, text string) []Finding {
	return slices.DeleteFunc(slices.Clone(found), func(f Finding) bool { return !strings.Contains(f.Problem, text) })
}

// What keeps a server from losing nothing is found, once each, where the configuration asks
// for that, and what `highwater grants` prints for it is enough.
func TestCheckDurability(t *testing.T) {
	for _, flavor := range []lab.Flavor{lab.MySQL, lab.MariaDB} {
		t.Run(string(flavor), func(t *testing.T) {
			mysql := !flavor.IsMariaDB()
			source, replica := "rpl_semi_sync_master_", "rpl_semi_sync_slave_enabled"
			if mysql {
				source, replica = "rpl_semi_sync_source_", "rpl_semi_sync_replica_enabled"
			}
			b := newAccountBench(t, lab.ServerConfig{Flavor: flavor, Extra: []string{
				source + "wait_point=AFTER_COMMIT", source + "timeout=10000", replica + "=ON",
				"sync_binlog=0", "innodb_flush_log_at_trx_commit=2", "relay_log_recovery=OFF",
			}})
			b.config.StateDir = filepath.Join(t.TempDir(), "absent")
			if got := mentions(b.ofServer(), "sync_binlog"); len(got) != 1 || got[0].Severity != mysqlcheck.Caution {
				t.Errorf("best-effort: %+v", got)
			}
			if got := mentions(b.ofServer(), "CREATE USER"); len(got) > 0 {
				t.Errorf("best-effort: %+v", got)
			}

			b.config.Durability = configs.Durability{Mode: configs.Lossless, WhenAlone: configs.WhenAloneStall}
			found := b.ofServer()
			want := []string{"wait_point", "ack_timeout", "DURABILITY_RELAXED", "DURABILITY_RELAXED", "BOOT_ACKER"}
			if mysql {
				want = slices.Insert(want, 4, "relay_log_recovery_off")
			}
			if got := durabilityReasons(found); !slices.Equal(got, want) {
				t.Errorf("%q, want %q", got, want)
			}
			for _, setting := range []string{"sync_binlog", "innodb_flush_log_at_trx_commit", "wait_point is"} {
				if got := mentions(found, setting); len(got) != 1 || !strings.HasSuffix(got[0].Fix, ".") {
					t.Errorf("%s: %+v, want it once", setting, got)
				}
			}
			if got := mentions(found, "CREATE USER"); len(got) != 1 || got[0].Severity != mysqlcheck.Blocker {
				t.Errorf("account without CREATE USER: %+v", got)
			}
			if _, err := os.Stat(b.config.StateDir); !os.IsNotExist(err) {
				t.Errorf("the check has made the state directory: %v", err)
			}

			v, err := mysqlcheck.ServerVersion(t.Context(), b.server.DB())
			if err != nil {
				t.Fatal(err)
			}
			b.do(mysqlcheck.Grants(v, mysqlcheck.Accounts{
				Supervisor: mysqlcheck.Account{User: "highwater", Host: "localhost", Password: "hw"}, Lossless: true,
			})...)
			if got := mentions(b.ofServer(), "lacks"); len(got) > 0 {
				t.Errorf("with the grants of lossless: %+v", got)
			}
		})
	}
}

// As `highwater grants` and the lines of README.md make a server, nothing bars it.
func TestCheckDurabilityOfAGoodServer(t *testing.T) {
	for _, flavor := range []lab.Flavor{lab.MySQL, lab.MariaDB} {
		t.Run(string(flavor), func(t *testing.T) {
			b := newAccountBench(t, lab.ServerConfig{Flavor: flavor})
			if got := mentions(b.ofServer(), "only SIGKILL ends it"); len(got) > 0 {
				t.Errorf("best-effort, and no semi-sync: %+v", got)
			}
			b.config.Durability.Mode, b.config.StateDir = configs.Lossless, t.TempDir()
			found := b.ofServer()
			if got := durabilityReasons(found); got != nil {
				t.Errorf("%q", got)
			}
			if got := mentions(found, "only SIGKILL ends it"); len(got) != 1 {
				t.Errorf("kill_server is false, and commits will wait: %+v", got)
			}
			if flavor.IsMariaDB() {
				return // semi-sync is built in
			}
			b.do("UNINSTALL PLUGIN rpl_semi_sync_source", "UNINSTALL PLUGIN rpl_semi_sync_replica")
			found = b.ofServer()
			if got, want := durabilityReasons(found), []string{"SEMI_SYNC_REPLICA_MISSING", "SEMI_SYNC_SOURCE_MISSING"}; !slices.Equal(got, want) {
				t.Errorf("%q, want %q", got, want)
			}
			if got := mentions(found, "plugin_load_add"); len(got) > 0 {
				t.Errorf("told twice: %+v", got)
			}
		})
	}
}
