// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"bytes"
	"fmt"
	"net/http"
	"os/exec"
	"strings"
	"testing"
	"time"

	"highwater/election"
	"highwater/test/lab"
)

// On a first start the one writable server with replicas becomes primary, and every endpoint
// says so.
func TestFirstStart(t *testing.T) {
	lab.Require(t, "promtool")
	r := start(t, semiSync())
	w := r.write()
	r.eventually(moveTime, func() string {
		s, err := r.Status(r.ctx, r.db(2))
		if err != nil {
			return err.Error()
		}
		if s.Level != "ok" || s.Primary != "db1" || s.Term != 1 || !strings.Contains(s.Summary, "db1 is primary") {
			return fmt.Sprintf("%s: %s (%s, term %d)", s.Level, s.Summary, s.Primary, s.Term)
		}
		return ""
	})
	for _, c := range []struct {
		path             string
		primary, replica int
	}{
		{"/livez", 200, 200},
		{"/readyz", 200, 200},
		{"/primary", 200, 503},
		{"/replica", 503, 200},
		{"/replica?lag=10s", 503, 200},
		{"/read-only", 200, 200},
		{"/", 200, 200},
	} {
		for h, want := range map[*lab.Host]int{r.db(1): c.primary, r.db(2): c.replica, r.db(3): c.replica} {
			if got, body, err := r.Get(r.ctx, h, c.path); err != nil || got != want {
				t.Errorf("%s of %s: %d %.200s %v, want %d", c.path, h, got, body, err, want)
			}
		}
	}
	for _, h := range r.Hosts() {
		is := "0"
		if h == r.db(1) {
			is = "1"
		}
		text := r.metrics(h)
		for _, want := range []string{
			"\nhighwater_vip_held " + is + "\n", "\nhighwater_primary " + is + "\n", "\nhighwater_term 1\n",
		} {
			if !strings.Contains(text, want) {
				t.Errorf("the metrics of %s have no %q", h, strings.TrimSpace(want))
			}
		}
	}
	r.end(w, r.db(1), 0)
}

// metrics returns a host's metrics, which promtool finds nothing wrong with.
func (r *rig) metrics(h *lab.Host) string {
	r.t.Helper()
	code, body, err := r.Get(r.ctx, h, "/metrics")
	r.must(err)
	if code != http.StatusOK {
		r.t.Fatalf("/metrics of %s: %d %s", h, code, body)
	}
	promtool, err := lab.Program("promtool")
	r.must(err)
	cmd := exec.CommandContext(r.ctx, promtool, "check", "metrics")
	cmd.Stdin = bytes.NewReader(body)
	if out, err := cmd.CombinedOutput(); err != nil || len(out) > 0 {
		r.t.Errorf("promtool check metrics of %s: %v %s", h, err, out)
	}
	return string(body)
}

// A first start that is not clear is refused, and the reason is named, until it is.
func TestFirstStartRefused(t *testing.T) {
	r := prepare(t, async())
	db1, db2, db3 := r.db(1), r.db(2), r.db(3)
	refused := func(code election.Code, name string) {
		t.Helper()
		r.eventually(moveTime, func() string {
			s, err := r.Status(r.ctx, db1)
			switch {
			case err != nil:
				return err.Error()
			case s.Host("db1").Refusal != string(code):
				return fmt.Sprintf("db1 refuses with %q, want %s", s.Host("db1").Refusal, code)
			case s.Level != "critical" || !strings.Contains(s.Summary, string(code)) || s.NextStep == "":
				return fmt.Sprintf("%s: %q, next: %q; want %s in it", s.Level, s.Summary, s.NextStep, code)
			}
			return ""
		})
		r.logged(db1, fmt.Sprintf("msg=%s", code), time.Second)
		r.pause(time.Second) // longer than the timers of the others
		if c := r.carriers(); len(c) > 0 {
			t.Fatalf("%s: the VIP is on %v", code, c)
		}
		if name != "" {
			r.logged(db1, name, time.Second)
		}
	}

	r.must(db2.SetWritable(r.ctx, true))
	for _, h := range r.Hosts() {
		r.must(r.StartSupervisor(h))
	}
	refused(election.CodeSeveralWritable, `"db1, db2"`)

	r.must(db1.SetWritable(r.ctx, false))
	refused(election.CodeNoReplicas, "db2")

	r.must(db2.SetWritable(r.ctx, false))
	refused(election.CodeNoWritable, "")

	for _, h := range r.Hosts()[1:] {
		r.must(h.Server.Exec(r.ctx, "STOP REPLICA", "RESET REPLICA ALL"))
	}
	r.eventually(moveTime, func() string {
		n, err := db1.Server.QueryString(r.ctx, "SELECT COUNT(*) FROM information_schema.PROCESSLIST WHERE COMMAND LIKE 'Binlog Dump%'")
		r.must(err)
		if n != "0" {
			return n + " dump threads are left"
		}
		return ""
	})
	r.pause(time.Second) // until all have looked
	r.must(db1.SetWritable(r.ctx, true))
	refused(election.CodeNoReplicas, "db1")

	r.Supervisor(db3).Kill()
	r.pause(time.Second)
	r.must(db2.Follow(r.ctx, db1))
	r.must(db3.Follow(r.ctx, db1))
	refused(election.CodeWaitingForHosts, "db3")

	r.must(r.StartSupervisor(db3))
	r.settled(db1)
	r.end(r.write(), db1, 0)
}
