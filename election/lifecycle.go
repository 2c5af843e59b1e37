// SPDX-License-Identifier: Apache-2.0

package election

// start takes up what an earlier process left (docs/design.md §6). Without a quorum an
// address of ours stays only if its claim is younger than the lease; nothing renews it before
// this node has asked.
func (m *Machine) start(now Instant, e Start) {
	m.linkUp, m.deaf = e.LinkUp, now
	m.term, m.primary, m.promised = e.Saved.Term, e.Saved.Primary, e.Saved.Promised
	m.lease.serverID = e.Saved.ServerID
	m.record(Record{Code: CodeStarted, Node: m.primary})
	resumes := e.Saved.Claimed && m.primary == m.cfg.Node && m.term > 0 && e.LinkUp
	young := e.ClaimDated && e.ClaimAge < m.cfg.Lease
	if e.VIPPresent && !(resumes && young) {
		m.letGo(now, CodeLeaseUndated)
	}
	if resumes {
		m.beginResume(now, young)
	}
	m.do(Publish{})
}

// beginResume asks whether this node is still primary: nobody else may have become it, and
// its server must be the process that was opened. Who does not answer consents: at once if
// the claim is so young that nobody can have followed, else when the lease of whoever did has
// surely ended. It asks no longer than that: a host that cannot say what it is must not keep
// the others waiting.
func (m *Machine) beginResume(now Instant, young bool) {
	m.resume = resume{
		since: now, at: now.Add(m.router.DownInterval()), until: now.Add(m.cfg.silence() + m.cfg.LeaseEnds()),
		young: young,
	}
	m.health, m.healthAt = Health{}, 0
	m.setRole(RoleResuming)
}

func (m *Machine) tryResume(now Instant) {
	r := &m.resume
	patience := r.until
	if r.young {
		patience = r.since.Add(m.router.DownInterval())
	}
	if now >= r.at { // Deadline must not lie in the past
		r.at = now.Add(m.cfg.interval())
	}
	h := &m.health
	seen := m.healthAt != 0 && h.At > r.since && (h.State != HealthUnknown || h.Hung) // a look of before proves nothing
	free := m.contender(now) == nil && !r.contested.within(m.cfg.silence(), now)
	switch {
	case seen && h.Hung:
		m.giveUp(now, CodeServerHung)
	case seen && (h.State == HealthDead || !h.Writable || h.ServerID != m.lease.serverID):
		m.letGo(now, CodeServerExited)
		m.primarySeen = r.young
		m.router.Startup(now)
		m.setRole(RoleReplica)
		m.save()
	case m.authority.Exclusive():
		m.resumeByRight(now, seen)
	case seen && free && (m.answeredAll() || now >= patience) && m.authority.Right(now, Active).Held:
		m.record(Record{Code: CodeResumed})
		m.route(m.router.Stand(now))
		m.contest = contest{term: m.term, cause: CodeResumed, released: true}
		m.claim()
	case now >= r.until:
		m.giveUp(now, CodeVerdictStale)
	}
}

// resumeByRight ends the resuming of a node whose right is exclusive: it is still primary if it
// has the right and nobody else was made primary.
func (m *Machine) resumeByRight(now Instant, seen bool) {
	term, holder := m.authority.Holder()
	held := m.authority.Right(now, Active).Held
	switch {
	case held && holder != m.cfg.Node && term >= m.term:
		m.giveUp(now, CodeDeposed)
	case held && seen:
		m.record(Record{Code: CodeResumed})
		m.route(m.router.Stand(now))
		m.contest = contest{term: m.term, cause: CodeResumed, released: true}
		m.claim()
	case now >= m.resume.until:
		m.giveUp(now, CodeVerdictStale)
	case !held:
		m.resume.at = now.Add(m.cfg.interval() / heldFraction)
		m.seek()
	}
}

// answeredAll reports whether every peer spoke since the resume began.
func (m *Machine) answeredAll() bool {
	for i := range m.peers {
		if m.peers[i].heard <= m.resume.since {
			return false
		}
	}
	return true
}

func (m *Machine) command(now Instant, e Command) {
	switch e.Name {
	case CommandRestart:
		m.record(Record{Code: CodeStopping, Detail: "restart: back within the lease"})
		m.save()
		m.setRole(RoleStopped)
		m.do(Stopped{Token: e.Token})
	case CommandStop:
		m.commandStop(now, e)
	case CommandFailover:
		if m.role != RoleReplica {
			m.do(Refuse{Token: e.Token, Code: CodeNotTakingIn})
			return
		}
		standBack := m.standBack // before the order
		m.forcedUntil, m.standBack = now.Add(m.cfg.GatherTimeout+m.cfg.PromoteTimeout), 0
		if code, detail := m.mayStand(now); code != "" && (!m.wanting || !m.authority.Exclusive()) {
			m.forcedUntil, m.standBack = 0, standBack
			m.refuse(code, detail)
			m.do(Refuse{Token: e.Token, Code: code})
			return
		}
		m.do(Accept{Token: e.Token})
		if m.wanting {
			m.do(Publish{}) // whoever has the right and does not stand passes it on
			return
		}
		m.stand(now, m.router.Stand(now), CodeOperator)
	default:
		m.do(Refuse{Token: e.Token, Code: CodeNotTakingIn})
	}
}

// commandStop hands over when a successor is ready; else it releases, says so and goes.
func (m *Machine) commandStop(now Instant, e Command) {
	if m.stop.token != 0 || m.role == RoleStopped {
		m.do(Refuse{Token: e.Token, Code: CodeStopping})
		return
	}
	m.record(Record{Code: CodeStopping})
	m.stop = stop{token: e.Token, deadline: now.Add(m.cfg.FenceTimeout + m.cfg.GatherTimeout + m.cfg.PromoteTimeout)}
	switch m.role {
	case RolePrimary, RoleClaiming, RoleResuming, RoleCandidate, RolePromoting, RoleLingering:
		m.giveUp(now, CodeOperator)
	case RoleDemoting:
		m.setRole(RoleStopping)
	default:
		m.route(m.router.Shutdown())
		m.setRole(RoleStopped)
		m.do(Stopped{Token: e.Token})
	}
}

// tryStop ends the process once it is fenced and a successor is there, or none can be.
func (m *Machine) tryStop(now Instant) {
	if m.role != RoleStopping {
		return
	}
	fenced := m.fence.release == 0 && m.fence.demote == 0 && m.fence.retryAt == 0
	if now < m.stop.deadline {
		if !fenced {
			return
		}
		if m.primary == m.cfg.Node && m.successorPossible(now) {
			return
		}
	}
	m.save()
	m.setRole(RoleStopped)
	m.record(Record{Code: CodeStopped})
	m.do(Stopped{Token: m.stop.token})
}

// successorPossible reports whether some peer could still take over, or is at it.
func (m *Machine) successorPossible(now Instant) bool {
	return m.contender(now) != nil || m.successor(now) != ""
}
