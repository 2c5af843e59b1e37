// SPDX-License-Identifier: Apache-2.0

package election

import (
	"strings"
	"time"
)

// peer is another node as it was last heard.
type peer struct {
	Member
	state PeerState
	heard Instant // last status
	back  Instant // it said "back within the lease": until then its silence is no news

	fencing Instant // since then it says that it is giving up the right

	advert    Instant // last advert while this node was primary
	contested Instant // first of an unbroken run of them
}

func (m *Machine) peer(name string) *peer {
	for i := range m.peers {
		if m.peers[i].Name == name {
			return &m.peers[i]
		}
	}
	return nil
}

// fresh reports whether p was heard on the peer channel less than a silence ago.
func (m *Machine) fresh(p *peer, now Instant) bool { return p.heard.within(m.cfg.silence(), now) }

// missing names the hosts with a server of which nothing is known now: not heard of late, or
// their server has not answered their own supervisor. It may be writable, or the one ahead.
func (m *Machine) missing(now Instant) []string {
	var names []string
	for i := range m.peers {
		p := &m.peers[i]
		switch {
		case p.Witness:
		case !m.fresh(p, now):
			names = append(names, p.Name)
		case p.state.Role == RoleStarting || !p.state.Alive:
			names = append(names, p.Name+" (its server)")
		}
	}
	return names
}

// contender returns a fresh peer that is on its way through doors 4 and 5.
func (m *Machine) contender(now Instant) *peer {
	for i := range m.peers {
		if p := &m.peers[i]; m.fresh(p, now) && p.state.Role.contending() {
			return p
		}
	}
	return nil
}

func (m *Machine) peerHeard(now Instant, s PeerState) {
	p := m.peer(s.Node)
	if p == nil {
		return
	}
	switch {
	case s.Role != RoleDemoting && s.Role != RoleStopping:
		p.fencing = 0
	case p.fencing == 0:
		p.fencing = now
	}
	p.state, p.heard = s, now
	p.back = 0
	if s.Restarting {
		p.back = now.Add(m.cfg.Lease)
	}
	if s.Node == m.primary && !s.Role.aside() {
		m.primaryHeard = latest(m.primaryHeard, now)
	}
	m.learn(now, p)
	m.see(now, p)

	switch m.role {
	case RolePrimary:
		m.overtake(now, s)
	case RoleCandidate, RolePromoting:
		m.reconsider(now, p)
	case RoleResuming:
		m.tryResume(now)
	case RoleReplica, RoleHeld:
		m.tryAdopt(now)
		m.attach(now, p)
		m.tryFollow(now)
	case RoleStopping:
		m.tryStop(now)
	}
}

// learn takes in what a peer knows of terms. A higher term with another primary deposes this
// node whoever tells of it.
func (m *Machine) learn(now Instant, p *peer) {
	s := p.state
	if s.Primary == "" || s.Term < m.term {
		return
	}
	if s.Primary == m.primary {
		if s.Term > m.term {
			m.term = s.Term
			m.follow.retryAt = 0
			m.save()
			if (m.role == RoleCandidate || m.role == RolePromoting) && m.contest.term <= m.term {
				m.withdraw(now, CodeNewPrimary) // the term that it stands for was somebody's
			}
		}
		return
	}
	if s.Term == m.term && !m.outrankedBy(s.Primary) {
		return
	}
	m.newPrimary(now, s.Term, s.Primary)
	if s.Node == s.Primary && !s.Role.aside() {
		m.primaryHeard = now
	}
}

// newPrimary takes in that another node is, or was, primary of a term that counts more.
func (m *Machine) newPrimary(now Instant, term uint64, name string) {
	m.term, m.primary = term, name
	m.follow.retryAt = 0
	if name == m.cfg.Node { // an earlier term of this node, which its disk no longer knows
		m.save()
		return
	}
	m.primarySeen, m.primaryHeard = false, 0
	m.record(Record{Code: CodeNewPrimary, Node: name})
	switch m.role {
	case RolePrimary, RoleClaiming, RoleResuming:
		m.giveUp(now, CodeDeposed)
	case RoleCandidate, RolePromoting:
		m.withdraw(now, CodeNewPrimary)
	case RoleLingering:
		m.endLinger(now, CodeNewPrimary)
	}
	m.save()
}

// see notes that the primary of this node's term was there as such while this node, or the
// peer that tells of it, was. After a power cut everybody knows who it was, and nobody has
// seen it.
func (m *Machine) see(now Instant, p *peer) {
	s := p.state
	if s.Term != m.term || s.Primary != m.primary {
		return
	}
	switch {
	case s.Node == s.Primary && (s.Role == RolePrimary || s.Role == RoleClaiming):
		m.primarySeen, m.blind = true, false
	case s.PrimaryHeard >= 0:
		m.primarySeen = true
		if now.Add(-s.PrimaryHeard) > m.deaf {
			m.blind = false
		}
	}
}

// deafened says that this node heard nobody until now. A farewell of before may have been
// followed by another term.
func (m *Machine) deafened(now Instant) { m.deaf, m.blind, m.farewell = now, true, 0 }

// outrankedBy breaks the tie of two primaries of one term, which only a healed partition in
// vrrp mode can bring about: priority, then name, so that all decide alike.
func (m *Machine) outrankedBy(name string) bool {
	var mine, theirs Member
	for _, x := range m.cfg.Members {
		switch x.Name {
		case m.primary:
			mine = x
		case name:
			theirs = x
		}
	}
	if theirs.Priority != mine.Priority {
		return theirs.Priority > mine.Priority
	}
	return theirs.Name < mine.Name
}

// overtake raises the primary's term above a promise that led to no primary: otherwise
// those who promised could not follow it again. A candidate under way is left to withdraw first.
func (m *Machine) overtake(now Instant, s PeerState) {
	if s.Promised <= m.term || m.contender(now) != nil {
		return
	}
	if m.authority.Exclusive() {
		m.raise(now, s.Promised+1, s.Node)
		return
	}
	m.raised(s.Promised+1, s.Node)
}

// raised takes the higher term.
func (m *Machine) raised(term uint64, node string) {
	m.term = term
	m.bumpPromise(term)
	m.record(Record{Code: CodeTermRaised, Node: node})
	m.save()
	m.do(Publish{})
}

// reconsider lets a candidate step back when the primary it missed speaks again: nothing was
// opened yet, and a restart of a supervisor must move nothing.
func (m *Machine) reconsider(now Instant, p *peer) {
	back := p.state.Role == RolePrimary || p.state.Role == RoleResuming
	if back && p.Name == m.contest.oldPrimary && p.state.Alive && m.farewell != m.term && m.contest.cause != CodeOperator {
		m.withdraw(now, CodePrimaryBack)
	}
}

func (m *Machine) advert(now Instant, e AdvertReceived) {
	// Where a majority says who may be primary, a packet in its name is no sign of its life.
	if e.Node != "" && e.Node == m.primary && e.Priority != PriorityReleasing && !m.authority.Exclusive() {
		m.primaryHeard = latest(m.primaryHeard, now)
	}
	if m.role == RoleResuming && e.Priority != PriorityReleasing && !m.authority.Exclusive() {
		if e.Node == "" {
			m.giveUp(now, CodeOutranked)
			return
		}
		m.resume.contested = now
	}
	if m.authority.Exclusive() && m.ignores(now) {
		return
	}
	if m.role == RolePrimary && e.Priority != PriorityReleasing && m.outranks(now, e.Node) {
		// VRRP would yield by priority, or assert at once; the terms, heard on the peer
		// channel, say that the sender is the one who is wrong. Two that assert at each other
		// would do nothing else.
		return
	}
	out := m.router.Receive(now, e.Advert)
	m.route(out)
	if e.Priority != PriorityReleasing {
		m.wanting = false // somebody is there
	}
	if out.From == Active && out.To == Backup {
		switch {
		case m.role == RoleCandidate || m.role == RolePromoting:
			m.withdraw(now, CodeOutranked)
		case m.role == RolePrimary || m.role == RoleClaiming:
			m.giveUp(now, CodeOutranked)
		}
	}
}

// ignores reports whether adverts mean nothing now: a node that has the right yields to none,
// and one that knows of nobody who has it waits for none.
func (m *Machine) ignores(now Instant) bool {
	switch m.router.State() {
	case Active:
		return true
	case Backup:
		return m.authority.Silent()
	default:
		return false
	}
}

// contestPatience is how long a primary holds out against the adverts of a node whose peer
// channel is still silent, as after a partition: terms decide once it speaks, VRRP if it does not.
const contestPatience = 2 * time.Second

// outranks reports whether this primary holds out against an advert of a configured node:
// the peer channel says that it is not primary of a higher term, or has not had time to.
func (m *Machine) outranks(now Instant, node string) bool {
	p := m.peer(node)
	if p == nil {
		return false
	}
	if !p.advert.within(m.cfg.silence(), now) {
		p.contested = now
	}
	p.advert = now
	if m.fresh(p, now) {
		return p.state.Term <= m.term
	}
	return now.Sub(p.contested) < contestPatience
}

func (m *Machine) farewellReceived(now Instant, e FarewellReceived) {
	if e.Term < m.term || (e.Term == m.term && e.From != m.primary) || m.peer(e.From) == nil {
		return
	}
	if e.Term > m.term { // its first word as primary is its last
		m.newPrimary(now, e.Term, e.From)
	}
	m.farewell, m.deferTo = e.Term, 0
	m.primarySeen, m.blind = true, false
	m.named, m.namedAt = e.Successor, now
	m.gaveUpFor = e.Reason
	m.speechless = e.Reason == CodeServerExited || e.Reason == CodeServerHung
	if p := m.peer(e.From); p != nil {
		p.state.Role = RoleReplica
		p.back = 0
	}
	m.record(Record{Code: CodeFarewell, Door: 1, Node: e.From, Detail: string(e.Reason)})
	if m.role == RolePromoting && e.From == m.contest.oldPrimary {
		m.stopWaiting()
	}
	if m.role != RoleReplica || m.router.State() != Backup {
		return
	}
	if e.Successor == m.cfg.Node && m.gate(now) {
		m.stand(now, m.router.Stand(now), CodeFarewell)
		return
	}
	m.route(m.router.Receive(now, Advert{Priority: PriorityReleasing}))
}

// primarySign is the last sign of life of the primary's supervisor that this node had itself: as
// a leader it is heard more often than on the peer channel.
func (m *Machine) primarySign() Instant {
	return latest(m.primaryHeard, m.authority.Heard(m.primary))
}

// eventsFlow reports whether any replica received events of the primary's server after its
// supervisor fell silent. A cable takes the events away with the words: then the last event came
// no later after the last word than the next word would have. That is one interval, or, where a
// leader's word counts, a tick of 0.3 intervals; what is left of one and a half is for packets
// that come late and for looks that date an event when they see it, not when it came. Door 1
// opens 3 intervals after the last word and a promise after the leader's, 2.7 intervals: by then
// a server that goes on alone has shown itself, unless it is looked at less often than words come.
func (m *Machine) eventsFlow() bool {
	after := m.primarySign().Add(m.cfg.interval() * 3 / 2)
	if m.health.Source == m.primary && m.health.SourceEvent > after {
		return true
	}
	for i := range m.peers {
		p := &m.peers[i]
		if p.state.Source == m.primary && p.state.SourceEvent >= 0 && p.heard.Add(-p.state.SourceEvent) > after {
			return true
		}
	}
	return false
}

func joined(names []string) string { return strings.Join(names, ", ") }

// age returns how long ago at was, -1 for never.
func age(at, now Instant) time.Duration {
	if at == 0 {
		return -1
	}
	return now.Sub(at)
}
