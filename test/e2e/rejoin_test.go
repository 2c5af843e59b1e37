// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"highwater/election"
	"highwater/test/lab"
)

// leaveTail has the primary end with a commit that waits: the receivers of all others are stopped,
// while their supervisors cannot start them again. It returns who is primary then, and what the
// client was told.
func (r *rig) leaveTail(old *lab.Host, end func()) (primary *lab.Host, told error) {
	r.t.Helper()
	others := slices.DeleteFunc(slices.Clone(r.Hosts()), func(h *lab.Host) bool { return h == old })
	r.must(old.Server.Exec(r.ctx, "CREATE DATABASE rejoin", "CREATE TABLE rejoin.t (s VARCHAR(99))"))
	r.must(r.WaitReplicas(r.ctx, old, others...))
	for _, h := range others {
		r.must(r.Supervisor(h).Stop())
	}
	for _, h := range others {
		r.must(h.Server.Exec(r.ctx, "STOP REPLICA IO_THREAD"))
	}
	answer := make(chan error, 1)
	go func() { answer <- old.Server.Exec(r.ctx, "INSERT INTO rejoin.t VALUES ('nobody has it')") }()
	// Of commits that wait together, the server says so of the first only.
	r.eventually(time.Second, func() string {
		n, err := old.Server.QueryString(r.ctx, `SELECT COUNT(*) FROM information_schema.PROCESSLIST
			WHERE STATE LIKE 'Waiting for semi-sync ACK%' OR STATE LIKE '%commit%' AND INFO LIKE 'INSERT INTO rejoin.t%'`)
		if err != nil || n == "0" {
			return fmt.Sprintf("the commit does not wait: %s, %v", n, err)
		}
		return ""
	})
	r.pause(100 * time.Millisecond) // it is in the binary log
	end()
	select {
	case told = <-answer:
	case <-r.ctx.Done():
		r.t.Fatal("the client was told nothing")
	}
	for _, h := range others { // there is nobody to connect to
		r.must(h.Server.Exec(r.ctx, "START REPLICA IO_THREAD"))
		r.must(r.Supervisor(h).Cont())
	}
	primary = r.moved(old)
	r.eventually(moveTime, func() string {
		if old.Server.Alive() {
			return "the old server runs"
		}
		return ""
	})
	return primary, told
}

// tail is the text of the one file in which a host saved errant transactions.
func (r *rig) tail(h *lab.Host) string {
	r.t.Helper()
	files, err := filepath.Glob(filepath.Join(r.StateDir(h), "errant-*.sql"))
	r.must(err)
	if len(files) != 1 {
		r.t.Fatalf("errant transactions are in %v", files)
	}
	text, err := os.ReadFile(files[0])
	r.must(err)
	return string(text)
}

// rows counts what the waiting commit wrote, on a server.
func (r *rig) rows(h *lab.Host) string {
	r.t.Helper()
	n, err := h.Server.QueryString(r.ctx, "SELECT COUNT(*) FROM rejoin.t")
	r.must(err)
	return n
}

// A primary that was killed with commits of which nobody was told comes back as a replica that
// acknowledges, and what it had alone is in a file.
func TestRejoinRebuilt(t *testing.T) {
	r := start(t, lossless())
	w := r.write()
	old := r.db(1)
	primary, told := r.leaveTail(old, old.Server.Kill)
	if told == nil {
		t.Error("the client was told that its commit succeeded")
	}
	r.must(old.Server.Start(r.ctx))
	r.eventually(time.Minute, func() string {
		s, err := r.Status(r.ctx, primary)
		if err != nil {
			return err.Error()
		}
		if h := s.Host(old.Name()); h.Held || h.Source != primary.Name() || !h.Replicating || !h.Synced {
			return fmt.Sprintf("%s does not acknowledge %s: %+v", old, primary, *h)
		}
		return ""
	})
	r.end(w, primary, 1)
	if n := r.rows(old); n != "0" || r.rows(primary) != n {
		t.Errorf("%s has %s rows that were not acknowledged, %s has %s", old, n, primary, r.rows(primary))
	}
	text := r.tail(old)
	for _, want := range []string{"nobody has it", "GTID_NEXT", "BINLOG '"} {
		if !strings.Contains(text, want) {
			t.Errorf("the tail has no %q:\n%s", want, text)
		}
	}
	_, metrics, err := r.Get(r.ctx, old, "/metrics")
	r.must(err)
	for _, want := range []string{`highwater_rejoins_total{result="rebuilt"} 1`, `highwater_rejoins_total{result="held"} 0`, "highwater_held 0"} {
		if !strings.Contains(string(metrics), want+"\n") {
			t.Errorf("the metrics have no %s", want)
		}
	}
}

// An orderly shutdown tells clients that commits succeeded which no replica has, also when the
// server is killed before it is through: such a server stays as it is, and says why.
func TestRejoinHeld(t *testing.T) {
	r := start(t, lossless())
	old := r.db(1)
	record := r.write().Stop() // before anybody is told what is not so
	primary, told := r.leaveTail(old, func() { r.must(syscall.Kill(old.Server.Pid(), syscall.SIGTERM)) })
	if told != nil {
		t.Errorf("the client was told %v, and the shutdown proves nothing", told)
	}
	r.must(old.Server.Start(r.ctx))
	held := func() string {
		s, err := r.Status(r.ctx, primary)
		if err != nil {
			return err.Error()
		}
		if h := s.Host(old.Name()); !h.Held || !strings.HasPrefix(h.HeldWhy, string(election.CodeRejoinShutDown)+": ") || h.Synced {
			return fmt.Sprintf("%s is not held because of its shutdown: %+v", old, *h)
		}
		return ""
	}
	r.eventually(moveTime, held)
	r.settled(primary)
	r.pause(6 * time.Second) // it is asked to follow once more
	if missing := held(); missing != "" {
		t.Error(missing)
	}
	if r.rows(old) != "1" || r.rows(primary) != "0" {
		t.Errorf("%s has %s rows, %s has %s", old, r.rows(old), primary, r.rows(primary))
	}
	difference, err := record.Verify(r.ctx, primary.Server)
	r.must(err)
	if !difference.OK() {
		t.Errorf("rows on %s: %v", primary, difference)
	}
	if text := r.tail(old); !strings.Contains(text, "GTID_NEXT") {
		t.Errorf("the tail is\n%s", text)
	}
}
