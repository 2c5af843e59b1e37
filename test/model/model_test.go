// SPDX-License-Identifier: Apache-2.0

package model

import (
	"fmt"

	"highwater/election"
)

// mutation is a rule that is switched off.
type mutation uint32

const (
	noFormula          mutation = 1 << iota // a candidate only has to hold what those hold who were heard
	noSealing                               // a seal does not stop the receiver
	executedNotBarrier                      // C2: "everything in gtid_executed" instead of a barrier
	startWithoutLocks                       // C3: a term begins without locking anybody out
	ackAtOnce                               // C3a: replicas acknowledge as soon as they follow
	resumeResets                            // C3b: the primary of record that regains the right loses S and k
	killNotLock                             // C4: a cut only kills the dump thread
	shutdownNotKill                         // C5: a fenced server is ended by SIGTERM
	restartedIsHeard                        // C6: a restarted replica counts as heard
	nothingKept                             // H1: no values of the last term that counted
	letBackInDoubt                          // M1: a proposal whose fate is unknown counts as not made
	lowerInDoubt                            // the same, of k
	promiseNotHeld                          // M2: a receiver is started whatever was promised
	commitBeforeDrain                       // a term is committed before its primary has applied what it received
	notDurableIsHeard                       // the old primary is heard for its term without 1/1
	otherProcessOpens                       // the server restarted after it was found complete, and opens
	wordInDoubt                             // a word readmits a replica that is on its way out of S
	repointDropsRelay                       // CHANGE SOURCE before everything received is applied
	growReversed                            // let it acknowledge, then commit
	shrinkReversed                          // commit, then cut and barrier
	raiseReversed                           // commit, then MySQL and barrier
	lowerReversed                           // MySQL, then commit
	aloneReversed                           // MySQL, then commit
	barrierBeforeStart                      // a server that restarted after the barrier began may pass it
	raiseWithoutCut                         // after it was alone, k is raised without cutting whoever was in S
)

// model is a configuration to search.
type model struct {
	*rules
	off     mutation
	faults  uint8
	rights  uint8 // how many terms there may be
	trx     uint8
	acks    uint8 // highest k
	doubt   bool  // proposals may be lost sight of
	alone   bool  // `when_alone: continue`
	fragile bool  // servers without sync_binlog=1
	pairs   bool  // partitions also between two hosts
	first   func(*model) state
}

func (m *model) broken(x mutation) bool { return m.off&x != 0 }

// action names a step for the trace.
type action struct {
	what    what
	a, b, c uint8
}

type what uint8

const (
	doWrite what = iota
	doReceive
	doTell
	doTake
	doSeal
	doFetch
	doBegin
	doOpen
	doFollow
	doStop
	doUnlock
	doRebuild
	doPlan
	doStep
	doAbandon
	doResolve
	doCrash
	doReturn
	doSupervisorDies
	doSupervisorReturns
	doCut
	doHeal
	doLetBack
	doDemote
	doBarrier
	doRequire
	whats // how many
)

// stages are the stages of changes, for the trace.
var stages = []election.Stage{
	election.StageCut, election.StageRequire, election.StageBarrier, election.StageCommit, election.StageRelax, election.StageAdmit,
}

func (a action) String() string {
	n := nodeName
	switch a.what {
	case doWrite:
		return n(a.a) + ": a client writes"
	case doReceive:
		return fmt.Sprintf("%s receives from %s", n(a.a), n(a.b))
	case doTell:
		return fmt.Sprintf("%s tells the client of T%d: OK", n(a.a), a.b+1)
	case doTake:
		return fmt.Sprintf("%s takes the right; what was proposed is %s", n(a.a), [...]string{"nothing", "committed", "lost"}[a.b])
	case doSeal:
		return fmt.Sprintf("%s seals %s", n(a.a), n(a.b))
	case doFetch:
		return fmt.Sprintf("%s fetches from %s", n(a.a), n(a.b))
	case doBegin:
		return fmt.Sprintf("%s may promote; its term is %s", n(a.a), [...]string{"committed", "proposed, fate unknown"}[a.b])
	case doOpen:
		return n(a.a) + " opens"
	case doFollow:
		return fmt.Sprintf("%s follows %s", n(a.a), n(a.b))
	case doStop:
		return n(a.a) + " stops its receiver"
	case doUnlock:
		return fmt.Sprintf("%s unlocks the account of %s", n(a.a), n(a.b))
	case doRebuild:
		return n(a.a) + " is rebuilt"
	case doPlan:
		if a.a == a.c {
			return fmt.Sprintf("%s begins: %s", n(a.a), kindNames[a.b])
		}
		return fmt.Sprintf("%s begins: %s %s", n(a.a), kindNames[a.b], n(a.c))
	case doStep:
		return fmt.Sprintf("%s: %s: %s%s", n(a.a), kindNames[a.b&15], stages[a.c], [...]string{"", ", fate unknown"}[a.b>>4])
	case doAbandon:
		return n(a.a) + " drops its change"
	case doResolve:
		return n(a.a) + " sees that its proposal was committed"
	case doCrash:
		return fmt.Sprintf("server%s of %s crashes%s", [...]string{"", " and supervisor"}[a.b], n(a.a), [...]string{"", " and loses what was not on disk"}[a.c])
	case doReturn:
		return "the server of " + n(a.a) + " is back"
	case doSupervisorDies:
		return "the supervisor of " + n(a.a) + " dies"
	case doSupervisorReturns:
		return "the supervisor of " + n(a.a) + " is back"
	case doCut:
		return fmt.Sprintf("the network is cut (%d)", a.a)
	case doHeal:
		return "the network is whole"
	case doBarrier:
		return n(a.a) + " begins another barrier"
	case doRequire:
		return fmt.Sprintf("%s lets MySQL wait for %d", n(a.a), a.b)
	case doDemote:
		return n(a.a) + " sees that it is primary no more, and stops"
	case doLetBack:
		return n(a.a) + " undoes its change in MySQL"
	}
	return "?"
}

// all are the nodes.
func (m *model) all() set { return 1<<m.data - 1 }

// reach reports whether two hosts reach each other. Cuts: 1 to data isolate a node, data+1 the
// witness, and those above part two nodes from each other.
func (m *model) reach(s *state, a, b uint8) bool {
	c := int(s.cut)
	if c == 0 || a == b {
		return true
	}
	if c <= m.data+1 {
		return c != int(a)+1 && c != int(b)+1
	}
	c -= m.data + 2
	x, y := uint8(c)/maxNodes, uint8(c)%maxNodes
	return (a != x || b != y) && (a != y || b != x)
}

// cuts are the partitions that there may be.
func (m *model) cuts() []uint8 {
	var list []uint8
	for i := range m.data {
		list = append(list, uint8(i)+1)
	}
	if m.witness {
		list = append(list, uint8(m.data)+1)
	}
	if m.pairs {
		for a := range m.data {
			for b := range a {
				list = append(list, uint8(m.data+2+a*maxNodes+b))
			}
		}
	}
	return list
}

// majority reports whether a supervisor reaches one, and is up itself.
func (m *model) majority(s *state, a uint8) bool {
	if !s.nodes[a].is.has(supervisorUp) {
		return false
	}
	votes, voters := 0, m.data
	for i := range uint8(m.data) {
		if s.nodes[i].is.has(supervisorUp) && m.reach(s, a, i) {
			votes++
		}
	}
	if m.witness {
		voters++
		if m.reach(s, a, uint8(m.data)) {
			votes++
		}
	}
	return 2*votes > voters
}

// leads reports whether a is the last to have taken the right and can commit.
func (m *model) leads(s *state, a uint8) bool { return s.leader == a+1 && m.majority(s, a) }

// attached reports whether replica i gets events from p.
func (m *model) attached(s *state, i, p uint8) bool {
	return s.nodes[i].target == p+1 && s.nodes[i].is.has(serverUp) && s.nodes[p].is.has(serverUp) &&
		m.reach(s, i, p) && !s.nodes[p].locked.has(i)
}

// stepsFor returns the steps of a change as this model takes them.
func (m *model) stepsFor(s *state) []step {
	c := s.change
	base := s.rec
	if c.committed {
		base = c.other
	}
	steps := m.stepsOf(base, c.kind, c.node)
	if steps == nil || !m.broken(reversals[c.kind]) {
		return steps
	}
	// What comes before the commit comes after it, and the other way round.
	at := 0
	for at < len(steps) && steps[at].stage != election.StageCommit {
		at++
	}
	var out []step
	out = append(out, steps[at+1:]...)
	out = append(out, steps[at])
	return append(out, steps[:at]...)
}

// reversals are the mutations that turn the order of a change round.
var reversals = [...]mutation{grow: growReversed, shrink: shrinkReversed, raise: raiseReversed, lower: lowerReversed, goAlone: aloneReversed, beginTerm: 0}

// established is a cluster whose S has left ∅: A is primary, and waits for acks of s. The rest
// follow without acknowledging.
func established(s, rest set, acks uint8) func(*model) state {
	return func(m *model) state {
		out := state{right: 1, leader: 1, faults: m.faults}
		out.rec = record{term: 1, s: s, fresh: s, acks: acks, is: isRecord}
		for i := range uint8(m.data) {
			out.nodes[i].is = serverUp | supervisorUp
			switch {
			case i == 0:
				out.nodes[i].is |= open
				out.nodes[i].term, out.nodes[i].acks = 1, acks
				out.nodes[i].locked = m.all() &^ one(0) &^ s &^ rest
			case s.has(i):
				out.nodes[i].is |= acking
				out.nodes[i].target = 1
			case rest.has(i):
				out.nodes[i].target = 1
			}
		}
		return out
	}
}

// adopted is the very first term of servers that replicate already.
func adopted(m *model) state {
	out := state{right: 1, leader: 1, faults: m.faults}
	out.rec = record{term: 1, is: isRecord | hasKept | keptAlone}
	for i := range uint8(m.data) {
		out.nodes[i].is = serverUp | supervisorUp
	}
	out.nodes[0].is |= open
	out.nodes[0].term, out.nodes[0].acks, out.nodes[0].locked = 1, 1, m.all()&^one(0)
	return out
}

// haunted is an established cluster of three in which the supervisor of C is dead: its receiver goes
// on by itself.
func haunted(m *model) state {
	s := established(0b110, 0, 1)(m)
	s.nodes[2].is &^= supervisorUp
	return s
}
