// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"bytes"
	"encoding/json"
	"testing"

	"highwater/configs"
	"highwater/election"
	"highwater/supervisor"
	"highwater/supervisor/journal"
	"highwater/test/lab"
)

// What each supervisor decided in a failover follows, byte for byte, from the events in its
// journal.
func TestJournalReplays(t *testing.T) {
	r := start(t, semiSync())
	w := r.write()
	r.db(1).Server.Kill()
	primary := r.moved(r.db(1))
	r.must(r.db(1).Server.Start(r.ctx))
	r.end(w, primary, 1)
	for _, h := range r.Hosts() {
		// A process that ends in good order has written its journal to the end.
		if out, err := r.Command(r.ctx, h, "stop"); err != nil {
			t.Fatalf("stop %s: %v: %s", h, err, out)
		}
		r.must(r.Supervisor(h).Wait(r.ctx))
		r.replay(h)
	}
}

// replay steps a Machine through a host's journal.
func (r *rig) replay(h *lab.Host) {
	r.t.Helper()
	c, err := configs.Load(r.ConfigFile(h))
	r.must(err)
	self, err := c.Self(h.Name())
	r.must(err)
	m, err := election.New(supervisor.MachineConfig(c, self, h.Address()), supervisor.Authority(c))
	r.must(err)
	steps := 0
	for record, err := range journal.ReadDir(r.StateDir(h)) {
		r.must(err)
		ev, err := election.UnmarshalEvent(record.Event)
		r.must(err)
		actions, err := election.MarshalActions(m.Step(election.Instant(record.At), ev))
		r.must(err)
		if len(actions) != len(record.Actions) {
			r.t.Fatalf("%s, record %d, %s: %d actions, the journal has %d", h, record.Seq, record.Event, len(actions), len(record.Actions))
		}
		for i := range actions {
			if !bytes.Equal(compact(r, actions[i]), compact(r, record.Actions[i])) {
				r.t.Fatalf("%s, record %d, %s:\n%s\nthe journal has\n%s", h, record.Seq, record.Event, actions[i], record.Actions[i])
			}
		}
		steps++
	}
	if steps < 50 {
		r.t.Errorf("the journal of %s has only %d records", h, steps)
	}
}

func compact(r *rig, b []byte) []byte {
	r.t.Helper()
	var out bytes.Buffer
	r.must(json.Compact(&out, b))
	return out.Bytes()
}
