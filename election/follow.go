// SPDX-License-Identifier: Apache-2.0

package election

import "time"

// followRetry is the pause after a failed re-pointing; heldRetry after one that found errant
// transactions, which only people resolve.
const (
	followRetry = time.Second
	heldRetry   = 5 * time.Second
)

// attach points a sealed server at the candidate that it was sealed for, once that has won and
// applied everything: its first commit then finds somebody to acknowledge it. It is tried
// once; what it leaves undone tryFollow does when the candidate is primary.
func (m *Machine) attach(now Instant, p *peer) {
	winner := p.state.Role == RolePromoting || p.state.Role == RoleClaiming
	if m.role != RoleReplica || !winner || !p.state.Drained || p.state.Promised != m.promised || m.promised <= m.term ||
		m.follow.attached == m.promised || m.follow.token != 0 {
		return
	}
	if !m.healthy(now) || m.health.Writable || m.fence.demote != 0 || m.fence.release != 0 {
		return
	}
	m.follow.attached = m.promised
	m.follow.attaching, m.follow.node = true, p.Name
	m.follow.token = m.next()
	m.do(Follow{Token: m.follow.token, Node: p.Name, Term: m.promised})
}

// tryFollow points the local server at the primary when it is not. Only a primary that is
// heard itself, and whose term is not below this node's promise, is followed.
func (m *Machine) tryFollow(now Instant) {
	if m.primary == "" || m.primary == m.cfg.Node || m.self.Witness || m.follow.token != 0 || m.follow.retryAt != 0 {
		return
	}
	if m.role != RoleReplica && m.role != RoleHeld {
		return
	}
	p := m.peer(m.primary)
	if p == nil || !m.fresh(p, now) || p.state.Role != RolePrimary || p.state.Term < m.promised {
		return
	}
	if !m.healthy(now) || m.health.Writable || m.fence.demote != 0 || m.fence.release != 0 {
		return
	}
	if m.health.Source == m.primary && m.health.Receiving {
		if m.role == RoleHeld {
			m.setRole(RoleReplica)
		}
		return
	}
	m.follow.token = m.next()
	m.follow.node = m.primary
	m.do(Follow{Token: m.follow.token, Node: m.primary, Term: p.state.Term})
}

func (m *Machine) followEnded(now Instant, e FollowEnded) {
	f := &m.follow
	if !awaited(e.Token, f.token) {
		return
	}
	f.token = 0
	if f.attaching {
		f.attaching, f.retryAt = false, 0
		if e.Err == "" && e.Errant == "" {
			f.retryAt = now.Add(followRetry) // as below
			m.record(Record{Code: CodeFollowing, Node: f.node, Term: f.attached})
			return
		}
		m.tryFollow(now)
		return
	}
	switch {
	case e.Errant != "":
		f.retryAt = now.Add(heldRetry)
		if m.role == RoleReplica || (m.role == RoleHeld && f.failed != e.Errant) {
			m.record(Record{Code: CodeHeldErrant, Node: f.node, Detail: e.Errant})
		}
		f.failed = e.Errant
		if m.role == RoleReplica {
			m.setRole(RoleHeld)
		}
	case e.Err != "":
		f.retryAt = now.Add(followRetry)
		if f.failed != e.Err {
			m.record(Record{Code: CodeFollowFailed, Node: f.node, Detail: e.Err})
		}
		f.failed = e.Err
	default:
		f.failed = ""
		// The next verdict shows the new source; until then the old one must not start another.
		f.retryAt = now.Add(followRetry)
		m.record(Record{Code: CodeFollowing, Node: f.node})
		if m.role == RoleHeld {
			m.setRole(RoleReplica)
		}
	}
}
