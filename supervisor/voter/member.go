// SPDX-License-Identifier: Apache-2.0

package voter

import (
	"context"
	"slices"

	"highwater/election"
	"highwater/election/quorum"
)

// The record comes first in both directions: it gives the ID, and says who must stay. Raft's members follow it, by whoever leads: so an
// order that was cut in half by the end of its leader is finished by the next one.

// AddMember takes a node into the cluster, which waits for that with a log that never was of one. When ended is told of no error the record
// has it, and the leader makes it a learner and, once it has caught up, a voter.
func (v *Voter) AddMember(ctx context.Context, name string, witness bool, ended func(context.Context, error)) {
	v.ask(ctx, func(ctx context.Context, now election.Instant) {
		if err := v.mayAdd(name); err != nil {
			ended(ctx, err)
			return
		}
		v.change(ctx, now, func(r election.ClusterRecord) (election.ClusterRecord, error) {
			if _, known := r.Member(name); known {
				return r, nil // and raft lacks it
			}
			return r.AddMember(name, witness)
		}, func(ctx context.Context, err error) {
			if err == nil {
				v.align(ctx)
			}
			ended(ctx, fromRecord(err))
		})
	})
}

// mayAdd returns why a node cannot become a member now.
func (v *Voter) mayAdd(name string) error {
	if v.core == nil {
		return refuse(v.reason, v.cfg.Quorum.Node, v.detail)
	}
	if slices.ContainsFunc(v.members(), func(m quorum.Member) bool { return m.Name == name }) {
		return refuse(ReasonKnownMember, name, "see `highwater member list`")
	}
	s, heard := v.heard()[name]
	switch {
	case !heard:
		return refuse(ReasonMemberSilent, name, "start highwater there, with the configuration that this host has")
	case !s.waits():
		return refuse(ReasonNotEmpty, name, "stop highwater there, move raft/ in its state_dir away and start it again")
	}
	return nil
}

// waits reports whether a node waits to be taken in.
func (s Standing) waits() bool {
	return s.Log != "" && s.Origin == 0 && s.Reason != "" && s.Reason != ReasonLearner && s.Reason != ReasonRemoved && s.Reason != ReasonSuperseded
}

// RemoveMember takes a node out of the cluster; lossless as for [election.ClusterRecord.RemoveMember]. When ended is told of no error the record has it no more, and the leader takes its vote.
func (v *Voter) RemoveMember(ctx context.Context, name string, lossless bool, ended func(context.Context, error)) {
	v.ask(ctx, func(ctx context.Context, now election.Instant) {
		_, recorded := v.Record().Member(name)
		why := quorum.ReasonNone
		if v.core != nil {
			why = v.core.MayRemove(name)
		}
		if why == quorum.ReasonUnknown && recorded { // it never became one of raft's
			why = quorum.ReasonNone
		}
		if err := fromCore(why, name); err != nil {
			ended(ctx, err)
			return
		}
		v.change(ctx, now, func(r election.ClusterRecord) (election.ClusterRecord, error) {
			if !recorded {
				return r, nil
			}
			return r.RemoveMember(name, lossless)
		}, func(ctx context.Context, err error) {
			if err == nil {
				v.align(ctx)
			}
			ended(ctx, fromRecord(err))
		})
	})
}

// align has raft's members follow those of the record, one change at a time, where this node has the right and so knows the record.
func (v *Voter) align(ctx context.Context) {
	now := v.cfg.Now()
	if v.core == nil || v.pending != nil || !v.core.RecordCurrent(now) {
		return
	}
	record, members := v.Record(), v.members()
	for _, m := range members {
		if known, ok := record.Member(m.Name); !ok || known.ID != m.ID {
			v.step(ctx, now, quorum.RemoveMember{Name: m.Name})
			return
		}
	}
	for _, m := range record.Members {
		if slices.ContainsFunc(members, func(known quorum.Member) bool { return known.ID == m.ID }) {
			continue
		}
		s, heard := v.heard()[m.Name]
		if !heard || !s.waits() {
			continue
		}
		member := quorum.Member{Name: m.Name, ID: m.ID, Witness: m.Witness, Log: s.Log}
		for _, listed := range v.cfg.Quorum.Members {
			if listed.Name == m.Name {
				member.Priority = listed.Priority
			}
		}
		v.step(ctx, now, quorum.AddMember{Member: member})
		return
	}
}
