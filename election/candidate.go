// SPDX-License-Identifier: Apache-2.0

package election

import (
	"fmt"
	"slices"
	"time"
)

// gatherTries bounds how often a candidate takes a higher term when a host had promised
// the one it asked for.
const gatherTries = 5

func (m *Machine) gatherEnded(now Instant, e GatherEnded) {
	c := &m.contest
	if !awaited(e.Token, c.gather) || m.role != RoleCandidate {
		return
	}
	c.gather = 0
	switch {
	case e.Err != "":
		m.withdrawInFavour(now, 4, CodeGatherFailed, e.Err)
	case e.Promised >= c.term:
		m.bumpPromise(e.Promised)
		if c.tries >= gatherTries {
			m.withdrawInFavour(now, 4, CodePromisedElsewhere, "")
			return
		}
		m.gather(now)
	case len(e.HearsPrimary) > 0 && m.farewell != m.term:
		// Each try seals this server and costs the primary a term: not three times a second.
		m.deferTo = now.Add(m.cfg.GatherTimeout)
		m.refuse(CodeHeardByOthers, joined(e.HearsPrimary))
		m.withdraw(now, CodeHeardByOthers)
	case e.Code == CodeCandidateExists:
		m.withdraw(now, CodeCandidateExists)
	case e.Winner == m.cfg.Node:
		m.promote(now, e)
	case e.Winner != "":
		m.record(Record{Code: CodeHandedOver, Door: 4, Term: c.term, Node: e.Winner, Detail: e.Detail})
		m.do(AskToStand{Node: e.Winner, Term: c.term, Ordered: c.cause == CodeOperator})
		m.handOver(now, e.Winner)
		m.route(m.router.Yield(now))
		m.contest = contest{abandoned: c.abandoned}
		m.standBack, m.failed, m.failedFor = now.Add(m.cfg.GatherTimeout), "", ""
		m.setRole(RoleReplica)
	default:
		code := e.Code
		if code == "" {
			code = CodeNoSuccessor
		}
		m.withdrawInFavour(now, 4, code, e.Detail)
	}
}

// promote begins door 5.
func (m *Machine) promote(now Instant, e GatherEnded) {
	c := &m.contest
	c.unheard = m.unheardTerm()
	c.released = !c.unheard && (c.released || e.OldReleased || m.farewell == m.term)
	var wait Instant
	if m.cfg.WaitForLease && !c.released {
		if wait = m.leaseGone(); wait < now {
			wait = 0
		}
	}
	c.fetchFrom = e.FetchFrom
	m.record(Record{Code: CodeGathered, Door: 4, Term: c.term, Detail: e.Detail})
	m.setRole(RolePromoting)
	m.establish(wait)
}

// open asks for the promotion; no writes before wait, 0 for at once.
func (m *Machine) open(wait Instant) {
	c := &m.contest
	m.unused = 0
	c.promote, c.waits = m.next(), wait != 0
	m.do(Promote{
		Token: c.promote, Term: c.term, OldPrimary: c.oldPrimary,
		FetchFrom: c.fetchFrom, WaitUntil: wait, Cause: c.cause,
	})
}

// stopWaiting begins door 5 anew without the wait for the old lease: its holder has said that
// it is off.
func (m *Machine) stopWaiting() {
	c := &m.contest
	if c.unheard {
		return
	}
	c.released = true
	if !c.waits || c.promote == 0 || len(c.abandoned) > 0 {
		return
	}
	m.do(Cancel{Token: c.promote})
	c.abandoned = []Token{c.promote}
	m.open(0)
}

// leaseGone returns when the old primary's VIP has surely ended.
func (m *Machine) leaseGone() Instant {
	if m.authority.Exclusive() {
		return m.leaseGoneByRight()
	}
	// The old primary renews in the loop that speaks. It renewed nothing later than its
	// last sign of life by as long as its words may all have been lost on the way.
	return m.lastSign().Add(m.cfg.silence() + m.leaseEnds())
}

// leaseEnds returns how long after its last renewal the VIP of whoever is, or was, primary
// surely serves nobody: sooner where every host that may be meant has a session fence.
func (m *Machine) leaseEnds() time.Duration {
	for i := range m.peers {
		if p := &m.peers[i]; !p.Witness && !p.state.Fenced {
			return m.cfg.LeaseEnds()
		}
	}
	return m.cfg.FenceEnds()
}

// lastSign returns when anybody last heard the primary. Somebody who was deaf until lately may
// have missed it up to then.
func (m *Machine) lastSign() Instant {
	last := latest(m.primaryHeard, m.deaf)
	for i := range m.peers {
		p := &m.peers[i]
		if p.heard != 0 && p.state.Primary == m.primary && p.state.PrimaryHeard >= 0 {
			last = latest(last, p.heard.Add(-p.state.PrimaryHeard))
		}
	}
	return last
}

func (m *Machine) promoteEnded(now Instant, e PromoteEnded) {
	c := &m.contest
	if i := slices.Index(c.abandoned, e.Token); i >= 0 {
		c.abandoned = slices.Concat(c.abandoned[:i], c.abandoned[i+1:])
		switch {
		case e.Err != "", m.role == RolePromoting, m.role == RoleClaiming, m.role == RolePrimary:
		default: // it was opened before the order to stop reached it
			m.giveUp(now, CodePromoteFail)
		}
		return
	}
	if !awaited(e.Token, c.promote) || m.role != RolePromoting {
		return
	}
	c.promote = 0
	if e.Err != "" {
		code := e.Code
		if code == "" {
			code = CodePromoteFail
		}
		m.withdrawInFavour(now, 5, code, e.Err)
		return
	}
	m.record(Record{Code: CodePromoted, Door: 5, Term: c.term})
	if right := m.authority.Right(now, m.router.State()); !right.Held {
		m.giveUp(now, right.Code)
		return
	}
	m.claim()
}

// claim asks for the VIP: all five doors are behind.
func (m *Machine) claim() {
	c := &m.contest
	m.unused = 0
	c.claim = m.next()
	m.term, m.primary, m.primarySeen = c.term, m.cfg.Node, true
	m.lease.serverID = m.health.ServerID
	if c.cause != CodeAdopted && c.cause != CodeResumed { // a stall before the claim has ended resumes
		m.lease.unfinished = true
	}
	m.setRole(RoleClaiming)
	m.save()
	m.do(Claim{Token: c.claim, Term: c.term})
}

// restoreTries is how often in a row a primary tries to put back a VIP that somebody removes.
const restoreTries = 3

func (m *Machine) claimEnded(now Instant, e ClaimEnded) {
	c := &m.contest
	if !awaited(e.Token, c.claim) {
		return
	}
	c.claim = 0
	if m.role == RolePrimary { // put back after somebody removed it
		if e.Err != "" {
			m.record(Record{Code: CodeClaimFailed, Detail: e.Err})
			if c.tries++; c.tries < restoreTries { // it was removed again
				m.addressLost(now)
			} else {
				m.giveUp(now, CodeClaimFailed)
			}
			return
		}
		c.tries = 0
		m.record(Record{Code: CodeAddressRestored})
		return
	}
	if m.role != RoleClaiming {
		return
	}
	if e.Err != "" {
		m.record(Record{Code: CodeClaimFailed, Detail: e.Err})
		m.giveUp(now, CodeClaimFailed)
		return
	}
	m.lease.renewAt = now.Add(m.cfg.Lease / 3)
	m.lease.heldUntil = now.Add(m.cfg.Lease)
	m.lease.renew = 0
	m.lease.since = now
	m.primaryHeard = now
	m.forcedUntil = 0
	m.fence = fence{}
	m.setRole(RolePrimary)
	m.route(m.router.Assert(now))
	m.record(Record{Code: CodeClaimed, Door: 6, Detail: string(c.cause)})
	m.save()
	if m.lease.unfinished {
		m.lease.finish = m.next()
		m.do(Finish{Token: m.lease.finish})
	}
	m.contest = contest{abandoned: c.abandoned}
}

func (m *Machine) finishEnded(e FinishEnded) {
	if awaited(e.Token, m.lease.finish) {
		m.lease.finish = 0
		m.lease.unfinished = m.role != RolePrimary // it ends early when the role does
	}
}

// withdraw ends a candidacy because somebody else has, or regained, the right. It says no
// farewell: that would only invite a third.
func (m *Machine) withdraw(now Instant, code Code) {
	m.abandon()
	m.route(m.router.Yield(now))
	m.setRole(RoleReplica)
	m.record(Record{Code: code, Detail: "candidacy withdrawn"})
	if m.authority.Right(now, Active).Held {
		m.passOn(now)
	}
}

// promoteStandBack is how many gather timeouts a host whose promotion or term ended badly
// leaves to the others.
const promoteStandBack = 3

// withdrawInFavour ends a candidacy that failed: priority 0, and the next one may try.
func (m *Machine) withdrawInFavour(now Instant, door int, code Code, detail string) {
	m.abandon()
	m.route(m.router.Shutdown())
	m.router.Startup(now)
	m.standBack, m.failed, m.failedFor = now.Add(m.cfg.GatherTimeout), code, detail
	if door == 5 {
		m.standBack = now.Add(promoteStandBack * m.cfg.GatherTimeout)
	}
	m.setRole(RoleReplica)
	m.record(Record{Code: code, Door: door, Detail: detail})
	m.handOver(now, m.successor(now))
}

// abandon cancels what a candidacy has under way.
func (m *Machine) abandon() {
	c := &m.contest
	if c.gather != 0 {
		m.do(Cancel{Token: c.gather})
	}
	if c.establish != 0 {
		m.do(Cancel{Token: c.establish})
	}
	abandoned := c.abandoned
	if c.promote != 0 {
		m.do(Cancel{Token: c.promote})
		abandoned = slices.Concat(abandoned, []Token{c.promote})
	}
	m.contest = contest{abandoned: abandoned}
	m.forcedUntil = 0
}

func (m *Machine) sealRequested(now Instant, e SealRequested) {
	if code := m.sealable(now, e); code != "" {
		m.do(Refuse{Token: e.Token, Code: code})
		m.record(Record{Code: code, Term: e.Term, Node: e.From, Detail: "seal refused"})
		return
	}
	if m.role == RoleCandidate {
		m.withdraw(now, CodeCandidateExists)
	}
	m.bumpPromise(e.Term)
	m.do(Seal{Token: e.Token, Term: e.Term})
	m.record(Record{Code: CodeSealed, Term: e.Term, Node: e.From})
}

// sealable returns the reason against a seal, "" for none.
func (m *Machine) sealable(now Instant, e SealRequested) Code {
	p := m.peer(e.From)
	switch {
	case p == nil || m.self.Witness:
		return CodeNotTakingIn
	case e.Term <= m.term:
		return CodeStaleTerm
	case m.role == RolePrimary || m.role == RoleResuming:
		return CodePrimaryAlive
	case m.role == RolePromoting || m.role == RoleClaiming:
		return CodeCandidateExists
	case m.role == RoleCandidate && !m.yieldsTo(p):
		return CodeCandidateExists
	case e.Term < m.promised:
		return CodePromisedElsewhere
	case m.fencing(now):
		return CodePrimaryAlive
	case m.hearsPrimary(now, e.From):
		return CodeHearsPrimary
	}
	return ""
}

// yieldsTo decides between two candidates as VRRP would: priority, then the configured order.
func (m *Machine) yieldsTo(p *peer) bool {
	if p.Priority != m.self.Priority {
		return p.Priority > m.self.Priority
	}
	return p.Name < m.self.Name
}

// hearsPrimary reports whether the primary, other than from, is audible here and has not
// given up.
func (m *Machine) hearsPrimary(now Instant, from string) bool {
	if m.primary == "" || m.primary == m.cfg.Node || m.primary == from || m.farewell == m.term {
		return false
	}
	if !m.primaryHeard.within(m.cfg.audible(), now) {
		return false
	}
	p := m.peer(m.primary)
	if p == nil || !m.fresh(p, now) {
		return true // by its adverts
	}
	return p.state.Role == RolePrimary || p.state.Role == RoleResuming
}

func (m *Machine) sealEnded(e SealEnded) {
	if e.Err != "" {
		m.record(Record{Code: CodeSealed, Detail: fmt.Sprintf("seal incomplete: %s", e.Err)})
	}
}

func (m *Machine) standRequested(now Instant, e StandRequested) {
	if m.role != RoleReplica {
		m.do(Refuse{Token: e.Token, Code: CodeNotTakingIn})
		return
	}
	code, detail := m.door2(now)
	if code != "" {
		m.do(Refuse{Token: e.Token, Code: code})
		m.refuse(code, detail)
		return
	}
	if now < m.standBack {
		m.do(Refuse{Token: e.Token, Code: CodeStandingBack})
		return
	}
	if m.hearsPrimary(now, "") {
		m.do(Refuse{Token: e.Token, Code: CodeHearsPrimary})
		return
	}
	if m.barred() && !e.Ordered {
		m.do(Refuse{Token: e.Token, Code: CodePaused})
		m.refuse(CodePaused, e.From)
		return
	}
	if code, _ := m.door3(now); code != "" && !m.authority.Exclusive() {
		m.do(Refuse{Token: e.Token, Code: code})
		return
	}
	m.do(Accept{Token: e.Token})
	cause := CodeHandedOver
	if e.Ordered {
		cause, m.forcedUntil = CodeOperator, now.Add(m.cfg.GatherTimeout+m.cfg.PromoteTimeout)
	}
	if m.wanting { // the right is on its way, and whoever sends it has answered for door 1
		m.askedUntil = now.Add(m.cfg.GatherTimeout)
		return
	}
	m.stand(now, m.router.Stand(now), cause)
}
