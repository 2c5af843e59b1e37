// SPDX-License-Identifier: Apache-2.0

package supervisor

import (
	"context"
	"crypto/rand"
	"database/sql"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"highwater/configs"
	"highwater/election"
	"highwater/promote"
	"highwater/supervisor/control"
	"highwater/supervisor/journal"
	"highwater/supervisor/keeper"
	"highwater/supervisor/peer"
	"highwater/supervisor/voter"
	"highwater/supervisor/web"
	"highwater/vip"
)

// Node is one supervisor: the loop and everything around it.
type Node struct {
	config      *configs.Config
	self        *configs.Node
	version     string
	incarnation string
	bootID      string
	log         *slog.Logger
	started     time.Time
	configHash  string

	loop      *loop
	executor  *executor
	cluster   *cluster
	requests  requests
	adverts   *adverts
	addresses *vip.Manager
	server    *promote.Server
	health    *health
	recorder  *recorder
	saver     *saver
	journal   *journal.Writer
	clients   []*peer.Client
	peers     *peer.Server
	controlDB *sql.DB
	local     *control.Server
	web       *web.Server    // nil when none is configured
	voter     *voter.Voter   // nil with authority vrrp
	keeper    *keeper.Keeper // nil with durability best-effort
	rejoin    *rejoin
	metrics   *web.Metrics
	endWatch  context.CancelFunc
	alive     func()
	successor func(context.Context) (version string, err error) // nil: none

	logDropped func() uint64 // nil: none

	pushInterval time.Duration
	published    chan struct{}
	statusMu     sync.Mutex // guards seq and the order of statuses
	seq          uint64
	status       atomic.Pointer[peer.NodeStatus]
	leaseEnd     atomic.Int64           // CLOCK_BOOTTIME at which the kernel drops the VIP, 0 none
	gathered     atomic.Uint64          // revision of the cluster record by which the last gather chose
	sealedStart  atomic.Pointer[string] // server process that the last gather found to hold what it chose by
	missing      atomic.Pointer[set]    // what the last gather found that this node has to fetch if it wins
	spares       atomic.Uint64          // term for whose gather this node has won and need not fetch, 0 none
	forgone      atomic.Uint64          // term for which it has tried to in vain, 0 none
	restarting   atomic.Bool
	upgrading    atomic.Bool
	ending       atomic.Bool // stop or restart was ordered
	rebuilding   atomic.Bool
	idleEvents   atomic.Pointer[[]string] // that did not run on the primary which this node followed; nil: not known
	strangers    atomic.Uint64            // adverts from IPv6 sources that are no node's
}

// Push interval of the peer channel: VRRP's, within these.
const (
	minPush = 100 * time.Millisecond
	maxPush = time.Second
)

// pushInterval is how often a status goes to each peer at least.
func pushInterval(c *configs.Config) time.Duration {
	return min(max(c.Election.AdvertInterval, minPush), maxPush)
}

// MachineConfig is what the Machine needs of the configuration; with it a journal replays.
// Source is the address that this node's adverts come from, which breaks VRRP's ties.
func MachineConfig(c *configs.Config, self *configs.Node, source netip.Addr) election.Config {
	cfg := election.Config{
		Node: self.Name,
		Router: election.RouterConfig{
			Version: c.Election.Version, Priority: self.Priority,
			AdvertInterval: c.Election.AdvertInterval, Preempt: c.Election.Preempt,
			DownTimerAdverts: c.Election.DownTimerAdverts, Address: source,
		},
		Lease: c.VIP.Lease, Linger: c.VIP.Linger, WaitForLease: waitsForLease(c), Lossless: c.Durability.Mode == configs.Lossless,
		PushInterval:  pushInterval(c),
		GatherTimeout: c.Promote.GatherTimeout, PromoteTimeout: c.Promote.Timeout,
		FenceTimeout:  c.Fencing.Timeout,
		VerdictMaxAge: verdictMaxAge(c.Check),
	}
	for _, node := range c.Cluster.Nodes {
		cfg.Members = append(cfg.Members, election.Member{
			Name: node.Name, Priority: node.Priority, NoFailover: node.NoFailover, Witness: node.Witness,
		})
	}
	return cfg
}

// waitsForLease: where nothing acknowledged can be lost the old primary gets no acknowledgement
// any more once its replicas are sealed, whatever address it still carries.
func waitsForLease(c *configs.Config) bool {
	return c.Promote.WaitForLease && c.Durability.Mode == configs.BestEffort
}

// verdictMaxAge is how old a verdict may be: the prober gives one each interval, and one
// round takes at most the timeout. Three missed rounds are a prober that does not run.
func verdictMaxAge(c configs.Check) time.Duration { return 3 * (c.Interval + c.Timeout) }

// newIncarnation names one run of the process.
func newIncarnation() string {
	var b [8]byte
	_, _ = rand.Read(b[:]) // never fails (crypto/rand, Go 1.24)
	return hex.EncodeToString(b[:])
}

func (n *Node) post(ctx context.Context, ev election.Event) { n.loop.post(ctx, ev) }

// Run takes part in the cluster until ctx ends or an operator stops it. When it returns nil
// after a stop, nothing of ours is left on the host; after the end of ctx alone ("restart")
// the VIP stays for its lease.
func (n *Node) Run(ctx context.Context, signals <-chan os.Signal) error {
	if !n.self.Witness {
		if err := n.adverts.open(ctx); err != nil {
			return err
		}
		defer n.adverts.close()
	}
	if err := n.prepareLoop(ctx); err != nil {
		return err
	}

	// Effects outlive the loop by one moment: what it decided last is still carried out.
	effects, endEffects := context.WithCancel(context.WithoutCancel(ctx))
	defer endEffects()
	side, endSide := context.WithCancel(effects)
	defer endSide()
	g, side := errgroup.WithContext(side)
	n.serve(side, g, signals)
	n.executor = &executor{node: n, cancels: map[election.Token]context.CancelCauseFunc{}}
	executed := make(chan struct{})
	go func() {
		defer close(executed)
		n.executor.run(effects, n.loop.actions)
	}()

	loopCtx, endLoop := context.WithCancel(effects)
	defer endLoop()
	defer context.AfterFunc(ctx, endLoop)()
	stopAfter := context.AfterFunc(side, endLoop) // a part that cannot go on takes the loop with it
	err := n.loop.run(loopCtx, n.config.Election.AdvertInterval)
	stopAfter()

	// The loop has ended: a last word to the peers, then everything else.
	lastWord, cancel := context.WithTimeout(effects, lastWordTimeout)
	n.lastWord(lastWord)
	cancel()
	if side.Err() != nil && ctx.Err() == nil {
		err = errors.Join(err, errors.New("a part of the supervisor ended"))
	}
	endSide()
	if !within(requestTimeout, executed) {
		n.log.Warn("effects.abandoned")
	}
	endEffects()
	return errors.Join(err, n.wait(g))
}

// prepareLoop makes the loop, with what an earlier process left as its first event: nothing
// may be heard before that.
func (n *Node) prepareLoop(ctx context.Context) error {
	saved, err := loadSaved(n.config.StateDir)
	if err != nil {
		return err
	}
	if n.server != nil {
		saved.Promised = max(saved.Promised, n.server.Promised())
	}
	machine, err := election.New(MachineConfig(n.config, n.self, n.adverts.source()), Authority(n.config))
	if err != nil {
		return err
	}
	start, err := n.startEvent(ctx, saved)
	if err != nil {
		return err
	}
	n.loop = newLoop(machine, n.log)
	n.loop.journal = n.writeJournal
	n.loop.onStep = n.stepped
	n.post(ctx, start)
	n.refreshStatus()
	return nil
}

// serve starts everything beside loop and executor.
func (n *Node) serve(ctx context.Context, g *errgroup.Group, signals <-chan os.Signal) {
	g.Go(func() error { return n.peers.Run(ctx) })
	g.Go(func() error { return n.local.Run(ctx) })
	if n.web != nil {
		g.Go(func() error { return n.web.Run(ctx) })
	}
	for _, c := range n.clients {
		g.Go(func() error { return c.Run(ctx) })
	}
	g.Go(func() error { n.publisher(ctx); return nil })
	g.Go(func() error { n.obeySignals(ctx, signals); return nil })
	g.Go(func() error { n.saver.run(ctx); return nil })
	if n.voter != nil {
		g.Go(func() error { return n.voter.Run(ctx) })
		g.Go(func() error { n.watchPause(ctx); return nil })
	}
	if n.self.Witness {
		return
	}
	for _, r := range n.adverts.routers {
		go r.receive(ctx, n.log, func(a election.Advert) { // ends when its socket closes
			n.advertHeard(ctx, r, a)
		})
	}
	g.Go(func() error { return n.watchAddresses(ctx) })
	g.Go(func() error { return n.health.run(ctx, n) })
	g.Go(func() error { return n.rejoin.run(ctx) })
	if n.keeper != nil {
		g.Go(func() error { return n.keeper.Run(ctx) })
	}
}

// wait returns when every part has ended. A disk that hangs must not keep a process that
// takes no part any more.
func (n *Node) wait(g *errgroup.Group) error {
	ended := make(chan struct{})
	var err error
	go func() {
		err = g.Wait()
		close(ended)
	}()
	if !within(requestTimeout, ended) {
		return errors.New("a part of the supervisor does not end")
	}
	return err
}

// within reports whether done is closed before d has passed.
func within(d time.Duration, done <-chan struct{}) bool {
	select {
	case <-done:
		return true
	case <-time.After(d):
		return false
	}
}

// lastWordTimeout bounds the farewell of a process that restarts.
const lastWordTimeout = 300 * time.Millisecond

// lastWord tells the peers what this process ends with, and waits a moment for it to arrive.
func (n *Node) lastWord(ctx context.Context) {
	s := n.refreshStatus()
	n.push(s)
	before := make([]uint64, len(n.clients))
	for i, c := range n.clients {
		before[i] = c.Stats().Exchanges
	}
	for ctx.Err() == nil {
		all := true
		for i, c := range n.clients {
			st := c.Stats()
			all = all && (!st.Up || st.Exchanges > before[i])
		}
		if all {
			return
		}
		sleep(ctx, 5*time.Millisecond)
	}
}

// startEvent looks at what an earlier process left.
func (n *Node) startEvent(ctx context.Context, saved election.Saved) (election.Start, error) {
	if n.self.Witness {
		return election.Start{Saved: saved, LinkUp: true}, nil
	}
	held, err := n.addresses.Held(ctx)
	if err != nil {
		return election.Start{}, fmt.Errorf("look for the VIP on this host: %w", err)
	}
	age, dated := claimAge(n.config.StateDir, n.bootID)
	return election.Start{
		Saved: saved, VIPPresent: len(held) > 0, ClaimAge: age, ClaimDated: dated,
		LinkUp: linkUp(n.config.VIP.Interface),
	}, nil
}

// advertHeard passes on an advertisement. IPv4 sources were checked against accept_from by
// the socket; IPv6 ones are link-local and in no configuration, so those of the nodes are
// learned from the peer channel and others are strangers unless accept_from names them.
func (n *Node) advertHeard(ctx context.Context, r *advertiser, a election.Advert) {
	node := n.cluster.nodeAt(a.Source)
	if node == "" && a.Source.Is6() && len(r.config.AcceptFrom) == 0 {
		n.strangers.Add(1)
		return
	}
	n.post(ctx, election.AdvertReceived{Advert: a, Node: node})
}

// stepped runs after each step of the loop.
func (n *Node) stepped(election.Instant) {
	n.metrics.Lateness(time.Duration(n.loop.lateness.Load()))
	if n.alive != nil {
		n.alive()
	}
}

func (n *Node) writeJournal(at election.Instant, ev json.RawMessage, actions []json.RawMessage) {
	n.journal.Append(time.Duration(at), ev, actions)
}

// watchAddresses turns changes of the interface into events.
func (n *Node) watchAddresses(ctx context.Context) error {
	events, err := n.addresses.Watch(ctx)
	if err != nil {
		return fmt.Errorf("watch %s: %w", n.config.VIP.Interface, err)
	}
	for ev := range events {
		switch ev.Kind {
		case vip.LinkUp:
			n.post(ctx, election.LinkChanged{Up: true})
		case vip.LinkDown:
			n.post(ctx, election.LinkChanged{Up: false})
		case vip.PrimaryChanged:
			n.adverts.rejoin()
		case vip.AddressVanished:
			if n.leaseEnd.Load() != 0 {
				n.post(ctx, election.AddressLost{})
			}
		}
	}
	return nil
}
