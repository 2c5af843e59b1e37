// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"highwater/supervisor/web"
	"highwater/test/lab"
)

// While failovers are paused the death of the primary's server moves nothing, and status says why. Resuming lets the failover
// happen, and every host tells the same history.
func TestPauseHoldsFailover(t *testing.T) {
	r := start(t, majority())
	w := r.write()
	old := r.db(1)
	r.order(r.db(3), "paused until", "pause", "--for", "1h", "--why", "new switch") // another one leads
	r.paused(true)
	old.Server.Kill()
	for end := time.Now().Add(5 * time.Second); time.Now().Before(end); r.pause(100 * time.Millisecond) {
		if c := r.carriers(); len(c) > 0 && !slices.Equal(c, []string{"db1"}) {
			t.Fatalf("paused, and the VIP is on %v", c)
		}
	}
	for _, h := range r.Hosts()[1:] {
		s, err := r.Status(r.ctx, h)
		r.must(err)
		if s.Host(h.Name()).Refusal != "paused" || s.Primary != "db1" || s.Level != web.LevelCritical ||
			!strings.Contains(s.Summary, "Paused by ") || !strings.Contains(s.Summary, "(new switch)") || !strings.Contains(s.NextStep, "highwater resume") {
			t.Errorf("%s: %s: %s; next: %s; refusal %q", h, s.Level, s.Summary, s.NextStep, s.Host(h.Name()).Refusal)
		}
	}
	text := r.metrics(r.db(2))
	for _, want := range []string{"\nhighwater_paused 1\n", "\nhighwater_failover_running 0\n", `highwater_refusals_total{door="silence",reason="paused"} 1`} {
		if !strings.Contains(text, want) {
			t.Errorf("the metrics have no %q", strings.TrimSpace(want))
		}
	}
	r.order(r.db(2), "resumed", "resume")
	primary := r.moved(old)
	r.paused(false)
	r.must(old.Server.Start(r.ctx))
	r.end(w, primary, 1)
	r.told("db1", primary.Name(), "failover", "server_exited")
}

// A pause keeps nobody from restarting the primary's server, nor an operator from moving the role.
func TestPauseLetsOrdersThrough(t *testing.T) {
	r := start(t, majority())
	w := r.write()
	old := r.db(1)
	r.order(old, "until somebody resumes", "pause")
	r.paused(true)
	old.Server.Kill()
	r.pause(2 * time.Second) // longer than vip.linger, and than the others would wait
	r.must(old.Server.Start(r.ctx))
	r.settled(old)
	if s, err := r.Status(r.ctx, old); err != nil || len(s.History) > 0 {
		t.Fatalf("the role moved: %+v, %v", s.History, err)
	}
	old.Server.Kill()
	r.pause(2 * time.Second)
	r.order(r.db(2), "standing", "failover", "--yes")
	primary := r.moved(old) // db2 passes the order on if db3 has received more
	r.must(old.Server.Start(r.ctx))
	r.end(w, primary, 1)
	r.told("db1", primary.Name(), "failover", "operator")
	r.order(r.db(3), "resumed", "resume")
	r.order(r.db(3), "not paused", "resume")
}

// order gives an order on a host, which answers with text.
func (r *rig) order(h *lab.Host, text string, args ...string) {
	r.t.Helper()
	if out, err := r.Command(r.ctx, h, args...); err != nil || !strings.Contains(out, text) {
		r.t.Fatalf("%v on %s: %v: %q, want %q", args, h, err, out, text)
	}
}

// paused waits until every host says so, or that it is not.
func (r *rig) paused(want bool) {
	r.t.Helper()
	r.eventually(moveTime, func() string {
		for _, h := range r.Hosts() {
			if s, err := r.Status(r.ctx, h); err != nil || s.Paused != want {
				return fmt.Sprintf("%s says paused: %v, %v", h, s.Paused, err)
			}
		}
		return ""
	})
}

// told checks that every host tells of this one move, in the same words.
func (r *rig) told(from, to, kind, reason string) {
	r.t.Helper()
	first := ""
	for _, h := range r.Hosts() {
		s, err := r.Status(r.ctx, h)
		r.must(err)
		if len(s.History) != 1 || s.History[0].From != from || s.History[0].To != to || s.History[0].Kind != kind || s.History[0].Reason != reason {
			r.t.Errorf("%s tells %+v, want a %s from %s to %s (%s)", h, s.History, kind, from, to, reason)
		}
		out, err := r.Command(r.ctx, h, "history")
		r.must(err)
		if first == "" {
			first = out
		}
		if out != first || !strings.Contains(out, reason) {
			r.t.Errorf("%s tells\n%s\nthe first one told\n%s", h, out, first)
		}
	}
}
