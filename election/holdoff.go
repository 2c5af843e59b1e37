// SPDX-License-Identifier: Apache-2.0

package election

// holdOff is the time after a failover in which the role does not go back to where it came from
// for a verdict by time-out, nor for any other while there is somebody else to take it
// (docs/design.md §6). It counts from when this node learned of it.
type holdOff struct {
	term  uint64 // whose beginning started it; 0 none
	from  string
	until Instant
}

// takeHoldOff takes in the record's hold-off. Later changes of the record repeat it: what was
// counted already does not begin anew.
func (m *Machine) takeHoldOff(now Instant, e RecordChanged) {
	if e.HoldOffTerm == m.holdOff.term {
		return
	}
	m.holdOff = holdOff{term: e.HoldOffTerm, from: e.HoldOffFrom}
	if e.HoldOff > 0 {
		m.holdOff.until = now.Add(e.HoldOff)
	}
}

// isBack reports whether the role would go back if node got it now.
func (m *Machine) isBack(now Instant, node string) bool {
	return now < m.holdOff.until && node == m.holdOff.from
}

// heldOff reports whether this node leaves the role to another candidate. One that was asked to
// stand because it is ahead does not: completeness comes before order.
func (m *Machine) heldOff(now Instant) bool {
	return m.isBack(now, m.cfg.Node) && now >= m.askedUntil && m.successor(now) != ""
}

// endures reports whether this primary, whose server hangs, waits for it: giving up would end in
// the role going back, or nowhere. The server that hangs serves nobody either way, and
// may come round; one that was killed for hanging does not.
func (m *Machine) endures(now Instant) bool {
	if now >= m.holdOff.until || m.holdOff.from == m.cfg.Node {
		return false
	}
	next := m.successor(now)
	return next == "" || m.isBack(now, next)
}
