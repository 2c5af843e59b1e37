// SPDX-License-Identifier: Apache-2.0

package promote

import (
	"errors"
	"fmt"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"highwater/mysqlcheck"
	"highwater/test/lab"
)

// lock locks the account of a node and asserts that this is in nobody's log.
func (h *labHost) lock(node string) {
	h.t.Helper()
	executed := func() string {
		c, err := h.control.connect(testContext(h.t))
		if err != nil {
			h.t.Fatal(err)
		}
		defer c.close()
		p, err := c.logEnd(testContext(h.t), 0) // Position hangs behind stalled commits (MariaDB)
		if err != nil {
			h.t.Fatal(err)
		}
		return p.Set.String()
	}
	before := executed()
	begin := time.Now()
	if err := h.control.LockReplica(testContext(h.t), replUser(node)); err != nil {
		h.t.Fatal(err)
	}
	h.t.Logf("locked in %v", time.Since(begin))
	if after := executed(); after != before {
		h.t.Errorf("locking an account made a GTID: %s, before %s", after, before)
	}
	for _, d := range h.dumps() {
		if d.User == replUser(node) {
			h.t.Errorf("a dump thread is left: %+v", d)
		}
	}
}

func (h *labHost) dumps() []Dump {
	h.t.Helper()
	dumps, err := h.control.Dumps(testContext(h.t))
	if err != nil {
		h.t.Fatal(err)
	}
	return dumps
}

// A kill alone does not cut a replica off: it is back and acknowledges. Without
// this the lock would be for nothing.
func TestKillAloneDoesNotCut(t *testing.T) {
	both(t, func(t *testing.T, flavor lab.Flavor) {
		hosts := newLossless(t, flavor, 2, "db2")
		a := hosts[0]
		dumps := a.dumps()
		if len(dumps) != 1 || !dumps[0].Acks {
			t.Fatalf("dump threads %+v", dumps)
		}
		a.do(fmt.Sprintf("KILL %d", dumps[0].ID))
		begin := time.Now()
		a.acknowledged(a.write("acknowledged by a replica that was cut"))
		t.Logf("acknowledged %v after the kill", time.Since(begin))
	})
}

// A replica whose account is locked acknowledges nothing, however often it tries,
// until it is unlocked; and it comes back by itself.
func TestLockReplica(t *testing.T) {
	both(t, func(t *testing.T, flavor lab.Flavor) {
		ctx := testContext(t)
		hosts := newLossless(t, flavor, 3, "db2", "db3")
		a, b, c := hosts[0], hosts[1], hosts[2]
		a.acknowledged(a.write("both"))
		dumps := a.dumps()
		if len(dumps) != 2 {
			t.Fatalf("dump threads %+v", dumps)
		}
		for _, d := range dumps {
			if !d.Acks || !d.AcksKnown || d.User != "repl-db2" && d.User != "repl-db3" {
				t.Errorf("%+v", d)
			}
			if want := map[string]string{"repl-db2": b.position().ServerUUID, "repl-db3": c.position().ServerUUID}[d.User]; !flavor.IsMariaDB() && d.ServerUUID != want {
				t.Errorf("%+v, want server %s", d, want)
			}
		}

		// One of two is left: commits go on, by the other.
		a.lock("db3")
		a.acknowledged(a.write("by db2 alone"))
		c.refused(2)
		// None is left.
		a.lock("db2")
		p := a.write("by nobody")
		a.stalls(p)
		// Locking does not wait behind that.
		a.lock("db2")
		b.refused(2)
		a.still(p, "with all accounts locked")
		if st := a.sourceState(); st.Clients != 0 {
			t.Errorf("%d replicas acknowledge", st.Clients)
		}
		if err := a.control.UnlockReplica(ctx, "repl-db2"); err != nil {
			t.Fatal(err)
		}
		a.acknowledged(p)
		b.caughtUp(a)
		if got := c.position(); got.ReceiverState == ReceiverRunning || got.Received.Contains(b.position().Executed) {
			t.Errorf("db3 is still locked, and %+v", got)
		}
		if err := a.control.LockReplica(ctx, "repl-db9"); !errors.Is(err, ErrNoAccount) {
			t.Errorf("no such account: %v", err)
		}
	})
}

// A frozen replica has the transaction on its way, and its dump thread is stuck
// in a write. It is cut off all the same, and acknowledges nothing when it
// wakes.
func TestLockFrozenReplica(t *testing.T) {
	both(t, func(t *testing.T, flavor lab.Flavor) {
		hosts := newLossless(t, flavor, 2, "db2")
		a, b := hosts[0], hosts[1]
		b.freeze()
		// More than the buffers of a socket hold.
		p := a.write(strings.Repeat("x", 12<<20))
		a.stalls(p)
		stuck := func() bool {
			list, err := mysqlcheck.Dumps(testContext(t), a.DB(), a.version())
			if err != nil {
				t.Fatal(err)
			}
			// MariaDB says which part of it, too.
			return len(list) == 1 && (strings.HasPrefix(list[0].State, "Sending binlog event") || list[0].State == "Writing to net")
		}
		await(t, "the dump thread writes", stuck)
		a.lock("db2")
		if err := b.Cont(); err != nil {
			t.Fatal(err)
		}
		b.refused(1)
		a.still(p, "after the replica woke")
	})
}

func (h *labHost) version() mysqlcheck.Version {
	h.t.Helper()
	v, err := mysqlcheck.ServerVersion(testContext(h.t), h.DB())
	if err != nil {
		h.t.Fatal(err)
	}
	return v
}

// What is no dump thread yet may become one: a session that has logged in and
// asked for nothing is ended, and a login under way ends with a refusal.
func TestLockEndsSessionsAndLogins(t *testing.T) {
	both(t, func(t *testing.T, flavor lab.Flavor) {
		ctx := testContext(t)
		hosts := newLossless(t, flavor, 2)
		a := hosts[0]
		db := mysqlcheck.OpenDB(mysqlcheck.ConnConfig{
			Address: a.Addr(), User: "repl-db2", Password: func() string { return password }, ReadTimeout: time.Minute,
		}, 2)
		defer db.Close()
		idle := conn(t, db)
		if err := idle.PingContext(ctx); err != nil {
			t.Fatal(err)
		}
		// It has read the server's greeting, and has not said who it is.
		login, err := net.Dial("tcp", a.Addr())
		if err != nil {
			t.Fatal(err)
		}
		defer login.Close()
		if _, err := login.Read(make([]byte, 4)); err != nil {
			t.Fatal(err)
		}
		other := conn(t, a.DB())
		if err := other.PingContext(ctx); err != nil {
			t.Fatal(err)
		}

		a.lock("db2")
		if err := idle.PingContext(ctx); err == nil {
			t.Error("a session of the locked account lives on")
		}
		if err := other.PingContext(ctx); err != nil {
			t.Errorf("another account's session was ended: %v", err)
		}
		if err := login.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
			t.Fatal(err)
		}
		for err == nil {
			_, err = login.Read(make([]byte, 512))
		}
		if timeout := net.Error(nil); errors.As(err, &timeout) && timeout.Timeout() {
			t.Error("a login that began before the lock goes on")
		}
		if err := db.PingContext(ctx); err == nil {
			t.Error("the locked account can log in")
		}
	})
}

// A term begins on a read-only server, to which replicas of an earlier one are
// still attached and acknowledge (C3). While the accounts are locked nobody but an
// administrator can write.
func TestLockAll(t *testing.T) {
	both(t, func(t *testing.T, flavor lab.Flavor) {
		ctx := testContext(t)
		hosts := newLossless(t, flavor, 3, "db2", "db3")
		a, b := hosts[0], hosts[1]
		client := a.app("app", "SELECT, INSERT")
		if err := client.PingContext(ctx); err != nil {
			t.Fatal(err)
		}
		a.demote(DemoteInput{})
		before := a.position().Executed
		a.clients(2)

		var wrote, tried atomic.Int64
		stop := make(chan struct{})
		done := make(chan struct{})
		go func() {
			defer close(done)
			for {
				select {
				case <-stop:
					return
				default:
				}
				if _, err := client.ExecContext(ctx, "INSERT INTO d.t (s) VALUES ('behind our back')"); err == nil {
					wrote.Add(1)
				}
				tried.Add(1)
			}
		}()
		await(t, "the client tries", func() bool { return tried.Load() > 10 })
		for range 20 {
			if err := a.control.LockAll(ctx, []string{"repl-db2", "repl-db3"}); err != nil {
				t.Fatal(err)
			}
		}
		close(stop)
		<-done
		if wrote.Load() != 0 {
			t.Errorf("a client wrote %d times on a server that was never opened", wrote.Load())
		}
		if !a.readOnly() {
			t.Error("the server is not read-only any more")
		}
		if after := a.position().Executed; !after.Equal(before) {
			t.Errorf("locking made GTIDs: %s, before %s", after, before)
		}
		if dumps := a.dumps(); len(dumps) != 0 {
			t.Errorf("dump threads are left: %+v", dumps)
		}
		b.refused(1)
		if err := a.control.EnableSource(ctx, 1); err != nil {
			t.Fatal(err)
		}
		a.do("SET GLOBAL read_only = OFF")
		p := a.write("in the new term")
		a.stalls(p)
		b.refused(1)
		a.still(p, "in a term with S = ∅")
	})
}

// A replica that acknowledges by an account of nobody cannot be cut off, so no
// term may begin.
func TestLockAllForeignAcker(t *testing.T) {
	both(t, func(t *testing.T, flavor lab.Flavor) {
		ctx := testContext(t)
		hosts := newLossless(t, flavor, 3, "db2", "db3")
		a := hosts[0]
		var foreign ErrForeignAcker
		if err := a.control.LockAll(ctx, []string{"repl-db2"}); !errors.As(err, &foreign) || fmt.Sprint(foreign.Users) != "[repl-db3]" {
			t.Errorf("%v", err)
		}
		if err := a.control.LockAll(ctx, []string{"repl-db2", "repl-db9"}); !errors.Is(err, ErrNoAccount) {
			t.Errorf("%v", err)
		}
		// A primary that goes on in the next term leaves those alone who may.
		a.demote(DemoteInput{})
		in := PromoteInput{Term: 2, Lossless: &Lossless{Acks: 1, Lock: []string{"repl-db2"}, Unlock: []string{"repl-db3"}}}
		if _, err := a.control.Promote(ctx, in); err != nil {
			t.Fatal(err)
		}
		a.acknowledged(a.write("by db3"))
		if a.locked("repl-db3") || !a.locked("repl-db2") {
			t.Error("the wrong account is locked")
		}
	})
}
