// SPDX-License-Identifier: Apache-2.0

package election

func (m *Machine) tickPrimary(now Instant) {
	if now.Sub(m.healthAt) >= m.cfg.VerdictMaxAge {
		m.giveUp(now, CodeVerdictStale)
		return
	}
	if now < m.lease.renewAt {
		return
	}
	if right := m.authority.Right(now, m.router.State()); !right.Held {
		if m.authority.Exclusive() && now < m.lease.heldUntil.Add(-m.cfg.Lease/10) {
			// Who else gets it waits until this lease has ended, and gives it back to us.
			m.seek()
			m.lease.renewAt = now.Add(m.cfg.Lease / 30)
			return
		}
		if right.Code == CodeNoRight {
			right.Code = CodeRightLost
		}
		m.giveUp(now, right.Code)
		return
	}
	m.lease.renewAt = now.Add(m.cfg.Lease / 3)
	if m.lease.renew != 0 {
		// The last one is not answered yet. When a whole lease passes so, the kernel has dropped
		// the address, and what holds us up holds nobody else up.
		if now.Sub(m.lease.renewAsked) >= m.cfg.Lease {
			m.giveUp(now, CodeRenewFailed)
		}
		return
	}
	m.lease.renew, m.lease.renewAsked = m.next(), now
	m.do(Renew{Token: m.lease.renew})
}

func (m *Machine) renewEnded(now Instant, e RenewEnded) {
	if !awaited(e.Token, m.lease.renew) {
		return
	}
	m.lease.renew = 0
	switch {
	case m.role != RolePrimary:
	case e.Err == "":
		m.lease.heldUntil = m.lease.renewAsked.Add(m.cfg.Lease)
	case e.Lost:
		m.addressLost(now)
	default:
		m.record(Record{Code: CodeRenewFailed, Detail: e.Err})
		m.lease.renewAt = now.Add(m.cfg.Lease / 10)
	}
}

// addressLost puts back a VIP that somebody else removed.
func (m *Machine) addressLost(now Instant) {
	if m.role != RolePrimary || m.contest.claim != 0 {
		return
	}
	if right := m.authority.Right(now, m.router.State()); !right.Held && !m.authority.Exclusive() {
		m.giveUp(now, right.Code)
		return
	} else if !right.Held {
		m.lease.heldUntil = 0 // the next renewal finds the right or gives up
		return
	}
	m.contest.claim = m.next()
	m.do(Claim{Token: m.contest.claim, Term: m.term})
}

func (m *Machine) healthChanged(now Instant, h Health) {
	if h.State == HealthUnknown && m.role == RoleStarting {
		return // wait for the first answer, whatever it is
	}
	m.health, m.healthAt = h, now
	switch m.role {
	case RoleStarting:
		m.route(m.router.Startup(now))
		m.setRole(RoleReplica)
	case RolePrimary:
		m.judgePrimary(now)
	case RoleResuming:
		m.tryResume(now)
	}
	if m.role == RoleReplica || m.role == RoleHeld {
		m.tryAdopt(now)
		m.enforceReadOnly()
		m.tryFollow(now)
	}
}

// judgePrimary acts on the primary's own verdict. Blocked is not hung: a commit that waits
// for an acknowledgement or a lock moves nothing.
func (m *Machine) judgePrimary(now Instant) {
	if m.health.At <= m.lease.since {
		return
	}
	if !m.health.Hung && m.refusal == CodeHoldOff {
		m.refusal = "" // it came round
	}
	switch {
	case m.health.State == HealthDead:
		m.serverExited(now)
	case m.health.Hung && m.endures(now):
		m.refuse(CodeHoldOff, string(CodeServerHung))
	case m.health.Hung:
		m.giveUp(now, CodeServerHung)
	case m.health.Failing && !m.paused && m.successor(now) != "":
		m.giveUp(now, CodeServerFailing)
	case m.health.State == HealthAlive && m.lease.serverID != "" && m.health.ServerID != "" && m.health.ServerID != m.lease.serverID:
		// It died and came back between two looks: doors 2, 3 and 5 again. Unlike one that is
		// gone it has something to say to a successor.
		m.giveUp(now, CodeServerReplaced)
	case m.health.State == HealthAlive && !m.health.Writable:
		m.giveUp(now, CodeNotWritable)
	}
}

// serverExited is the one exception to release first: nothing can be written without a
// server, and while the host still has the VIP its kernel refuses connections at once.
func (m *Machine) serverExited(now Instant) {
	switch m.role {
	case RolePrimary:
		m.record(Record{Code: CodeServerExited})
		m.lease.lingerTo = now.Add(m.cfg.Linger)
		m.setRole(RoleLingering)
		m.health.State, m.health.Writable, m.health.Eligible = HealthDead, false, false
		m.sayFarewell(now, CodeServerExited)
		m.save()
	case RoleCandidate, RolePromoting:
		m.withdrawInFavour(now, 5, CodeServerExited, "")
	case RoleClaiming, RoleResuming:
		m.giveUp(now, CodeServerExited)
	}
	m.health.State, m.health.Writable, m.health.Eligible = HealthDead, false, false
}

func (m *Machine) serverStarted(now Instant) {
	if m.role == RoleLingering {
		m.endLinger(now, CodeServerExited)
	}
	if m.role == RoleHeld {
		m.follow.retryAt = 0 // it may have been rebuilt: the next verdict decides
	}
}

// endLinger takes the VIP off; the node is a replica without a server.
func (m *Machine) endLinger(now Instant, reason Code) {
	m.lease.lingerTo = 0
	m.letGo(now, reason)
	m.router.Startup(now)
	m.setRole(RoleReplica)
	m.save()
}

// sayFarewell tells VRRP and the peers that the right is free, and who should take it.
func (m *Machine) sayFarewell(now Instant, reason Code) {
	if m.router.State() == Active {
		m.route(m.router.Shutdown())
	} else {
		m.do(SendAdvert{Priority: PriorityReleasing})
	}
	m.farewell, m.gaveUpFor = m.term, reason
	successor := m.successor(now)
	m.do(Farewell{Term: m.term, Reason: reason, Successor: successor})
	if !m.halted() {
		m.handOver(now, successor)
	}
	m.do(Publish{})
}

// successor names the eligible peer of the highest priority; "" when there is none. Door 4
// corrects the choice if another one is ahead.
func (m *Machine) successor(now Instant) string {
	var best *peer
	for i := range m.peers {
		p := &m.peers[i]
		if p.NoFailover || p.Witness || !m.fresh(p, now) || !p.state.Eligible || p.state.Role != RoleReplica {
			continue
		}
		back := m.isBack(now, p.Name) // comes last
		switch {
		case best == nil:
			best = p
		case back || m.isBack(now, best.Name):
			if !back {
				best = p
			}
		case p.state.CaughtUp && !best.state.CaughtUp,
			p.state.CaughtUp == best.state.CaughtUp && p.Priority > best.Priority:
			best = p
		}
	}
	if best == nil {
		return ""
	}
	return best.Name
}

func (m *Machine) linkChanged(now Instant, up bool) {
	if m.linkUp == up {
		return
	}
	m.linkUp = up
	if up {
		m.deafened(now)
		switch m.role {
		case RolePrimary:
			m.do(Announce{})
		case RoleReplica, RoleHeld: // listen for a whole interval before anything else
			m.router.Shutdown()
			m.router.Startup(now)
		}
		return
	}
	switch m.role {
	case RolePrimary, RoleClaiming, RoleResuming:
		m.giveUp(now, CodeLinkDown)
	case RoleCandidate, RolePromoting:
		m.withdraw(now, CodeLinkDown)
	}
}

// stalled comes first after a sleep: release, then ask.
func (m *Machine) stalled(now Instant, e Stalled) {
	if e.Gap < m.cfg.silence() {
		return
	}
	m.deafened(now)
	switch m.role {
	case RolePrimary, RoleClaiming:
		m.record(Record{Code: CodeStalled, Detail: e.Gap.String()})
		m.letGo(now, CodeStalled)
		m.router.Shutdown()
		m.contest = contest{abandoned: m.contest.abandoned}
		m.lease.renewAt, m.lease.renew = 0, 0
		m.beginResume(now, e.Gap < m.cfg.Lease)
	case RoleResuming: // nobody consents by a silence that nobody listened to
		m.record(Record{Code: CodeStalled, Detail: e.Gap.String()})
		m.letGo(now, CodeStalled)
		m.beginResume(now, m.resume.young && now.Sub(m.resume.since) < m.cfg.Lease)
	case RoleReplica, RoleHeld: // listen for a whole interval before anything else
		m.router.Shutdown()
		m.router.Startup(now)
	case RoleCandidate, RolePromoting:
		m.withdraw(now, CodeStalled)
	case RoleLingering:
		m.endLinger(now, CodeStalled)
	}
}
