// SPDX-License-Identifier: Apache-2.0

package election

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"time"
)

// cluster is a model of db1, a primary whose log is durable, with replicas, each of which holds a
// prefix of that log, and of the quorum's record. Db1's supervisor makes the changes that NextChange
// plans stage by stage, while everybody else does what he likes.
type cluster struct {
	rng     *rand.Rand
	policy  DurabilityPolicy
	trouble float64 // chance that a stage fails
	faults  float64 // chance of a fault in a moment
	clock   time.Duration

	history []ClusterRecord // committed, by revision; the last one is in force
	pending *ClusterRecord  // proposed, and its fate not decided

	log, told int  // transactions in db1's log, and how many of them clients were told of
	acks      int  // for how many acknowledgements it waits; 0: semi-sync is off
	open      bool // for writes
	start     int  // of db1's server
	revision  int  // that db1's supervisor knows
	change    *Change
	proposed  bool
	decided   bool // and its fate is known
	point     int  // of the barrier under way, 0: none
	begun     []SyncedNode
	backoff   time.Duration
	ackedAt   time.Duration
	required  time.Duration // when db1's settings were last looked at

	replicas []*replica
	planned  int
	trace    []string
}

const (
	modelPatience = time.Second
	modelSilence  = 300 * time.Millisecond
	modelBackoff  = 100 * time.Millisecond
	modelRequire  = time.Second
	modelNear     = 6
)

func processName(n int) string { return "p" + strconv.Itoa(n) }

// newCluster begins in a first term, or in one that follows db2's.
func newCluster(rng *rand.Rand, n int, policy DurabilityPolicy) (*cluster, error) {
	members := []ClusterMember{{Name: "db1", ID: 1}}
	m := &cluster{rng: rng, policy: policy, clock: time.Second, start: 1}
	for i := range n {
		name := fmt.Sprintf("db%d", i+2)
		members = append(members, ClusterMember{Name: name, ID: uint64(i + 2)})
		m.replicas = append(m.replicas, &replica{name: name, up: true, answers: true, start: 1, saw: -1})
	}
	r, err := NewClusterRecord(append(members, ClusterMember{Name: "w1", ID: 99, Witness: true})...)
	commit := func(next ClusterRecord, nerr error) {
		if err == nil {
			err = nerr
		}
		m.history = append(m.history, r)
		r = next
	}
	if rng.IntN(2) == 0 {
		// What db2 has told is on db1 and db2, and on some of the others.
		commit(r.BeginTerm(1, "db2", Move{}))
		commit(r.Raise(1, SyncedNode{Node: "db1", Start: "p1"}))
		m.log, m.told = 5, 5
		for _, q := range m.replicas {
			q.held = rng.IntN(m.log + 1)
			q.executed = q.held
		}
		m.replicas[0].held, m.replicas[0].executed = m.log, m.log
	}
	commit(r.BeginTerm(r.Term+1, "db1", Move{Kind: MoveFailover}))
	m.history = append(m.history, r)
	return m, err
}

func (m *cluster) note(format string, args ...any) {
	m.trace = append(m.trace, fmt.Sprintf("%5dms ", m.clock.Milliseconds())+fmt.Sprintf(format, args...))
}

func (m *cluster) chance(p float64) bool { return m.rng.Float64() < p }

func (m *cluster) committed() ClusterRecord { return m.history[len(m.history)-1] }

func (m *cluster) node(name string) *replica {
	i := slices.IndexFunc(m.replicas, func(q *replica) bool { return q.name == name })
	return m.replicas[i]
}

// append adds a commit to db1's log, which waits for its acknowledgements.
func (m *cluster) append() int {
	m.log++
	m.tell()
	return m.log
}

// tell lets clients know of what has got its acknowledgements. One that was sent counts, whatever
// has become of who sent it.
func (m *cluster) tell() {
	if m.open {
		m.told = max(m.told, m.tellable(func(_ int, q *replica) int { return q.acked }))
	}
}

// tellable is up to where db1 may tell, if the replicas have acknowledged so much.
func (m *cluster) tellable(acked func(int, *replica) int) int {
	if m.acks == 0 {
		return m.log
	}
	var most [8]int
	for i, q := range m.replicas {
		most[i] = acked(i, q)
	}
	slices.Sort(most[:])
	return most[len(most)-m.acks]
}

// facts is what db1's supervisor knows of its replicas, as [Replica] says.
func (m *cluster) facts(r ClusterRecord) []Replica {
	var list []Replica
	for _, q := range m.replicas {
		f := Replica{Node: q.name}
		fresh := q.said.at > 0 && m.clock-q.said.at < modelSilence && q.said.start != ""
		if fresh {
			f.Start, f.Word, f.Follows, f.Barred = q.said.start, q.said.word, q.said.follows, q.barred
			f.Near = m.log-q.said.held <= modelNear
		}
		switch useless := !fresh || f.Barred || r.IsSynced(q.name) && !f.Follows; {
		case !useless:
			q.lostSince = 0
		case q.lostSince == 0:
			q.lostSince = m.clock
			f.Lost = 1
		default:
			f.Lost = max(1, m.clock-q.lostSince)
		}
		list = append(list, f)
	}
	return list
}

// restart ends db1's server. What waited for its acknowledgement is in its log; nobody was told.
func (m *cluster) restart() {
	m.note("db1 restarts")
	m.open, m.acks = false, 0
	m.start++
	for _, q := range m.replicas {
		q.link, q.acked = linkNone, 0
	}
	m.drop("its server ended")
}

// drop gives up a change that was not proposed.
func (m *cluster) drop(why string) {
	if m.change == nil || m.proposed {
		return
	}
	m.note("%s dropped at %s: %s", m.change.Name(), m.change.Step().Stage, why)
	m.change, m.point, m.backoff = nil, 0, m.clock+modelBackoff
}

// decide ends the doubt about what is proposed.
func (m *cluster) decide(accept bool) {
	if m.pending == nil {
		return
	}
	next, err := m.committed().Commit(*m.pending)
	if err == nil && accept {
		m.history = append(m.history, next)
		m.note("committed: %d of %v, alone %v", next.Acks, next.Synced, next.Alone)
	} else {
		m.note("refused: %v", err)
	}
	m.pending, m.decided = nil, true
}

// settle takes in what was decided.
func (m *cluster) settle() {
	if !m.proposed || !m.decided {
		return
	}
	m.proposed, m.decided, m.revision = false, false, len(m.history)-1
	next, err := m.change.Settle(m.committed())
	if err != nil || next.Step().Stage == StageCommit {
		m.drop(fmt.Sprint("not committed: ", err))
		return
	}
	m.change = &next
}

// turn is one of db1's supervisor. An error is a fault of the planner.
func (m *cluster) turn() error {
	m.settle()
	r := m.history[m.revision]
	if !m.open {
		return m.regain(r)
	}
	facts := m.facts(r)
	v := Settled(r)
	if m.change != nil {
		v = m.change.View()
	}
	if acks := v.Acks(); m.clock >= m.required+modelRequire {
		if acks > m.acks || acks < m.acks && m.change == nil {
			m.acks = acks
			m.tell()
		}
		m.required = m.clock
	}
	for _, q := range m.replicas {
		if q.link == linkAcknowledging {
			m.ackedAt = m.clock
		}
		if v.MayConnect(q.name, q.said.word) {
			q.locked = false
		}
	}
	if m.change == nil && m.clock >= m.backoff {
		c, ok := r.NextChange(m.policy, facts, m.clock-m.ackedAt)
		if !ok {
			return nil
		}
		m.note("plans to %s; db1 holds %d", inWords(c, ok), m.log)
		m.planned++
		if _, err := carryOut(c, facts); err != nil && len(r.Synced) > 0 {
			return fmt.Errorf("it cannot be carried out: %w", err)
		}
		m.change = &c
	}
	return m.stage()
}

// regain begins a new term of the same primary.
func (m *cluster) regain(r ClusterRecord) error {
	if m.pending != nil {
		return nil
	}
	if m.change == nil {
		if m.revision = len(m.history) - 1; m.clock < m.backoff {
			return nil
		}
		r = m.history[m.revision]
		c, err := r.PlanTerm(r.Term+1, "db1", Move{})
		if err != nil {
			return err
		}
		m.note("stands for term %d", r.Term+1)
		m.change, m.ackedAt = &c, m.clock
		for _, q := range m.replicas {
			q.lostSince = 0
		}
	}
	return m.stage()
}

// stage carries out one stage of the change under way, or fails to.
func (m *cluster) stage() error {
	if m.change == nil || m.proposed {
		return nil
	}
	step := m.change.Step()
	fails := m.chance(m.trouble)
	var passed []SyncedNode
	switch step.Stage {
	case StageDone:
		m.note("%s done", m.change.Name())
		m.change = nil
		return nil
	case StageCommit:
		proposal, err := m.change.Proposal()
		if err == nil {
			err = proposal.Validate()
		}
		if err != nil {
			return err
		}
		if fails {
			m.drop("it was not proposed")
			return nil
		}
		m.pending, m.proposed = &proposal, true
		return nil
	case StageCut:
		v := m.change.View()
		for _, name := range step.Nodes {
			q := m.node(name)
			if v.MayConnect(name, q.said.word) {
				continue
			}
			if fails && m.chance(0.5) {
				break
			}
			q.locked, q.link = true, linkNone
		}
	case StageRequire:
		if !fails || m.chance(0.5) {
			m.acks = max(m.acks, step.Acks)
		}
	case StageRelax:
		m.required = 0
		if !fails || m.chance(0.5) {
			m.acks = step.Acks
			m.tell()
		}
	case StageAdmit:
		for _, name := range step.Nodes {
			m.node(name).locked = fails
		}
	case StageOpen:
		m.open = !fails
	case StageBarrier:
		return m.barrier(step, fails)
	default:
		return fmt.Errorf("it has to %s", step.Stage)
	}
	if fails {
		m.drop("it failed")
		return nil
	}
	next, err := m.change.Done(passed...)
	if err != nil {
		return fmt.Errorf("%s at %s: %w", m.change.Name(), step.Stage, err)
	}
	m.change = &next
	return nil
}

// barrier begins one, or ends the one that was begun.
func (m *cluster) barrier(step Step, fails bool) error {
	if m.point == 0 {
		m.begun = nil
		for _, name := range step.Nodes {
			if q := m.node(name); q.said.start != "" && m.clock-q.said.at < modelSilence {
				m.begun = append(m.begun, SyncedNode{Node: name, Start: q.said.start})
			}
		}
		next, err := m.change.Begin(m.begun...)
		if err != nil {
			return err
		}
		m.change, m.point = &next, m.append()
		return nil
	}
	var passed []SyncedNode
	for _, p := range m.begun {
		if q := m.node(p.Node); q.up && processName(q.start) == p.Start && q.held >= m.point {
			passed = append(passed, p)
		}
	}
	if len(passed) < step.Acks || fails {
		if m.chance(0.7) && !fails {
			return nil // it waits
		}
		m.drop(fmt.Sprintf("%v of %v passed", passed, m.begun))
		return nil
	}
	next, err := m.change.Done(passed...)
	if err != nil {
		return fmt.Errorf("%s with %v: %w", m.change.Name(), passed, err)
	}
	m.change, m.point = &next, 0
	return nil
}

// String writes the whole state.
func (m *cluster) String() string {
	r := m.committed()
	lines := []string{fmt.Sprintf("revision %d term %d: %d of %v, alone %v, kept %+v", r.Revision, r.Term, r.Acks, r.Synced, r.Alone, r.Kept)}
	lines = append(lines, fmt.Sprintf("db1: open %v, holds %d, told %d, waits for %d, knows %d", m.open, m.log, m.told, m.acks, m.revision))
	for _, q := range m.replicas {
		lines = append(lines, fmt.Sprintf("%+v", *q))
	}
	return strings.Join(lines, "\n")
}
