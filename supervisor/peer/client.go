// SPDX-License-Identifier: Apache-2.0

package peer

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

const (
	statusTimeout = time.Second      // for a push and its reply
	sendTimeout   = 10 * time.Second // for other messages whose caller sets no deadline
	dialTimeout   = time.Second      // connect and handshake; short, since a lost SYN is sent again only after a second
	// ackTimeout is how long a peer may take to say that a request has arrived. It is generous against the round trip of any network
	// that VRRP runs on; a peer that was merely slow gets the request twice.
	ackTimeout = 300 * time.Millisecond
	keepWarm   = time.Second // between proofs that the connection for urgent messages lives
	backoffMin = 50 * time.Millisecond
	backoffMax = time.Second // so that a healed network is used again within about a second
)

// ClientConfig is what a [Client] needs. All but LocalAddress, OnStatus and Log are required.
type ClientConfig struct {
	Cluster     string
	Incarnation string
	Identity    *Identity
	Peer        string // name of the other node
	Address     string // its address, host:port; without a port DefaultPort
	// LocalAddress is this node's own address. Connections start there and so never from the VIP, which would die with it.
	LocalAddress netip.Addr
	// OnStatus is called from the client's goroutine with each status that the peer replied, and how long the exchange took. A status
	// may be older than one that the server got from the same peer meanwhile: compare Incarnation and Seq. It must not block.
	OnStatus func(from string, s NodeStatus, took time.Duration)
	Log      *slog.Logger
}

// Client speaks to one peer. Its methods may be called from any goroutine.
type Client struct {
	cfg    ClientConfig
	dialer net.Dialer
	tls    *tls.Config
	log    *slog.Logger

	latest atomic.Pointer[NodeStatus]
	pushed chan struct{} // capacity 1: something newer than was sent
	status slot          // connection for pushes
	urgent slot          // warm connection for all other messages
	raft   raftSender    // and one for raft's

	pushes atomic.Uint64
	errors counters
	mu     sync.Mutex // guards stats
	stats  ClientStats
}

// ClientStats says how the channel to one peer is.
type ClientStats struct {
	Peer         string
	Up           bool          // the last exchange succeeded
	LastExchange time.Duration // CLOCK_BOOTTIME of the last success, 0 = never
	RTT          time.Duration // of the last status or ping, which wait for nothing
	Pushes       uint64        // statuses offered; those overtaken by a newer one are not sent
	Exchanges    uint64        // successful, all kinds
	LastError    string        // of the last failure; stays after recovery
	Errors       map[Reason]uint64
	Raft         RaftClientStats
}

// NewClient checks the configuration; [Client.Run] does the work.
func NewClient(cfg ClientConfig) (*Client, error) {
	switch {
	case cfg.Identity == nil:
		return nil, errors.New("peer client: no identity")
	case cfg.Cluster == "" || cfg.Incarnation == "":
		return nil, errors.New("peer client: cluster and incarnation must be named")
	case cfg.Peer == "" || cfg.Peer == cfg.Identity.Node():
		return nil, fmt.Errorf("peer client: %q is not another node", cfg.Peer)
	}
	if _, _, err := net.SplitHostPort(cfg.Address); err != nil {
		cfg.Address = net.JoinHostPort(cfg.Address, strconv.Itoa(DefaultPort))
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	c := &Client{
		cfg:    cfg,
		dialer: net.Dialer{KeepAliveConfig: keepAlive, Control: control(userTimeout)},
		tls:    cfg.Identity.clientConfig(cfg.Peer),
		log:    cfg.Log.With("peer", cfg.Peer),
		pushed: make(chan struct{}, 1),
		errors: newCounters(clientReasons),
		stats:  ClientStats{Peer: cfg.Peer},
		raft:   newRaftSender(),
	}
	if cfg.LocalAddress.IsValid() {
		c.dialer.LocalAddr = net.TCPAddrFromAddrPort(netip.AddrPortFrom(cfg.LocalAddress, 0))
	}
	return c, nil
}

// Run pushes statuses, keeps the urgent connection warm and sends raft messages until ctx is done.
func (c *Client) Run(ctx context.Context) error {
	var wg sync.WaitGroup
	wg.Go(func() { c.runPush(ctx) })
	wg.Go(func() { c.runWarm(ctx) })
	wg.Go(func() { c.runRaft(ctx) })
	wg.Wait()
	c.status.close()
	c.urgent.close()
	return nil
}

// Push offers a status. It never blocks; of several offered while one is on its way only the latest is sent, and it is sent again until
// the peer has it. The client fills Cluster, Node and Incarnation.
func (c *Client) Push(s NodeStatus) {
	s.Cluster, s.Node, s.Incarnation = c.cfg.Cluster, c.cfg.Identity.Node(), c.cfg.Incarnation
	c.latest.Store(&s)
	c.pushes.Add(1)
	select {
	case c.pushed <- struct{}{}:
	default:
	}
}

// Seal sends a SealRequest. Like the other urgent messages it is sent a second time, over a fresh connection, when the first gave no sign of life.
func (c *Client) Seal(ctx context.Context, r SealRequest) (SealReply, error) {
	c.stamp(&r.Stamp)
	var reply SealReply
	return reply, c.send(ctx, kindSeal, r, &reply)
}

// Stand sends a StandRequest.
func (c *Client) Stand(ctx context.Context, r StandRequest) (StandReply, error) {
	c.stamp(&r.Stamp)
	var reply StandReply
	return reply, c.send(ctx, kindStand, r, &reply)
}

// Hold sends a HoldRequest.
func (c *Client) Hold(ctx context.Context, r HoldRequest) (HoldReply, error) {
	c.stamp(&r.Stamp)
	var reply HoldReply
	return reply, c.send(ctx, kindHold, r, &reply)
}

// Farewell sends a FarewellRequest.
func (c *Client) Farewell(ctx context.Context, r FarewellRequest) (FarewellReply, error) {
	c.stamp(&r.Stamp)
	var reply FarewellReply
	return reply, c.send(ctx, kindFarewell, r, &reply)
}

// Command sends an operator's command. Unlike the others it is not sent again after a time-out, when it may have been carried out.
func (c *Client) Command(ctx context.Context, r Command) (CommandReply, error) {
	c.stamp(&r.Stamp)
	var reply CommandReply
	return reply, c.send(ctx, kindCommand, r, &reply)
}

// Peer is the name of the other node.
func (c *Client) Peer() string { return c.cfg.Peer }

// Stats reads the counters.
func (c *Client) Stats() ClientStats {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := c.stats
	s.Pushes = c.pushes.Load()
	s.Errors = c.errors.read()
	s.Raft = c.raft.stats()
	return s
}

// stamp orders a message behind the latest status pushed.
func (c *Client) stamp(s *Stamp) {
	if s.Incarnation == "" {
		s.Incarnation = c.cfg.Incarnation
	}
	if latest := c.latest.Load(); s.Seq == 0 && latest != nil {
		s.Seq = latest.Seq
	}
}

func (c *Client) runPush(ctx context.Context) {
	var b backoff
	for {
		select {
		case <-ctx.Done():
			return
		case <-c.pushed:
		}
		if err := c.push(ctx, c.latest.Load()); err == nil {
			b.reset()
			continue
		}
		if !b.wait(ctx) {
			return
		}
		select {
		case c.pushed <- struct{}{}: // what could not be said is said again, in its latest form
		default:
		}
	}
}

func (c *Client) push(ctx context.Context, s *NodeStatus) error {
	ctx, cancel := context.WithTimeout(ctx, statusTimeout)
	defer cancel()
	var reply NodeStatus
	start := boottime()
	if err := c.exchange(ctx, &c.status, kindStatus, s, &reply); err != nil {
		return err
	}
	took := boottime() - start
	c.measured(took)
	if c.cfg.OnStatus != nil {
		c.cfg.OnStatus(c.cfg.Peer, reply, took)
	}
	return nil
}

// runWarm keeps one connection open and proved for the messages that cannot wait for a handshake.
func (c *Client) runWarm(ctx context.Context) {
	var b backoff
	for {
		attempt, cancel := context.WithTimeout(ctx, statusTimeout)
		start := boottime()
		err := c.exchange(attempt, &c.urgent, kindPing, ping{}, &pong{})
		cancel()
		if err != nil {
			if !b.wait(ctx) {
				return
			}
			continue
		}
		c.measured(boottime() - start)
		b.reset()
		select {
		case <-ctx.Done():
			return
		case <-time.After(keepWarm):
		}
	}
}

// send is exchange on the urgent connection, with a deadline in any case.
func (c *Client) send(ctx context.Context, kind string, request, reply any) error {
	if _, ok := ctx.Deadline(); !ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, sendTimeout)
		defer cancel()
	}
	return c.exchange(ctx, &c.urgent, kind, request, reply)
}

// exchange sends a message and decodes its reply, over the connection of s or, where that is dead or busy, a fresh one.
func (c *Client) exchange(ctx context.Context, s *slot, kind string, request, reply any) error {
	body, err := json.Marshal(request)
	if err != nil {
		return fmt.Errorf("encode %s: %w", kind, err)
	}
	var response response
	if len(body) <= MaxBody {
		response, err = c.attempts(ctx, s, kind, body)
	} else {
		err = &Error{Reason: ReasonTooLarge, Err: errTooLarge}
	}
	if err == nil {
		err = decodeReply(response, reply)
	}
	if err == nil {
		err = c.checkReply(reply)
	}
	if err != nil {
		err = fmt.Errorf("%s to %s: %w", kind, c.cfg.Peer, err)
		c.failed(err)
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.stats.Up {
		c.log.Info("peer reached")
	}
	c.stats.Up = true
	c.stats.Exchanges++
	c.stats.LastExchange = boottime()
	return nil
}

func (c *Client) attempts(ctx context.Context, s *slot, kind string, body []byte) (response, error) {
	idle := s.take()
	if idle != nil {
		r, err := idle.exchange(ctx, "/v1/"+kind, c.header(ctx), body, ackTimeout)
		if err == nil {
			s.put(idle)
			return r, nil
		}
		var lost *exchangeError
		stale := errors.As(err, &lost) && lost.unseen && ctx.Err() == nil
		if !stale || kind == kindCommand && ReasonOf(err) == ReasonTimeout {
			return response{}, err
		}
		c.errors.add(ReasonOf(err), ReasonOther)
	}
	dialing, cancel := context.WithTimeout(ctx, dialTimeout)
	fresh, err := dial(dialing, &c.dialer, c.cfg.Address, c.tls)
	cancel()
	if err != nil {
		return response{}, err
	}
	r, err := fresh.exchange(ctx, "/v1/"+kind, c.header(ctx), body, 0)
	if err != nil {
		return response{}, err
	}
	s.put(fresh)
	return r, nil
}

func (c *Client) header(ctx context.Context) http.Header {
	h := http.Header{
		"Content-Type": {"application/json"},
		"User-Agent":   {"highwater"},
		headerCluster:  {c.cfg.Cluster},
		headerNode:     {c.cfg.Identity.Node()},
		headerProtocol: {strconv.Itoa(Protocol)},
	}
	if deadline, ok := ctx.Deadline(); ok {
		h.Set(headerTimeout, time.Until(deadline).String())
	}
	return h
}

// decodeReply reads a reply, or the reason for a refusal.
func decodeReply(r response, reply any) error {
	if r.status == http.StatusOK {
		if err := decode(bytes.NewReader(r.body), r.protocol, reply); err != nil {
			return &Error{Reason: ReasonBadMessage, Err: err}
		}
		return nil
	}
	var refusal errorReply
	if err := decode(bytes.NewReader(r.body), r.protocol, &refusal); err != nil || refusal.Reason == "" {
		return &Error{Reason: ReasonOther, Remote: true, Err: fmt.Errorf("HTTP status %d", r.status)}
	}
	return &Error{Reason: refusal.Reason, Remote: true, Err: errors.New(refusal.Error)}
}

// checkReply makes sure that the peer, too, speaks for itself.
func (c *Client) checkReply(reply any) error {
	var s *NodeStatus
	switch r := reply.(type) {
	case *NodeStatus:
		s = r
	case *SealReply:
		s = &r.Status
	default:
		return nil
	}
	if err := s.validate(); err != nil {
		return &Error{Reason: ReasonBadMessage, Err: err}
	}
	if s.Cluster != c.cfg.Cluster {
		return refuse(ReasonWrongCluster, "status of cluster %q from %s", s.Cluster, c.cfg.Peer)
	}
	if s.Node != c.cfg.Peer {
		return refuse(ReasonWrongNode, "status of %q from %s", s.Node, c.cfg.Peer)
	}
	return nil
}

func (c *Client) failed(err error) {
	reason := ReasonOf(err)
	c.errors.add(reason, ReasonOther)
	c.mu.Lock()
	defer c.mu.Unlock()
	if reason == ReasonCanceled {
		return // given up by the caller: says nothing about the peer
	}
	if c.stats.Up || c.stats.LastError == "" {
		c.log.Warn("peer not reached", "reason", reason, "error", err)
	}
	c.stats.Up = false
	c.stats.LastError = err.Error()
}

func (c *Client) measured(rtt time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.stats.RTT = rtt
}
