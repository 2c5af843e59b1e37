// SPDX-License-Identifier: Apache-2.0

package supervisor

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"
	"time"

	"highwater/configs"
	"highwater/mysqlcheck"
	"highwater/test/lab"
)

func TestUnstoppable(t *testing.T) {
	yes, no := true, false
	forever := mysqlcheck.SemiSync{Available: true, SourceEnabled: true, Timeout: 1<<63 - 1}
	patient := mysqlcheck.SemiSync{Available: true, SourceEnabled: true, Timeout: 10 * time.Second}
	acker := mysqlcheck.SemiSync{Available: true, ReplicaEnabled: true, Timeout: 10 * time.Second}
	for _, tt := range []struct {
		name string
		kill *bool
		semi mysqlcheck.SemiSync
		warn bool
	}{
		{"a primary that waits for ever", &no, forever, true},
		{"a replica that acknowledges, and will wait once promoted", &no, acker, true},
		{"a primary that gives up waiting", &no, patient, false},
		{"no semi-sync", &no, mysqlcheck.SemiSync{Available: true, Timeout: 1<<63 - 1}, false},
		{"not configured", nil, forever, true},
		{"may be killed", &yes, forever, false},
	} {
		if got := unstoppable(configs.Fencing{KillServer: tt.kill}, tt.semi); (got != "") != tt.warn {
			t.Errorf("%s: %q", tt.name, got)
		}
	}
}

// A real server's settings are found by the check, and said in the log once.
func TestSemiSyncWithoutKillServer(t *testing.T) {
	for _, flavor := range []lab.Flavor{lab.MySQL, lab.MariaDB} {
		t.Run(string(flavor), func(t *testing.T) {
			b := newAccountBench(t, lab.ServerConfig{Flavor: flavor})
			said := func() (n int) {
				checkServer(t.Context(), b.config, configs.Secrets{MySQL: "hw"}, &b.config.Cluster.Nodes[0],
					func(severity mysqlcheck.Severity, _, problem, _ string) {
						if severity == mysqlcheck.Caution && strings.Contains(problem, "only SIGKILL ends it") {
							n++
						}
					})
				return n
			}
			name := "rpl_semi_sync_source_enabled"
			if flavor.IsMariaDB() {
				name = "rpl_semi_sync_master_enabled"
			}
			var text bytes.Buffer
			n := &Node{config: b.config, log: slog.New(slog.NewTextHandler(&text, nil))}
			h := &health{}
			logged := func() int {
				probe := mysqlcheck.NewProbe(mysqlcheck.ProbeConfig{
					Conn: mysqlcheck.ConnConfig{Address: b.server.Socket(), User: "highwater", Password: func() string { return "hw" }}, Node: "db1",
				})
				defer probe.Close()
				for i := 0; i < 2; {
					s := probe.Sample(t.Context(), mysqlcheck.Expectation{})
					h.warn(n, s)
					if s.SettingsAt != 0 {
						i++
					}
				}
				return strings.Count(text.String(), "fencing.kill_server")
			}
			if said() != 0 || logged() != 0 {
				t.Error("warned without semi-sync")
			}
			b.do("SET GLOBAL " + name + " = ON")
			if n := said(); n != 1 {
				t.Errorf("the check said it %d times, want once", n)
			}
			for range 2 {
				if logged() != 1 {
					t.Errorf("want it in the log once:\n%s", text.String())
				}
			}
			kill := true
			b.config.Fencing.KillServer = &kill
			if n := said(); n != 0 {
				t.Errorf("the check said it %d times although the server may be killed", n)
			}
		})
	}
}
