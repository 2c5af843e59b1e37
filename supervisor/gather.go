// SPDX-License-Identifier: Apache-2.0

package supervisor

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"highwater/election"
	"highwater/promote"
	"highwater/supervisor/gather"
	"highwater/supervisor/peer"
)

// seal stops the local receiver for a candidate's term and answers it. A server that does not
// answer is no reason to let the candidate wait: it is told at once that there is nothing to
// hear.
func (n *Node) seal(ctx context.Context, a election.Seal) {
	reply := peer.SealReply{Accepted: true, Promised: a.Term}
	err := n.sealServer(ctx, a.Term)
	n.post(ctx, election.SealEnded{Token: a.Token, Err: text(err)})
	reply.Status = n.refreshStatus()
	if err != nil {
		reply.Reason = err.Error()
		reply.Status.Health, reply.Status.Eligible = healthUnknown, false
	}
	// A seal for a later term has come in between, this node's own perhaps: who asks must not go on without what is here.
	if later := (promote.ErrPromised{}); errors.As(err, &later) {
		reply.Accepted, reply.Reason, reply.Promised = false, string(election.CodePromisedElsewhere), n.server.Promised()
	}
	n.requests.answer(a.Token, answer{accepted: true, seal: &reply})
}

// sealServer seals the local server and takes its final position into the status.
func (n *Node) sealServer(ctx context.Context, term uint64) error {
	if n.rebuilding.Load() {
		return errRebuilding // its data are being replaced: there is nothing to hear, and a copy to lose
	}
	limit := n.config.Promote.GatherTimeout
	silent := !n.health.answering()
	if silent {
		limit = silentSeal // the word counts, also without a server to stop
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	position, err := n.server.Seal(ctx, term)
	if err != nil {
		if silent && n.server.Promised() >= term {
			return errServerSilent
		}
		return err
	}
	n.health.seal(position)
	n.keeper.Nudge()
	if n.keeper != nil && position.Writable {
		return errSealedWritable
	}
	return nil
}

// errSealedWritable is why an old primary is not heard that could not be fenced: somebody may go on
// to acknowledge what it commits.
var errSealedWritable = errors.New("the server still accepts writes")

// silentSeal bounds the seal of a server that did not answer the last look.
const silentSeal = 50 * time.Millisecond

// sealResult is one host's answer to a gather.
type sealResult struct {
	node  string
	reply peer.SealReply
	err   error
}

// gather is door 4: seal this node and every other, and choose the successor.
func (n *Node) gather(ctx context.Context, a election.Gather) election.GatherEnded {
	ended := election.GatherEnded{Token: a.Token}
	ctx, cancel := context.WithTimeout(ctx, n.config.Promote.GatherTimeout)
	defer cancel()

	request := peer.SealRequest{Term: a.Term, Candidate: n.self.Name, OldPrimary: a.OldPrimary}
	results := make(chan sealResult, len(n.clients)+1)
	go func() {
		err := n.sealServer(ctx, a.Term)
		results <- sealResult{node: n.self.Name, reply: peer.SealReply{Accepted: err == nil, Status: n.refreshStatus()}, err: err}
	}()
	for _, c := range n.clients {
		go func() {
			reply, err := n.askSeal(ctx, c, request)
			results <- sealResult{node: c.Peer(), reply: reply, err: err}
		}()
	}

	waiting := append(slices.Clone(a.Expect), n.self.Name)
	answers := map[string]sealResult{}
	for len(waiting) > 0 {
		select {
		case r := <-results:
			answers[r.node] = r
			if r.err == nil && r.node != n.self.Name {
				n.heardStatus(ctx, r.node, r.reply.Status) // what it holds now, sealed
			}
			waiting = slices.DeleteFunc(waiting, func(s string) bool { return s == r.node })
		case <-ctx.Done():
			waiting = nil
		}
	}
	if err := context.Cause(ctx); err != nil && answers[n.self.Name].node == "" {
		ended.Err = fmt.Sprintf("seal this server: %v", err)
		return ended
	}
	if err := answers[n.self.Name].err; err != nil {
		ended.Err = fmt.Sprintf("seal this server: %v", err)
		return ended
	}
	return n.choose(ended, a, answers)
}

// sealRetry is the pause before a host that has not heard of a farewell is asked again.
const sealRetry = 50 * time.Millisecond

// askSeal asks another host to seal. One that still hears the primary, whose farewell came
// here first, is asked until it has heard of it too: it may hold what nobody else has.
func (n *Node) askSeal(ctx context.Context, c *peer.Client, request peer.SealRequest) (peer.SealReply, error) {
	for {
		reply, err := c.Seal(ctx, request)
		view := n.loop.view.Load()
		if err != nil || election.Code(reply.Reason) != election.CodeHearsPrimary || view.Farewell != view.Term {
			return reply, err
		}
		if sleep(ctx, sealRetry); ctx.Err() != nil {
			return reply, nil
		}
	}
}

// choose turns the answers into the Machine's terms.
func (n *Node) choose(ended election.GatherEnded, a election.Gather, answers map[string]sealResult) election.GatherEnded {
	heard := map[string]peer.NodeStatus{}
	for name, r := range answers {
		if r.err != nil {
			continue
		}
		ended = refusals(ended, name, r.reply)
		if name == a.OldPrimary && !r.reply.Status.VIPHeld {
			ended.OldReleased = true
		}
		if r.reply.Accepted && r.reply.Reason == "" {
			heard[name] = r.reply.Status
		}
	}
	if n.voter != nil {
		n.gathered.Store(n.voter.Record().Revision)
	}
	start := answers[n.self.Name].reply.Status.ServerStartID
	n.sealedStart.Store(&start)
	reports, left := gather.Compare(n.cluster.nodes, heard)
	if n.keeper != nil {
		n.keeper.Bar(reports, heard)
	}
	choice := promote.Choose(n.self.Name, reports, n.config.Promote.Timeout)
	n.missing.Store(&choice.Missing)
	ended.Winner, ended.FetchFrom = choice.Winner, choice.FetchFrom
	if ended.Code == "" && choice.Winner == "" {
		ended.Code = election.Code(choice.Reason)
	}
	ended.Detail = describe(choice) + left
	n.spares.Store(0)
	if n.keeper != nil && ended.Winner == n.self.Name {
		if ended.FetchFrom != "" && n.keeper.Spares(heard) {
			n.spares.Store(a.Term)
		}
		if short := n.keeper.Incomplete(heard, choice); short != "" {
			ended.Winner, ended.FetchFrom, ended.Code, ended.Detail = "", "", election.CodeIncomplete, short
		}
	}
	return ended
}

// refusals takes one host's refusal into the result.
func refusals(ended election.GatherEnded, node string, reply peer.SealReply) election.GatherEnded {
	if reply.Accepted {
		return ended
	}
	switch election.Code(reply.Reason) {
	case election.CodeStaleTerm, election.CodePromisedElsewhere:
		ended.Promised = max(ended.Promised, reply.Promised)
	case election.CodeHearsPrimary, election.CodePrimaryAlive:
		ended.HearsPrimary = append(ended.HearsPrimary, node)
	case election.CodeCandidateExists:
		ended.Code = election.CodeCandidateExists
	}
	return ended
}

// describe says for people who won and why the others did not.
func describe(c promote.Choice) string {
	var refused []string
	for node, reasons := range c.Refused {
		refused = append(refused, fmt.Sprintf("%s: %v", node, reasons))
	}
	slices.Sort(refused)
	s := fmt.Sprintf("winner %q, most advanced %v", c.Winner, c.MostAdvanced)
	if c.FetchFrom != "" {
		s += fmt.Sprintf(", %d transactions to fetch from %s", c.Missing.Count(), c.FetchFrom)
	}
	if len(refused) > 0 {
		s += fmt.Sprintf(", not chosen %v", refused)
	}
	return s
}

// askToStand hands the right to a host that is ahead.
func (n *Node) askToStand(ctx context.Context, a election.AskToStand) {
	ctx, cancel := context.WithTimeout(ctx, n.config.Promote.GatherTimeout)
	defer cancel()
	c := n.client(a.Node)
	if c == nil {
		return
	}
	request := peer.StandRequest{Term: a.Term, From: n.self.Name, Reason: "ahead"}
	if a.Ordered {
		request.Reason = string(election.CodeOperator)
	}
	reply, err := c.Stand(ctx, request)
	switch {
	case err != nil:
		n.log.Warn("stand.unanswered", "peer", a.Node, "error", err)
	case !reply.Accepted:
		n.log.Warn("stand.refused", "peer", a.Node, "reason", reply.Reason)
	}
}

// farewellTimeout bounds a farewell to one peer. Whoever misses it hears the silence.
const farewellTimeout = time.Second

// farewell tells every peer, beside the loop.
func (n *Node) farewell(ctx context.Context, a election.Farewell) {
	request := peer.FarewellRequest{
		Term: a.Term, From: n.self.Name, Reason: string(a.Reason), Successor: a.Successor,
	}
	n.refreshStatus()
	for _, c := range n.clients {
		n.executor.start(ctx, 0, func(ctx context.Context) {
			ctx, cancel := context.WithTimeout(ctx, farewellTimeout)
			defer cancel()
			if _, err := c.Farewell(ctx, request); err != nil {
				n.log.Warn("farewell.unanswered", "peer", c.Peer(), "error", err)
			}
		})
	}
}
