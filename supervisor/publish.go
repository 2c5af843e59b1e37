// SPDX-License-Identifier: Apache-2.0

package supervisor

import (
	"context"
	"slices"
	"time"

	"highwater/election"
	"highwater/supervisor/peer"
)

// publisher pushes this node's status to every peer: each interval, and at once on a change.
func (n *Node) publisher(ctx context.Context) {
	ticker := time.NewTicker(n.pushInterval)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			n.pushDue(n.refreshStatus())
		case <-n.published:
			n.push(n.refreshStatus())
		}
	}
}

// pushDue pushes to those who do not fetch this node's status by a push of their own: of two
// nodes the one whose name comes first does, as long as it is heard.
func (n *Node) pushDue(s peer.NodeStatus) {
	since := boottime() - n.pushInterval*3/2
	for _, c := range n.clients {
		if name := c.Peer(); name > n.self.Name || !n.cluster.asks(name, since) {
			c.Push(s)
		}
	}
}

// publish asks for a push now; it never waits.
func (n *Node) publish() {
	n.refreshStatus()
	select {
	case n.published <- struct{}{}:
	default:
	}
}

func (n *Node) push(s peer.NodeStatus) {
	for _, c := range n.clients {
		c.Push(s)
	}
}

// refreshStatus builds the newest status, with the next number, and keeps it for replies.
func (n *Node) refreshStatus() peer.NodeStatus {
	n.statusMu.Lock()
	defer n.statusMu.Unlock()
	n.seq++
	s := n.buildStatus()
	n.status.Store(&s)
	return s
}

func (n *Node) buildStatus() peer.NodeStatus {
	view := n.loop.view.Load()
	at := boottime()
	s := peer.NodeStatus{
		Cluster: n.config.Cluster.Name, Node: n.self.Name, Version: n.version,
		Stamp: peer.Stamp{Incarnation: n.incarnation, Seq: n.seq},
		Sent:  int64(at),
		Role:  view.Role.String(), VRRPState: view.Router.String(), Priority: view.Priority,
		Term: view.Term, Primary: view.Primary, PromisedTerm: view.Promised,
		Seeks:      view.Seeks,
		NoFailover: n.self.NoFailover,
	}
	if end := time.Duration(n.leaseEnd.Load()); end != 0 && at < end+kernelGrain {
		s.VIPHeld, s.LeaseRemaining = true, max(0, end-at)
	}
	dead := at-time.Duration(view.at) > n.silence()+n.config.Check.Interval+n.config.Check.Timeout
	lost := view.Role == election.RolePrimary && at > time.Duration(n.leaseEnd.Load())+kernelGrain
	if dead || lost {
		// A loop that does not step, or whose decisions nobody carries out, is no sign of life.
		s.Role = election.RoleStarting.String()
	}
	if view.Farewell == view.Term && view.Primary == n.self.Name && view.Role != election.RolePrimary {
		s.Farewell = view.Farewell
	}
	if view.Held != "" {
		s.Held = []string{view.Held}
		if why := n.rejoin.why(); why != "" {
			s.Held = append(s.Held, why)
		}
	}
	if n.restarting.Load() {
		s.BackWithin = n.config.VIP.Lease
	}
	if view.primaryHeard >= 0 {
		s.PrimaryHeardAge, s.PrimaryHeardKnown = view.primaryHeard+at-time.Duration(view.at), true
	}
	if n.addresses != nil {
		s.SessionFence = n.addresses.Fence().Active
	}
	if n.server != nil {
		promise := n.server.Promise()
		s.JoinedTerm, s.JoinedPrimary = promise.Term, promise.Primary
	}
	s.AdvertSources = n.adverts.sources()
	s.MySQLHost, s.MySQLPort = n.cluster.server(n.self.Name)
	n.health.fill(&s, at)
	n.keeper.Fill(&s)
	if view.Role == election.RoleStopping || view.Role == election.RoleStopped {
		s.Eligible, s.Reasons = false, append([]string{string(election.CodeStopping)}, s.Reasons...)
	}
	switch view.Role {
	case election.RoleStarting, election.RoleDemoting, election.RoleLingering:
		s.Eligible, s.Reasons = false, append([]string{view.Role.String()}, s.Reasons...)
	}
	if view.StandBack > election.Instant(at) { // it would be chosen again for its priority, and fail again
		s.Eligible, s.Reasons = false, append([]string{string(election.CodeStandingBack)}, s.Reasons...)
	}
	n.fillVoter(&s)
	return s
}

// client is the channel to another node, nil if there is none of that name.
func (n *Node) client(name string) *peer.Client {
	i := slices.IndexFunc(n.clients, func(c *peer.Client) bool { return c.Peer() == name })
	if i < 0 {
		return nil
	}
	return n.clients[i]
}
