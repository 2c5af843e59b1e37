// SPDX-License-Identifier: Apache-2.0

package model

import (
	"fmt"
	"slices"

	"highwater/election"
	"highwater/mysqlcheck/gtid"
	"highwater/promote"
)

// Everything here asks the real functions. They are pure, so what they answered once is
// remembered: the search asks the same few thousand questions millions of times.

const (
	startNow    = "now"    // a server process that is running
	startBefore = "before" // one that has ended
	witnessName = "W"
	revision    = 7 // of every record that is asked about: only their order matters, and the model keeps that
)

// step is an election.Step.
type step struct {
	stage election.Stage
	nodes set
	acks  uint8
}

type (
	stepsKey struct {
		rec  record
		kind kind
		node uint8
	}
	nextKey struct {
		rec    record
		kind   kind
		node   uint8
		passed set
		term   uint8
	}
	viewKey struct {
		rec, proposed record
		kind          kind
		node, stage   uint8
	}
	completeKey struct {
		rec       record
		candidate uint8
		heard     set
		durable   set
		logs      [maxNodes]set
	}
	// view is an election.View.
	view struct {
		connect     set // with their word
		acknowledge set
		acks        uint8
	}
	next struct {
		rec record
		ok  bool
	}
)

type rules struct {
	data    int
	witness bool
	steps   map[stepsKey][]step
	nexts   map[nextKey]next
	views   map[viewKey]view
	allowed map[completeKey]bool
	stuck   map[record]bool
}

func newRules(data int, witness bool) *rules {
	return &rules{
		data: data, witness: witness,
		steps: map[stepsKey][]step{}, nexts: map[nextKey]next{}, views: map[viewKey]view{},
		allowed: map[completeKey]bool{}, stuck: map[record]bool{},
	}
}

func synced(s, fresh set) []election.SyncedNode {
	var list []election.SyncedNode
	for i := range uint8(maxNodes) {
		if s.has(i) {
			start := startBefore
			if fresh.has(i) {
				start = startNow
			}
			list = append(list, election.SyncedNode{Node: nodeName(i), Start: start})
		}
	}
	return list
}

func indexOf(name string) uint8 { return name[0] - 'A' }

// real returns the cluster record that r stands for.
func (r *rules) real(of record) election.ClusterRecord {
	var members []election.ClusterMember
	for i := range uint8(r.data) {
		members = append(members, election.ClusterMember{Name: nodeName(i), ID: uint64(i) + 1})
	}
	if r.witness {
		members = append(members, election.ClusterMember{Name: witnessName, ID: uint64(r.data) + 1, Witness: true})
	}
	c, err := election.NewClusterRecord(members...)
	if err != nil {
		panic(err)
	}
	c.Revision, c.Term, c.Since, c.Primary = revision, uint64(of.term), 1, nodeName(of.primary)
	c.Synced, c.Acks = synced(of.s, of.fresh), int(of.acks)
	c.Alone, c.WentAlone = of.is&isAlone != 0, of.is&isAlone != 0
	if of.is&hasKept != 0 {
		c.Kept = &election.KeptTerm{
			Primary: nodeName(of.keptPrimary), Synced: synced(of.keptS, of.keptFresh),
			Acks: int(of.keptAcks), Alone: of.is&keptAlone != 0,
		}
	}
	if err := c.Validate(); err != nil {
		panic(fmt.Sprintf("the model has made a record that cannot be: %v: %v", of, err))
	}
	return c
}

// compact is the way back.
func compact(c election.ClusterRecord) record {
	sets := func(list []election.SyncedNode) (s, fresh set) {
		for _, n := range list {
			s |= one(indexOf(n.Node))
			if n.Start == startNow {
				fresh |= one(indexOf(n.Node))
			}
		}
		return s, fresh
	}
	out := record{term: uint8(c.Term), primary: indexOf(c.Primary), acks: uint8(c.Acks), is: isRecord}
	out.s, out.fresh = sets(c.Synced)
	if c.Alone {
		out.is |= isAlone
	}
	if k := c.Kept; k != nil {
		out.is |= hasKept
		out.keptPrimary, out.keptAcks = indexOf(k.Primary), uint8(k.Acks)
		out.keptS, out.keptFresh = sets(k.Synced)
		if k.Alone {
			out.is |= keptAlone
		}
	}
	return out
}

// plan returns the real change.
func (r *rules) plan(of record, k kind, node uint8, term uint8) (election.Change, error) {
	c := r.real(of)
	switch k {
	case grow:
		return c.PlanGrow(nodeName(node), startNow)
	case shrink:
		return c.PlanShrink(nodeName(node))
	case raise:
		var replicas []string
		for i := range uint8(r.data) {
			if i != of.primary {
				replicas = append(replicas, nodeName(i))
			}
		}
		return c.PlanRaise(c.Acks+1, replicas...)
	case lower:
		return c.PlanLower(c.Acks - 1)
	case goAlone:
		return c.PlanAlone()
	case pass:
		return c.PlanPass(nodeName(node))
	case beginTerm:
		return c.PlanTerm(uint64(term), nodeName(node), election.Move{Kind: election.MoveFailover})
	}
	panic("unknown change")
}

// forward takes a change to its stage with the given number, passing barriers with passed, or with
// all who are asked.
func forward(c election.Change, stage int, passed set, all bool, visit func(election.Step)) (election.Change, error) {
	for range stage {
		at := c.Step()
		if visit != nil {
			visit(at)
		}
		var err error
		switch at.Stage {
		case election.StageDone:
			return c, nil
		case election.StageCommit:
			proposal, perr := c.Proposal()
			if perr != nil {
				return c, perr
			}
			c, err = c.Settle(proposal)
		case election.StageBarrier:
			var marks []election.SyncedNode
			for _, name := range at.Nodes {
				if all || passed.has(indexOf(name)) {
					marks = append(marks, election.SyncedNode{Node: name, Start: startNow})
				}
			}
			if c, err = c.Begin(marks...); err == nil {
				c, err = c.Done(marks...)
			}
		default:
			c, err = c.Done()
		}
		if err != nil {
			return c, err
		}
	}
	return c, nil
}

// stepsOf returns the steps of a change, none if it is refused.
func (r *rules) stepsOf(of record, k kind, node uint8) []step {
	key := stepsKey{of, k, node}
	list, known := r.steps[key]
	if known {
		return list
	}
	if c, err := r.plan(of, k, node, 0); err == nil {
		_, err := forward(c, 9, 0, true, func(s election.Step) {
			if s.Stage == election.StageDone {
				return
			}
			var nodes set
			for _, name := range s.Nodes {
				nodes |= one(indexOf(name))
			}
			list = append(list, step{s.Stage, nodes, uint8(s.Acks)})
		})
		if err != nil {
			list = nil // a barrier that everybody passes would change nothing
		}
	}
	r.steps[key] = list
	return list
}

// next returns the record that a change proposes when passed have passed its barrier.
func (r *rules) next(of record, k kind, node uint8, passed set, term uint8) (record, bool) {
	key := nextKey{of, k, node, passed, term}
	out, known := r.nexts[key]
	if known {
		return out.rec, out.ok
	}
	if c, err := r.plan(of, k, node, term); err == nil {
		for err == nil && c.Step().Stage != election.StageCommit {
			c, err = forward(c, 1, passed, false, nil)
		}
		if err == nil {
			proposal, perr := c.Proposal()
			if perr != nil {
				panic(perr)
			}
			if _, cerr := r.real(of).Commit(proposal); cerr != nil {
				panic(cerr)
			}
			out = next{compact(proposal), true}
		}
	}
	r.nexts[key] = out
	return out.rec, out.ok
}

// view returns what holds of the record, with a proposal or a change that is not proposed yet.
func (r *rules) view(s *state) view {
	key := viewKey{rec: s.rec, proposed: s.pending}
	if c := s.change; key.proposed.is == 0 && c.kind != noChange && !c.committed && c.by == s.rec.primary {
		key.proposed = c.other
		if c.other.is == 0 {
			key.kind, key.node, key.stage = c.kind, c.node, c.stage
		}
	}
	v, known := r.views[key]
	if known {
		return v
	}
	c := r.real(s.rec)
	real := election.Settled(c)
	switch {
	case key.proposed.is != 0:
		proposal := r.real(key.proposed)
		proposal.Revision++
		real = election.InDoubt(c, proposal)
	case key.kind != noChange:
		planned, err := r.plan(s.rec, key.kind, key.node, 0)
		if err == nil {
			planned, err = forward(planned, int(key.stage), 0, false, nil)
		}
		if err != nil {
			panic(err) // it was planned for this record, and no barrier was passed
		}
		real = planned.View()
	}
	word := election.Word{Given: true, Term: c.Term, Revision: c.Revision}
	for i := range uint8(r.data) {
		if real.MayConnect(nodeName(i), word) {
			v.connect |= one(i)
		}
		if real.MayAcknowledge(nodeName(i)) {
			v.acknowledge |= one(i)
		}
	}
	v.acks = uint8(real.Acks())
	r.views[key] = v
	return v
}

// logSets are the GTID sets of all logs.
var logSets = func() [1 << maxTrx]gtid.Set {
	var sets [1 << maxTrx]gtid.Set
	for log := range sets {
		for i := range uint8(maxTrx) {
			if set(log).has(i) {
				t, err := gtid.Parse(fmt.Sprintf("3e11fa47-71ca-11e1-9e33-c80aa9429562:%d", i+1))
				if err != nil {
					panic(err)
				}
				sets[log] = sets[log].Union(t)
			}
		}
	}
	return sets
}()

func claims(primary uint8, s []election.SyncedNode, acks uint8, alone bool) promote.Claims {
	c := promote.Claims{Primary: nodeName(primary), Acks: int(acks), Alone: alone}
	for _, n := range s {
		c.Synced = append(c.Synced, promote.Synced{Node: n.Node, Start: n.Start})
	}
	return c
}

// complete asks whether candidate holds all that matters. Heard hosts that are durable vouch for
// their own terms.
func (r *rules) complete(of record, candidate uint8, heard, durable set, logs [maxNodes]set) bool {
	key := completeKey{of, candidate, heard, durable, logs}
	answer, known := r.allowed[key]
	if known {
		return answer
	}
	in := promote.CompletenessInput{
		Candidate: nodeName(candidate),
		Term:      claims(of.primary, synced(of.s, of.fresh), of.acks, of.is&isAlone != 0),
	}
	if of.is&hasKept != 0 {
		kept := claims(of.keptPrimary, synced(of.keptS, of.keptFresh), of.keptAcks, of.is&keptAlone != 0)
		in.Kept = &kept
	}
	for i := range uint8(r.data) {
		if heard.has(i) {
			in.Heard = append(in.Heard, promote.Testimony{
				Node: nodeName(i), Start: startNow, Received: logSets[logs[i]], Durable: durable.has(i),
			})
		}
	}
	answer = promote.Complete(in).Allowed
	r.allowed[key] = answer
	return answer
}

// isStuck reports whether nobody could succeed the primary of record if it were gone for good, and
// all others back, sealed and as far as the furthest. It is not asked where that is the price that
// was named: the primary was alone, or another host has restarted since its last barrier.
func (r *rules) isStuck(of record) bool {
	stuck, known := r.stuck[of]
	if known {
		return stuck
	}
	others := set(1<<r.data-1) &^ one(of.primary)
	excused := of.is&isAlone != 0 ||
		of.is&keptAlone != 0 && of.keptPrimary == of.primary ||
		others&of.s&^of.fresh != 0 || others&of.keptS&^of.keptFresh != 0
	if !excused {
		stuck = !slices.ContainsFunc([]uint8{0, 1, 2, 3, 4}, func(i uint8) bool {
			return others.has(i) && r.complete(of, i, others, others, [maxNodes]set{})
		})
	}
	r.stuck[of] = stuck
	return stuck
}
