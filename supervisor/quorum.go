// SPDX-License-Identifier: Apache-2.0

package supervisor

import (
	"context"
	"time"

	"highwater/configs"
	"highwater/election"
	"highwater/election/quorum"
	"highwater/supervisor/voter"
	"highwater/supervisor/web"
)

// The quorum's clock follows the adverts', so that VRRP's silence is never waited for twice, within these: quicker
// ticks cost more at rest, slower ones keep a restarted supervisor from its right for longer than vip.lease.
const (
	minTick = 20 * time.Millisecond
	maxTick = 150 * time.Millisecond

	electionTicks = 10
	clockDrift    = 10 // percent
)

// QuorumConfig is what the core needs of the configuration: its clock, and the address book. The IDs are the log's.
func QuorumConfig(c *configs.Config, self *configs.Node) quorum.Config {
	q := quorum.Config{
		Cluster: c.Cluster.Name, Node: self.Name,
		Tick:          min(max(c.Election.AdvertInterval*3/10, minTick), maxTick),
		ElectionTicks: electionTicks, DriftPercent: clockDrift,
	}
	for _, node := range c.Cluster.Nodes {
		q.Members = append(q.Members, quorum.Member{Name: node.Name, Witness: node.Witness, Priority: node.Priority})
	}
	return q
}

// openVoter opens this node's part of the quorum, where there is one.
func (n *Node) openVoter() error {
	if n.config.Authority() != configs.AuthorityQuorum {
		return nil
	}
	var err error
	n.voter, err = voter.Open(voter.Config{
		Quorum: QuorumConfig(n.config, n.self), Dir: n.config.StateDir,
		Now: now, Post: n.post, Send: n.sendRaft, Log: n.log,
		Applied: func() { n.keeper.Nudge() }, Heard: n.standings,
	})
	return err
}

// Authority is what answers door 3 in this configuration.
func Authority(c *configs.Config) election.Authority {
	if c.Authority() == configs.AuthorityQuorum {
		return election.NewQuorum()
	}
	return election.NewVRRP()
}

// sendRaft sends a message to another node's core.
func (n *Node) sendRaft(to string, data []byte, urgent bool) {
	if c := n.client(to); c != nil {
		c.SendRaft([][]byte{data}, urgent)
	}
}

// takeRaft takes in messages of another node's core.
func (n *Node) takeRaft(_ context.Context, from string, messages [][]byte) {
	if n.voter != nil {
		n.voter.Receive(from, messages)
	}
}

// quorumSnapshot is this node's part of the quorum, for the metrics; nil without one.
func (n *Node) quorumSnapshot() *web.Quorum {
	if n.voter == nil {
		return nil
	}
	state := n.voter.State()
	q := &web.Quorum{
		Leader: state.Leader, RaftTerm: state.Term, Record: state.Version,
		Votes:     state.Standing.Reason == "",
		Campaigns: state.Stats.Campaigns, Elected: state.Stats.Elected,
		Dropped: map[string]uint64{"busy": n.voter.Dropped()}, Unsent: map[string]uint64{},
	}
	if left := state.Right.Until.Sub(now()); state.Right.Held && left > 0 {
		q.Right, q.RightSeconds = true, left.Seconds()
	}
	for reason, count := range state.Stats.Dropped {
		if reason > 0 { // 0 is no reason
			q.Dropped[quorum.Drop(reason).String()] = count
		}
	}
	for _, count := range n.peers.Stats().RaftReceived {
		q.Received += count
	}
	for _, c := range n.clients {
		for reason, count := range c.Stats().Raft.Dropped {
			q.Unsent[string(reason)] += count
		}
	}
	return q
}

// establish writes into the cluster record that this node is the primary of a term. Where nothing
// acknowledged may be lost its server holds everything before: after a restart in between a relay
// log may be gone, and the primary of record would be taken to hold what was in it.
func (n *Node) establish(ctx context.Context, a election.Establish) {
	if n.keeper != nil && a.Drain {
		if err := n.prepare(ctx, a); err != nil {
			n.post(context.WithoutCancel(ctx), election.EstablishEnded{Token: a.Token, Err: err.Error()})
			return
		}
	}
	fits := func(r election.ClusterRecord) bool { return r.Term == 0 || r.Primary == n.self.Name } // a higher term of its own
	if a.Drain {
		// A candidate was chosen by the record of that moment. Whoever had the right since may have
		// acknowledged more.
		revision := n.gathered.Load()
		fits = func(r election.ClusterRecord) bool { return r.Revision == revision }
	}
	move := a.Move(time.Now().UnixMilli(), n.config.Election.HoldOff)
	n.voter.Establish(ctx, a.Term, move, fits, func(ctx context.Context, err error) {
		n.post(ctx, election.EstablishEnded{Token: a.Token, Err: text(err)})
	})
}
