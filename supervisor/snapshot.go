// SPDX-License-Identifier: Apache-2.0

package supervisor

import (
	"time"

	"highwater/configs"
	"highwater/election"
	"highwater/election/vrrp"
	"highwater/mysqlcheck/gtid"
	"highwater/supervisor/keeper"
	"highwater/supervisor/peer"
	"highwater/supervisor/web"
)

// vrrpNotice is what authority vrrp cannot promise, in one plain sentence.
const vrrpNotice = "authority vrrp: when the network splits, each part may elect a primary of its own; after it heals one of them is held with its transactions named"

// Snapshot is this node's view, for the status document and the metrics. It waits for nobody.
func (n *Node) Snapshot() web.Snapshot {
	view := n.loop.view.Load()
	at := boottime()
	s := web.Snapshot{
		Status:  n.Status(),
		LoopAge: at - time.Duration(view.at),
		Config:  web.ConfigInfo{Hash: n.configHash, LastReloadOK: true, LastReloadOKAt: n.started},
		Adverts: n.adverts.counters(),
		Quorum:  n.quorumSnapshot(),
	}
	switch view.Role {
	case election.RoleStarting, election.RoleStopping, election.RoleStopped:
		s.NotReady = view.Role.String()
	}
	if n.self.Witness && view.Role == election.RoleStarting {
		s.NotReady = ""
		if n.voter.State().Leader == "" {
			s.NotReady = "no_leader"
		}
	}
	if n.voter != nil && s.NotReady == "" && n.voter.State().Standing.Reason != "" {
		s.NotReady = string(n.voter.State().Standing.Reason)
	}
	s.Adverts.Dropped["stranger"] += n.strangers.Load()
	s.LosslessChanges = n.keeper.Changes()
	s.Rejoins = n.rejoin.results()
	sample, _ := n.health.snapshot()
	s.Replicas = len(sample.Counters.Replicas)
	for _, c := range n.clients {
		stats := c.Stats()
		p := web.Peer{Name: stats.Peer, Up: stats.Up, RTT: stats.RTT, Errors: map[string]uint64{}}
		for reason, count := range stats.Errors {
			p.Errors[string(reason)] = count
		}
		if h, ok, _ := n.cluster.of(stats.Peer); ok {
			p.HeardSeconds = web.Seconds(at - h.at)
		}
		s.Peers = append(s.Peers, p)
	}
	s.PeerRefused = map[string]uint64{}
	for reason, count := range n.peers.Stats().Refused {
		s.PeerRefused[string(reason)] = count
	}
	j := n.journal.Stats()
	s.JournalWritten, s.JournalDropped = j.Written, j.Dropped
	if n.logDropped != nil {
		s.LogDropped = n.logDropped()
	}
	return s
}

// Status is the cluster as this node sees it.
func (n *Node) Status() web.Status {
	c := n.config
	own := *n.status.Load()
	s := web.Status{
		Cluster: c.Cluster.Name, Node: n.self.Name, Version: n.version, Started: n.started, At: time.Now(),
		Authority: c.Authority(), Durability: c.Durability.Mode,
		Term: own.Term, Primary: own.Primary,
	}
	if s.Authority == configs.AuthorityVRRP {
		s.Notices = []string{vrrpNotice}
	}
	for _, p := range c.VIP.Addresses {
		s.VIP = append(s.VIP, p.String())
	}
	heardOf := n.cluster.all()
	primary := own
	if h, ok := heardOf[own.Primary]; ok {
		primary = h.NodeStatus
	}
	at := boottime()
	for _, node := range c.Cluster.Nodes {
		host := web.Host{Name: node.Name, Address: node.Address.String(), Witness: node.Witness, NoFailover: node.NoFailover, Priority: node.Priority}
		if node.Name == n.self.Name {
			_, verdict := n.health.snapshot()
			host.Self, host.Up, host.HeardSeconds = true, true, web.Seconds(0)
			n.describe(&host, own, primary)
			if view := n.loop.view.Load(); view.Role != election.RolePrimary || view.Refusal == election.CodeHoldOff {
				host.Refusal, host.RefusedFor = string(view.Refusal), view.RefusedFor
			}
			for _, w := range verdict.Warnings {
				host.Warnings = append(host.Warnings, string(w))
			}
		} else if h, ok := heardOf[node.Name]; ok {
			host.Up = at-h.at < n.silence()
			host.HeardSeconds = web.Seconds(at - h.at)
			n.describe(&host, h.NodeStatus, primary)
		}
		s.Hosts = append(s.Hosts, host)
	}
	if n.voter != nil && s.Durability == configs.Lossless {
		record := n.voter.Record()
		s.Lossless = &web.Lossless{Synced: keeper.SyncedNames(record), Acks: record.Acks, Alone: record.Alone, Change: n.keeper.UnderWay()}
		for i := range s.Hosts {
			s.Hosts[i].Synced = record.IsSynced(s.Hosts[i].Name)
		}
	}
	if n.voter != nil {
		describeRecord(&s, n.voter.Record())
		n.describeMembers(&s)
	}
	s.Running, s.LastFailover = n.recorder.failovers()
	s.Judge()
	return s
}

// describeRecord fills in what the cluster record says, which is the same on every host.
func describeRecord(s *web.Status, r election.ClusterRecord) {
	if p := r.Paused; p != nil {
		s.Paused, s.Pause = true, &web.Pause{By: p.By, Since: wall(p.Since), Why: p.Why}
		if p.Until != 0 {
			end := wall(p.Until)
			s.Pause.Until = &end
		}
	}
	for _, f := range r.Failovers {
		s.History = append(s.History, web.Move{
			At: wall(f.At), Term: f.Term, From: f.From, To: f.To, Kind: string(f.Kind), Reason: f.Reason, Loss: f.Loss,
		})
	}
	for _, m := range r.Members {
		s.Members = append(s.Members, web.Member{Name: m.Name, ID: m.ID, Witness: m.Witness})
	}
}

// wall is a time of the record.
func wall(ms int64) time.Time { return time.UnixMilli(ms).UTC() }

// describe fills a host from a status.
func (n *Node) describe(h *web.Host, s, primary peer.NodeStatus) {
	h.Version, h.Role, h.VRRPState, h.Priority, h.Term = s.Version, s.Role, s.VRRPState, s.Priority, s.Term
	h.Stalled = s.Stalled
	h.VIPHeld, h.LeaseSeconds = s.VIPHeld, s.LeaseRemaining.Seconds()
	h.ServerVersion, h.Health, h.Eligible, h.Writable, h.Reasons = s.ServerVersion, s.Health, s.Eligible, s.Writable, s.Reasons
	h.Source = n.cluster.nodeOf(s.SourceUUID, s.SourceHost, 0)
	if h.Source == "" {
		h.Source = s.SourceHost
	}
	h.Replicating = s.Applier == "running" && s.Receiver != "stopped" && s.Receiver != "unknown"
	if s.LagKnown {
		h.LagSeconds = web.Seconds(s.Lag)
	}
	h.Queue = s.Queue
	if s.Node != primary.Node && primary.Node != "" {
		behind := primary.Executed.Subtract(s.Received.Union(s.Executed)).Count()
		h.Behind = &behind
	}
	h.Held = len(s.Held) > 0
	errant := s.Errant
	if h.Held {
		if set, err := gtid.Parse(s.Held[0]); err == nil {
			errant = set
		}
		if len(s.Held) > 1 {
			h.HeldWhy = s.Held[1]
		}
	}
	h.Errant, h.ErrantCount = errant.String(), errant.Count()
}

// counters adds up the virtual routers'.
func (a *adverts) counters() web.Adverts {
	total := web.Adverts{Sent: a.sent.Load(), Dropped: map[string]uint64{}}
	for _, r := range a.routers {
		accepted, dropped := r.counts()
		total.Accepted += accepted
		for reason, count := range dropped[1:] { // 0 is no reason
			total.Dropped[vrrp.Reason(reason+1).String()] += count
		}
	}
	return total
}
