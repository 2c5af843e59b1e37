// SPDX-License-Identifier: Apache-2.0

package cluster

import (
	"context"
	"os/exec"
	"path/filepath"
	"regexp"
	"testing"
	"time"

	"highwater/configs"
	"highwater/test/lab"
)

// Highwater takes a lossless cluster as the lab sets it up: the configuration is accepted, the
// servers have all that they need, and every host has a replication account of its own, at
// every server, that is known to nobody else and can be locked.
func TestLossless(t *testing.T) {
	for _, flavor := range []lab.Flavor{lab.MySQL, lab.MariaDB} {
		t.Run(string(flavor), func(t *testing.T) {
			lab.Require(t, "root", string(flavor))
			ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
			defer cancel()
			binary := filepath.Join(t.TempDir(), "highwater")
			if out, err := exec.Command("go", "build", "-o", binary, "highwater/cmd/highwater").CombinedOutput(); err != nil {
				t.Fatalf("build highwater: %v\n%s", err, out)
			}
			c, err := New(ctx, Config{
				Lab:    lab.Config{Hosts: 3, Flavor: flavor, SemiSync: true},
				Binary: binary, Durability: configs.Lossless, WhenAlone: configs.WhenAloneStall, KillServer: true,
			})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() {
				if err := c.Close(); err != nil {
					t.Error(err)
				}
			})
			enabled := []string{"rpl_semi_sync_source_enabled", "rpl_semi_sync_replica_enabled"}
			if flavor.IsMariaDB() {
				enabled = []string{"rpl_semi_sync_master_enabled", "rpl_semi_sync_slave_enabled"}
			}
			for _, h := range c.Hosts() {
				parsed, err := configs.Load(c.ConfigFile(h))
				if err != nil {
					t.Fatal(err)
				}
				if err := parsed.RunnableNow(); err != nil {
					t.Error(err)
				}
				want := configs.Durability{Mode: configs.Lossless, WhenAlone: configs.WhenAloneStall, Rejoin: configs.RejoinAuto}
				if parsed.Durability != want || parsed.Authority() != configs.AuthorityQuorum {
					t.Errorf("%s: %+v, authority %s", h, parsed.Durability, parsed.Authority())
				}
				for _, name := range enabled {
					if on, err := h.Server.QueryString(ctx, "SELECT @@global."+name); err != nil || on != "0" {
						t.Errorf("%s begins with %s=%s, %v", h, name, on, err)
					}
				}
				for _, other := range c.Hosts() {
					query := "SELECT COUNT(*) FROM mysql.user WHERE User = ?"
					if n, err := h.Server.QueryString(ctx, query, other.ReplicationUser()); err != nil || n != "1" {
						t.Errorf("%s has %s accounts %s, %v", h, n, other.ReplicationUser(), err)
					}
				}
				checked(ctx, t, c, h)
			}
			for _, h := range c.Hosts() {
				if err := c.StartSupervisor(h); err != nil {
					t.Fatal(err)
				}
			}
			if _, err := c.WaitPrimary(ctx, "db1"); err != nil {
				t.Fatal(err)
			}
			for _, h := range c.Hosts() { // what the supervisors set at run time is no news
				checked(ctx, t, c, h)
			}
		})
	}
}

// checked wants `highwater check` to find nothing on a host that keeps it from losing nothing.
func checked(ctx context.Context, t *testing.T, c *Cluster, h *lab.Host) {
	t.Helper()
	out, err := c.Command(ctx, h, "check")
	if err != nil || weakness.MatchString(out) {
		t.Errorf("check on %s: %v\n%s", h, err, out)
	}
}

// weakness are words of a server that could be better prepared.
var weakness = regexp.MustCompile("lacks|(semi_sync_(source|replica)_missing|wait_point|ack_timeout|durability_relaxed|relay_log_recovery_off|boot_acker|boot_acker_unknown|plugin_load_add|fencing.kill_server): ")
