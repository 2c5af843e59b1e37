// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"highwater/test/cluster"
)

// The server of the primary is killed: the VIP moves to a replica, and the old primary comes
// back as one.
func TestServerKilled(t *testing.T) {
	r := start(t, semiSync())
	w := r.write()
	r.db(1).Server.Kill()
	primary := r.moved(r.db(1))
	r.must(r.db(1).Server.Start(r.ctx))
	r.end(w, primary, 1)
}

// An old primary with transactions that nobody else has is held, and they are named. It does
// not stand in the way of the next failover.
func TestServerKilledWithTail(t *testing.T) { killedWithTail(t, semiSync()) }

func killedWithTail(t *testing.T, c cluster.Config) {
	t.Helper()
	c.Lab.Hosts = 4 // both old primaries may be held, and the third needs somebody to acknowledge
	r := start(t, c)
	old := r.db(1)
	fault, err := r.Drop(r.Hosts()[:1], r.Hosts()[1:], "tcp sport 3306")
	r.must(err)
	noSemiSync := "SET GLOBAL rpl_semi_sync_source_enabled=OFF"
	if c.Lab.Flavor.IsMariaDB() {
		noSemiSync = "SET GLOBAL rpl_semi_sync_master_enabled=OFF"
	}
	r.must(old.Server.Exec(r.ctx,
		noSemiSync,
		"CREATE TABLE lab.tail (n INT PRIMARY KEY)",
		"INSERT INTO lab.tail VALUES (1)"))
	old.Server.Kill()
	primary := r.moved(old)
	r.must(fault.Heal()) // not before: the kernel still sends what the server had written
	w := r.write()
	r.must(old.Server.Start(r.ctx))
	r.eventually(moveTime, func() string {
		s, err := r.Status(r.ctx, primary)
		if err != nil {
			return err.Error()
		}
		if h := s.Host("db1"); !h.Held || h.ErrantCount < 2 || h.Errant == "" {
			return "db1 is not held with its transactions named: " + s.Summary
		} else if !strings.Contains(s.Summary, "db1 is held") {
			return "the summary does not say so: " + s.Summary
		}
		return ""
	})
	r.settled(primary)
	primary.Server.Kill()
	last := r.moved(primary)
	if last == old {
		t.Fatal("the host that is held became primary")
	}
	r.must(primary.Server.Start(r.ctx))
	r.end(w, last, 1)
}

// The server of the primary is stopped in its tracks and goes on later: by then another
// server is primary, and it is demoted before anybody writes to it. No commit waits for an
// acknowledgement, so it can obey.
func TestServerHung(t *testing.T) {
	r := start(t, async())
	old := r.db(1)
	w := r.write()
	before := w.Stop()
	r.must(r.WaitReplicas(r.ctx, old, r.Hosts()[1:]...))
	r.must(old.Server.Stop())
	primary := r.moved(old)
	w = r.write()
	r.must(old.Server.Cont())
	r.end(w, primary, 0)
	difference, err := before.Verify(r.ctx, primary.Server)
	r.must(err)
	if !difference.OK() {
		t.Errorf("rows from before: %v", difference)
	}
}

// The same while clients write and their commits wait: the server is killed for it.
func TestServerHungKilled(t *testing.T) {
	r := start(t, semiSync())
	old := r.db(1)
	w := r.write()
	r.must(old.Server.Stop())
	primary := r.moved(old)
	r.eventually(moveTime, func() string {
		if old.Server.Alive() {
			return "the hung server was not killed"
		}
		return ""
	})
	r.must(old.Server.Start(r.ctx))
	r.end(w, primary, 1)
}

// The server of a replica accepts and never speaks: it is named, and nothing moves.
func TestReplicaHung(t *testing.T) {
	r := start(t, semiSync())
	w := r.write()
	r.must(r.db(2).Server.Stop())
	r.eventually(moveTime, func() string {
		s, err := r.Status(r.ctx, r.db(1))
		if err != nil {
			return err.Error()
		}
		if h := s.Host("db2"); s.Level != "warning" || h.Eligible || !strings.Contains(s.Summary, "db2") {
			return "db2 is not named: " + s.Summary
		}
		return ""
	})
	r.stays(2 * time.Second)
	r.must(r.db(2).Server.Cont())
	r.end(w, r.db(1), 0)
}

// A deposed server obeys nobody, since its commits wait for an acknowledgement for ever, and
// may not be killed: another one is primary, and the status names what is left to do.
func TestDemotionStuck(t *testing.T) {
	c := semiSync()
	c.KillServer = false
	r := start(t, c)
	old := r.db(1)
	w := r.write()
	r.must(old.Server.Stop())
	primary := r.moved(old)
	r.must(old.Server.Cont())
	r.eventually(moveTime, func() string {
		s, err := r.Status(r.ctx, primary)
		if err != nil {
			return err.Error()
		}
		if s.Level == "ok" || !strings.Contains(s.Summary, "db1 was deposed") || !strings.Contains(s.NextStep, "SIGKILL") {
			return fmt.Sprintf("%s: %q, next: %q; db1 is %s", s.Level, s.Summary, s.NextStep, s.Host("db1").Role)
		}
		t.Logf("%s Next: %s", s.Summary, s.NextStep)
		return ""
	})
	r.logged(old, "msg=demote_failed", moveTime)
	old.Server.Kill() // as the operator would
	r.must(old.Server.Start(r.ctx))
	r.end(w, primary, 1)
}
