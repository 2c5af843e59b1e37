// SPDX-License-Identifier: Apache-2.0

package voter

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"highwater/election"
	"highwater/election/quorum"
)

// How often a node looks at what the others say of themselves: one that waits for them, and one that takes part.
const (
	waitingLook = 50 * time.Millisecond
	memberLook  = 500 * time.Millisecond
)

// resume takes up the part that this node had in the cluster, if it had one.
func (v *Voter) resume() error {
	known, ok, err := quorum.Peek(v.kept)
	if err != nil {
		return err
	}
	ended, err := readEnd(v.cfg.Dir)
	if err != nil {
		return err
	}
	_, member := known.Member(v.cfg.Quorum.Node)
	switch {
	case ended.Log == v.log:
		v.reason, v.detail = ended.Reason, "as "+ended.By+" said"
	case !ok:
		v.reason = ReasonAwaitsFounders
	case !member:
		v.reason = ReasonRemoved
	default:
		return v.begin(known.Members, false)
	}
	return v.take(nil)
}

// begin makes the core. Members have their IDs, and their priorities of the address book.
func (v *Voter) begin(members []quorum.Member, join bool) error {
	c := v.cfg.Quorum
	c.Members, c.Join, c.Log = slices.Clone(members), join, v.log
	for i := range c.Members {
		for _, listed := range v.cfg.Quorum.Members {
			if listed.Name == c.Members[i].Name {
				c.Members[i].Priority = listed.Priority
			}
		}
	}
	core, err := quorum.New(c, v.kept, v.cfg.Now())
	if err != nil {
		return err
	}
	v.core, v.reason, v.detail = core, "", ""
	_, data := core.Record()
	return v.take(data)
}

// members are those that the log knows of.
func (v *Voter) members() []quorum.Member {
	if v.core == nil {
		return nil
	}
	var members []quorum.Member
	for _, m := range v.core.Status().Members {
		members = append(members, m.Member)
	}
	return members
}

// take makes data the record; nil is the record of a cluster that has never had a primary.
func (v *Voter) take(data []byte) error {
	if len(data) == 0 {
		var members []election.ClusterMember
		for _, m := range v.members() {
			members = append(members, election.ClusterMember{Name: m.Name, ID: m.ID, Witness: m.Witness})
		}
		record, err := election.NewClusterRecord(members...)
		if err != nil {
			return fmt.Errorf("make the cluster record: %w", err)
		}
		v.record.Store(&record)
		return nil
	}
	record, err := election.DecodeClusterRecord(data)
	if err != nil {
		return fmt.Errorf("read the cluster record: %w", err)
	}
	v.record.Store(&record)
	return nil
}

// show lets other goroutines know the state.
func (v *Voter) show(right election.RightChanged) {
	s := State{Right: right, Leader: right.Leader, Detail: v.detail}
	s.Standing = Standing{Log: v.log, Reason: v.reason}
	switch {
	case v.core != nil:
		s.Status = v.core.Status()
		s.Standing.Origin, s.Standing.Before, s.Standing.Removed = s.Origin, s.Before, s.Removed
		s.Standing.Applied = s.Applied
		for _, m := range s.Members {
			s.Standing.Members = append(s.Standing.Members, m.Member)
		}
		if !s.Voter {
			s.Standing.Reason = ReasonLearner
		}
	case v.reason == ReasonAwaitsFounders && v.virgin():
		s.Standing.Nodes = nodesOf(v.cfg.Quorum.Members)
	}
	v.state.Store(&s)
}

// virgin: nothing was ever stored, not even a vote.
func (v *Voter) virgin() bool {
	return len(v.kept.HardState) == 0 && v.kept.Snapshot == nil && len(v.kept.Entries) == 0
}

// heard is what the others say of themselves.
func (v *Voter) heard() map[string]Standing {
	if v.cfg.Heard == nil {
		return nil
	}
	return v.cfg.Heard()
}

// look compares this node's part with what the others say, and returns when to look again.
func (v *Voter) look(ctx context.Context) time.Duration {
	if v.core != nil {
		v.stay(ctx)
		v.align(ctx)
		return memberLook
	}
	if v.reason == ReasonRemoved || v.reason == ReasonSuperseded {
		return time.Hour // for good: only another log makes this node a member again
	}
	f := fresh{cluster: v.cfg.Quorum.Cluster, node: v.cfg.Quorum.Node, log: v.log, listed: v.cfg.Quorum.Members, virgin: v.virgin()}
	d := f.decide(v.heard())
	if d.members == nil {
		v.wait(ctx, d.reason, d.detail)
		return waitingLook
	}
	if err := v.begin(d.members, d.join); err != nil {
		v.fail(fmt.Errorf("start the quorum: %w", err))
		return time.Hour
	}
	v.cfg.Log.Info("quorum.begun", "members", nodesOf(d.members), "join", d.join, "log", v.log)
	v.step(ctx, v.cfg.Now(), quorum.Tick{})
	return memberLook
}

// wait says why this node takes no part yet.
func (v *Voter) wait(ctx context.Context, reason Reason, detail string) {
	if v.reason == reason && v.detail == detail {
		return
	}
	v.reason, v.detail = reason, detail
	v.cfg.Log.Warn("quorum.waits", "reason", string(reason), "detail", detail)
	v.step(ctx, v.cfg.Now(), quorum.Tick{})
}

// stay sees whether this node is a member still, by its own log or by what others say: whoever is taken out need not get that entry.
func (v *Voter) stay(ctx context.Context) {
	s := v.state.Load()
	self := slices.IndexFunc(s.Members, func(m quorum.MemberStatus) bool { return m.Name == v.cfg.Quorum.Node })
	switch {
	case s.Origin == 0: // it was told that it is a member, and was sent nothing yet
		f := fresh{cluster: v.cfg.Quorum.Cluster, node: v.cfg.Quorum.Node, log: v.log}
		if best, ok := f.newest(v.heard()); ok {
			// Every answer of the disk has come: none of them is to be taken for one to another core.
			if d := f.follow(best); d.members == nil && s.Storing == 0 {
				v.core = nil
				v.wait(ctx, d.reason, d.detail)
			}
		}
	case self < 0:
		v.leave(ctx, ReasonRemoved, v.cfg.Quorum.Node)
	default:
		if why, by := gone(s.Standing, s.Members[self].ID, v.heard()); why != "" {
			v.leave(ctx, why, by)
		}
	}
}

// leave ends this node's part in the cluster for good.
func (v *Voter) leave(ctx context.Context, why Reason, by string) {
	v.core, v.reason, v.detail = nil, why, "as "+by+" says"
	v.cfg.Log.Error("quorum.left", "reason", string(why), "peer", by)
	if err := writeEnd(v.cfg.Dir, end{Log: v.log, Reason: why, By: by}); err != nil {
		v.cfg.Log.Error("quorum.left_unsaved", "error", err)
	}
	if p := v.pending; p != nil {
		v.pending = nil
		p.ended(ctx, errors.Join(errLeft, refuse(why, v.cfg.Quorum.Node, "")))
	}
	v.step(ctx, v.cfg.Now(), quorum.Tick{})
}

// errLeft: what became of a proposal, this node will not learn.
var errLeft = errors.New("this node has left the cluster")
