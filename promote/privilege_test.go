// SPDX-License-Identifier: Apache-2.0

package promote

import (
	"testing"
	"time"

	"highwater/mysqlcheck"
	"highwater/test/lab"
)

// All that a Server does works with the privileges that the grants give, and
// not only as root.
func TestLeastPrivilege(t *testing.T) {
	both(t, func(t *testing.T, flavor lab.Flavor) {
		ctx := testContext(t)
		hosts := newCluster(t, flavor, 2)
		a, b := hosts[0], hosts[1]
		conn, err := a.control.connect(ctx)
		if err != nil {
			t.Fatal(err)
		}
		conn.close()
		a.do(mysqlcheck.Grants(conn.version, mysqlcheck.Accounts{
			Supervisor:  mysqlcheck.Account{User: "highwater", Host: "localhost", Password: "few"},
			Replication: []mysqlcheck.Account{{User: "repl", Host: "%", Password: `it's a \ secret`}},
		})...)
		a.do("CREATE USER owner@localhost", "CREATE DEFINER = owner@localhost EVENT d.tick ON SCHEDULE EVERY 1 DAY DO DO 1")
		b.caughtUp(a)
		for _, h := range hosts {
			h.control.cfg.DB = mysqlcheck.OpenDB(mysqlcheck.ConnConfig{
				Address: h.Socket(), User: "highwater", Password: func() string { return "few" }, ReadTimeout: time.Minute,
			}, 6)
			t.Cleanup(func() { _ = h.control.cfg.DB.Close() })
		}
		client := a.app("app", appPrivileges)
		if err := client.PingContext(ctx); err != nil {
			t.Fatal(err)
		}
		b.caughtUp(a)

		demoted := a.demote(DemoteInput{KillClients: true})
		if len(demoted.Events) != 1 || demoted.KilledSessions == 0 || demoted.Prepared != 0 {
			t.Errorf("%+v", demoted)
		}
		for _, w := range demoted.Warnings {
			t.Logf("warning: %s", w)
		}
		b.seal(2)
		promoted, err := b.control.Promote(ctx, PromoteInput{Term: 2, SemiSync: &SemiSync{Acks: 1}})
		if err != nil || len(promoted.Warnings) > 0 {
			t.Fatalf("%+v, %v", promoted, err)
		}
		src := b.source(2)
		src.SemiSync = true
		if joined, err := a.control.Rejoin(ctx, src); err != nil || joined.Held {
			t.Fatalf("%+v, %v", joined, err)
		}
		if finished, err := b.control.Finish(ctx, FinishInput{Term: 2}); err != nil || !finished.Reset || len(finished.Events) != 1 {
			t.Errorf("%+v, %v", finished, err)
		}
		a.caughtUp(b)
		if err := a.control.EnforceReadOnly(ctx); err != nil {
			t.Error(err)
		}

		// Errant on purpose, by root.
		a.do(a.sql("SET GLOBAL super_read_only = OFF"), "SET GLOBAL read_only = OFF", "CREATE DATABASE errant", a.sql("SET GLOBAL super_read_only = ON"))
		held, err := a.control.Rejoin(ctx, src)
		if err != nil || !held.Held || held.Tail == "" {
			t.Errorf("%+v, %v", held, err)
		}
		if flavor.IsMariaDB() {
			return
		}
		if rebuilt, err := a.control.Rebuild(ctx, src, nil); err != nil || rebuilt.NeedsStart {
			t.Fatalf("%+v, %v", rebuilt, err)
		}
		if joined, err := a.control.Rejoin(ctx, src); err != nil || joined.Held {
			t.Errorf("%+v, %v", joined, err)
		}
		a.caughtUp(b)
	})
}
