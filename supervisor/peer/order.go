// SPDX-License-Identifier: Apache-2.0

package peer

import (
	"slices"
	"sync"
)

// retiredKept is how many former incarnations of a sender are remembered. What they left in flight is seconds old at most; this many
// restarts take longer.
const retiredKept = 16

// order is what a server remembers of one sender to tell late messages from new ones.
type order struct {
	mu          sync.Mutex
	incarnation string
	retired     []string          // newest last
	last        map[string]uint64 // highest Seq by kind, in this incarnation
	farewell    uint64            // as in the latest status
}

// check refuses a message that is older than what was heard. Farewell is the term that a status or a farewell carries.
func (o *order) check(kind string, s Stamp, farewell uint64) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if s.Incarnation != o.incarnation {
		if slices.Contains(o.retired, s.Incarnation) {
			return refuse(ReasonStale, "incarnation %s was replaced by %s", s.Incarnation, o.incarnation)
		}
		if o.incarnation != "" {
			o.retired = append(o.retired, o.incarnation)
			o.retired = o.retired[max(0, len(o.retired)-retiredKept):]
		}
		o.incarnation, o.last, o.farewell = s.Incarnation, map[string]uint64{}, 0
	}
	if s.Seq < o.last[kind] {
		return refuse(ReasonStale, "%s %d came after %d", kind, s.Seq, o.last[kind])
	}
	if kind == kindFarewell && s.Seq < o.last[kindStatus] && farewell != o.farewell {
		return refuse(ReasonStale, "farewell %d of term %d was taken back by status %d", s.Seq, farewell, o.last[kindStatus])
	}
	o.last[kind] = s.Seq
	if kind == kindStatus {
		o.farewell = farewell
	}
	return nil
}
