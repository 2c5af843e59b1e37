// SPDX-License-Identifier: Apache-2.0

package web

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"html/template"
	"log/slog"
	"net"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"golang.org/x/net/netutil"
)

// maxConnections bounds what all scrapers, checks and browsers together may hold open.
const maxConnections = 256

// liveWithin is how old the last completed step of a living loop can be: it has a timer of at most a second.
const liveWithin = 10 * time.Second

// Config is what a [Server] needs. Log may be nil.
type Config struct {
	Address  string // host:port to listen on, host may be empty
	Snapshot func() Snapshot
	Metrics  *Metrics
	Log      *slog.Logger
}

// Server answers GET, HEAD and OPTIONS on web.listen.
type Server struct {
	cfg      Config
	log      *slog.Logger
	listener net.Listener
	http     *http.Server
	page     *template.Template
}

// Listen binds the address; [Server.Run] serves.
func Listen(cfg Config) (*Server, error) {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	page, err := template.New("page").Parse(pageText)
	if err != nil {
		return nil, fmt.Errorf("parse status page: %w", err)
	}
	s := &Server{cfg: cfg, log: cfg.Log, page: page}
	handler, err := s.handler()
	if err != nil {
		return nil, err
	}
	l, err := net.Listen("tcp", cfg.Address)
	if err != nil {
		return nil, fmt.Errorf("listen for web: %w", err)
	}
	s.listener = netutil.LimitListener(l, maxConnections)
	s.http = &http.Server{
		Handler:           handler,
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       10 * time.Second,
		WriteTimeout:      30 * time.Second,
		IdleTimeout:       time.Minute,
		MaxHeaderBytes:    16 << 10,
		ErrorLog:          slog.NewLogLogger(cfg.Log.Handler(), slog.LevelDebug),
	}
	return s, nil
}

// Addr is the address bound.
func (s *Server) Addr() net.Addr { return s.listener.Addr() }

// Run serves until ctx is done.
func (s *Server) Run(ctx context.Context) error {
	stop := context.AfterFunc(ctx, func() { s.http.Close() })
	defer stop()
	err := s.http.Serve(s.listener)
	if ctx.Err() != nil {
		return nil
	}
	return fmt.Errorf("serve web: %w", err)
}

// Close closes the port and all connections.
func (s *Server) Close() error {
	return errors.Join(s.http.Close(), ignoreClosed(s.listener.Close()))
}

func ignoreClosed(err error) error {
	if errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}

// registry holds the metrics of this project; the Go runtime's and the process's come from another one.
func (s *Server) registry() (*prometheus.Registry, error) {
	r := prometheus.NewPedanticRegistry()
	for _, c := range append(s.cfg.Metrics.collectors(), collector{s.cfg.Snapshot}) {
		if err := r.Register(c); err != nil {
			return nil, fmt.Errorf("register metrics: %w", err)
		}
	}
	return r, nil
}

func (s *Server) handler() (http.Handler, error) {
	own, err := s.registry()
	if err != nil {
		return nil, err
	}
	runtime := prometheus.NewRegistry()
	for _, c := range []prometheus.Collector{collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{})} {
		if err := runtime.Register(c); err != nil {
			return nil, fmt.Errorf("register metrics: %w", err)
		}
	}
	mux := http.NewServeMux()
	mux.Handle("/metrics", promhttp.HandlerFor(prometheus.Gatherers{own, runtime}, promhttp.HandlerOpts{
		ErrorHandling:       promhttp.ContinueOnError, // one bad series must not blind an alert on another
		MaxRequestsInFlight: 8,
		Timeout:             20 * time.Second,
		ErrorLog:            slog.NewLogLogger(s.log.Handler(), slog.LevelWarn),
	}))
	mux.HandleFunc("/livez", s.serveLive)
	mux.HandleFunc("/readyz", s.serveReady)
	mux.HandleFunc("/primary", s.serveRole(servesPrimary))
	mux.HandleFunc("/replica", s.serveRole(servesReplica))
	mux.HandleFunc("/read-only", s.serveRole(func(h *Host, lag time.Duration) string {
		if servesPrimary(h, lag) == "" {
			return ""
		}
		return servesReplica(h, lag)
	}))
	mux.HandleFunc("/v1/status", s.serveStatus)
	mux.HandleFunc("/{$}", s.servePage)
	return readOnly(mux), nil
}

// readOnly lets through what changes nothing. OPTIONS is answered like HEAD: load balancers of old check with it.
func readOnly(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.Method {
		case http.MethodGet, http.MethodHead:
		case http.MethodOptions:
			r = r.Clone(r.Context())
			r.Method = http.MethodHead
			w = withoutBody{w}
		default:
			w.Header().Set("Allow", "GET, HEAD, OPTIONS")
			http.Error(w, "this port is read-only", http.StatusMethodNotAllowed)
			return
		}
		h := w.Header()
		h.Set("Cache-Control", "no-store")
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'")
		next.ServeHTTP(w, r)
	})
}

// withoutBody drops the body of the reply to OPTIONS, as net/http does for HEAD.
type withoutBody struct{ http.ResponseWriter }

func (w withoutBody) WriteHeader(status int) {
	w.Header().Set("Content-Length", "0")
	w.ResponseWriter.WriteHeader(status)
}

func (withoutBody) Write(b []byte) (int, error) { return len(b), nil }

// answer is the body of the health endpoints.
type answer struct {
	OK     bool   `json:"ok"`
	Reason string `json:"reason,omitempty"` // why not
	Node   string `json:"node"`
	Role   string `json:"role,omitempty"`
	Term   uint64 `json:"term"`
}

// serveAnswer sends 200 when why is empty, else 503.
func (s *Server) serveAnswer(w http.ResponseWriter, st *Status, why string) {
	a := answer{OK: why == "", Reason: why, Node: st.Node, Term: st.Term}
	if h := st.Self(); h != nil {
		a.Role = h.Role
	}
	status := http.StatusOK
	if why != "" {
		status = http.StatusServiceUnavailable
	}
	s.serveJSON(w, status, a)
}

func (s *Server) serveJSON(w http.ResponseWriter, status int, v any) {
	body, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		s.log.Error("encode web reply", "error", err)
		http.Error(w, "encode reply: "+err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write(append(body, '\n')) // a client that has gone sees to itself
}

func (s *Server) serveLive(w http.ResponseWriter, _ *http.Request) {
	snapshot := s.cfg.Snapshot()
	s.serveAnswer(w, &snapshot.Status, notLive(&snapshot))
}

func (s *Server) serveReady(w http.ResponseWriter, _ *http.Request) {
	snapshot := s.cfg.Snapshot()
	why := notLive(&snapshot)
	if why == "" {
		why = snapshot.NotReady
	}
	s.serveAnswer(w, &snapshot.Status, why)
}

func notLive(s *Snapshot) string {
	if s.LoopAge > liveWithin {
		return fmt.Sprintf("the loop has completed no step for %s", s.LoopAge.Round(time.Second))
	}
	return ""
}

// serveRole answers whether the local server may be used in a role. Traffic is not sent to a node whose loop hangs: what it says is old.
func (s *Server) serveRole(why func(h *Host, maxLag time.Duration) string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		maxLag := time.Duration(-1)
		if text := r.URL.Query().Get("lag"); text != "" {
			d, err := time.ParseDuration(text)
			if err != nil || d < 0 {
				http.Error(w, fmt.Sprintf("lag=%q is no duration such as 5s", text), http.StatusBadRequest)
				return
			}
			maxLag = d
		}
		snapshot := s.cfg.Snapshot()
		reason := notLive(&snapshot)
		if h := snapshot.Status.Self(); reason == "" {
			if h == nil {
				reason = "this node knows nothing of itself yet"
			} else {
				reason = why(h, maxLag)
			}
		}
		s.serveAnswer(w, &snapshot.Status, reason)
	}
}

// servesPrimary says why the host may not be written to, "" if it may.
func servesPrimary(h *Host, _ time.Duration) string {
	switch {
	case h.Role != rolePrimary:
		return "role is " + h.Role
	case !h.VIPHeld || h.LeaseSeconds <= 0:
		return "the lease of the VIP is not held"
	case h.Health != healthAlive:
		return "server is " + h.Health
	case !h.Writable:
		return "server is read-only"
	}
	return ""
}

// servesReplica says why the host may not be read from as a replica at most maxLag behind (negative: however much), "" if it may.
func servesReplica(h *Host, maxLag time.Duration) string {
	switch {
	case h.Role != roleReplica:
		return "role is " + h.Role
	case h.Health != healthAlive:
		return "server is " + h.Health
	case maxLag < 0:
		return ""
	case h.LagSeconds == nil:
		return "lag is unknown"
	case *h.LagSeconds > maxLag.Seconds():
		return fmt.Sprintf("lag is %s", seconds(*h.LagSeconds))
	}
	return ""
}

func (s *Server) serveStatus(w http.ResponseWriter, _ *http.Request) {
	s.serveJSON(w, http.StatusOK, s.cfg.Snapshot().Status)
}
