// SPDX-License-Identifier: Apache-2.0

package election

import "time"

// passPause is the pause between two attempts to pass on a right that is of no use here.
const passPause = time.Second

// seek asks an exclusive authority for the right.
func (m *Machine) seek() {
	if m.authority.Exclusive() {
		m.do(Seek{})
	}
}

// handOver passes the right on to a node that can use it. The VIP is off here, or the server gone.
func (m *Machine) handOver(now Instant, to string) {
	if to != "" && to != m.cfg.Node && m.authority.Exclusive() {
		m.passedAt = now
		m.do(HandOver{To: to, Unused: m.unused})
	}
}

// rightChanged acts on what the quorum says of the right.
func (m *Machine) rightChanged(now Instant, e RightChanged) {
	held := m.authority.Right(now, Active).Held
	switch {
	case !held:
		m.gained, m.unused = 0, 0
	case m.gained == 0:
		m.gained, m.unused = now, m.unusedSince(now, e)
	}
	switch m.role {
	case RoleReplica:
		if held || m.authority.Silent() {
			m.router.Hasten(now) // nobody else who may be primary is there, whatever the wire says
			m.tick(now)
		}
		if held {
			m.useRight(now)
		}
	case RoleHeld, RoleStarting:
		if held {
			m.passOn(now)
		}
	case RoleCandidate, RolePromoting:
		if !held {
			m.withdraw(now, CodeRightLost)
		}
	case RoleResuming:
		m.tryResume(now)
	}
}

// unusedSince returns since when nobody has used a right that this node just got: since now, or
// since before if it was passed on by somebody who had no use for it either. A node that is not at
// rest, or may still have an address, vouches for nothing.
func (m *Machine) unusedSince(now Instant, e RightChanged) Instant {
	switch {
	case m.role != RoleReplica && m.role != RoleHeld && m.role != RoleStarting, m.fence.release != 0:
		return 0
	case e.Unused != 0 && e.Unused < now:
		return e.Unused
	default:
		return now
	}
}

// leaseGoneByRight counts from when this node got the right, or whoever had it before and passed it
// on unused: nobody has renewed since, whoever was heard and when. Of two clocks one may be slow
// and the other fast.
func (m *Machine) leaseGoneByRight() Instant {
	since := m.gained
	if m.unused != 0 {
		since = m.unused
	}
	return since.Add(m.leaseEnds() * 100 / (100 - driftPercent))
}

// unheardTerm reports whether somebody was made primary after the one that this node takes for
// it. Whether that one opened, or who did before it, nobody has told this node: then no word of
// the old primary makes the wait for the last lease shorter.
func (m *Machine) unheardTerm() bool {
	term, _ := m.authority.Holder()
	return term > m.term
}

// useRight does with the right what this replica got it for: stand, adopt, or give it back.
func (m *Machine) useRight(now Instant) {
	m.tryAdopt(now)
	if m.role != RoleReplica {
		return
	}
	if m.wanting && m.router.State() == Backup {
		cause := m.silenceCause(now)
		if m.gate(now) {
			m.stand(now, m.router.Stand(now), cause)
			return
		}
	}
	m.passOn(now)
}

// passOn gives a right that is of no use here to the primary, whose supervisor has only
// restarted, or to a host that could become primary.
func (m *Machine) passOn(now Instant) {
	if m.passedAt.within(passPause, now) {
		return
	}
	if p := m.peer(m.primary); p != nil && m.fresh(p, now) && p.state.Alive &&
		(p.state.Role == RolePrimary || p.state.Role == RoleResuming) && m.farewell != m.term {
		m.handOver(now, p.Name)
		return
	}
	if m.term == 0 && len(m.missing(now)) == 0 {
		if code, node, _ := m.adoptable(); code == "" { // a first start, and the one that is to be adopted asks for it
			m.handOver(now, node)
			return
		}
	}
	code, _ := m.door2(now)
	unfit := code != "" || m.role != RoleReplica || now < m.standBack || m.heldOff(now)
	switch seeker := m.seeker(now); {
	case seeker != "" && (unfit || !m.gained.within(m.cfg.silence(), now)):
		m.handOver(now, seeker)
	case unfit && !m.halted(): // else it is of use to nobody who does not seek it
		m.handOver(now, m.successor(now))
	}
}

// seeker names the peer of the highest priority that would stand if it had the right: it may, as
// an operator's order lets it, where this node may not. A host that could stand and does not is
// left a silence to see what others have seen already. The right does not go to and fro, since
// doors 1 and 2 do not ask who has it: whoever lacks it alone uses it when it comes.
func (m *Machine) seeker(now Instant) string {
	var best *peer
	for i := range m.peers {
		p := &m.peers[i]
		if m.fresh(p, now) && p.state.Seeks && !p.Witness && (best == nil || p.Priority > best.Priority) {
			best = p
		}
	}
	if best == nil {
		return ""
	}
	return best.Name
}

// recordChanged takes in the cluster record. It says who may open, not who has: only a node that
// is primary, or about to be, is deposed by it, and nobody takes the new name for a primary, or
// tells it on, before that one says so itself. Its promotion may fail.
func (m *Machine) recordChanged(now Instant, e RecordChanged) {
	m.bumpPromise(e.Term)
	m.takeHoldOff(now, e)
	m.takePause(now, e.Paused)
	if e.Term <= m.term || e.Primary == m.cfg.Node {
		return
	}
	switch m.role {
	case RolePrimary, RoleClaiming, RoleResuming:
		m.giveUp(now, CodeDeposed)
	}
}

// establish makes the term known before anything opens. An authority that is not exclusive
// has nobody to make it known to.
func (m *Machine) establish(wait Instant) {
	c := &m.contest
	if !m.authority.Exclusive() {
		m.open(wait)
		return
	}
	c.establish, c.wait = m.next(), wait
	kind, cause := m.move(c.cause)
	m.do(Establish{Token: c.establish, Term: c.term, Drain: true, FetchFrom: c.fetchFrom, Kind: kind, Cause: cause})
}

// move is what history is to say of a candidacy for that cause.
func (m *Machine) move(cause Code) (MoveKind, Code) {
	switch {
	case cause == CodeOperator, m.farewell != m.term, m.gaveUpFor == "":
		return MoveFailover, cause
	case m.gaveUpFor == CodeOperator:
		return MoveSwitchover, m.gaveUpFor
	default:
		return MoveFailover, m.gaveUpFor
	}
}

// raising is a term in which this primary overtakes a promise, before it is known.
type raising struct {
	token Token // awaited, 0 none
	term  uint64
	node  string // whose promise
}

// raise makes a higher term of this primary known before it takes it. What the record says is all
// that others go by who do not hear it.
func (m *Machine) raise(now Instant, term uint64, node string) {
	if m.raising.token == 0 && m.authority.Right(now, Active).Held {
		m.raising = raising{token: m.next(), term: term, node: node}
		m.do(Establish{Token: m.raising.token, Term: term, Kind: MoveFailover, Cause: CodeTermRaised})
	}
}

func (m *Machine) establishEnded(now Instant, e EstablishEnded) {
	c := &m.contest
	switch {
	case awaited(e.Token, m.raising.token):
		r := m.raising
		m.raising = raising{}
		if e.Err == "" && m.role == RolePrimary && r.term > m.term {
			m.raised(r.term, r.node)
		}
	case awaited(e.Token, m.adopting):
		m.adopting = 0
		m.tryAdopt(now)
	case awaited(e.Token, c.establish):
		c.establish = 0
		switch {
		case m.role != RolePromoting:
		case e.Err != "":
			m.withdrawInFavour(now, 3, CodeRightLost, e.Err)
		default:
			m.open(c.wait)
		}
	}
}
