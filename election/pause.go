// SPDX-License-Identifier: Apache-2.0

package election

// takePause takes in whether the record says that failovers are paused. A candidate that nobody
// asked to stand and that is not in the record yet withdraws; one that is was there first.
func (m *Machine) takePause(now Instant, paused bool) {
	m.paused = paused
	if m.role == RoleCandidate && m.contest.cause != CodeOperator && m.barred() {
		m.withdraw(now, CodePaused)
	}
}

// halted reports whether the role may not move by itself. A primary that is giving up by order
// was asked to hand over.
func (m *Machine) halted() bool {
	return m.paused && !(m.farewell == m.term && m.gaveUpFor == CodeOperator)
}

// barred reports whether a pause keeps this node from standing. It does not keep the primary of
// record from it: the role moves nowhere when its server was only restarted.
func (m *Machine) barred() bool {
	_, primary := m.authority.Holder()
	return m.halted() && primary != m.cfg.Node
}
