// SPDX-License-Identifier: Apache-2.0

package mysqlcheck

import (
	"context"
	"errors"
	"testing"
	"time"

	"highwater/test/lab"
)

// TestStuckStatement: a statement that waits, as every reader of the
// replication state does during STOP REPLICA, is told from a server that hangs.
func TestStuckStatement(t *testing.T) {
	flavors(t, func(t *testing.T, flavor lab.Flavor) {
		p := &pair{flavor: flavor, primary: startServer(t, lab.ServerConfig{Flavor: flavor})}
		p.exec(t, p.primary, grantsFor(t, p.primary, "localhost")...)
		a := p.onPrimary(t, func(c *ProbeConfig) { c.Timeout = 400 * time.Millisecond })
		a.untilEligible()
		before := a.last.ReplicationAt
		stuck, ok := a.probe.main.start(func(ctx context.Context, s *session) error {
			_, err := s.ExecContext(ctx, "DO SLEEP(3)")
			return err
		})
		if !ok {
			t.Fatal("the lane is not free")
		}
		for range 5 {
			v := a.step()
			if a.last.Failure.Class != NoFailure || v.Health != HealthAlive || v.Primary.Hung {
				t.Fatalf("failure %+v, %s", a.last.Failure, v.Health)
			}
			if a.last.ReplicationFailure.Class != TimedOut || a.last.ReplicationAt != before {
				t.Fatalf("replication failure %+v, read at %v", a.last.ReplicationFailure, a.last.ReplicationAt)
			}
		}
		if n := connections(t, p.primary); n != 2 {
			t.Errorf("%d connections", n)
		}
		if err := a.probe.main.do(t.Context(), func(context.Context, *session) error { return nil }); !errors.Is(err, errInFlight) {
			t.Errorf("a second statement on a lane: %v", err)
		}
		if err := stuck.wait(t.Context()); err != nil {
			t.Fatal(err)
		}
		if a.step(); a.last.ReplicationFailure.Class != NoFailure || a.last.ReplicationAt == before {
			t.Errorf("afterwards: %+v", a.last.ReplicationFailure)
		}
	})
}

// TestKilledConnection: a killed probe connection costs one reconnect within
// the same sample.
func TestKilledConnection(t *testing.T) {
	flavors(t, func(t *testing.T, flavor lab.Flavor) {
		p := &pair{flavor: flavor, primary: startServer(t, lab.ServerConfig{Flavor: flavor})}
		p.exec(t, p.primary, grantsFor(t, p.primary, "localhost")...)
		a := p.onPrimary(t, nil)
		a.untilEligible()
		for range 5 {
			for _, r := range rows(t, p.primary, "SELECT ID AS id FROM information_schema.PROCESSLIST WHERE USER = 'highwater'") {
				p.exec(t, p.primary, "KILL "+r["id"])
			}
			if v := a.step(); v.Health != HealthAlive || !v.Eligible {
				t.Fatalf("%s, %+v", v.Health, a.last.Failure)
			}
		}
	})
}

// TestClose: nothing outlives the probe, not even a statement in flight.
func TestClose(t *testing.T) {
	lab.Require(t, string(lab.MySQL))
	s := startServer(t, lab.ServerConfig{Flavor: lab.MySQL})
	p := &pair{flavor: lab.MySQL, primary: s}
	p.exec(t, s, grantsFor(t, s, "localhost")...)
	probe := newProbe(t, s, nil)
	if r := probe.Commit(t.Context()); r.State != CommitOK {
		t.Fatalf("%+v", r)
	}
	stuck, _ := probe.main.start(func(ctx context.Context, s *session) error {
		_, err := s.ExecContext(ctx, "DO SLEEP(600)")
		return err
	})
	probe.Close()
	ctx, cancel := context.WithTimeout(t.Context(), forever)
	defer cancel()
	if err := stuck.wait(ctx); err == nil || ctx.Err() != nil {
		t.Errorf("the statement ended with %v", err)
	}
	eventually(t, func() string {
		// The server notices a closed connection when the statement is over,
		// or at once where nothing runs.
		if n := len(rows(t, s, "SELECT 1 FROM information_schema.PROCESSLIST WHERE USER = 'highwater' AND COMMAND = 'Sleep'")); n != 0 {
			return "connections stay open"
		}
		return ""
	})
	if s := probe.Sample(t.Context(), Expectation{}); s.Failure.Class == NoFailure {
		t.Error("a closed probe samples")
	}
}
