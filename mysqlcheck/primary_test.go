// SPDX-License-Identifier: Apache-2.0

package mysqlcheck

import (
	"context"
	"database/sql"
	"fmt"
	"net"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"highwater/test/lab"
)

// commitUntil runs Commit until its result satisfies.
func commitUntil(t *testing.T, p *Probe, what string, satisfies func(CommitResult) bool) CommitResult {
	t.Helper()
	var r CommitResult
	eventually(t, func() string {
		if r = p.Commit(t.Context()); satisfies(r) {
			return ""
		}
		return fmt.Sprintf("want a commit that is %s, have %+v", what, r)
	})
	return r
}

func isOK(r CommitResult) bool { return r.State == CommitOK }

func blockedBy(reason Reason) func(CommitResult) bool {
	return func(r CommitResult) bool { return r.State == CommitBlocked && r.Reason == reason }
}

// connections counts those of our account.
func connections(t *testing.T, s *lab.Server) int {
	t.Helper()
	return len(rows(t, s, "SELECT ID FROM information_schema.PROCESSLIST WHERE USER = 'highwater'"))
}

// TestCommit blocks the commits of a real primary in every way that is not its
// own fault.
func TestCommit(t *testing.T) {
	flavors(t, func(t *testing.T, flavor lab.Flavor) {
		p := &pair{flavor: flavor, primary: startServer(t, lab.ServerConfig{Flavor: flavor})}
		p.exec(t, p.primary, grantsFor(t, p.primary, "localhost")...)
		impatient := func(c *ProbeConfig) { c.Timeout, c.CommitTimeout = 300*time.Millisecond, time.Second }

		t.Run("ok", func(t *testing.T) {
			a := p.onPrimary(t, nil)
			r := a.probe.Commit(t.Context())
			if r.State != CommitOK || r.Took <= 0 {
				t.Fatalf("first commit, which makes the table: %+v", r)
			}
			before := executed(t, p.primary).Count()
			if r := a.probe.Commit(t.Context()); r.State != CommitOK {
				t.Fatalf("second commit: %+v", r)
			}
			if n := executed(t, p.primary).Count() - before; n != 1 {
				t.Errorf("a heartbeat is %d transactions", n)
			}
			beats := rows(t, p.primary, "SELECT node, beat FROM highwater.heartbeat")
			if len(beats) != 1 || beats[0]["node"] != "db1" || beats[0]["beat"] != "2" {
				t.Errorf("heartbeat table %v", beats)
			}
			a.untilEligible()
			if v := a.v; !v.Primary.CommitOK || v.Primary.Hung || !v.Writable || len(v.Warnings) != 0 {
				t.Errorf("primary %+v, warnings %v", v.Primary, v.Warnings)
			}
		})

		// Each holder blocks the commit from a session of its own until it is
		// released.
		for _, c := range []struct {
			name, hold, release string
			want                Reason
		}{
			{"global read lock", "FLUSH TABLES WITH READ LOCK", "UNLOCK TABLES", WarnCommitWaitsForGlobalLock},
			{"table lock", "LOCK TABLES highwater.heartbeat READ", "UNLOCK TABLES", WarnCommitWaitsForLock},
			{"row lock", "BEGIN; SELECT * FROM highwater.heartbeat FOR UPDATE", "ROLLBACK", WarnCommitWaitsForLock},
		} {
			t.Run(c.name, func(t *testing.T) {
				a := p.onPrimary(t, impatient)
				commitUntil(t, a.probe, "ok", isOK)
				a.untilEligible()
				holder, err := p.primary.DB().Conn(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				defer holder.Close()
				for _, s := range strings.Split(c.hold, "; ") {
					if _, err := holder.ExecContext(t.Context(), s); err != nil {
						t.Fatal(err)
					}
				}
				commitUntil(t, a.probe, string(c.want), blockedBy(c.want))
				// For longer than the commit timeout it never counts as hung,
				// and never becomes two.
				for began := time.Now(); time.Since(began) < 1500*time.Millisecond; {
					if r := a.probe.Commit(t.Context()); r.State == CommitHung {
						t.Fatalf("a blocked commit is called hung: %+v", r)
					}
					v := a.step()
					if v.Primary.Hung || !v.Eligible {
						t.Fatalf("verdict %+v", v)
					}
				}
				if n := connections(t, p.primary); n > 3 {
					t.Errorf("%d connections", n)
				}
				if _, err := holder.ExecContext(t.Context(), c.release); err != nil {
					t.Fatal(err)
				}
				commitUntil(t, a.probe, "ok", isOK)
				if v := a.step(); v.Primary.Blocked != "" || !v.Primary.CommitOK {
					t.Errorf("after the release: %+v, commit %+v", v.Primary, a.last.Commit)
				}
			})
		}

		t.Run("semi-sync acknowledgement", func(t *testing.T) {
			a := p.onPrimary(t, impatient)
			commitUntil(t, a.probe, "ok", isOK)
			a.untilEligible()
			enable := p.sql("SET GLOBAL rpl_semi_sync_source_enabled = %s", "SET GLOBAL rpl_semi_sync_master_enabled = %s")
			p.exec(t, p.primary, fmt.Sprintf(enable, "ON"))
			commitUntil(t, a.probe, "waiting for the acknowledgement", blockedBy(WarnCommitWaitsForAck))
			for began := time.Now(); time.Since(began) < 1500*time.Millisecond; {
				if r := a.probe.Commit(t.Context()); r.State != CommitBlocked {
					t.Fatalf("a commit without an acknowledgement: %+v", r)
				}
				if v := a.step(); v.Primary.Hung || v.Primary.Blocked != WarnCommitWaitsForAck || !v.Eligible {
					t.Fatalf("verdict %+v", v)
				}
			}
			p.exec(t, p.primary, fmt.Sprintf(enable, "OFF"))
			commitUntil(t, a.probe, "ok", isOK)
		})

		t.Run("large commit", func(t *testing.T) {
			a := p.onPrimary(t, impatient)
			commitUntil(t, a.probe, "ok", isOK)
			a.untilEligible()
			p.exec(t, p.primary, "CREATE DATABASE IF NOT EXISTS app", "CREATE TABLE app.large (id INT PRIMARY KEY AUTO_INCREMENT, v LONGBLOB)")
			var wait sync.WaitGroup
			wait.Go(func() {
				statements := []string{"BEGIN"}
				for range 6 {
					statements = append(statements, "INSERT INTO app.large (v) VALUES (REPEAT('x', 15000000))")
				}
				p.exec(t, p.primary, append(statements, "COMMIT")...)
			})
			done := make(chan struct{})
			go func() { wait.Wait(); close(done) }()
			var slowest CommitResult
			for over := false; !over; {
				select {
				case <-done:
					over = true
				default:
				}
				if r := a.probe.Commit(t.Context()); r.State == CommitHung || r.State == CommitFailed {
					t.Fatalf("a commit beside a large one: %+v", r)
				} else if r.Took > slowest.Took {
					slowest = r
				}
				if v := a.step(); v.Primary.Hung || !v.Eligible {
					t.Fatalf("verdict %+v", v)
				}
			}
			t.Logf("slowest heartbeat beside a commit of 90 MB: %+v", slowest)
			commitUntil(t, a.probe, "ok", isOK)
		})

		t.Run("read_only", func(t *testing.T) {
			a := p.onPrimary(t, nil)
			commitUntil(t, a.probe, "ok", isOK)
			before := executed(t, p.primary)
			p.exec(t, p.primary, "SET GLOBAL read_only = ON")
			r := a.probe.Commit(t.Context())
			if r.State != CommitFailed || r.Reason != ReasonPrimaryReadOnly {
				t.Errorf("commit on a read-only server: %+v", r)
			}
			if after := executed(t, p.primary); !after.Equal(before) {
				t.Errorf("our own heartbeat wrote past read_only: %s", after.Subtract(before))
			}
			v := a.untilReason(ReasonPrimaryReadOnly)
			if v.Writable || v.Eligible || v.Primary.Hung {
				t.Errorf("verdict %+v", v)
			}
			p.exec(t, p.primary, "SET GLOBAL read_only = OFF")
			a.untilEligible()
		})

		t.Run("settings", func(t *testing.T) {
			a := p.onPrimary(t, nil)
			a.step()
			set := a.last.Settings
			if !set.GTIDMode || !set.LogBin || !set.LogReplicaUpdates || set.BinlogFormat != "ROW" || set.SyncBinlog != 1 ||
				set.FlushLogAtTrxCommit != 1 || !set.SemiSync.Available || set.SemiSync.WaitPoint != "AFTER_SYNC" ||
				set.DataDir != filepath.Join(p.primary.Config().Dir, "data")+"/" || set.NetTimeout != 4*time.Second ||
				set.BootReadOnly != BootUnknown { // read_only was set at run time above
				t.Errorf("settings %+v", set)
			}
		})

		t.Run("grants suffice", func(t *testing.T) {
			db := OpenDB(connTo(p.primary), 1)
			defer db.Close()
			missing, err := CheckGrants(t.Context(), db, "", false)
			if err != nil || len(missing) != 0 {
				t.Errorf("missing %q, %v", missing, err)
			}
			v, err := ServerVersion(t.Context(), db)
			if err != nil {
				t.Fatal(err)
			}
			for name := range probeStatements {
				text, ok := v.SQL(name)
				if !ok || strings.ContainsAny(text, "?{") {
					continue // run by the tests above
				}
				rows, err := db.QueryContext(t.Context(), text)
				if err != nil {
					t.Errorf("%s: %v", name, err)
					continue
				}
				rows.Close()
			}
			p.exec(t, p.primary, "CREATE USER poor@localhost IDENTIFIED BY 'p'", "GRANT PROCESS ON *.* TO poor@localhost")
			c := connTo(p.primary)
			c.User, c.Password = "poor", func() string { return "p" }
			poor := OpenDB(c, 1)
			defer poor.Close()
			missing, err = CheckGrants(t.Context(), poor, "", false)
			if err != nil || len(missing) < 10 || strings.Contains(strings.Join(missing, ";"), "PROCESS") {
				t.Errorf("an account with PROCESS alone lacks %q, %v", missing, err)
			}
			probe := NewProbe(ProbeConfig{Conn: c})
			defer probe.Close()
			if r := probe.Commit(t.Context()); r.State != CommitFailed || r.Reason != ReasonPrivilegeMissing {
				t.Errorf("commit without privileges: %+v", r)
			}
		})
	})
}

// TestAlive has a real server refuse us in the ways that are not death.
func TestAlive(t *testing.T) {
	flavors(t, func(t *testing.T, flavor lab.Flavor) {
		p := &pair{flavor: flavor, primary: startServer(t, lab.ServerConfig{Flavor: flavor, Extra: []string{"max_connections=10"}})}
		p.exec(t, p.primary, grantsFor(t, p.primary, "localhost")...)

		t.Run("wrong password", func(t *testing.T) {
			a := p.onPrimary(t, func(c *ProbeConfig) { c.Conn.Password = func() string { return "wrong" } })
			v := a.step()
			if v.Health != HealthAlive || words(v.Reasons) != string(ReasonAccessDenied) || v.Primary.Hung {
				t.Errorf("%s, reasons %v, %+v", v.Health, v.Reasons, a.last.Failure)
			}
			if strings.Contains(a.last.Failure.Text, "wrong") {
				t.Errorf("the password is in the error: %q", a.last.Failure.Text)
			}
		})

		t.Run("too many connections", func(t *testing.T) {
			p.exec(t, p.primary, "CREATE USER IF NOT EXISTS filler@localhost IDENTIFIED BY 'f'")
			held := p.onPrimary(t, nil)
			held.untilEligible()
			c := connTo(p.primary)
			c.User, c.Password = "filler", func() string { return "f" }
			filler := OpenDB(c, 0)
			defer filler.Close()
			// The last slot is for administrators, as we are one: take that too.
			admin := OpenDB(connTo(p.primary), 0)
			defer admin.Close()
			fill := func(db *sql.DB) {
				for {
					conn, err := db.Conn(t.Context())
					if err != nil {
						if f := Classify(err); f.Number != 1040 {
							t.Fatal(err)
						}
						return
					}
					t.Cleanup(func() { conn.Close() })
				}
			}
			// A connection that was refused holds its slot a moment longer.
			eventually(t, func() string {
				fill(filler)
				fill(admin)
				fresh := p.onPrimary(t, nil)
				if v := fresh.step(); v.Health != HealthAlive || words(v.Reasons) != string(ReasonTooManyConnections) || v.Primary.Hung {
					return fmt.Sprintf("%s, reasons %v", v.Health, v.Reasons)
				}
				return ""
			})
			if v := held.step(); !v.Eligible || len(v.Reasons) != 0 {
				t.Errorf("the connection that was held: %s, reasons %v, failure %+v", v.Health, v.Reasons, held.last.Failure)
			}
		})
	})
}

// TestFrozen stops a real server: it accepts connections and never speaks.
func TestFrozen(t *testing.T) {
	flavors(t, func(t *testing.T, flavor lab.Flavor) {
		p := &pair{flavor: flavor, primary: startServer(t, lab.ServerConfig{Flavor: flavor})}
		p.exec(t, p.primary, grantsFor(t, p.primary, "localhost")...)
		const timeout = 300 * time.Millisecond
		a := p.onPrimary(t, func(c *ProbeConfig) { c.Timeout, c.CommitTimeout = timeout, time.Second })
		a.policy.Fall = 3
		commitUntil(t, a.probe, "ok", isOK)
		a.untilEligible()
		if err := p.primary.Stop(); err != nil {
			t.Fatal(err)
		}
		defer p.primary.Cont()
		// Its threads stop one after the other.
		a.until("silence", func(Verdict) bool { return a.last.Failure.Class == TimedOut })
		for i := 2; i <= 5; i++ {
			began := time.Now()
			v := a.step()
			if took := time.Since(began); took > timeout+time.Second {
				t.Errorf("sample took %v", took)
			}
			if v.Health != HealthUnknown || v.Primary.Hung != (i >= 3) {
				t.Errorf("sample %d: %s, hung %t, reasons %v, failure %+v", i, v.Health, v.Primary.Hung, v.Reasons, a.last.Failure)
			}
			began = time.Now()
			r := a.probe.Commit(t.Context())
			if took := time.Since(began); took > timeout+time.Second || r.State == CommitOK {
				t.Errorf("commit took %v: %+v", took, r)
			}
		}
		commitUntil(t, a.probe, "hung", func(r CommitResult) bool { return r.State == CommitHung })
		if err := p.primary.Cont(); err != nil {
			t.Fatal(err)
		}
		commitUntil(t, a.probe, "ok", isOK)
		v := a.untilEligible()
		if v.Primary.Hung {
			t.Errorf("after the thaw: %+v", v.Primary)
		}
		if n := connections(t, p.primary); n > 3 {
			t.Errorf("%d connections were made to a frozen server", n)
		}
	})
}

// TestSilentListener: a listener that accepts and never speaks hangs nothing.
func TestSilentListener(t *testing.T) {
	for _, network := range []string{"unix", "tcp"} {
		t.Run(network, func(t *testing.T) {
			address := "127.0.0.1:0"
			if network == "unix" {
				address = filepath.Join(t.TempDir(), "s")
			}
			l, err := net.Listen(network, address)
			if err != nil {
				t.Fatal(err)
			}
			defer l.Close()
			accepted := make(chan net.Conn, 100)
			go func() {
				for {
					conn, err := l.Accept()
					if err != nil {
						close(accepted)
						return
					}
					accepted <- conn
				}
			}()
			p := NewProbe(ProbeConfig{Conn: ConnConfig{Address: l.Addr().String()}, Timeout: 50 * time.Millisecond})
			v := Verdict{}
			for range 10 {
				began := time.Now()
				s := p.Sample(t.Context(), Expectation{Role: RolePrimary})
				if s.Failure.Class != TimedOut || time.Since(began) > 5*time.Second {
					t.Fatalf("sample after %v: %+v", time.Since(began), s.Failure)
				}
				v = Assess(s, v, Policy{})
				if r := p.Commit(t.Context()); r.State == CommitOK {
					t.Fatalf("commit: %+v", r)
				}
			}
			if v.Health != HealthUnknown || !v.Primary.Hung || words(v.Reasons) != string(ReasonServerHung) {
				t.Errorf("%s, %+v, reasons %v", v.Health, v.Primary, v.Reasons)
			}
			p.Close()
			l.Close()
			n := 0
			for conn := range accepted {
				conn.Close()
				n++
			}
			if n > 3 {
				t.Errorf("%d connections", n)
			}
			ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
			defer cancel()
			db := OpenDB(ConnConfig{Address: l.Addr().String(), ReadTimeout: 50 * time.Millisecond}, 1)
			defer db.Close()
			if err := db.PingContext(ctx); Classify(err).Class != Refused {
				t.Errorf("after the listener is gone: %v", err)
			}
		})
	}
}

// A write that was under way when the server died is not looked for on the one that was started
// since, whose connections count from the same number.
func TestCommitOfAnotherProcess(t *testing.T) {
	flavors(t, func(t *testing.T, flavor lab.Flavor) {
		p := &pair{flavor: flavor, primary: startServer(t, lab.ServerConfig{Flavor: flavor})}
		p.exec(t, p.primary, grantsFor(t, p.primary, "localhost")...)
		probe := newProbe(t, p.primary, func(c *ProbeConfig) { c.CommitTimeout = time.Second })
		commitUntil(t, probe, "ok", isOK)
		locking, err := p.primary.DB().Conn(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		defer locking.Close()
		if _, err := locking.ExecContext(t.Context(), "FLUSH TABLES WITH READ LOCK"); err != nil {
			t.Fatal(err)
		}
		commitUntil(t, probe, "blocked", blockedBy(WarnCommitWaitsForGlobalLock))
		time.Sleep(time.Second) // the start is known to the second
		p.primary.Kill()
		commitUntil(t, probe, "failed", func(r CommitResult) bool { return r.State == CommitFailed })
		if probe.writer.abandoned == 0 {
			t.Fatal("no write was given up")
		}
		if err := p.primary.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
		for id := uint64(0); id < probe.writer.abandoned; { // until somebody has the number of the old write
			conn, err := p.primary.DB().Conn(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			if err := conn.QueryRowContext(t.Context(), "SELECT CONNECTION_ID()").Scan(&id); err != nil {
				t.Fatal(err)
			}
		}
		probe.ForgetCommit()
		if r := probe.writer.lastResult(); r.State != CommitUnknown {
			t.Errorf("the last result is forgotten: %+v", r)
		}
		for range 3 { // the first may find a connection that the old server closed
			r := probe.Commit(t.Context())
			if r.State == CommitOK {
				return
			}
			t.Logf("%v (%s) %+v", r.State, r.Reason, r.Failure)
		}
		t.Error("the new server is taken for one whose commit waits")
	})
}
