// SPDX-License-Identifier: Apache-2.0

package promote

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"highwater/test/lab"
)

// locked reports whether an account is.
func (h *labHost) locked(user string) bool {
	h.t.Helper()
	c, err := h.control.connect(testContext(h.t))
	if err != nil {
		h.t.Fatal(err)
	}
	defer c.close()
	list, err := c.accounts(testContext(h.t), []string{user})
	if err != nil {
		h.t.Fatal(err)
	}
	return !slices.ContainsFunc(list, func(a account) bool { return !a.locked })
}

// refusedPromotion asserts that a promotion failed as it should, and that the
// server is read-only.
func (h *labHost) refusedPromotion(in PromoteInput, step StepName, want string) {
	h.t.Helper()
	_, err := h.control.Promote(testContext(h.t), in)
	var failure *StepError
	if !errors.As(err, &failure) || failure.Step != step || failure.Undo != nil {
		h.t.Errorf("%v, want a failure of %s", err, step)
	}
	if err == nil || !strings.Contains(err.Error(), want) {
		h.t.Errorf("%v, want %s", err, want)
	}
	if !h.readOnly() {
		h.t.Errorf("writes are open after %v", err)
	}
}

// A term in which nothing may be lost: the new primary holds everything before
// the term is committed; when writes open all commits wait and nobody can let
// them go; whoever is let in then does.
func TestPromoteLossless(t *testing.T) {
	both(t, func(t *testing.T, flavor lab.Flavor) {
		ctx := testContext(t)
		hosts := newLossless(t, flavor, 3, "db2", "db3")
		a, b, c := hosts[0], hosts[1], hosts[2]
		b.control.cfg.Hooks.After = [][]string{{"true"}}
		b.control.cfg.Commit = func(context.Context) error { return errors.New("it would wait for ever") }
		b.seal(2)
		a.acknowledged(a.write("only db3 has it"))
		a.Kill()
		ahead, peer := c.seal(2), c.source(2)
		// As one that was a primary once: its applier would wait for acknowledgements.
		if err := b.control.EnableSource(ctx, 1); err != nil {
			t.Fatal(err)
		}

		in := PromoteInput{
			Term: 2, Received: ahead.Received, Fetch: &peer,
			Lossless: &Lossless{Acks: 1, Lock: []string{"repl-db1", "repl-db3"}},
		}
		prepared, err := b.control.Prepare(ctx, in)
		if err != nil {
			t.Fatal(err)
		}
		if got, want := steps(prepared.Steps), "sealed drain fetch"; got != want {
			t.Errorf("prepared by %q, want %q", got, want)
		}
		if p := b.position(); !prepared.Executed.Contains(ahead.Received) || !p.Executed.Contains(ahead.Received) || p.ReceiverState != ReceiverStopped {
			t.Errorf("prepared, %s, and at %+v, want all of %s", prepared.Executed, p, ahead.Received)
		}
		if st := b.sourceState(); !b.readOnly() || st.Enabled || b.locked("repl-db3") {
			t.Errorf("more than prepared: read-only %t, %+v, locked %t", b.readOnly(), st, b.locked("repl-db3"))
		}
		if got := b.control.Promised(); got != 2 {
			t.Errorf("promised %d", got)
		}

		// A sibling is attached and acknowledges.
		src := b.source(2)
		if _, err := c.control.FollowAcknowledging(ctx, src); err != nil {
			t.Fatal(err)
		}
		await(t, "it reads the binary log", func() bool { return slices.ContainsFunc(b.dumps(), func(d Dump) bool { return d.Acks }) })
		without := func(users ...string) PromoteInput {
			in := in
			in.Lossless = &Lossless{Acks: 1, Lock: users}
			return in
		}
		b.refusedPromotion(without("repl-db1"), StepLocks, ErrForeignAcker{[]string{"repl-db3"}}.Error())
		b.refusedPromotion(without("repl-db1", "repl-db9"), StepLocks, ErrNoAccount.Error())
		both := in
		both.SemiSync = &SemiSync{Acks: 1}
		b.refusedPromotion(both, StepSealed, errTwoSemiSyncs.Error())
		none := in
		none.Lossless = &Lossless{Lock: in.Lossless.Lock}
		b.refusedPromotion(none, StepSemiSync, ErrAcks.Error())
		// Whatever ends it in the middle of the locks.
		broken := errors.New("broken")
		b.control.fault = func(step StepName) error {
			if step != StepLocks {
				return nil
			}
			b.do(b.sql("SET GLOBAL super_read_only = OFF"))
			return broken
		}
		b.refusedPromotion(in, StepLocks, broken.Error())
		b.control.fault = nil

		var clients []*pending
		in.Progress = func(s Step) {
			switch s.Name {
			case StepLocks:
				if !b.readOnly() || !b.sourceState().Lossless(1) || !b.locked("repl-db1") || !b.locked("repl-db3") || len(b.dumps()) != 0 {
					t.Errorf("about to open: read-only %t, %+v, dump threads %+v", b.readOnly(), b.sourceState(), b.dumps())
				}
				t.Logf("locked in %v", s.Took)
			case StepReadBack:
				for i := range 3 {
					clients = append(clients, b.write(fmt.Sprintf("in the new term %d", i)))
					b.stalls(clients[i])
				}
			}
		}
		bounded, cancel := context.WithTimeout(ctx, 10*time.Second)
		defer cancel()
		result, err := b.control.Promote(bounded, in)
		if err != nil {
			t.Fatal(err)
		}
		if got, want := steps(result.Steps), "sealed drain fetch semi_sync lock_replicas open_writes read_back hooks_after"; got != want {
			t.Errorf("steps %q, want %q", got, want)
		}
		if got := result.Steps[2].Detail; !strings.HasPrefix(got, "0 transactions") {
			t.Errorf("fetched again: %s", got)
		}
		if len(result.Warnings) > 0 {
			t.Errorf("warnings %q", result.Warnings)
		}
		c.refused(1)
		for i, p := range clients {
			b.still(p, fmt.Sprintf("nobody may acknowledge, and of client %d", i))
		}

		if err := c.control.StopAcknowledging(ctx); err != nil {
			t.Fatal(err)
		}
		if err := b.control.UnlockReplica(ctx, "repl-db3"); err != nil {
			t.Fatal(err)
		}
		// What the source has is not asked again: that would hang on MariaDB.
		src.Refresh = nil
		applier := c.applier()
		followed, err := c.control.FollowAcknowledging(ctx, src)
		if err != nil || followed.Receiver != ReceiverRunning || followed.ReceiverError != nil {
			t.Errorf("%+v, %v", followed, err)
		}
		if got := c.applier(); got != applier || got == "" {
			t.Errorf("applier %q, before it was let in %q", got, applier)
		}
		for _, p := range clients {
			b.acknowledged(p)
		}
		c.caughtUp(b)
		if got := c.get("SELECT COUNT(*) FROM d.t"); got != "5" {
			t.Errorf("%s rows, want 5", got)
		}
	})
}

// applier identifies the thread that applies.
func (h *labHost) applier() string {
	h.t.Helper()
	if h.Config().Flavor.IsMariaDB() {
		return h.get("SELECT ID FROM information_schema.PROCESSLIST WHERE COMMAND = 'Slave_SQL'")
	}
	return h.get("SELECT THREAD_ID FROM performance_schema.replication_applier_status_by_coordinator WHERE CHANNEL_NAME = ''")
}

// To begin and to stop acknowledging leaves the applier alone, and the relay log
// with all that is not applied yet: this source could not send it again.
func TestSwitchAcknowledging(t *testing.T) {
	both(t, func(t *testing.T, flavor lab.Flavor) {
		ctx := testContext(t)
		hosts := newLossless(t, flavor, 2, "db2")
		a, b := hosts[0], hosts[1]
		// The applier waits for a row.
		lock, err := conn(t, b.DB()).BeginTx(ctx, nil)
		if err != nil {
			t.Fatal(err)
		}
		b.do(b.sql("SET GLOBAL super_read_only = OFF"))
		if _, err := lock.ExecContext(ctx, "SELECT * FROM d.t WHERE i = 1 FOR UPDATE"); err != nil {
			t.Fatal(err)
		}
		b.do(b.sql("SET GLOBAL super_read_only = ON"))
		a.do("UPDATE d.t SET s = 'second' WHERE i = 1")
		for i := range 3 {
			a.acknowledged(a.write(fmt.Sprintf("in the relay log %d", i)))
		}
		a.do("FLUSH BINARY LOGS")
		b.caught(a)
		logs := a.binlogs()
		await(t, "the source has purged what is in the relay log", func() bool {
			a.do("PURGE BINARY LOGS TO '" + logs[len(logs)-1] + "'")
			return len(a.binlogs()) == 1
		})
		src, received, applier := a.source(1), b.position().Received, b.applier()
		if p := b.position(); p.Executed.Contains(received) || src.Purged.Equal(p.Executed) || p.Executed.Contains(src.Purged) {
			t.Fatalf("nothing waits to be applied: %+v, source %+v", p, src)
		}
		unharmed := func(when string, acks bool) {
			t.Helper()
			if got, err := b.control.Acknowledging(ctx); err != nil || got != acks {
				t.Errorf("%s: acknowledges %t, %v", when, got, err)
			}
			p := b.position()
			if !p.Received.Contains(received) || p.Executed.Contains(received) {
				t.Errorf("%s: received %s and applied %s, want %s received", when, p.Received, p.Executed, received)
			}
			if got := b.applier(); got != applier || got == "" {
				t.Errorf("%s: applier %q, before %q", when, got, applier)
			}
		}
		timed := func(what string, follow func(context.Context, Source) (FollowResult, error)) {
			t.Helper()
			begin := time.Now()
			result, err := follow(ctx, src)
			took := time.Since(begin)
			if err != nil || !result.Changed || result.Receiver != ReceiverRunning || result.ReceiverError != nil {
				t.Errorf("%s: %+v, %v", what, result, err)
			}
			t.Logf("%s in %v", what, took)
		}
		timed("silent", b.control.FollowSilently)
		unharmed("silent", false)
		p := a.write("not acknowledged")
		a.stalls(p)
		b.caught(a)
		a.still(p, "received by a silent replica,")
		timed("acknowledging", b.control.FollowAcknowledging)
		unharmed("acknowledging", true)
		a.acknowledged(a.write("acknowledged"))
		a.acknowledged(p)

		for range 2 {
			begin := time.Now()
			if err := b.control.StopAcknowledging(ctx); err != nil {
				t.Fatal(err)
			}
			t.Logf("stopped in %v", time.Since(begin))
			unharmed("stopped", false)
		}
		timed("silent after it was stopped", b.control.FollowSilently)
		unharmed("silent after it was stopped", false)
		timed("acknowledging again", b.control.FollowAcknowledging)
		unharmed("acknowledging again", true)

		// The checks are those of Follow, and silence comes before them.
		b.seal(2)
		var promised ErrPromised
		if _, err := b.control.FollowAcknowledging(ctx, src); !errors.As(err, &promised) || b.position().ReceiverState != ReceiverStopped {
			t.Errorf("acknowledge a primary of a lower term: %v", err)
		}
		src.Term = 2
		timed("acknowledging in the next term", b.control.FollowAcknowledging)
		if got, want := b.control.Promise(), (Promise{Promised: 2, Term: 2, Primary: "db1"}); got != want {
			t.Errorf("promise %+v, want %+v", got, want)
		}
		src.Term = 1
		if _, err := b.control.FollowSilently(ctx, src); !errors.As(err, &promised) {
			t.Errorf("follow a primary of a lower term silently: %v", err)
		}
		unharmed("silent, and refused", false)
		if err := lock.Rollback(); err != nil {
			t.Fatal(err)
		}
		src.Term = 2
		b.do(b.sql("SET GLOBAL super_read_only = OFF"), "SET GLOBAL read_only = OFF")
		if _, err := b.control.FollowAcknowledging(ctx, src); !errors.Is(err, ErrWritable) {
			t.Errorf("a server that is writable: %v", err)
		}
		b.do(b.sql("SET GLOBAL super_read_only = ON"))
		timed("acknowledging at last", b.control.FollowAcknowledging)
		a.clients(1)
		a.acknowledged(a.write("the end"))
		b.caughtUp(a)
		if got, want := b.get("SELECT GROUP_CONCAT(s ORDER BY i) FROM d.t"), a.get("SELECT GROUP_CONCAT(s ORDER BY i) FROM d.t"); got != want || !strings.HasPrefix(got, "second,in the relay log 0,") {
			t.Errorf("%q, want %q", got, want)
		}
	})
}
