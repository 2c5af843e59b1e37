// SPDX-License-Identifier: Apache-2.0

package sim

import (
	"slices"
	"time"

	"highwater/election/quorum"
)

// disk is where the quorum's log lies. What was written without fsync survives the process
// and need not survive the host.
type disk struct {
	hardState []byte
	snapshot  *quorum.Snapshot
	entries   []quorum.Entry
	volatile  []quorum.Store // written after all that, not yet durable
	slow      time.Duration  // what a write takes in addition
}

// apply makes one change.
func (d *disk) apply(s quorum.Store) {
	if s.Snapshot != nil {
		d.snapshot = s.Snapshot
		if s.Snapshot.Reset {
			d.entries = nil
		}
		d.entries = slices.DeleteFunc(d.entries, func(e quorum.Entry) bool { return e.Index <= s.Snapshot.Index })
	}
	for _, e := range s.Entries {
		d.entries = slices.DeleteFunc(d.entries, func(old quorum.Entry) bool { return old.Index >= e.Index })
		d.entries = append(d.entries, e)
	}
	if s.HardState != nil {
		d.hardState = s.HardState
	}
}

// put writes a change, and with sync all before it, durably.
func (d *disk) put(s quorum.Store) {
	d.volatile = append(d.volatile, s)
	if s.Sync {
		d.flush(len(d.volatile))
	}
}

// flush makes the first n writes durable.
func (d *disk) flush(n int) {
	for _, s := range d.volatile[:n] {
		d.apply(s)
	}
	d.volatile = d.volatile[n:]
}

// restored is what a new process finds.
func (d *disk) restored() quorum.Restored {
	d.flush(len(d.volatile)) // it reads what it wrote; the host has not failed meanwhile
	return quorum.Restored{HardState: d.hardState, Snapshot: d.snapshot, Entries: slices.Clone(d.entries)}
}

// write writes one store after the other and says how far it is.
func (v *voter) write() {
	h, w := v.s.host, v.s.w
	if v.writing || len(v.queue) == 0 || v.s.ended {
		return
	}
	store := v.queue[0]
	took := w.between(writeLeast, writeMost) + w.between(0, h.disk.slow)
	if w.chance(0.02) {
		took += w.between(0, writeSlow)
	}
	if !store.Sync && store.Snapshot == nil && len(store.Entries) == 0 { // nothing that raft does not learn again
		took = w.between(0, 50*time.Microsecond)
	}
	v.writing = true
	v.s.after(took, func() {
		v.writing = false
		v.queue = v.queue[1:]
		h.disk.put(store)
		v.step(quorum.Stored{Token: store.Token})
		v.write()
	})
}

// crash ends the process: the write that is under way may have reached the disk.
func (v *voter) crash() {
	if v.writing && v.s.w.chance(0.5) {
		v.s.host.disk.put(v.queue[0])
	}
}

// losePower keeps some of what was not durable: writes reach a disk in their order.
func (h *host) losePower() {
	if n := len(h.disk.volatile); n > 0 {
		h.disk.flush(h.w.rng.IntN(n + 1))
		h.disk.volatile = nil
	}
}
