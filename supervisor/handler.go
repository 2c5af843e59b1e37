// SPDX-License-Identifier: Apache-2.0

package supervisor

import (
	"context"
	"time"

	"highwater/election"
	"highwater/supervisor/control"
	"highwater/supervisor/peer"
)

// requestTimeout bounds how long a peer's request waits for the loop and the server.
const requestTimeout = 5 * time.Second

// HandleStatus takes in a peer's push and answers with this node's own status.
func (n *Node) HandleStatus(ctx context.Context, from string, s peer.NodeStatus) peer.NodeStatus {
	n.cluster.pushedBy(from, boottime())
	n.heardStatus(ctx, from, s)
	return n.refreshStatus()
}

// heardStatus hands a status to the loop unless a newer one came first.
func (n *Node) heardStatus(ctx context.Context, _ string, s peer.NodeStatus) {
	if n.cluster.take(s, boottime()) {
		n.keeper.Heard(&s)
		n.post(ctx, election.PeerHeard{Peer: n.cluster.state(s)})
	}
}

// HandleSeal stops the local receiver for a candidate, or refuses.
func (n *Node) HandleSeal(ctx context.Context, from string, r peer.SealRequest) peer.SealReply {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	a, err := n.ask(ctx, func(t election.Token) election.Event {
		return election.SealRequested{Token: t, From: from, Term: r.Term, OldPrimary: r.OldPrimary}
	})
	view := n.loop.view.Load()
	switch {
	case err != nil:
		return peer.SealReply{Reason: string(election.CodeGatherFailed), Promised: view.Promised, Status: *n.status.Load()}
	case a.seal != nil:
		return *a.seal
	default:
		return peer.SealReply{
			Reason: string(a.code), Promised: max(view.Promised, view.Term), Status: *n.status.Load(),
		}
	}
}

// HandleStand makes this node a candidate on the word of one that found it to be ahead.
func (n *Node) HandleStand(ctx context.Context, from string, r peer.StandRequest) peer.StandReply {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	a, err := n.ask(ctx, func(t election.Token) election.Event {
		return election.StandRequested{Token: t, From: from, Term: r.Term, Ordered: r.Reason == string(election.CodeOperator)}
	})
	if err != nil {
		return peer.StandReply{Reason: err.Error()}
	}
	return peer.StandReply{Accepted: a.accepted, Reason: string(a.code)}
}

// holdPause is how often a replica looks whether it holds a point, and holdPatience for how long
// before it says no: the connection is needed for other things.
const (
	holdPause    = 3 * time.Millisecond
	holdPatience = 100 * time.Millisecond
)

// HandleHold says whether the local server has received a point of its source's binary log.
func (n *Node) HandleHold(ctx context.Context, _ string, r peer.HoldRequest) peer.HoldReply {
	if n.server == nil {
		return peer.HoldReply{Reason: string(election.CodeNotTakingIn)}
	}
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	deadline := now().Add(holdPatience)
	for {
		held, err := n.server.Received(ctx, r.Point)
		switch {
		case err != nil:
			return peer.HoldReply{Reason: err.Error()}
		case held.Received, now() >= deadline:
			return peer.HoldReply{Holds: held.Received, Start: held.StartID}
		}
		sleep(ctx, holdPause)
	}
}

// HandleFarewell takes in that the primary gave up.
func (n *Node) HandleFarewell(ctx context.Context, from string, r peer.FarewellRequest) peer.FarewellReply {
	n.post(ctx, election.FarewellReceived{
		From: from, Term: r.Term, Reason: election.Code(r.Reason), Successor: r.Successor,
	})
	return peer.FarewellReply{Accepted: true}
}

// HandleCommand carries out what an operator ordered on another host.
func (n *Node) HandleCommand(ctx context.Context, _ string, c peer.Command) peer.CommandReply {
	var code int
	var text string
	order := control.Command{Name: c.Name, Args: c.Args}
	switch c.Name {
	case orderPause, orderResume, orderAddMember, orderRemoveMember: // it is here that whoever sent it believes the leader; nothing is sent round
		code, text = n.recordHere(ctx, order)
	default:
		code, text = n.Order(ctx, order, func(string) {})
	}
	return peer.CommandReply{Code: code, Text: text}
}
