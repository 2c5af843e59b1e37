// SPDX-License-Identifier: Apache-2.0

package mysqlcheck

import (
	"context"
	"database/sql"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"highwater/test/lab"
)

func TestServerThread(t *testing.T) {
	for _, tt := range []struct {
		thread             ServerThread
		client, dump, acks bool
	}{
		{ServerThread{User: "app", Command: "Sleep"}, true, false, false},
		{ServerThread{User: "app", Command: "Query", State: "Waiting for semi-sync ACK from replica"}, true, false, true},
		{ServerThread{User: "app", Command: "Killed", State: "Waiting for semi-sync ACK from slave"}, true, false, true},
		{ServerThread{User: "", Command: "Connect"}, true, false, false},
		{ServerThread{User: "owner", Command: "Connect", State: "User sleep"}, true, false, false}, // an event
		{ServerThread{User: "repl", Command: "Binlog Dump GTID"}, false, true, false},
		{ServerThread{User: "repl", Command: "Binlog Dump"}, false, true, false},
		{ServerThread{User: "system user", Command: "Slave_worker", State: "Waiting for semi-sync ACK from slave"}, false, false, true},
		{ServerThread{User: "event_scheduler", Command: "Daemon"}, false, false, false},
	} {
		if tt.thread.isClient() != tt.client || tt.thread.IsDump() != tt.dump || tt.thread.WaitsForAck() != tt.acks {
			t.Errorf("%+v: client %t, dump %t, waits %t", tt.thread, tt.thread.isClient(), tt.thread.IsDump(), tt.thread.WaitsForAck())
		}
	}
}

// TestThreads: each way to look at threads finds what is there, with the
// privileges of the grants.
func TestThreads(t *testing.T) {
	flavors(t, func(t *testing.T, flavor lab.Flavor) {
		p := startPair(t, flavor)
		db := OpenDB(connTo(p.primary), 2)
		defer db.Close()
		conn, err := db.Conn(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		v, err := ServerVersion(t.Context(), conn)
		if err != nil {
			t.Fatal(err)
		}
		other, err := p.primary.DB().Conn(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		defer other.Close()
		var id uint64
		if err := other.QueryRowContext(t.Context(), "SELECT CONNECTION_ID()").Scan(&id); err != nil {
			t.Fatal(err)
		}

		sessions, err := Sessions(t.Context(), conn, v)
		if err != nil {
			t.Fatal(err)
		}
		found := false
		for _, s := range sessions {
			found = found || s.ID == id && s.User == "root"
			if s.User == "highwater" || s.IsDump() || s.User == "system user" {
				t.Errorf("a session of somebody else: %+v", s)
			}
		}
		if !found {
			t.Errorf("connection %d is not among %+v", id, sessions)
		}
		dumps, err := Dumps(t.Context(), conn, v)
		if err != nil || len(dumps) != 1 || dumps[0].User != "lab" || !strings.HasPrefix(dumps[0].Host, "127.0.0.1") {
			t.Errorf("dump threads %+v, %v", dumps, err)
		}
		s, ok, err := Session(t.Context(), conn, v, id)
		for end := time.Now().Add(2 * time.Second); err == nil && ok && s.Command != "Sleep" && time.Now().Before(end); {
			time.Sleep(time.Millisecond) // its client has the answer before its thread has done with it
			s, ok, err = Session(t.Context(), conn, v, id)
		}
		if err != nil || !ok || s.ID != id || s.Command != "Sleep" {
			t.Errorf("connection %d: %+v, %t, %v", id, s, ok, err)
		}
		if s, ok, err := Session(t.Context(), conn, v, 1<<31); err != nil || ok {
			t.Errorf("no connection: %+v, %t, %v", s, ok, err)
		}
		all, err := Threads(t.Context(), conn, v)
		if err != nil || len(all) < len(sessions)+len(dumps)+1 {
			t.Errorf("all: %+v, %v", all, err)
		}
		if waiting, err := Waiting(t.Context(), conn, v); err != nil || len(waiting) != 0 {
			t.Errorf("nothing waits: %+v, %v", waiting, err)
		}
		if stalled, err := Stalled(t.Context(), conn, v, id); err != nil || stalled {
			t.Errorf("an idle session: %t, %v", stalled, err)
		}
	})
}

// TestThreadsWithTinyPagecache: information_schema.PROCESSLIST goes through a
// temporary Aria table, which a MariaDB with the least aria_pagecache_buffer_size
// has been seen to die of. Many lookers at once do it no harm.
func TestThreadsWithTinyPagecache(t *testing.T) {
	lab.Require(t, string(lab.MariaDB))
	s := startServer(t, lab.ServerConfig{Flavor: lab.MariaDB, Extra: []string{"aria_pagecache_buffer_size=131072"}})
	v, err := ServerVersion(t.Context(), s.DB())
	if err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	fail := make(chan error, 16)
	for range 16 {
		all.Add(1)
		go func() {
			defer all.Done()
			conn, err := s.DB().Conn(t.Context())
			if err != nil {
				fail <- err
				return
			}
			defer conn.Close()
			for range 50 {
				if _, err = Sessions(t.Context(), conn, v); err == nil {
					_, err = Dumps(t.Context(), conn, v)
				}
				if err == nil {
					_, _, err = commitThread(t.Context(), conn, v, 1)
				}
				if err != nil {
					fail <- err
					return
				}
			}
		}()
	}
	all.Wait()
	select {
	case err := <-fail:
		t.Fatal(err)
	default:
	}
	if !s.Alive() {
		t.Fatal("the server died of it")
	}
	for _, statements := range []map[Statement][]variant{probeStatements, controlStatements} {
		for name := range statements {
			if text, ok := v.SQL(name); ok && strings.Contains(strings.ToUpper(text), "INFORMATION_SCHEMA.PROCESSLIST") {
				t.Errorf("%s asks information_schema.PROCESSLIST", name)
			}
		}
	}
}

// TestCommitBehindAcknowledgement: the heartbeat commit that waits behind
// another one's acknowledgement is blocked by that, and never hung, though its
// own thread does not say so (H3: that would kill a primary that only stalls).
func TestCommitBehindAcknowledgement(t *testing.T) {
	flavors(t, func(t *testing.T, flavor lab.Flavor) {
		p := &pair{flavor: flavor, primary: startServer(t, lab.ServerConfig{Flavor: flavor})}
		p.exec(t, p.primary, grantsFor(t, p.primary, "localhost")...)
		p.exec(t, p.primary, "CREATE DATABASE app", "CREATE TABLE app.t (id INT PRIMARY KEY AUTO_INCREMENT)")
		a := p.onPrimary(t, func(c *ProbeConfig) { c.Timeout, c.CommitTimeout = 300*time.Millisecond, time.Second })
		commitUntil(t, a.probe, "ok", isOK)
		a.untilEligible()
		enable := p.sql("SET GLOBAL rpl_semi_sync_source_enabled = %s", "SET GLOBAL rpl_semi_sync_master_enabled = %s")
		p.exec(t, p.primary, fmt.Sprintf(enable, "ON"))
		v, err := ServerVersion(t.Context(), p.primary.DB())
		if err != nil {
			t.Fatal(err)
		}
		// Three clients, one after the other: on MariaDB the third is not even in
		// the binary log.
		var clients sync.WaitGroup
		for i := range 3 {
			conn, err := p.primary.DB().Conn(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			var id uint64
			if err := conn.QueryRowContext(t.Context(), "SELECT CONNECTION_ID()").Scan(&id); err != nil {
				t.Fatal(err)
			}
			clients.Add(1)
			go func(conn *sql.Conn) {
				defer clients.Done()
				defer conn.Close()
				if _, err := conn.ExecContext(t.Context(), "INSERT INTO app.t () VALUES ()"); err != nil {
					t.Error(err)
				}
			}(conn)
			eventually(t, func() string {
				stalled, err := Stalled(t.Context(), p.primary.DB(), v, id)
				if err != nil {
					t.Fatal(err)
				}
				if !stalled {
					return fmt.Sprintf("client %d is not stalled", i)
				}
				return ""
			})
		}
		commitUntil(t, a.probe, "behind the acknowledgement", blockedBy(WarnCommitWaitsForAck))
		for began := time.Now(); time.Since(began) < 2500*time.Millisecond; {
			if r := a.probe.Commit(t.Context()); r.State != CommitBlocked || r.Reason != WarnCommitWaitsForAck {
				t.Fatalf("a commit behind an acknowledgement: %+v", r)
			}
			if v := a.step(); v.Primary.Hung || !v.Eligible {
				t.Fatalf("verdict %+v", v)
			}
		}
		p.exec(t, p.primary, fmt.Sprintf(enable, "OFF"))
		clients.Wait()
		commitUntil(t, a.probe, "ok", isOK)
	})
}

// TestCommitExcuseHolds: one look that fails does not turn a commit that waits
// for its acknowledgement into a hung one; no look for the commit timeout does.
func TestCommitExcuseHolds(t *testing.T) {
	var now time.Duration
	c := &committer{cfg: ProbeConfig{CommitTimeout: 5 * time.Second, Now: func() time.Duration { return now }}}
	ack := threadState{found: true, state: "Waiting for semi-sync ACK from replica", progress: "1"}
	behind := threadState{found: true, state: "waiting for handler commit", behindAck: true, progress: "1"}
	working := threadState{found: true, state: "waiting for handler commit", progress: "1"}
	for _, tt := range []struct {
		at     time.Duration
		thread threadState
		err    error
		want   CommitState
	}{
		{time.Second, ack, nil, CommitBlocked},
		{10 * time.Second, behind, nil, CommitBlocked},
		{14 * time.Second, threadState{}, context.DeadlineExceeded, CommitBlocked},
		{15 * time.Second, threadState{}, context.DeadlineExceeded, CommitHung},
		{16 * time.Second, ack, nil, CommitBlocked},
		{17 * time.Second, threadState{}, context.DeadlineExceeded, CommitBlocked},
		// It got its acknowledgement, and has done nothing since.
		{18 * time.Second, working, nil, CommitHung},
		{19 * time.Second, threadState{}, context.DeadlineExceeded, CommitHung},
	} {
		now = tt.at
		r := c.waiting(tt.thread, tt.err)
		if r.State != tt.want || r.State == CommitBlocked && r.Reason != WarnCommitWaitsForAck {
			t.Errorf("at %v: %+v, want %s", tt.at, r, tt.want)
		}
	}
}
