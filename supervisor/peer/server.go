// SPDX-License-Identifier: Apache-2.0

package peer

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"sync/atomic"
	"time"
)

// Kinds of messages; each is a path under /v1/ and a metric label.
const (
	kindStatus   = "status"
	kindSeal     = "seal"
	kindStand    = "stand"
	kindHold     = "hold"
	kindFarewell = "farewell"
	kindCommand  = "command"
	kindPing     = "ping"
)

var kinds = []string{kindStatus, kindSeal, kindStand, kindHold, kindFarewell, kindCommand, kindPing, kindRaft}

// Headers of every message. What TLS has proved is repeated in the clear of the message so that a mistake in wiring is refused by name.
const (
	headerCluster  = "Highwater-Cluster"
	headerNode     = "Highwater-Node"
	headerProtocol = "Highwater-Protocol"
	headerTimeout  = "Highwater-Timeout" // how long the sender waits for the reply, as a Go duration
)

const (
	defaultTimeout = 10 * time.Second // where a sender names none
	maxTimeout     = 10 * time.Minute // for commands that rebuild or drain
	shutdownGrace  = 500 * time.Millisecond
)

// Handler is the supervisor behind a [Server]. From is the proven name of the sender, never this node. Each method may run concurrently
// with itself, must take a repeated request, and must return soon after ctx is done: the sender has given up then. HandleStatus must not
// wait for anything.
type Handler interface {
	HandleStatus(ctx context.Context, from string, s NodeStatus) NodeStatus
	HandleSeal(ctx context.Context, from string, r SealRequest) SealReply
	HandleStand(ctx context.Context, from string, r StandRequest) StandReply
	HandleHold(ctx context.Context, from string, r HoldRequest) HoldReply
	HandleFarewell(ctx context.Context, from string, r FarewellRequest) FarewellReply
	HandleCommand(ctx context.Context, from string, c Command) CommandReply
}

// ServerConfig is what a [Server] needs. All but Raft and Log are required.
type ServerConfig struct {
	Cluster     string
	Incarnation string
	Address     string    // host:port to listen on
	Identity    *Identity // its Node is this node
	// Peers maps the name of each other node to its address. An IP address reserves room for that peer when strangers flood the port;
	// a host name there only loses that.
	Peers map[string]string
	// Raft takes the raft messages of a peer, which are its own to keep, in the order of [Client.SendRaft] and one call at a time for each
	// peer. From is the proven name of the sender. While it runs the peer's next messages wait, in the end at the peer: it must return soon,
	// and at once when ctx is done. Nil: raft messages are refused.
	Raft func(ctx context.Context, from string, messages [][]byte)
	Log  *slog.Logger
}

// Server answers the other supervisors.
type Server struct {
	cfg      ServerConfig
	handler  Handler
	listener *listener
	http     *http.Server
	refused  counters
	messages map[string]*atomic.Uint64
	senders  map[string]*order
	raft     raftReceivers
}

// ServerStats are counters since the start. Every label exists from the start.
type ServerStats struct {
	Refused  map[Reason]uint64 // connections and messages refused
	Messages map[string]uint64 // messages handled, by kind
	// RaftReceived and RaftStreams count raft messages handled and streams opened, by sender.
	RaftReceived map[string]uint64
	RaftStreams  map[string]uint64
}

// Listen binds the address and starts to take handshakes; [Server.Run] answers messages.
func Listen(cfg ServerConfig, h Handler) (*Server, error) {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	switch {
	case cfg.Identity == nil:
		return nil, errors.New("listen for peers: no identity")
	case cfg.Cluster == "" || cfg.Incarnation == "":
		return nil, errors.New("listen for peers: cluster and incarnation must be named")
	}
	s := &Server{
		cfg: cfg, handler: h, refused: newCounters(serverReasons),
		messages: map[string]*atomic.Uint64{}, senders: map[string]*order{}, raft: newRaftReceivers(),
	}
	for _, kind := range kinds {
		s.messages[kind] = new(atomic.Uint64)
	}
	known := map[netip.Addr]bool{}
	for name, address := range cfg.Peers {
		s.senders[name] = new(order)
		s.raft.received[name], s.raft.opened[name] = new(atomic.Uint64), new(atomic.Uint64)
		if a, err := netip.ParseAddr(address); err == nil {
			known[a.Unmap()] = true
		} else if ap, err := netip.ParseAddrPort(address); err == nil {
			known[ap.Addr().Unmap()] = true
		}
	}
	lc := net.ListenConfig{KeepAliveConfig: keepAlive, Control: control(userTimeout)}
	tcp, err := lc.Listen(context.Background(), "tcp", cfg.Address)
	if err != nil {
		return nil, fmt.Errorf("listen for peers: %w", err)
	}
	s.listener = newListener(tcp, cfg.Identity.serverConfig(s.isPeer), known, s.refused, cfg.Log)
	s.http = &http.Server{
		Handler:                      s.routes(),
		ReadHeaderTimeout:            5 * time.Second,
		ReadTimeout:                  10 * time.Second,
		WriteTimeout:                 defaultTimeout,
		IdleTimeout:                  time.Minute,
		MaxHeaderBytes:               8 << 10,
		DisableGeneralOptionsHandler: true,
		ErrorLog:                     slog.NewLogLogger(cfg.Log.Handler(), slog.LevelDebug),
	}
	return s, nil
}

// Addr is the address bound.
func (s *Server) Addr() net.Addr { return s.listener.Addr() }

// Run serves until ctx is done, then closes the port and gives replies in flight half a second.
func (s *Server) Run(ctx context.Context) error {
	drained := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(drained)
		grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownGrace)
		defer cancel()
		s.raft.close(grace)
		if s.http.Shutdown(grace) != nil {
			s.http.Close()
		}
	})
	err := s.http.Serve(s.listener)
	if !stop() {
		<-drained // Serve returns when Shutdown begins
		return nil
	}
	return fmt.Errorf("serve peers: %w", err)
}

// Close closes the port and all connections at once.
func (s *Server) Close() error {
	err := s.http.Close()
	ended, cancel := context.WithCancel(context.Background())
	cancel()
	s.raft.close(ended) // waits for nobody
	return errors.Join(err, s.listener.Close())
}

// Stats reads the counters.
func (s *Server) Stats() ServerStats {
	return ServerStats{
		Refused: s.refused.read(), Messages: readByName(s.messages),
		RaftReceived: readByName(s.raft.received), RaftStreams: readByName(s.raft.opened),
	}
}

func readByName(counts map[string]*atomic.Uint64) map[string]uint64 {
	m := make(map[string]uint64, len(counts))
	for name, n := range counts {
		m[name] = n.Load()
	}
	return m
}

func (s *Server) isPeer(name string) bool {
	_, ok := s.senders[name]
	return ok
}

func (s *Server) routes() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("POST /v1/"+kindStatus, message[NodeStatus, NodeStatus]{
		server: s, kind: kindStatus,
		check: func(from string, m *NodeStatus) error {
			if err := m.validate(); err != nil {
				return &Error{Reason: ReasonBadMessage, Err: err}
			}
			if m.Cluster != s.cfg.Cluster {
				return refuse(ReasonWrongCluster, "status of cluster %q", m.Cluster)
			}
			return s.speaks(kindStatus, from, m.Node, m.Stamp, m.Farewell)
		},
		handle: func(ctx context.Context, from string, m NodeStatus) NodeStatus {
			return s.sign(s.handler.HandleStatus(ctx, from, m))
		},
	})
	mux.Handle("POST /v1/"+kindSeal, message[SealRequest, SealReply]{
		server: s, kind: kindSeal, ack: true,
		check: func(from string, m *SealRequest) error { return s.speaks(kindSeal, from, m.Candidate, m.Stamp, 0) },
		handle: func(ctx context.Context, from string, m SealRequest) SealReply {
			r := s.handler.HandleSeal(ctx, from, m)
			r.Status = s.sign(r.Status)
			return r
		},
	})
	mux.Handle("POST /v1/"+kindStand, message[StandRequest, StandReply]{
		server: s, kind: kindStand, ack: true, handle: s.handler.HandleStand,
		check: func(from string, m *StandRequest) error { return s.speaks(kindStand, from, m.From, m.Stamp, 0) },
	})
	mux.Handle("POST /v1/"+kindHold, message[HoldRequest, HoldReply]{
		server: s, kind: kindHold, ack: true, handle: s.handler.HandleHold,
		check: func(from string, m *HoldRequest) error { return s.speaks(kindHold, from, from, m.Stamp, 0) },
	})
	mux.Handle("POST /v1/"+kindFarewell, message[FarewellRequest, FarewellReply]{
		server: s, kind: kindFarewell, ack: true, handle: s.handler.HandleFarewell,
		check: func(from string, m *FarewellRequest) error {
			return s.speaks(kindFarewell, from, m.From, m.Stamp, m.Term)
		},
	})
	mux.Handle("POST /v1/"+kindCommand, message[Command, CommandReply]{
		server: s, kind: kindCommand, ack: true, handle: s.handler.HandleCommand,
		check: func(from string, m *Command) error { return s.speaks(kindCommand, from, from, m.Stamp, 0) },
	})
	mux.Handle("POST /v1/"+kindPing, message[ping, pong]{
		server: s, kind: kindPing,
		check:  func(string, *ping) error { return nil },
		handle: func(context.Context, string, ping) pong { return pong{} },
	})
	mux.HandleFunc("POST /v1/"+kindRaft, s.serveRaft)
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		s.refuse(w, r, refuse(ReasonNotFound, "no such message: %s %s", r.Method, r.URL.Path))
	})
	return mux
}

// speaks checks that the proven sender speaks for himself and that the message is not late.
func (s *Server) speaks(kind, from, claimed string, stamp Stamp, farewell uint64) error {
	if claimed != from {
		return refuse(ReasonWrongNode, "%s in the name of %q", kind, claimed)
	}
	if stamp.Incarnation == "" {
		return refuse(ReasonBadMessage, "incarnation is missing")
	}
	return s.senders[from].check(kind, stamp, farewell)
}

// sign fills what every status of this node carries.
func (s *Server) sign(m NodeStatus) NodeStatus {
	m.Cluster, m.Node, m.Incarnation = s.cfg.Cluster, s.cfg.Identity.Node(), s.cfg.Incarnation
	return m
}

// sender names the node at the other end, from the certificate that the handshake has verified, and checks the headers against it.
func (s *Server) sender(r *http.Request) (from string, protocol int, err error) {
	if r.TLS == nil {
		return "", 0, refuse(ReasonPlaintext, "no TLS")
	}
	if len(r.TLS.PeerCertificates) == 0 {
		return "", 0, refuse(ReasonNoCertificate, "no certificate presented")
	}
	from, err = s.cfg.Identity.nameOf(r.TLS.PeerCertificates[0], s.isPeer)
	if err != nil {
		return "", 0, err
	}
	if got := r.Header.Get(headerCluster); got != s.cfg.Cluster {
		return "", 0, refuse(ReasonWrongCluster, "%s speaks of cluster %q, this is %q", from, got, s.cfg.Cluster)
	}
	if got := r.Header.Get(headerNode); got != from {
		return "", 0, refuse(ReasonWrongNode, "%s speaks as %q", from, got)
	}
	protocol, err = strconv.Atoi(r.Header.Get(headerProtocol))
	if err != nil || protocol < 1 {
		return "", 0, refuse(ReasonBadMessage, "protocol %q", r.Header.Get(headerProtocol))
	}
	return from, protocol, nil
}

// errorReply is the body of every reply that is not 200.
type errorReply struct {
	Reason Reason `json:"reason"`
	Error  string `json:"error"`
}

func (s *Server) refuse(w http.ResponseWriter, r *http.Request, err error) {
	reason := ReasonOf(err)
	s.refused.add(reason, ReasonBadMessage)
	s.cfg.Log.Debug("peer message refused", "remote", r.RemoteAddr, "path", r.URL.Path, "reason", reason, "error", err)
	status := http.StatusBadRequest
	switch reason {
	case ReasonNotFound:
		status = http.StatusNotFound
	case ReasonStale:
		status = http.StatusConflict
	case ReasonTooLarge:
		status = http.StatusRequestEntityTooLarge
	case ReasonWrongCluster, ReasonWrongNode, ReasonUnknownNode, ReasonSelf:
		status = http.StatusForbidden
	}
	var own *Error
	if errors.As(err, &own) {
		err = own.Err // the reason has its own field
	}
	s.reply(w, status, errorReply{Reason: reason, Error: err.Error()})
}

func (s *Server) reply(w http.ResponseWriter, status int, v any) {
	body, err := json.Marshal(v)
	if err != nil {
		s.cfg.Log.Error("encode peer reply", "error", err)
		status, body = http.StatusInternalServerError, []byte("{}")
	}
	h := w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("Content-Length", strconv.Itoa(len(body)))
	h.Set(headerProtocol, strconv.Itoa(Protocol))
	w.WriteHeader(status)
	_, _ = w.Write(body) // a sender that has gone sees to itself
}

// message is the http.Handler of one kind.
type message[Request, Reply any] struct {
	server *Server
	kind   string
	ack    bool // say at once that the request has arrived; handling may take seconds
	check  func(from string, m *Request) error
	handle func(ctx context.Context, from string, m Request) Reply
}

func (m message[Request, Reply]) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s := m.server
	from, protocol, err := s.sender(r)
	if err != nil {
		s.refuse(w, r, err)
		return
	}
	var request Request
	if err := decode(r.Body, protocol, &request); err != nil {
		reason := ReasonBadMessage
		if errors.Is(err, errTooLarge) {
			reason = ReasonTooLarge
		}
		s.refuse(w, r, &Error{Reason: reason, Err: err})
		return
	}
	if err := m.check(from, &request); err != nil {
		s.refuse(w, r, err)
		return
	}
	timeout := defaultTimeout
	if d, err := time.ParseDuration(r.Header.Get(headerTimeout)); err == nil && d > 0 {
		timeout = min(d, maxTimeout)
	}
	if err := http.NewResponseController(w).SetWriteDeadline(time.Now().Add(timeout + time.Second)); err != nil {
		s.cfg.Log.Debug("set write deadline", "peer", from, "error", err)
	}
	if m.ack {
		w.WriteHeader(http.StatusProcessing)
	}
	ctx, cancel := context.WithTimeout(r.Context(), timeout)
	defer cancel()
	reply := m.handle(ctx, from, request)
	s.messages[m.kind].Add(1)
	s.reply(w, http.StatusOK, reply)
}
