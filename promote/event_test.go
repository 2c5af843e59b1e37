// SPDX-License-Identifier: Apache-2.0

package promote

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	"highwater/test/lab"
)

// events is name=status of each event, by name; disabled on the replica is
// "replica".
func (h *labHost) events() string {
	h.t.Helper()
	return h.get(`SELECT GROUP_CONCAT(EVENT_NAME, '=', IF(STATUS LIKE '%SIDE\_DISABLED', 'replica', LOWER(STATUS)) ORDER BY EVENT_NAME SEPARATOR ' ')
		FROM information_schema.EVENTS WHERE EVENT_SCHEMA = 'd'`)
}

func (h *labHost) definers() string {
	h.t.Helper()
	return h.get("SELECT GROUP_CONCAT(DISTINCT DEFINER) FROM information_schema.EVENTS WHERE EVENT_SCHEMA = 'd' AND EVENT_NAME <> 'young'")
}

func TestEvents(t *testing.T) {
	both(t, func(t *testing.T, flavor lab.Flavor) {
		hosts := newCluster(t, flavor, 3)
		a, b, c := hosts[0], hosts[1], hosts[2]
		ctx := testContext(t)
		a.do("CREATE USER `o'dd``one`@`10.0.0.%`",
			"CREATE DEFINER = `o'dd``one`@`10.0.0.%` EVENT d.`ti``ck` ON SCHEDULE EVERY 1 DAY DO DO 1",
			"CREATE DEFINER = `o'dd``one`@`10.0.0.%` EVENT d.off ON SCHEDULE EVERY 1 DAY DISABLE DO DO 1")
		b.caughtUp(a)
		c.caughtUp(a)
		if got := b.events(); got != "off=replica ti`ck=replica" {
			t.Fatalf("events at the replica: %s", got)
		}
		idle, err := a.control.IdleEvents(ctx)
		if want := []string{"d.off"}; err != nil || !slices.Equal(idle, want) {
			t.Errorf("idle events %q, %v, want %q", idle, err, want)
		}
		// Nobody has listed the events since this one was made.
		a.do("CREATE EVENT d.young ON SCHEDULE EVERY 1 DAY DO DO 1")
		b.caughtUp(a)
		c.caughtUp(a)

		// A planned demotion disables them, without a transaction.
		before := a.position().Executed
		demoted := a.demote(DemoteInput{KillClients: true})
		running := []string{"d.ti`ck", "d.young"}
		if !slices.Equal(demoted.Events, running) || !demoted.Position.Executed.Equal(before) {
			t.Errorf("demoted: events %q, executed %s, before %s", demoted.Events, demoted.Position.Executed, before)
		}
		if got := a.events(); got != "off=disabled ti`ck=replica young=replica" {
			t.Errorf("events at the demoted primary: %s", got)
		}
		b.seal(2)
		if _, err := b.control.Promote(ctx, PromoteInput{Term: 2}); err != nil {
			t.Fatal(err)
		}
		finished, err := b.control.Finish(ctx, FinishInput{Term: 2, Idle: idle})
		if err != nil || !slices.Equal(finished.Events, running) {
			t.Errorf("finish: %+v, %v", finished, err)
		}
		if got := b.events(); got != "off=replica ti`ck=enabled young=enabled" {
			t.Errorf("events at the new primary: %s", got)
		}
		if got := b.definers(); got != "o'dd`one@10.0.0.%" {
			t.Errorf("definers are now %s", got)
		}
		for _, h := range []*labHost{a, c} {
			if _, err := h.control.Follow(ctx, b.source(2)); err != nil {
				t.Fatal(err)
			}
			h.caughtUp(b)
			if got := h.events(); !strings.Contains(got, "ti`ck=replica") {
				t.Errorf("events at %s: %s", h.name, got)
			}
		}
	})
}

// The events of a primary that crashed are disabled as it follows its successor,
// and without the old primary's list all that wait for a promotion are enabled.
func TestEventsOfCrashedPrimary(t *testing.T) {
	both(t, func(t *testing.T, flavor lab.Flavor) {
		hosts := newCluster(t, flavor, 2)
		a, b := hosts[0], hosts[1]
		ctx := testContext(t)
		a.do("CREATE EVENT d.tick ON SCHEDULE EVERY 1 DAY DO DO 1")
		b.caughtUp(a)
		a.Kill()
		b.seal(2)
		if _, err := b.control.Promote(ctx, PromoteInput{Term: 2}); err != nil {
			t.Fatal(err)
		}
		if _, err := b.control.Finish(ctx, FinishInput{Term: 2}); err != nil {
			t.Fatal(err)
		}
		if got := b.events(); got != "tick=enabled" {
			t.Errorf("events at the new primary: %s", got)
		}
		if err := a.Start(ctx); err != nil {
			t.Fatal(err)
		}
		if got := a.events(); got != "tick=enabled" {
			t.Errorf("events at the revived primary: %s", got)
		}
		if _, err := a.control.Rejoin(ctx, b.source(2)); err != nil {
			t.Fatal(err)
		}
		a.caughtUp(b)
		if got := a.events(); got != "tick=replica" {
			t.Errorf("events at the rejoined primary: %s", got)
		}
	})
}

// With semi-sync on and no replica there, enabling an event has to wait: the
// promotion does not, and Finish ends with its context and can be repeated.
func TestEventsWaitForReplica(t *testing.T) {
	both(t, func(t *testing.T, flavor lab.Flavor) {
		hosts := newCluster(t, flavor, 3)
		a, b, c := hosts[0], hosts[1], hosts[2]
		a.do("CREATE EVENT d.tick ON SCHEDULE EVERY 1 DAY DO DO 1")
		b.caughtUp(a)
		c.caughtUp(a)
		a.Kill()
		b.seal(2)
		if _, err := b.control.Promote(testContext(t), PromoteInput{Term: 2, SemiSync: &SemiSync{Acks: 1}}); err != nil {
			t.Fatal(err)
		}
		short, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
		defer cancel()
		if _, err := b.control.Finish(short, FinishInput{Term: 2}); err == nil {
			t.Error("an event was enabled without an acknowledgement")
		}
		if b.channel() != nil {
			t.Error("the channel is still there")
		}
		src := b.source(2)
		src.SemiSync = true
		if _, err := c.control.Follow(testContext(t), src); err != nil {
			t.Fatal(err)
		}
		if _, err := b.control.Finish(testContext(t), FinishInput{Term: 2}); err != nil {
			t.Error(err)
		}
		if got := b.events(); got != "tick=enabled" {
			t.Errorf("events at the new primary: %s", got)
		}
	})
}

func TestQuoteAccount(t *testing.T) {
	for account, want := range map[string]string{
		"root@localhost": "`root`@`localhost`",
		"a`b@c@10.%":     "`a``b@c`@`10.%`",
		"role":           "`role`",
		"@localhost":     "``@`localhost`",
	} {
		if got := quoteAccount(account); got != want {
			t.Errorf("quoteAccount(%q) = %s, want %s", account, got, want)
		}
	}
}
