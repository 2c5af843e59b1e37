// SPDX-License-Identifier: Apache-2.0

package election

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"
)

// claim is what the record says of one term, by the numbers of hosts.
type claim struct {
	primary int
	synced  []int // -1: its server is not the process that passed a barrier
	acks    int
}

// lets is the rule of docs/design.md §5: whether that one of the heard may succeed.
func (c claim) lets(candidate int, heard uint, holds []int) bool {
	if heard>>c.primary&1 == 1 && holds[candidate] >= holds[c.primary] {
		return true
	}
	unheard, most := 0, 0
	for _, i := range c.synced {
		if i < 0 || heard>>i&1 == 0 {
			unheard++
			continue
		}
		most = max(most, holds[i])
	}
	return len(c.synced) > 0 && unheard < c.acks && holds[candidate] >= most
}

// claims are those of a record that decide.
func (m *cluster) claims(r ClusterRecord) []claim {
	list := []claim{m.claim(r.Primary, r.Synced, r.Acks)}
	if k := r.Kept; k != nil {
		list = append(list, m.claim(k.Primary, k.Synced, k.Acks))
	}
	return list
}

func (m *cluster) claim(primary string, s []SyncedNode, acks int) claim {
	c := claim{primary: m.number(primary), acks: acks}
	for _, member := range s {
		i := m.number(member.Node)
		if m.process(i) != member.Start {
			i = -1
		}
		c.synced = append(c.synced, i)
	}
	return c
}

// number is 0 for db1, then as the replicas.
func (m *cluster) number(name string) int {
	return 1 + slices.IndexFunc(m.replicas, func(q *replica) bool { return q.name == name })
}

func (m *cluster) process(i int) string {
	if i == 0 {
		return processName(m.start)
	}
	return processName(m.replicas[i-1].start)
}

// safe looks for a set of hosts that, sealed now, would let somebody win who lacks what clients
// were told of, or may be told of yet by those who are not in it. While a proposal's fate is
// unknown, it may be decided either way before they ask.
func (m *cluster) safe() error {
	claims := [][]claim{m.claims(m.committed())}
	if m.pending != nil {
		if next, err := m.committed().Commit(*m.pending); err == nil {
			claims = append(claims, m.claims(next))
		}
	}
	holds, up := []int{m.log}, uint(1)
	for i, q := range m.replicas {
		holds = append(holds, q.held)
		if q.up {
			up |= 1 << (i + 1)
		}
	}
	for heard := uint(1); heard <= up; heard++ {
		if heard&^up != 0 {
			continue
		}
		told := m.told
		if heard&1 == 0 && m.open {
			told = max(told, m.tellable(func(i int, q *replica) int {
				if heard>>(i+1)&1 == 0 && q.link == linkAcknowledging {
					return m.log
				}
				return q.acked
			}))
		}
		for candidate, held := range holds {
			if heard>>candidate&1 == 0 || held >= told {
				continue
			}
			for _, list := range claims {
				if slices.ContainsFunc(list, func(c claim) bool { return c.lets(candidate, heard, holds) }) {
					return fmt.Errorf("with %b heard, which hold %v, db%d would win, and clients know or may learn of %d", heard, holds, candidate+1, told)
				}
			}
		}
	}
	return nil
}

// live is the life of all hosts for a moment: each does something, or not, with that chance.
func (m *cluster) live(chance float64) error {
	m.clock += 30 * time.Millisecond
	for _, i := range m.rng.Perm(len(m.replicas)) {
		q := m.replicas[i]
		if !q.away && m.chance(chance) { // its supervisor learns of the record
			q.knows += m.rng.IntN(len(m.history) - q.knows)
			if chance == 1 {
				q.knows = len(m.history) - 1
			}
		}
		if q.answers && !q.away && m.chance(chance) {
			q.saw = m.revision
		}
		for _, do := range []func(*replica){
			m.act, m.connect,
			func(q *replica) {
				if !m.chance(q.slow) {
					m.receive(q, 1+m.rng.IntN(5))
				}
			},
			func(q *replica) { q.executed += m.rng.IntN(q.held - q.executed + 1) },
			m.publish,
		} {
			if m.chance(chance) {
				do(q)
				if m.chance(m.faults / 10) {
					m.suffer()
				}
				if err := m.safe(); err != nil {
					return err
				}
			}
		}
	}
	if m.open && m.chance(chance/2) {
		m.append()
	}
	if m.chance(chance) {
		m.decide(!m.chance(m.trouble))
	}
	if m.chance(chance) && !m.proposed {
		m.revision = len(m.history) - 1
	}
	if err := m.safe(); err != nil {
		return err
	}
	if m.chance(chance) {
		if err := m.turn(); err != nil {
			return err
		}
	}
	return m.safe()
}

// suffer is one fault, or the end of one.
func (m *cluster) suffer() {
	q := m.replicas[m.rng.IntN(len(m.replicas))]
	switch m.rng.IntN(14) {
	case 0, 1:
		if q.up {
			m.crash(q)
		}
	case 2, 3, 4:
		q.up = true
	case 5:
		q.answers = false
	case 6, 7:
		// A supervisor that starts may know less of the record than it did, and has heard nobody.
		if !q.answers {
			q.answers, q.saw = true, -1
			q.knows = m.rng.IntN(q.knows + 1)
		}
	case 8:
		q.link = linkNone
	case 9:
		q.barred = !q.barred
	case 10:
		if m.chance(0.3) {
			m.restart()
		} else {
			m.drop("its supervisor starts again")
		}
	case 11:
		q.away, q.link = true, linkNone
		if m.chance(0.1) { // or it is db1 that is cut off from them
			for _, q := range m.replicas {
				q.away, q.link = true, linkNone
			}
		}
	case 12:
		q.away = false
	case 13: // somebody else changes the record
		r := m.committed()
		next, err := r.Resume()
		if r.Paused == nil {
			next, err = r.Pause(Pause{By: "op"})
		}
		if err == nil {
			m.history = append(m.history, next)
		}
	}
}

// calm lets the cluster live without a fault until nothing is left to do.
func (m *cluster) calm() error {
	m.trouble, m.faults = 0, 0
	for _, q := range m.replicas {
		q.slow = 0
	}
	last, quiet, planned := m.committed().Revision, 0, m.planned
	for range 600 {
		if err := m.live(1); err != nil {
			return err
		}
		for _, q := range m.replicas { // they have caught up
			m.receive(q, m.log)
		}
		if r := m.committed().Revision; r != last || m.change != nil || !m.open {
			last, quiet = r, 0
			continue
		}
		if quiet++; quiet > 3*int(modelPatience/(30*time.Millisecond)) {
			if changes := m.planned - planned; changes > 3*len(m.replicas)+3 {
				return fmt.Errorf("it took %d changes to come to rest", changes)
			}
			return nil
		}
	}
	return fmt.Errorf("it does not come to rest")
}

// atAim compares S and k with what they should be where those replicas are of use and no others.
func (m *cluster) atAim(useful []string) error {
	r := m.committed()
	switch {
	case len(useful) == 0:
		if m.policy.GoAlone != r.Alone && !slices.ContainsFunc(m.replicas, func(q *replica) bool { return q.up && q.answers }) {
			return fmt.Errorf("nobody is there: alone %v", r.Alone)
		}
		return nil
	case r.Alone:
		return fmt.Errorf("it is alone, with %v there", useful)
	case len(r.Synced) != m.policy.members(len(useful)) || r.Acks != m.policy.Aim(len(r.Synced)):
		return fmt.Errorf("S is %d of %v, with %v there", r.Acks, names(r.Synced), useful)
	}
	for _, s := range r.Synced {
		if !slices.Contains(useful, s.Node) {
			return fmt.Errorf("%s is in S, with %v there", s.Node, useful)
		}
		if want := processName(m.node(s.Node).start); s.Start != want {
			return fmt.Errorf("%s is in S as %s and runs as %s", s.Node, s.Start, want)
		}
	}
	if m.told != m.log {
		return fmt.Errorf("clients know of %d of %d", m.told, m.log)
	}
	return nil
}

// rest lets it come to rest and compares.
func (m *cluster) rest() error {
	var useful []string
	for _, q := range m.replicas {
		if q.up && q.answers && !q.barred {
			useful = append(useful, q.name)
		}
	}
	m.note("rests with %v", useful)
	if err := m.calm(); err != nil {
		return err
	}
	return m.atAim(useful)
}

// all brings every host back, or takes it away.
func (m *cluster) all(there bool) {
	for _, q := range m.replicas {
		if !there && q.up {
			m.crash(q)
		}
		q.up, q.answers, q.away = there, there, false
	}
}

// wander is one walk: trouble, then rest with all hosts, without one, with none, and with all again.
func wander(m *cluster) error {
	for range 8 {
		m.trouble = []float64{0, 0.05, 0.3}[m.rng.IntN(3)]
		chance := []float64{0.3, 0.6, 0.9}[m.rng.IntN(3)]
		m.faults = []float64{0.02, 0.1, 0.4}[m.rng.IntN(3)]
		for _, q := range m.replicas {
			q.slow = []float64{0, 0.5, 0.9}[m.rng.IntN(3)]
		}
		for range 50 {
			if m.chance(m.faults) {
				m.suffer()
			}
			if err := m.live(chance); err != nil {
				return err
			}
		}
	}
	m.all(true)
	if err := m.rest(); err != nil {
		return err
	}
	m.crash(m.replicas[m.rng.IntN(len(m.replicas))])
	if err := m.rest(); err != nil {
		return err
	}
	m.all(false)
	if err := m.rest(); err != nil {
		return err
	}
	m.all(true)
	return m.rest()
}

// TestNextChangeWalks: whatever happens, what NextChange plans can be carried out and no winner
// lacks what clients were told of; and when nothing more happens, S and k come to their aim, and stay.
func TestNextChangeWalks(t *testing.T) {
	walks := uint64(300)
	if testing.Short() {
		walks = 50
	}
	made := map[string]int{}
	for seed := range walks {
		rng := rand.New(rand.NewPCG(seed, 5))
		policy := DurabilityPolicy{Patience: modelPatience, GoAlone: rng.IntN(2) == 0, MaxAcks: rng.IntN(2)}
		m, err := newCluster(rng, 2+rng.IntN(4), policy)
		if err != nil {
			t.Fatal(err)
		}
		if err := wander(m); err != nil {
			t.Fatalf("walk %d with %+v: %v\n%s\n%s", seed, policy, err, m, strings.Join(m.trace[max(0, len(m.trace)-40):], "\n"))
		}
		for _, line := range m.trace {
			if _, text, found := strings.Cut(line, "plans to "); found {
				name, _, _ := strings.Cut(text, " ")
				made[strings.TrimSuffix(name, ";")]++
			}
			if name, done := strings.CutSuffix(line[len("    0ms "):], " done"); done {
				made[name+" done"]++
			}
		}
	}
	for _, name := range []string{"grow", "shrink", "raise", "lower", "alone", "pass"} {
		if made[name+" done"] < int(walks/30) {
			t.Errorf("%s was done %d times: the walks do not get far enough to mean anything", name, made[name+" done"])
		}
	}
	t.Logf("changes planned and done: %v", made)
}
