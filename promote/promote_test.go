// SPDX-License-Identifier: Apache-2.0

package promote

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"highwater/mysqlcheck"
	"highwater/test/lab"
)

// readOnly is what the server says.
func (h *labHost) readOnly() bool {
	h.t.Helper()
	ro, err := h.control.ReadOnly(testContext(h.t))
	if err != nil {
		h.t.Fatal(err)
	}
	return ro
}

// seal seals h and fails the test if that fails.
func (h *labHost) seal(term uint64) Position {
	h.t.Helper()
	p, err := h.control.Seal(testContext(h.t), term)
	if err != nil {
		h.t.Fatal(err)
	}
	return p
}

// stepError returns err's, or fails the test.
func stepError(t *testing.T, err error) *StepError {
	t.Helper()
	var failure *StepError
	if !errors.As(err, &failure) {
		t.Fatalf("error %v, want a StepError", err)
	}
	return failure
}

func TestPromoteDrained(t *testing.T) {
	both(t, func(t *testing.T, flavor lab.Flavor) {
		hosts := newCluster(t, flavor, 3)
		a, b := hosts[0], hosts[1]
		a.do("INSERT INTO d.t (s) VALUES ('last')")
		b.caughtUp(a)
		a.Kill()
		ctx := testContext(t)
		b.seal(2)
		var reported []Step
		result, err := b.control.Promote(ctx, PromoteInput{Term: 2, Progress: func(s Step) { reported = append(reported, s) }})
		if err != nil {
			t.Fatal(err)
		}
		if got, want := steps(result.Steps), "sealed drain open_writes read_back"; got != want || steps(reported) != want {
			t.Errorf("steps %q, reported %q, want %q", got, steps(reported), want)
		}
		for i, s := range result.Steps {
			if s.Start <= 0 || s.Took <= 0 || i > 0 && s.Start < result.Steps[i-1].Start+result.Steps[i-1].Took {
				t.Errorf("step %s from %v for %v", s.Name, s.Start, s.Took)
			}
		}
		if result.Prepared != 0 || len(result.Warnings) > 0 {
			t.Errorf("%d prepared, warnings %q", result.Prepared, result.Warnings)
		}
		b.do("INSERT INTO d.t (s) VALUES ('after')")
		if got := b.get("SELECT COUNT(*) FROM d.t"); got != "3" {
			t.Errorf("%s rows, want 3", got)
		}
		f, err := b.control.Finish(ctx, FinishInput{Term: 2})
		if err != nil || !f.Reset {
			t.Errorf("finish: %+v, %v", f, err)
		}
		if ch := b.channel(); ch != nil {
			t.Errorf("channel left: %v", ch.row)
		}
		if got, want := b.control.Promise(), (Promise{Promised: 2, Term: 2, Primary: "db2"}); got != want {
			t.Errorf("promise %+v, want %+v", got, want)
		}
		saved, err := loadChannel(b.dir)
		if err != nil || saved == nil || int(saved.port) != a.Config().Port {
			t.Errorf("saved channel %+v, %v", saved, err)
		}
		if f, err := b.control.Finish(ctx, FinishInput{Term: 2}); err != nil || f.Reset {
			t.Errorf("finish again: %+v, %v", f, err)
		}
	})
}

// A replica that has received much more than it has applied loses nothing of it
// when its source dies.
func TestPromoteLagging(t *testing.T) {
	both(t, func(t *testing.T, flavor lab.Flavor) {
		const queued = 10000
		hosts := newCluster(t, flavor, 2, func(c *lab.ServerConfig, _ *Config) {
			c.Extra = append(c.Extra, "sync_binlog=0", "innodb_flush_log_at_trx_commit=2") // only to be done sooner
		})
		a, b := hosts[0], hosts[1]
		b.do(b.sql("STOP REPLICA SQL_THREAD"))
		a.do("CREATE PROCEDURE d.fill (n INT) BEGIN WHILE n > 0 DO INSERT INTO d.t (s) VALUES ('x'); SET n = n - 1; END WHILE; END",
			fmt.Sprintf("CALL d.fill(%d)", queued))
		want := a.position().Executed
		await(t, "all is received", func() bool { return b.position().Received.Contains(want) })
		a.Kill()
		if p := b.seal(2); !p.Received.Equal(want) {
			t.Fatalf("sealed at %s, want %s", p.Received, want)
		}
		begin := time.Now()
		result, err := b.control.Promote(testContext(t), PromoteInput{Term: 2, Received: want})
		if err != nil {
			t.Fatal(err)
		}
		t.Logf("applied %s in %v", result.Steps[1].Detail, time.Since(begin))
		if !result.Executed.Equal(want) {
			t.Errorf("writes opened at %s, want %s", result.Executed, want)
		}
		if got := b.get("SELECT COUNT(*) FROM d.t"); got != fmt.Sprint(queued+1) {
			t.Errorf("%s rows, want %d", got, queued+1)
		}
		if f, err := b.control.Finish(testContext(t), FinishInput{Term: 2}); err != nil || !f.Reset {
			t.Errorf("finish: %+v, %v", f, err)
		}
	})
}

func TestPromoteUnsealed(t *testing.T) {
	both(t, func(t *testing.T, flavor lab.Flavor) {
		b := newCluster(t, flavor, 2)[1]
		_, err := b.control.Promote(testContext(t), PromoteInput{Term: 2})
		if failure := stepError(t, err); failure.Step != StepSealed || failure.Reason != ReasonNotSealed {
			t.Errorf("%s: %s: %v", failure.Step, failure.Reason, err)
		}
		if !b.readOnly() {
			t.Error("writes are open")
		}
		if _, err := b.control.Finish(testContext(t), FinishInput{Term: 2}); err == nil {
			t.Error("finished what was not promoted")
		}
		if b.channel() == nil {
			t.Error("the channel of a replica was removed")
		}
	})
}

// The applier's error ends the drain at once, and is named.
func TestPromoteBrokenApplier(t *testing.T) {
	both(t, func(t *testing.T, flavor lab.Flavor) {
		hosts := newCluster(t, flavor, 2)
		a, b := hosts[0], hosts[1]
		b.do(b.sql("SET GLOBAL super_read_only = OFF"), "SET sql_log_bin = 0", "INSERT INTO d.t VALUES (7, 'in the way')",
			b.sql("SET GLOBAL super_read_only = ON"))
		a.do("INSERT INTO d.t VALUES (7, 'seven')")
		await(t, "the applier stops", func() bool { return b.channel().applierError.Number != 0 })
		b.seal(2)
		_, err := b.control.Promote(testContext(t), PromoteInput{Term: 2})
		failure := stepError(t, err)
		var applier ErrApplier
		if failure.Step != StepDrain || failure.Reason != ReasonApplier || !errors.As(err, &applier) || applier.Number != 1062 && applier.Number != 1032 {
			t.Errorf("%s: %s: %v", failure.Step, failure.Reason, err)
		}
	})
}

// Transactions that only a peer has received are fetched from it.
func TestPromoteFetches(t *testing.T) {
	both(t, func(t *testing.T, flavor lab.Flavor) {
		hosts := newCluster(t, flavor, 3)
		a, b, c := hosts[0], hosts[1], hosts[2]
		b.seal(2) // and so misses what follows
		a.do("INSERT INTO d.t (s) VALUES ('one')", "INSERT INTO d.t (s) VALUES ('two')")
		c.caughtUp(a)
		a.Kill()
		ahead := c.seal(2)
		// That the old primary cannot be reached is no error of the peer's.
		b.do(b.sql("START REPLICA IO_THREAD"))
		await(t, "the receiver complains", func() bool { return b.channel().receiverError.Number != 0 })
		b.seal(2)

		_, err := b.control.Promote(testContext(t), PromoteInput{Term: 2, Received: ahead.Received})
		if failure := stepError(t, err); failure.Reason != ReasonIncomplete {
			t.Errorf("without a peer: %s: %v", failure.Reason, err)
		}
		peer := c.source(2)
		result, err := b.control.Promote(testContext(t), PromoteInput{Term: 2, Received: ahead.Received, Fetch: &peer})
		if err != nil {
			t.Fatal(err)
		}
		if got, want := steps(result.Steps), "sealed drain fetch open_writes read_back"; got != want {
			t.Errorf("steps %q, want %q", got, want)
		}
		if got := b.get("SELECT COUNT(*) FROM d.t"); got != "3" {
			t.Errorf("%s rows, want 3", got)
		}
		if got := b.position().ReceiverState; got != ReceiverStopped {
			t.Errorf("receiver is %s", got)
		}
	})
}

// A peer that cannot be reached makes the promotion fail in time, and sealed.
func TestPromoteFetchFails(t *testing.T) {
	lab.Require(t, "mysql")
	t.Parallel()
	hosts := newCluster(t, lab.MySQL, 3)
	a, b, c := hosts[0], hosts[1], hosts[2]
	b.seal(2)
	a.do("INSERT INTO d.t (s) VALUES ('one')")
	c.caughtUp(a)
	peer := c.source(2)
	c.Kill()
	a.Kill()
	_, err := b.control.Promote(testContext(t), PromoteInput{Term: 2, Received: peer.Executed, Fetch: &peer})
	failure := stepError(t, err)
	var receiver ErrReceiver
	if failure.Step != StepFetch || failure.Reason != ReasonFetch || failure.Undo != nil || !errors.As(err, &receiver) {
		t.Errorf("%s: %s: %v", failure.Step, failure.Reason, err)
	}
	if got := b.position().ReceiverState; got != ReceiverStopped || !b.readOnly() {
		t.Errorf("receiver is %s, read-only %v", got, b.readOnly())
	}
}

// Writes stay closed until the old primary's lease has ended.
func TestPromoteWaitsForLease(t *testing.T) {
	lab.Require(t, "mysql")
	t.Parallel()
	b := newHost(t, lab.MySQL, "db1")
	end := mysqlcheck.Boottime() + 300*time.Millisecond
	opened := time.Duration(0)
	_, err := b.control.Promote(testContext(t), PromoteInput{Term: 1, WaitUntil: end, Progress: func(s Step) {
		if s.Name == StepOpen {
			opened = s.Start
		}
	}})
	if err != nil || opened < end {
		t.Errorf("%v; opened %v before the end of the lease", err, end-opened)
	}
	other := newHost(t, lab.MySQL, "db2")
	// The deadline comes while it waits.
	ctx, cancel := context.WithCancelCause(t.Context())
	defer cancel(nil)
	_, err = other.control.Promote(ctx, PromoteInput{Term: 1, WaitUntil: mysqlcheck.Boottime() + time.Hour, Progress: func(s Step) {
		if s.Name == StepDrain {
			cancel(context.DeadlineExceeded)
		}
	}})
	if failure := stepError(t, err); failure.Step != StepLease || failure.Reason != ReasonTimeout {
		t.Errorf("%s: %s: %v", failure.Step, failure.Reason, err)
	}
	if !other.readOnly() {
		t.Error("writes are open")
	}
}

// Whatever step fails, the server is read-only afterwards, sealed, and can be
// promoted by another try.
func TestPromoteUndone(t *testing.T) {
	both(t, func(t *testing.T, flavor lab.Flavor) {
		hosts := newCluster(t, flavor, 3, func(_ *lab.ServerConfig, c *Config) {
			c.Hooks = Hooks{Before: [][]string{{"true"}}, After: [][]string{{"true"}}}
		})
		a, b, c := hosts[0], hosts[1], hosts[2]
		b.seal(2)
		a.do("INSERT INTO d.t (s) VALUES ('one')")
		c.caughtUp(a)
		a.Kill()
		peer := c.source(2)
		in := PromoteInput{Term: 2, Received: peer.Executed, Fetch: &peer, WaitUntil: 1, SemiSync: &SemiSync{Acks: 1}}
		plan := Plan(PlanInput{Fetch: true, Lease: true, Before: true, After: true, SemiSync: true})
		broken := errors.New("broken")
		assertUndone := func(t *testing.T, err error, step StepName, reason Reason) {
			t.Helper()
			failure := stepError(t, err)
			if failure.Step != step || failure.Reason != reason || failure.Undo != nil || !errors.Is(err, broken) {
				t.Errorf("%s: %s: %v; want %s: %s", failure.Step, failure.Reason, err, step, reason)
			}
			if !b.readOnly() {
				t.Error("writes are open")
			}
			if got := b.position().ReceiverState; got != ReceiverStopped {
				t.Errorf("receiver is %s", got)
			}
		}
		for _, step := range plan[:len(plan)-1] { // the after hooks cannot make it fail
			t.Run("fault/"+string(step), func(t *testing.T) {
				b.control.fault = func(at StepName) error {
					if at == step {
						return broken
					}
					return nil
				}
				defer func() { b.control.fault = nil }()
				_, err := b.control.Promote(testContext(t), in)
				assertUndone(t, err, step, ReasonServer)
			})
		}
		for i := range 4 {
			t.Run(fmt.Sprintf("right lost at check %d", i+1), func(t *testing.T) {
				if _, err := b.control.Demote(testContext(t), DemoteInput{KillClients: true}); err != nil {
					t.Fatal(err)
				}
				in, asked := in, 0
				in.Check = func() error {
					if asked++; asked > i {
						return broken
					}
					return nil
				}
				var want []StepName
				for _, step := range plan {
					if step.needsRight() {
						want = append(want, step)
					}
				}
				_, err := b.control.Promote(testContext(t), in)
				assertUndone(t, err, want[i], ReasonRight)
			})
		}
		if _, err := b.control.Promote(testContext(t), in); err != nil {
			t.Fatal(err)
		}
		if b.readOnly() {
			t.Error("promoted, and read-only")
		}
	})
}

// A demotion interrupts a promotion, and wins.
func TestDemoteInterruptsPromote(t *testing.T) {
	lab.Require(t, "mysql")
	t.Parallel()
	b := newHost(t, lab.MySQL, "db1")
	waiting := make(chan struct{})
	failed := make(chan error, 1)
	go func() {
		_, err := b.control.Promote(testContext(t), PromoteInput{Term: 1, WaitUntil: mysqlcheck.Boottime() + time.Hour, Progress: func(s Step) {
			if s.Name == StepDrain {
				close(waiting)
			}
		}})
		failed <- err
	}()
	<-waiting
	if _, err := b.control.Demote(testContext(t), DemoteInput{KillClients: true}); err != nil {
		t.Fatal(err)
	}
	if failure := stepError(t, <-failed); failure.Reason != ReasonInterrupted {
		t.Errorf("promotion ended with %s: %v", failure.Reason, failure)
	}
	if !b.readOnly() {
		t.Error("writes are open")
	}
}

func TestPromoteHooks(t *testing.T) {
	lab.Require(t, "mysql")
	t.Parallel()
	file := filepath.Join(t.TempDir(), "log")
	b := newHost(t, lab.MySQL, "db1", func(_ *lab.ServerConfig, c *Config) {
		c.Hooks = Hooks{
			Before: [][]string{sh("echo $HIGHWATER_HOOK $HIGHWATER_TERM >>" + file)},
			After:  [][]string{sh("echo $HIGHWATER_HOOK $ORC_SUCCESSOR_BINLOG_COORDINATES >>" + file + "; exit 4")},
		}
	})
	result, err := b.control.Promote(testContext(t), PromoteInput{Term: 3, Failover: FailoverInfo{Term: 3}})
	if err != nil {
		t.Fatal(err)
	}
	if len(result.Warnings) != 1 || !strings.Contains(result.Warnings[0], "exit status 4") {
		t.Errorf("warnings %q, want one of the after hook", result.Warnings)
	}
	text, err := os.ReadFile(file)
	if err != nil || !strings.HasPrefix(string(text), "before 3\nafter binlog.0") {
		t.Errorf("hooks wrote %q, %v", text, err)
	}
	if b.readOnly() {
		t.Error("an after hook closed the primary again")
	}
}

func TestPromoteVetoed(t *testing.T) {
	lab.Require(t, "mysql")
	t.Parallel()
	b := newHost(t, lab.MySQL, "db1", func(_ *lab.ServerConfig, c *Config) {
		c.Hooks = Hooks{Before: [][]string{sh("echo 'backup is running'; exit 1")}}
	})
	_, err := b.control.Promote(testContext(t), PromoteInput{Term: 1})
	failure := stepError(t, err)
	var hook *HookError
	if failure.Step != StepBefore || failure.Reason != ReasonVeto || !errors.As(err, &hook) || hook.Line != "backup is running" {
		t.Errorf("%s: %s: %v", failure.Step, failure.Reason, err)
	}
	if !b.readOnly() {
		t.Error("writes are open")
	}
}

// A command replaces what Highwater would do to the server; what counts is
// whether writes are open afterwards.
func TestPromoteCommand(t *testing.T) {
	lab.Require(t, "mysqld", "mysql")
	t.Parallel()
	client, err := lab.Program("mysql")
	if err != nil {
		t.Fatal(err)
	}
	b := newHost(t, lab.MySQL, "db1")
	b.control.cfg.Command = []string{"true"}
	_, err = b.control.Promote(testContext(t), PromoteInput{Term: 1})
	if failure := stepError(t, err); failure.Step != StepReadBack || failure.Reason != ReasonReadOnly {
		t.Errorf("a command that does nothing: %s: %s: %v", failure.Step, failure.Reason, err)
	}
	b.control.cfg.Command = []string{"false"}
	_, err = b.control.Promote(testContext(t), PromoteInput{Term: 1})
	if failure := stepError(t, err); failure.Step != StepCommand || failure.Reason != ReasonCommand {
		t.Errorf("a command that fails: %s: %s: %v", failure.Step, failure.Reason, err)
	}
	b.control.cfg.Command = []string{client, "-uroot", "-S", b.Socket(), "-e", "SET GLOBAL read_only = OFF"}
	result, err := b.control.Promote(testContext(t), PromoteInput{Term: 1})
	if got := steps(result.Steps); err != nil || got != "sealed drain command read_back" {
		t.Errorf("steps %q, %v", got, err)
	}
	// In a lossless term it only opens writes.
	b.demote(DemoteInput{})
	in := PromoteInput{Term: 1, Lossless: &Lossless{Acks: 1}}
	result, err = b.control.Promote(testContext(t), in)
	if got := steps(result.Steps); err != nil || got != "sealed drain semi_sync lock_replicas command read_back" || !b.sourceState().Lossless(1) {
		t.Errorf("steps %q, %v, %+v", got, err, b.sourceState())
	}
	b.demote(DemoteInput{})
	b.control.cfg.Command[len(b.control.cfg.Command)-1] += "; SET GLOBAL rpl_semi_sync_source_enabled = OFF"
	b.refusedPromotion(in, StepReadBack, "the command has changed semi-sync")
}

// What the read-back commit says decides, where no replica is needed for it.
func TestPromoteCommits(t *testing.T) {
	lab.Require(t, "mysql")
	t.Parallel()
	hung := errors.New("hung")
	var answer error
	commits := 0
	b := newHost(t, lab.MySQL, "db1", func(_ *lab.ServerConfig, c *Config) {
		c.Commit = func(context.Context) error { commits++; return answer }
	})
	answer = hung
	_, err := b.control.Promote(testContext(t), PromoteInput{Term: 1})
	if failure := stepError(t, err); failure.Step != StepReadBack || !errors.Is(err, hung) || !b.readOnly() {
		t.Errorf("%v, read-only %v", err, b.readOnly())
	}
	answer = nil
	if _, err := b.control.Promote(testContext(t), PromoteInput{Term: 1}); err != nil || commits != 2 {
		t.Errorf("%v after %d commits", err, commits)
	}
	if _, err := b.control.Promote(testContext(t), PromoteInput{Term: 1, SemiSync: &SemiSync{}}); err != nil || commits != 2 {
		t.Errorf("with semi-sync: %v after %d commits", err, commits)
	}
}

// The first write on a promoted server waits for a replica if the old primary's
// did.
func TestPromoteSemiSync(t *testing.T) {
	both(t, func(t *testing.T, flavor lab.Flavor) {
		hosts := newCluster(t, flavor, 3)
		a, b, c := hosts[0], hosts[1], hosts[2]
		a.Kill()
		b.seal(2)
		c.seal(2)
		ctx := testContext(t)
		result, err := b.control.Promote(ctx, PromoteInput{Term: 2, SemiSync: &SemiSync{Acks: 1}})
		if err != nil {
			t.Fatal(err)
		}
		if got, want := steps(result.Steps), "sealed drain semi_sync open_writes read_back"; got != want {
			t.Errorf("steps %q, want %q", got, want)
		}
		written := make(chan error, 1)
		go func() { written <- b.Exec(ctx, "INSERT INTO d.t (s) VALUES ('acknowledged')") }()
		waiting := func() bool {
			return strings.HasPrefix(b.get("SELECT COALESCE(MAX(STATE), '') FROM information_schema.PROCESSLIST WHERE INFO LIKE 'INSERT%'"), "Waiting for semi-sync ACK")
		}
		await(t, "the write waits", waiting)
		if !waiting() {
			t.Error("the write did not wait for a replica")
		}
		src := b.source(2)
		src.SemiSync = true
		if _, err := c.control.Follow(ctx, src); err != nil {
			t.Fatal(err)
		}
		if err := <-written; err != nil {
			t.Error(err)
		}
		c.caughtUp(b)
		if got := c.get("SELECT COUNT(*) FROM d.t"); got != "2" {
			t.Errorf("%s rows at the replica, want 2", got)
		}
		// The way back: what was its source side must not hold up its applier.
		if _, err := b.control.Demote(ctx, DemoteInput{KillClients: true}); err != nil {
			t.Fatal(err)
		}
		c.seal(3)
		if _, err := c.control.Promote(ctx, PromoteInput{Term: 3, SemiSync: &SemiSync{Acks: 1}}); err != nil {
			t.Fatal(err)
		}
		back := c.source(3)
		back.SemiSync = true
		rejoined, err := b.control.Rejoin(ctx, back)
		if err != nil || rejoined.Held {
			t.Fatalf("%+v, %v", rejoined, err)
		}
		c.do("INSERT INTO d.t (s) VALUES ('third term')")
		b.caughtUp(c)
	})
}

// Transactions that somebody prepared are there after the failover, and
// reported.
func TestPromoteReportsPreparedXA(t *testing.T) {
	both(t, func(t *testing.T, flavor lab.Flavor) {
		b := newHost(t, flavor, "db1")
		if _, err := b.control.Promote(testContext(t), PromoteInput{Term: 1}); err != nil {
			t.Fatal(err)
		}
		b.do("CREATE DATABASE d", "CREATE TABLE d.t (i INT PRIMARY KEY) ENGINE=InnoDB",
			"XA START 'x'", "INSERT INTO d.t VALUES (1)", "XA END 'x'", "XA PREPARE 'x'")
		b.DB().SetMaxIdleConns(0) // the session ends, its transaction stays
		demoted, err := b.control.Demote(testContext(t), DemoteInput{KillClients: true})
		if err != nil || demoted.Prepared != 1 {
			t.Errorf("demoted: %d prepared, %v", demoted.Prepared, err)
		}
		promoted, err := b.control.Promote(testContext(t), PromoteInput{Term: 2})
		if err != nil || promoted.Prepared != 1 {
			t.Errorf("promoted: %d prepared, %v", promoted.Prepared, err)
		}
	})
}

func BenchmarkPromote(b *testing.B) {
	for _, flavor := range []lab.Flavor{lab.MySQL, lab.MariaDB} {
		b.Run(string(flavor), func(b *testing.B) {
			lab.Require(b, string(flavor))
			hosts := newCluster(b, flavor, 2)
			replica := hosts[1]
			ctx := b.Context()
			var seal, promote, finish time.Duration
			for b.Loop() {
				term := replica.control.Promised() + 1
				t0 := time.Now()
				if _, err := replica.control.Seal(ctx, term); err != nil {
					b.Fatal(err)
				}
				t1 := time.Now()
				if _, err := replica.control.Promote(ctx, PromoteInput{Term: term}); err != nil {
					b.Fatal(err)
				}
				t2 := time.Now()
				if _, err := replica.control.Finish(ctx, FinishInput{Term: term}); err != nil {
					b.Fatal(err)
				}
				t3 := time.Now()
				seal, promote, finish = seal+t1.Sub(t0), promote+t2.Sub(t1), finish+t3.Sub(t2)
				b.StopTimer()
				if _, err := replica.control.Demote(ctx, DemoteInput{KillClients: true}); err != nil {
					b.Fatal(err)
				}
				if _, err := replica.control.Follow(ctx, hosts[0].source(term)); err != nil {
					b.Fatal(err)
				}
				await(b, "it is connected", func() bool { return replica.position().ReceiverState == ReceiverRunning })
				b.StartTimer()
			}
			n := float64(b.N)
			b.ReportMetric(float64(seal.Microseconds())/n, "seal-µs/op")
			b.ReportMetric(float64(promote.Microseconds())/n, "promote-µs/op")
			b.ReportMetric(float64(finish.Microseconds())/n, "finish-µs/op")
		})
	}
}
