// SPDX-License-Identifier: Apache-2.0

package promote

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"highwater/mysqlcheck/gtid"
	"highwater/test/lab"
)

func TestParseOwned(t *testing.T) {
	const a, b = "7413bc46-e5bf-11f1-8e42-02fc00000001", "7413bc46-e5bf-11f1-8e42-02fc00000002"
	for _, tt := range []struct {
		text     string
		id       uint64
		all, own string
	}{
		{"", 9, "", ""},
		{a + ":17#16:16#15:15#14:14#9", 9, a + ":14-17", a + ":14"},
		{a + ":17#16:16#15", 1, a + ":16-17", ""},
		{a + ":17#16:16#15", 6, a + ":16-17", ""},
		{a + ":5#7#8", 8, a + ":5", a + ":5"},
		{a + ":5#7,\n" + b + ":6#8:9#7", 7, a + ":5," + b + ":6:9", a + ":5," + b + ":9"},
		{a + ":tag:5#7:6#8", 8, a + ":tag:5-6", a + ":tag:6"},
	} {
		all, own, err := parseOwned(tt.text, tt.id)
		if err != nil {
			t.Errorf("%q: %v", tt.text, err)
			continue
		}
		for what, sets := range map[string][2]string{"all": {all.String(), tt.all}, "own": {own.String(), tt.own}} {
			want, err := gtid.Parse(sets[1])
			if err != nil {
				t.Fatal(err)
			}
			if sets[0] != want.String() {
				t.Errorf("%q: %s is %s, want %s", tt.text, what, sets[0], want)
			}
		}
	}
	for _, damage := range []string{"7413bc46:1#2", "7413bc46-e5bf-11f1-8e42-02fc00000001:tag#2:1#2"} {
		if _, _, err := parseOwned(damage, 2); err == nil {
			t.Errorf("%q is read", damage)
		}
	}
}

func FuzzParseOwned(f *testing.F) {
	f.Add("7413bc46-e5bf-11f1-8e42-02fc00000001:17#16:16#15,\n7413bc46-e5bf-11f1-8e42-02fc00000002:tag:1#15", uint64(15))
	f.Add("0-1-5#3", uint64(3))
	f.Fuzz(func(t *testing.T, text string, id uint64) {
		all, own, err := parseOwned(text, id)
		if err == nil && !all.Contains(own) {
			t.Errorf("%q: %s owns %s", text, all, own)
		}
	})
}

// holds asserts whether h has received the point.
func (h *labHost) holds(p Point, want bool) Holding {
	h.t.Helper()
	held, err := h.control.Received(testContext(h.t), p.Set)
	if err != nil {
		h.t.Fatal(err)
	}
	if held.Received != want || held.Received != held.Missing.IsEmpty() && !held.Young {
		h.t.Errorf("%s: %+v, want received %t of %s", h.name, held, want, p.Set)
	}
	return held
}

func (h *labHost) receives(p Point) Holding {
	h.t.Helper()
	var held Holding
	await(h.t, h.name+" receives "+p.Set.String(), func() bool {
		var err error
		if held, err = h.control.Received(testContext(h.t), p.Set); err != nil {
			h.t.Fatal(err)
		}
		return held.Received
	})
	return held
}

func (h *labHost) pass(b *Barrier) Point {
	h.t.Helper()
	begin := time.Now()
	p, err := b.Pass(testContext(h.t))
	if err != nil {
		h.t.Fatal(err)
	}
	h.t.Logf("passed in %v: %s, fresh %t", time.Since(begin), p.Set, p.Fresh)
	return p
}

const heartbeatTable = "highwater.heartbeat"

// A barrier is passed while everything is well, and while nothing is: its own
// commit waits, and with it the table's making.
func TestBarrier(t *testing.T) {
	both(t, func(t *testing.T, flavor lab.Flavor) {
		hosts := newLossless(t, flavor, 2, "db2")
		a, b := hosts[0], hosts[1]
		barrier := NewBarrier(a.control, heartbeatTable)
		p := a.pass(barrier)
		if !p.Fresh {
			t.Errorf("%+v is not fresh", p)
		}
		// Commits that wait from now on find the table made.
		if n, err := a.QueryString(testContext(t), "SELECT COUNT(*) FROM information_schema.TABLES WHERE TABLE_SCHEMA='highwater'"); err != nil || n != "1" {
			t.Errorf("%s tables after the first barrier, %v", n, err)
		}
		<-barrier.last.done
		first := b.receives(p)
		again := a.pass(barrier)
		if !again.Fresh || p.Set.Contains(again.Set) || !again.Set.Contains(p.Set) {
			t.Errorf("%+v does not follow %+v", again, p)
		}
		if held := b.receives(again); held.StartID != first.StartID || held.ReceiverState != ReceiverRunning {
			t.Errorf("%+v, before %+v", held, first)
		}
		// Cut off: nobody acknowledges and nobody receives.
		a.lock("db2")
		begin := time.Now()
		cut := a.pass(barrier)
		if took := time.Since(begin); took > 5*time.Second {
			t.Errorf("took %v while its commit waits", took)
		}
		if !cut.Fresh || !flavor.IsMariaDB() && (cut.Heartbeat.Count() != 1 || !cut.Set.Contains(cut.Heartbeat)) {
			t.Errorf("%+v", cut)
		}
		b.holds(cut, false)
		if err := a.control.UnlockReplica(testContext(t), "repl-db2"); err != nil {
			t.Fatal(err)
		}
		b.receives(cut)
		a.acknowledged(a.write("after it"))
	})
}

// C2: what waits for its acknowledgement is behind the barrier too. Had the
// caller gone by gtid_executed, a replica that lacks it would pass.
func TestBarrierCoversWaitingCommits(t *testing.T) {
	both(t, func(t *testing.T, flavor lab.Flavor) {
		hosts := newLossless(t, flavor, 3, "db2")
		a, b, c := hosts[0], hosts[1], hosts[2]
		// db3 has all but T1, which only db2 will have received.
		a.acknowledged(a.write("before"))
		c.caughtUp(a)
		a.lock("db3")
		if err := b.control.StopAcknowledging(testContext(t)); err != nil {
			t.Fatal(err)
		}
		executed := a.position().Executed
		t1 := a.write("T1")
		a.stalls(t1)
		if !flavor.IsMariaDB() && !a.position().Executed.Equal(executed) {
			t.Errorf("gtid_executed shows the waiting commit: %s", a.position().Executed)
		}
		p := a.pass(NewBarrier(a.control, heartbeatTable))
		if p.Set.Subtract(executed).Count() < 1 {
			t.Errorf("the point %s does not cover the waiting commit, after %s", p.Set, executed)
		}
		c.receives(Point{Set: executed}) // it is not too young any more
		c.holds(p, false)
		if err := a.control.UnlockReplica(testContext(t), "repl-db3"); err != nil {
			t.Fatal(err)
		}
		c.receives(p)
		await(t, "T1 is applied", func() bool { return c.get("SELECT COUNT(*) FROM d.t WHERE s = 'T1'") == "1" })
	})
}

// Behind several commits that wait MariaDB writes no more into its log, and SHOW
// BINARY LOGS hangs; the commit probe holds the lock of its row. A barrier is
// passed all the same, any number of times, and leaves a bounded number of
// commits behind.
func TestBarrierBehindManyWaitingCommits(t *testing.T) {
	both(t, func(t *testing.T, flavor lab.Flavor) {
		hosts := newLossless(t, flavor, 2)
		a, b := hosts[0], hosts[1]
		barrier := NewBarrier(a.control, heartbeatTable)
		a.do("SET GLOBAL " + a.semiSync("enabled") + " = OFF")
		a.pass(barrier) // makes the table
		<-barrier.last.done
		if err := a.control.EnableSource(testContext(t), 1); err != nil {
			t.Fatal(err)
		}
		var clients []*pending
		for i := range 4 {
			clients = append(clients, a.write(fmt.Sprintf("waiting %d", i)))
			a.stalls(clients[i])
		}
		var last Point
		fresh := 0
		for range barrierThreads + 4 {
			if last = a.pass(barrier); last.Fresh {
				fresh++
			}
		}
		// A server that takes its time for one is not waited for.
		if flavor.IsMariaDB() && fresh > 0 || !flavor.IsMariaDB() && (fresh < barrierThreads/2 || fresh > barrierThreads) {
			t.Errorf("%d barriers found their own commit in the log, of %d that may", fresh, barrierThreads)
		}
		b.receives(last)
		waiting := a.get("SELECT COUNT(*) FROM information_schema.PROCESSLIST WHERE COMMAND <> 'Sleep' AND (INFO LIKE '%heartbeat%' OR INFO LIKE 'CREATE%') AND INFO NOT LIKE '%PROCESSLIST%'")
		if n := mustInt(t, waiting); n > barrierThreads+1 {
			t.Errorf("%d commits of barriers wait", n)
		}
		// That a barrier's connection was given up lets nothing through.
		for i, p := range clients {
			a.still(p, fmt.Sprintf("behind %d barriers, of client %d", barrierThreads+4, i))
		}
		if n := a.get("SELECT COUNT(*) FROM d.t WHERE s LIKE 'waiting%'"); n != "0" {
			t.Errorf("%s of the waiting commits are visible", n)
		}
	})
}

func mustInt(t testing.TB, text string) (n int) {
	t.Helper()
	if _, err := fmt.Sscan(text, &n); err != nil {
		t.Fatal(err)
	}
	return n
}

func TestBarrierReadOnly(t *testing.T) {
	both(t, func(t *testing.T, flavor lab.Flavor) {
		h := newPrimary(t, flavor)
		barrier := NewBarrier(h.control, heartbeatTable)
		h.pass(barrier)
		h.demote(DemoteInput{})
		if p, err := barrier.Pass(testContext(t)); err == nil || !strings.Contains(err.Error(), "read-only") && errorNumber(err) != 1290 {
			t.Errorf("%+v, %v", p, err)
		}
		h.Kill()
		if _, err := barrier.Pass(testContext(t)); err == nil {
			t.Error("no error of a server that is gone")
		}
	})
}

// C6: what a replica acknowledged, and had not applied, is gone after its
// restart. Its start id tells.
func TestRestartLosesReceived(t *testing.T) {
	both(t, func(t *testing.T, flavor lab.Flavor) {
		ctx := testContext(t)
		hosts := newLossless(t, flavor, 2, "db2")
		a, b := hosts[0], hosts[1]
		// Its applier waits for a lock.
		holder := conn(t, b.DB())
		if _, err := holder.ExecContext(ctx, "LOCK TABLES d.t READ"); err != nil {
			t.Fatal(err)
		}
		a.acknowledged(a.write("acknowledged, received and not applied"))
		p, err := NewBarrier(a.control, heartbeatTable).Pass(ctx)
		if err != nil {
			t.Fatal(err)
		}
		before := b.receives(p)
		if b.position().Executed.Contains(p.Set) {
			t.Fatal("it is applied")
		}
		a.Kill() // nobody sends it again
		b.Kill()
		if err := b.Start(ctx); err != nil {
			t.Fatal(err)
		}
		after := b.holds(p, false)
		if after.StartID == before.StartID {
			t.Errorf("start id %s before and after", after.StartID)
		}
		if after.Missing.IsEmpty() {
			t.Error("nothing was lost: the facts have changed")
		}
		t.Logf("lost: %s", after.Missing)
		// What it still holds it says only once its start id is its own.
		kept := Point{Set: b.position().Executed}
		if held := b.receives(kept); held.Young || held.StartID != after.StartID {
			t.Errorf("%+v", held)
		}
	})
}

// C5: a MySQL that ends in good order tells the clients whose commits wait OK,
// though nobody acknowledged them. MariaDB 10.11.19 leaves them without an
// answer. Both have the transaction when they are back.
func TestShutdownWithWaitingCommits(t *testing.T) {
	both(t, func(t *testing.T, flavor lab.Flavor) {
		terminate := func(h *labHost) error { return h.Shutdown(testContext(t)) }
		shutdown := func(h *labHost) error {
			err := h.Exec(testContext(t), "SHUTDOWN")
			<-h.Done()
			return err
		}
		for trial, end := range []func(*labHost) error{terminate, shutdown, terminate} {
			a := newLossless(t, flavor, 1)[0]
			p := a.write("acknowledged by nobody")
			a.stalls(p)
			begin := time.Now()
			if err := end(a); err != nil {
				t.Fatal(err)
			}
			select {
			case err := <-p.done:
				t.Logf("trial %d: the client was told %v; the server ended after %v", trial, err, time.Since(begin))
				if (err == nil) == flavor.IsMariaDB() {
					t.Errorf("trial %d: the client was told %v: the facts have changed", trial, err)
				}
			case <-time.After(10 * time.Second):
				t.Errorf("trial %d: the client was told nothing", trial)
			}
			if err := a.Start(testContext(t)); err != nil {
				t.Fatal(err)
			}
			if n := a.get("SELECT COUNT(*) FROM d.t WHERE s LIKE 'acknowledged%'"); n != "1" {
				t.Errorf("trial %d: %s rows after the restart", trial, n)
			}
		}
	})
}

// The ladder's last rung is SIGKILL and nothing before it ends the server: no
// client whose commit waits is told OK.
func TestLadderNeverShutsDown(t *testing.T) {
	both(t, func(t *testing.T, flavor lab.Flavor) {
		for range 3 {
			hosts := newLossless(t, flavor, 1)
			a := hosts[0]
			a.control.cfg.KillServer, a.control.cfg.FenceTimeout = true, 500*time.Millisecond
			// Not root, so that root's sessions are clients.
			a.do("SET GLOBAL " + a.semiSync("enabled") + " = OFF")
			a.control.cfg.DB = otherUser(t, a)
			if err := a.control.EnableSource(testContext(t), 1); err != nil {
				t.Fatal(err)
			}
			var clients []*pending
			for i := range 3 {
				p := a.write(fmt.Sprintf("acknowledged by nobody, %d", i))
				a.stalls(p)
				clients = append(clients, p)
			}
			result := a.demote(DemoteInput{KillClients: true})
			if !result.Gone || result.KilledPid == 0 {
				t.Errorf("%+v", result)
			}
			for i, p := range clients {
				if err := <-p.done; err == nil {
					t.Errorf("client %d was told OK", i)
				}
			}
			log, err := os.ReadFile(a.LogPath())
			if err != nil {
				t.Fatal(err)
			}
			for _, word := range []string{"Forced shutdown", "Normal shutdown", "Shutdown complete", "Received SHUTDOWN"} {
				if strings.Contains(string(log), word) {
					t.Errorf("the server's log says %q", word)
				}
			}
		}
	})
}
