// SPDX-License-Identifier: Apache-2.0

package election

import "strings"

// gate is doors 1 to 3: may this node become a candidate now? It records a refusal.
func (m *Machine) gate(now Instant) bool {
	code, detail := m.mayStand(now)
	if code == "" {
		m.refusal = ""
		return true
	}
	m.refuse(code, detail)
	return false
}

// mayStand returns the reason against standing, "" for none.
func (m *Machine) mayStand(now Instant) (Code, string) {
	m.wanting = false
	if m.role == RoleHeld {
		return CodeHeldErrant, m.follow.failed
	}
	if m.role != RoleReplica {
		return CodeNotTakingIn, m.role.String()
	}
	if code, detail := m.door2(now); code != "" {
		return code, detail
	}
	if now < m.standBack {
		return CodeStandingBack, ""
	}
	if now < m.forcedUntil || now < m.askedUntil { // hosts may be missing; a primary that speaks may not be overruled
		if code, detail := m.primaryAnswers(now); code != "" {
			return code, detail
		}
		return m.door3(now)
	}
	if now < m.deferTo {
		return CodeHeardByOthers, ""
	}
	if m.heldOff(now) {
		return CodeHoldOff, m.successor(now)
	}
	if code, detail := m.door1(now); code != "" {
		return code, detail
	}
	return m.door3(now)
}

// door3 is Authority. The vrrp authority gives the right to whoever becomes Active; what else
// it asks for must hold already. A quorum is asked, and answers later.
func (m *Machine) door3(now Instant) (Code, string) {
	right := m.authority.Right(now, Active)
	m.wanting = !right.Held
	if m.wanting {
		m.seek()
	}
	return right.Code, ""
}

// door2 is Health: this server's own verdict, fresh and eligible.
func (m *Machine) door2(now Instant) (Code, string) {
	switch {
	case m.self.NoFailover || m.self.Witness:
		return CodeNoFailover, ""
	case !m.healthAt.within(m.cfg.VerdictMaxAge, now):
		return CodeNoVerdict, ""
	case !m.health.Eligible:
		return CodeIneligible, strings.Join(m.health.Reasons, ", ")
	}
	return "", ""
}

// door1 is Silence, beyond VRRP's own: the Active_Down_Timer has fired, or somebody handed over.
func (m *Machine) door1(now Instant) (Code, string) {
	if code, detail := m.primaryAnswers(now); code != "" {
		return code, detail
	}
	if m.barred() {
		return CodePaused, ""
	}
	for i := range m.peers {
		p := &m.peers[i]
		switch {
		case now < p.back && p.Name == m.primary:
			return CodePrimaryRestarting, p.Name
		case m.fresh(p, now) && p.state.Role.contending():
			return CodeCandidateExists, p.Name
		case p.Name == m.named && m.farewell == m.term && m.fresh(p, now) && m.namedAt.within(2*m.cfg.interval(), now):
			return CodeCandidateExists, p.Name // it goes first
		}
	}
	if !m.primarySeen {
		return m.coldStart(now)
	}
	if !m.authority.Exclusive() { // a majority knows more than any host has heard
		if missing := m.unasked(now); len(missing) > 0 {
			return CodeWaitingForHosts, joined(missing)
		}
		if m.alone(now) {
			return CodeAlone, ""
		}
	}
	if m.primary != m.cfg.Node && m.farewell != m.term && m.eventsFlow() &&
		now < m.primarySign().Add(m.leaseEnds()) {
		return CodeEventsFlow, m.primary
	}
	return "", ""
}

// dataHosts is how many hosts with a server make a cluster in which one that hears nobody is
// more likely cut off than left over.
const dataHosts = 3

// alone reports whether this host of three or more hears no other one. That its own cable is
// bad explains it better than that all others died; and standing would open a second
// primary, which after the healing costs what either acknowledged. Only an operator may.
func (m *Machine) alone(now Instant) bool {
	hosts := 1
	for i := range m.peers {
		p := &m.peers[i]
		if p.Witness {
			continue
		}
		hosts++
		if m.fresh(p, now) {
			return false
		}
	}
	return hosts >= dataHosts
}

// primaryAnswers names a primary that is there on the peer channel. One that is giving up the
// right is given the time of a fence for it: its last transactions come with its farewell.
func (m *Machine) primaryAnswers(now Instant) (Code, string) {
	for i := range m.peers {
		p := &m.peers[i]
		if m.fresh(p, now) && (p.state.Role == RolePrimary || p.state.Role == RoleResuming) &&
			p.state.Term >= m.term && m.farewell != p.state.Term {
			return CodePrimaryAnswers, p.Name
		}
		if m.fresh(p, now) && p.Name == m.primary && p.fencing.within(m.cfg.FenceTimeout, now) && m.farewell != m.term {
			return CodePrimaryAnswers, p.Name
		}
	}
	return "", ""
}

// unasked names the hosts that may know of a primary which this node, having been deaf, does
// not: all but the one that it takes for primary, until that or one of them has spoken of it.
func (m *Machine) unasked(now Instant) []string {
	if !m.blind {
		return nil
	}
	var names []string
	for i := range m.peers {
		p := &m.peers[i]
		if !p.Witness && p.Name != m.primary && (!m.fresh(p, now) || p.heard <= m.deaf) {
			names = append(names, p.Name)
		}
	}
	return names
}

// coldStart is door 1 when nobody was heard as primary in this process's life: every host
// came back from a power cut, or the cluster never ran. Every server must have answered: the
// one that is slow to recover may be the one that is ahead. With durability lossless the cluster
// record says whose answer is needed, and door 4 asks it.
func (m *Machine) coldStart(now Instant) (Code, string) {
	if m.cfg.Lossless && m.term != 0 {
		return "", ""
	}
	if missing := m.missing(now); len(missing) > 0 {
		return CodeWaitingForHosts, joined(missing)
	}
	if m.term == 0 {
		code, _, detail := m.adoptable()
		if code == "" {
			code = CodeWaitingForHosts // the one who is to be adopted will speak
		}
		return code, detail
	}
	return "", ""
}

// adoptable looks for the one writable server with replicas of a first start.
func (m *Machine) adoptable() (code Code, node, detail string) {
	var writable []string
	replicas := 0
	if m.health.Writable {
		writable, replicas = append(writable, m.cfg.Node), m.health.Replicas
	}
	others := 0
	for i := range m.peers {
		p := &m.peers[i]
		if !p.Witness {
			others++
		}
		if p.state.Writable {
			writable, replicas = append(writable, p.Name), p.state.Replicas
		}
	}
	switch {
	case len(writable) == 0:
		return CodeNoWritable, "", "no server is writable: bootstrap the cluster, or order a failover"
	case len(writable) > 1:
		return CodeSeveralWritable, "", joined(writable)
	}
	node = writable[0]
	if m.health.Source == node {
		replicas++
	}
	for i := range m.peers {
		if m.peers[i].state.Source == node {
			replicas++
		}
	}
	if replicas == 0 && others > 0 {
		return CodeNoReplicas, "", node
	}
	return "", node, ""
}

// tryAdopt makes this node the primary of term 1 on a first start.
func (m *Machine) tryAdopt(now Instant) {
	if m.term != 0 || m.role != RoleReplica || !m.healthy(now) || m.self.NoFailover {
		return
	}
	if missing := m.missing(now); len(missing) > 0 {
		m.refuse(CodeWaitingForHosts, joined(missing))
		return
	}
	code, node, detail := m.adoptable()
	if code != "" {
		m.refuse(code, detail)
		return
	}
	if node != m.cfg.Node {
		return
	}
	if !m.authority.Right(now, Active).Held {
		m.seek()
		return
	}
	if m.authority.Exclusive() {
		if term, _ := m.authority.Holder(); term != 1 {
			if m.adopting == 0 {
				m.adopting = m.next()
				m.do(Establish{Token: m.adopting, Term: 1, Kind: MoveFailover, Cause: CodeAdopted})
			}
			return
		}
	}
	m.refusal = ""
	m.bumpPromise(1)
	m.record(Record{Code: CodeAdopted, Term: 1})
	m.route(m.router.Stand(now))
	m.contest = contest{term: 1, cause: CodeAdopted, released: true}
	m.claim()
}

// silenceCause names what opened door 1.
func (m *Machine) silenceCause(now Instant) Code {
	switch {
	case now < m.forcedUntil:
		return CodeOperator
	case now < m.askedUntil:
		return CodeHandedOver
	case m.farewell == m.term && m.term != 0:
		return CodeFarewell
	default:
		return CodeSilence
	}
}

// stand makes this node a candidate; out is the router's way to Active.
func (m *Machine) stand(now Instant, out Output, cause Code) {
	m.route(out)
	m.askedUntil = 0
	m.contest = contest{cause: cause, abandoned: m.contest.abandoned}
	if m.primary != m.cfg.Node {
		m.contest.oldPrimary = m.primary
	}
	m.contest.released = m.contest.oldPrimary == "" || m.farewell == m.term
	m.record(Record{Code: CodeStood, Door: 3, Term: m.nextTerm(), Detail: string(cause)})
	m.gather(now)
}

// nextTerm is higher than every term this node knows of or has promised.
func (m *Machine) nextTerm() uint64 {
	t := max(m.term, m.promised)
	for i := range m.peers {
		t = max(t, m.peers[i].state.Term, m.peers[i].state.Promised)
	}
	return t + 1
}

// mute reports whether p is a primary that has just given up because its server does not
// answer, or still does not: it is asked and not waited for.
func (m *Machine) mute(now Instant, p *peer) bool {
	return m.speechless && p.Name == m.contest.oldPrimary && m.farewell == m.term &&
		(m.namedAt.within(m.cfg.silence(), now) || !p.state.Alive)
}

// gather begins door 4 in a new term.
func (m *Machine) gather(now Instant) {
	c := &m.contest
	c.term = m.nextTerm()
	m.bumpPromise(c.term)
	c.gather = m.next()
	c.tries++
	m.setRole(RoleCandidate)
	var expect []string
	for i := range m.peers {
		if p := &m.peers[i]; m.fresh(p, now) && !p.Witness && !m.mute(now, p) {
			expect = append(expect, p.Name)
		}
	}
	m.do(Gather{
		Token: c.gather, Term: c.term, OldPrimary: c.oldPrimary, Expect: expect,
	})
}
