// SPDX-License-Identifier: Apache-2.0

package sim

import "time"

// How the quorum's messages travel: over two connections for each direction, one for what is
// urgent, each of which keeps the order. A connection that breaks loses what is in it, but
// some of it may come out much later, as when TCP sends again after a partition has healed.
const (
	repeated  = 0.003
	straggles = 0.1
)

// straggler is the longest by which a message may be late for a partition.
const straggler = 4 * time.Second

// sendRaft sends a message of the quorum.
func (w *World) sendRaft(from, to *host, data []byte, urgent bool) {
	if to == nil || !from.powered {
		return
	}
	lane := 0
	if urgent {
		lane = 1
	}
	d := w.between(50*time.Microsecond, w.delay)
	for w.chance(w.loss) {
		d += retransmit
	}
	last := &w.lanes[from.index][to.index][lane]
	*last = max(*last, w.now.add(d))
	w.arrive(from, to, data, last.sub(w.now), 1)
	if w.chance(repeated) {
		w.arrive(from, to, data, w.between(0, straggler), 0)
	}
}

// passes reports whether a message of the quorum gets through now. TCP that hears no
// acknowledgement sends nothing new; where datagrams is set it is as if it did.
func (w *World) passes(from, to *host) bool {
	return w.reaches(from, to) && (w.datagrams || w.reaches(to, from))
}

func (w *World) arrive(from, to *host, data []byte, d time.Duration, tries int) {
	w.after(d, func() {
		switch {
		case w.passes(from, to):
			if s := to.supervisor; s != nil && s.voter != nil {
				s.voter.receive(from.name, data)
			}
		case tries > 0 && w.chance(straggles):
			w.arrive(from, to, data, w.between(0, straggler), tries-1)
		}
	})
}
