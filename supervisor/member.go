// SPDX-License-Identifier: Apache-2.0

package supervisor

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"highwater/configs"
	"highwater/election/quorum"
	"highwater/supervisor/control"
	"highwater/supervisor/peer"
	"highwater/supervisor/voter"
	"highwater/supervisor/web"
)

// Orders about the members, and their argument.
const (
	orderAddMember    = "member-add"
	orderRemoveMember = "member-remove"

	argNode = "node"
)

// memberTimeout bounds the wait until a new member has caught up and votes, or one that goes has lost its vote. The change goes on without
// anybody who waits.
const memberTimeout = 30 * time.Second

// standings is what the other nodes say of their part in the quorum, of those that are heard.
func (n *Node) standings() map[string]voter.Standing {
	heard := map[string]voter.Standing{}
	for name, h := range n.cluster.all() {
		if h.Voter == nil || !n.hears(h) {
			continue
		}
		s := voter.Standing{
			Log: h.Voter.Log, Reason: voter.Reason(h.Voter.Reason), Nodes: h.Voter.Nodes,
			Origin: h.Voter.Origin, Before: h.Voter.Before, Applied: h.Voter.Applied, Removed: h.Voter.Removed,
		}
		for _, m := range h.Voter.Members {
			s.Members = append(s.Members, quorum.Member(m))
		}
		heard[name] = s
	}
	return heard
}

// fillVoter tells the others of this node's part in the quorum. Who has no vote can become no primary.
func (n *Node) fillVoter(s *peer.NodeStatus) {
	if n.voter == nil {
		return
	}
	own := n.voter.State().Standing
	s.Voter = &peer.VoterStatus{
		Log: own.Log, Reason: string(own.Reason), Nodes: own.Nodes,
		Origin: own.Origin, Before: own.Before, Applied: own.Applied, Removed: own.Removed,
	}
	for _, m := range own.Members {
		s.Voter.Members = append(s.Voter.Members, peer.VoterMember(m))
	}
	if own.Reason != "" {
		s.Eligible, s.Seeks = false, false
		s.Reasons = append([]string{string(own.Reason)}, s.Reasons...)
	}
}

// recordHere carries out an order on the cluster record, where this node is believed to lead.
func (n *Node) recordHere(ctx context.Context, c control.Command) (code int, text string) {
	if c.Name == orderAddMember || c.Name == orderRemoveMember {
		return n.changeMembers(ctx, c)
	}
	return n.pauseRecord(ctx, c)
}

// tryElsewhere gives an order to whoever takes it, from a node that knows of no leader. One that is not in the cluster cannot know it.
func (n *Node) tryElsewhere(ctx context.Context, c control.Command) (code int, text string) {
	code, text = control.CodeUnreachable, c.Name+": no majority of the voters answers"
	if n.voter.State().Standing.Reason == "" {
		return code, text
	}
	heard := n.standings()
	for _, name := range slices.Sorted(maps.Keys(heard)) {
		if heard[name].Reason != "" {
			continue
		}
		reply, err := n.forward(ctx, name, peer.Command{Name: c.Name, Args: c.Args})
		if err == nil && reply.Code != control.CodeUnreachable {
			return reply.Code, reply.Text
		}
	}
	return code, text
}

// orderMember has the node that leads the quorum add or remove a member, and waits until it votes, or no more.
func (n *Node) orderMember(ctx context.Context, c control.Command, progress func(string)) (code int, text string) {
	name := c.Args[argNode]
	if name == "" {
		return control.CodeUsage, "say which node"
	}
	if n.voter == nil {
		return n.changeMembers(ctx, c)
	}
	code, text = n.orderOnRecord(ctx, c)
	if code != control.CodeDone {
		return code, text
	}
	progress(text)
	for deadline := now().Add(memberTimeout); now() < deadline; sleep(ctx, recordRetry) {
		state := n.voter.State()
		i := slices.IndexFunc(state.Members, func(m quorum.MemberStatus) bool { return m.Name == name })
		switch {
		case c.Name == orderAddMember && i >= 0 && state.Members[i].Voter:
			return control.CodeDone, fmt.Sprintf("%s votes", name)
		case c.Name == orderRemoveMember && i < 0:
			return control.CodeDone, fmt.Sprintf("%s votes no more", name)
		}
	}
	if c.Name == orderRemoveMember {
		return control.CodeFailed, fmt.Sprintf("the record has %s no more, and it still votes after %v: that ends when a majority answers; `highwater member list` shows it", name, memberTimeout)
	}
	return control.CodeFailed, fmt.Sprintf("%s is in the record and does not vote after %v: it does once it has caught up; `highwater member list` shows it", name, memberTimeout)
}

// changeMembers adds or removes a member, where this node leads.
func (n *Node) changeMembers(ctx context.Context, c control.Command) (code int, text string) {
	verb, name := "add", c.Args[argNode]
	if c.Name == orderRemoveMember {
		verb = "remove"
	}
	if n.voter == nil {
		return refusedMember(verb, &voter.Refusal{Reason: voter.ReasonNeedsQuorum, Detail: "with authority vrrp nobody votes; cluster.nodes says who takes part"})
	}
	ended := make(chan error, 1)
	if verb == "remove" {
		n.voter.RemoveMember(ctx, name, n.config.Durability.Mode == configs.Lossless, func(_ context.Context, err error) { ended <- err })
	} else {
		node := n.cluster.node(name)
		if node == nil {
			return refusedMember(verb, &voter.Refusal{
				Reason: voter.ReasonNotConfigured, Node: name,
				Detail: "cluster.nodes on " + n.self.Name + " has no address of it; add it on every host, then `highwater upgrade` there",
			})
		}
		n.voter.AddMember(ctx, name, node.Witness, func(_ context.Context, err error) { ended <- err })
	}
	select {
	case err := <-ended:
		if err != nil {
			return refusedMember(verb, err)
		}
	case <-ctx.Done():
		return control.CodeUnreachable, fmt.Sprintf("member %s: %v", verb, ctx.Err())
	}
	n.log.Info("member.recorded", "order", verb, "peer", name, "by", c.Args[argBy])
	if verb == "remove" {
		return control.CodeDone, fmt.Sprintf("the record has %s no more", name)
	}
	return control.CodeDone, fmt.Sprintf("%s is in the record and catches up", name)
}

// refusedMember is the answer to an order about the members that was not carried out; what passes by itself is tried again.
func refusedMember(verb string, err error) (code int, text string) {
	var refused *voter.Refusal
	if !errors.As(err, &refused) || refused.Reason == voter.ReasonUnsettled {
		return control.CodeUnreachable, fmt.Sprintf("member %s: %v", verb, err)
	}
	return control.CodeRefused, fmt.Sprintf("member %s refused: %v", verb, err)
}

// describeMembers fills in who votes, why this node does not, and where configuration and record differ.
func (n *Node) describeMembers(s *web.Status) {
	state := n.voter.State()
	for i := range s.Members {
		s.Members[i].Votes = slices.ContainsFunc(state.Members, func(m quorum.MemberStatus) bool {
			return m.ID == s.Members[i].ID && m.Voter
		})
	}
	if why := state.Standing.Reason; why != "" {
		s.NotVoting = []string{string(why)}
		if state.Detail != "" {
			s.NotVoting = append(s.NotVoting, state.Detail)
		}
		return
	}
	var listed []string
	for _, node := range n.config.Cluster.Nodes {
		listed = append(listed, node.Name)
	}
	s.Unmatched = web.Unmatched(listed, s.Members)
}
