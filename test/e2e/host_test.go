// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"highwater/election"
)

// The whole host of the primary stands still, as under a hypervisor that stalls, and goes on.
func TestHostFrozen(t *testing.T) {
	r := start(t, semiSync())
	old := r.db(1)
	w := r.write()
	r.must(old.Freeze())
	r.without(old, leaseTime)
	primary := r.moved(old)
	r.pause(500 * time.Millisecond)
	r.must(old.Thaw())
	r.revive(old)
	r.end(w, primary, 1)
}

// The host of the primary loses its power and comes back.
func TestHostPoweredOff(t *testing.T) {
	r := start(t, semiSync())
	old := r.db(1)
	w := r.write()
	r.powerOff(old)
	primary := r.moved(old)
	r.powerOn(old)
	r.end(w, primary, 1)
}

// All hosts lose their power. While one is missing nobody is elected, and it is named; when
// all are back the most advanced is.
func TestPowerCut(t *testing.T) {
	r := start(t, semiSync())
	w := r.write()
	for _, h := range r.Hosts() {
		r.powerOff(h)
	}
	record := w.Stop()
	for _, h := range r.Hosts()[1:] {
		r.powerOn(h)
	}
	r.eventually(moveTime, func() string {
		s, err := r.Status(r.ctx, r.db(2))
		switch {
		case err != nil:
			return err.Error()
		case s.Host("db2").Refusal != string(election.CodeWaitingForHosts):
			return fmt.Sprintf("db2 refuses with %q", s.Host("db2").Refusal)
		case !strings.Contains(s.Summary, "db1"):
			return "the summary does not name the missing host: " + s.Summary
		}
		return ""
	})
	r.pause(3 * time.Second)
	if c := r.carriers(); len(c) > 0 {
		t.Fatalf("the VIP is on %v although a host is missing", c)
	}
	r.powerOn(r.db(1))
	primary := r.elected()
	r.end(r.write(), primary, 0)
	difference, err := record.Verify(r.ctx, primary.Server)
	r.must(err)
	if !difference.OK() {
		t.Errorf("rows from before the power cut: %v", difference)
	}
}
