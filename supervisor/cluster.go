// SPDX-License-Identifier: Apache-2.0

package supervisor

import (
	"iter"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"sync"
	"time"

	"highwater/configs"
	"highwater/election"
	"highwater/supervisor/peer"
)

// cluster is what this node has heard of the others.
type cluster struct {
	nodes []configs.Node // all, in the order of the configuration
	self  *configs.Node
	port  uint16 // mysql.port

	mu     sync.Mutex
	heard  map[string]heard
	pushed map[string]time.Duration // last push of each peer, which our reply answered
	more   chan struct{}            // closed and replaced at each new status
}

// heard is a peer's newest status.
type heard struct {
	peer.NodeStatus
	at time.Duration // CLOCK_BOOTTIME of its arrival
}

func newCluster(nodes []configs.Node, self *configs.Node, port uint16) *cluster {
	return &cluster{nodes: nodes, self: self, port: port, heard: map[string]heard{}, pushed: map[string]time.Duration{}, more: make(chan struct{})}
}

// take keeps a status unless that one or a newer one of the same process is known: a reply
// repeats what a push has said.
func (c *cluster) take(s peer.NodeStatus, at time.Duration) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if old, ok := c.heard[s.Node]; ok && old.Incarnation == s.Incarnation && s.Seq <= old.Seq {
		return false
	}
	c.heard[s.Node] = heard{NodeStatus: s, at: at}
	close(c.more)
	c.more = make(chan struct{})
	return true
}

// pushedBy records that a peer pushed its status and takes ours for a reply.
func (c *cluster) pushedBy(node string, at time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.pushed[node] = at
}

// asks reports whether a peer has fetched our status by a push of its own since then.
func (c *cluster) asks(node string, since time.Duration) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.pushed[node] > since
}

// of returns a peer's newest status, and a channel that is closed when another one comes.
func (c *cluster) of(node string) (heard, bool, <-chan struct{}) {
	c.mu.Lock()
	defer c.mu.Unlock()
	h, ok := c.heard[node]
	return h, ok, c.more
}

// news returns a channel that is closed when another status comes, of anybody.
func (c *cluster) news() <-chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.more
}

// all returns every peer's newest status by name.
func (c *cluster) all() map[string]heard {
	c.mu.Lock()
	defer c.mu.Unlock()
	out := make(map[string]heard, len(c.heard))
	for k, v := range c.heard {
		out[k] = v
	}
	return out
}

// servers are the other nodes that have one.
func (c *cluster) servers() iter.Seq[*configs.Node] {
	return func(yield func(*configs.Node) bool) {
		for i := range c.nodes {
			node := &c.nodes[i]
			if !node.Witness && node.Name != c.self.Name && !yield(node) {
				return
			}
		}
	}
}

// node returns the configured node of that name.
func (c *cluster) node(name string) *configs.Node {
	for i := range c.nodes {
		if c.nodes[i].Name == name {
			return &c.nodes[i]
		}
	}
	return nil
}

// server returns where other hosts reach a node's server.
func (c *cluster) server(name string) (host string, port uint16) {
	node := c.node(name)
	if node == nil {
		return "", 0
	}
	if h, p, err := net.SplitHostPort(node.MySQL); err == nil {
		if n, err := strconv.ParseUint(p, 10, 16); err == nil {
			return h, uint16(n)
		}
	}
	return node.Address.Addr().String(), c.port
}

// nodeOf returns the node whose server has the given UUID, or listens at host:port.
func (c *cluster) nodeOf(uuid, host string, port uint16) string {
	if uuid != "" {
		c.mu.Lock()
		for name, h := range c.heard {
			if h.ServerUUID == uuid {
				c.mu.Unlock()
				return name
			}
		}
		c.mu.Unlock()
	}
	for i := range c.nodes {
		if h, p := c.server(c.nodes[i].Name); h == host && (port == 0 || p == port) && host != "" {
			return c.nodes[i].Name
		}
	}
	return ""
}

// nodeAt returns the node whose advertisements come from addr.
func (c *cluster) nodeAt(addr netip.Addr) string {
	for i := range c.nodes {
		if c.nodes[i].Address.Addr() == addr {
			return c.nodes[i].Name
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for name, h := range c.heard {
		if slices.Contains(h.AdvertSources, addr) {
			return name
		}
	}
	return ""
}

// state translates a status into what the doors need.
func (c *cluster) state(s peer.NodeStatus) election.PeerState {
	p := election.PeerState{
		Node: s.Node, Incarnation: s.Incarnation, Term: s.Term, Primary: s.Primary, Promised: s.PromisedTerm,
		Eligible: s.Eligible, CaughtUp: s.LagKnown && s.Queue == 0, Writable: s.Writable, Alive: s.Health == healthAlive,
		Replicas: s.Replicas, Restarting: s.BackWithin > 0, Seeks: s.Seeks, SourceEvent: -1, PrimaryHeard: -1,
		Drained: s.Executed.Contains(s.Received), LeaseReleased: !s.VIPHeld, ServerID: s.ServerStartID, Fenced: s.SessionFence,
	}
	if err := p.Role.UnmarshalText([]byte(s.Role)); err != nil {
		p.Role = election.RoleStarting // of a later version: takes no part as far as we know
	}
	p.Source = c.nodeOf(s.SourceUUID, s.SourceHost, 0)
	if s.SourceEventKnown {
		p.SourceEvent = s.SourceEventAge
	}
	if s.PrimaryHeardKnown {
		p.PrimaryHeard = s.PrimaryHeardAge
	}
	return p
}

// Values of peer.NodeStatus.Health.
const (
	healthAlive   = "alive"
	healthDead    = "dead"
	healthUnknown = "unknown"
)
