// SPDX-License-Identifier: Apache-2.0

package mysqlcheck

import (
	"context"
	"errors"
	"net"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"highwater/test/lab"
)

// next returns the watcher's next event.
func next(t *testing.T, w *Watcher) ProcessEvent {
	t.Helper()
	select {
	case e := <-w.Events():
		return e
	case <-time.After(forever):
		t.Fatalf("no event; the process is %+v", w.Process())
		return ProcessEvent{}
	}
}

// TestWatchServer kills real servers, over each kind of address.
func TestWatchServer(t *testing.T) {
	flavors(t, func(t *testing.T, flavor lab.Flavor) {
		p := &pair{flavor: flavor, primary: startServer(t, lab.ServerConfig{Flavor: flavor})}
		p.exec(t, p.primary, grantsFor(t, p.primary, "localhost")...)
		p.exec(t, p.primary, grantsFor(t, p.primary, "127.0.0.1")...)
		for _, address := range []string{p.primary.Socket(), p.primary.Addr()} {
			c := connTo(p.primary)
			c.Address = address
			t.Run(c.network(), func(t *testing.T) {
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				w := WatchServer(ctx, c, nil)
				e := next(t, w)
				if e.Kind != ServerStarted || !w.Process().Alive {
					t.Fatalf("first event %+v, process %+v", e, w.Process())
				}
				pid, err := w.Pid()
				if c.network() == "unix" {
					if err != nil || pid != p.primary.Pid() || e.Pid != pid {
						t.Errorf("pid %d, %v, event %+v; the server is %d", pid, err, e, p.primary.Pid())
					}
				} else if !errors.Is(err, ErrNoPid) {
					t.Errorf("pid over TCP: %d, %v", pid, err)
				}

				// Frozen is not dead.
				if err := p.primary.Stop(); err != nil {
					t.Fatal(err)
				}
				select {
				case e := <-w.Events():
					t.Errorf("event of a frozen server: %+v", e)
				case <-time.After(200 * time.Millisecond):
				}
				if err := unix.Kill(p.primary.Pid(), unix.SIGCONT); err != nil {
					t.Fatal(err)
				}

				killed := Boottime()
				if err := unix.Kill(p.primary.Pid(), unix.SIGKILL); err != nil {
					t.Fatal(err)
				}
				e = next(t, w)
				if e.Kind != ServerExited || w.Process().Alive {
					t.Errorf("event %+v, process %+v", e, w.Process())
				}
				t.Logf("SIGKILL seen after %v (%s)", e.At-killed, e.Cause)

				probe := newProbe(t, p.primary, func(pc *ProbeConfig) { pc.Conn, pc.Process = c, w.Process })
				v := Assess(probe.Sample(t.Context(), Expectation{Role: RolePrimary}), Verdict{}, Policy{})
				if v.Health != HealthDead || words(v.Reasons) != string(ReasonServerDead) || v.Primary.Hung {
					t.Errorf("verdict on a dead server: %s, %v, %+v", v.Health, v.Reasons, v.Primary)
				}

				<-p.primary.Done()
				if err := p.primary.Start(t.Context()); err != nil {
					t.Fatal(err)
				}
				if e = next(t, w); e.Kind != ServerStarted {
					t.Errorf("event %+v", e)
				}
				s := probe.Sample(t.Context(), Expectation{Role: RolePrimary})
				if v = Assess(s, v, Policy{}); v.Health != HealthAlive || words(v.Reasons) != string(ReasonSettling) {
					t.Errorf("verdict after the restart: %s, %v, %+v", v.Health, v.Reasons, s.Failure)
				}
				cancel()
				if e, ok := <-w.Events(); ok {
					t.Errorf("event after the end: %+v", e)
				}
			})
		}
	})
}

// TestServerPid: only a database server's pid is taken for one.
func TestServerPid(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "s")
	if _, err := ServerPid(t.Context(), ConnConfig{Address: socket}); Classify(err).Class != Refused {
		t.Errorf("no socket: %v", err)
	}
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if pid, err := ServerPid(t.Context(), ConnConfig{Address: socket}); !errors.Is(err, ErrNoPid) {
		t.Errorf("somebody else's socket: pid %d, %v", pid, err)
	}
	if pid, err := ServerPid(t.Context(), ConnConfig{Address: "127.0.0.1:1"}); !errors.Is(err, ErrNoPid) {
		t.Errorf("TCP: pid %d, %v", pid, err)
	}
}

// TestRestartIsSeen: a restart between two samples changes StartID, and the
// memory of the old process is void.
func TestRestartIsSeen(t *testing.T) {
	flavors(t, func(t *testing.T, flavor lab.Flavor) {
		p := &pair{flavor: flavor, primary: startServer(t, lab.ServerConfig{Flavor: flavor})}
		p.exec(t, p.primary, grantsFor(t, p.primary, "localhost")...)
		a := p.onPrimary(t, nil)
		a.untilEligible()
		before := a.last.StartID
		if again := a.probe.Sample(t.Context(), a.want).StartID; again != before {
			t.Errorf("StartID changed from %q to %q without a restart", before, again)
		}
		other := newProbe(t, p.primary, nil)
		if again := other.Sample(t.Context(), a.want).StartID; again != before {
			t.Errorf("another connection sees StartID %q, not %q", again, before)
		}
		// The start is known to the second.
		time.Sleep(time.Second)
		p.primary.Kill()
		if err := p.primary.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
		v := a.step()
		if a.last.StartID == before || len(v.Memory.Starts) != 1 || v.Eligible {
			t.Errorf("StartID %q, then %q; restarts %v, eligible %t", before, a.last.StartID, v.Memory.Starts, v.Eligible)
		}
		a.untilEligible()
	})
}
