// SPDX-License-Identifier: Apache-2.0

package promote

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"highwater/mysqlcheck"
)

// defaultFenceTimeout is FenceTimeout's default.
const defaultFenceTimeout = 3 * time.Second

// Config says what a Server acts on and what it may do.
type Config struct {
	// DB are control connections, from mysqlcheck.OpenDB: an operation uses up to
	// four at once. Its read timeout bounds every statement below its
	// context: it must exceed FenceTimeout, and a minute suits.
	DB *sql.DB
	// Node is this node's name.
	Node string
	// Replication is the account with which this server reads from another.
	Replication Replication
	// StateDir holds promise.json and what was saved before it would be lost. It
	// must exist.
	StateDir string
	// KillServer allows a demotion to end in SIGKILL.
	KillServer bool
	// FenceTimeout is how long a server may take to become read-only; 0 means 3 s.
	FenceTimeout time.Duration
	// Pid returns the id of the local server's process, for KillServer. Its error
	// wraps os.ErrProcessDone if there is none, and mysqlcheck.ErrNoPid if none is
	// known.
	Pid func() (int, error)
	// Hooks run around a promotion.
	Hooks Hooks
	// Command, if not empty, is an argv that replaces what Promote does to the
	// server once it holds everything: semi-sync and opening writes, and in a
	// lossless term only the latter.
	Command []string
	// Commit, if not nil, makes one small commit, such as the heartbeat's. It
	// proves that a promoted server commits, where no acknowledgement is needed.
	Commit func(context.Context) error
	// BinlogProgram is mysqlbinlog or mariadb-binlog; empty: looked for in PATH.
	BinlogProgram string
	// Log, if nil, is slog.Default.
	Log *slog.Logger
}

// Replication is the account with which a server reads from its source.
type Replication struct {
	User     string        // expanded for this node
	Password func() string // asked each time; nil means none
	// TLS are the channel's TLS options. Nil keeps what the channel had.
	TLS *mysqlcheck.SourceTLS
}

// Server is the local server.
type Server struct {
	cfg Config
	// fault, in tests, is asked before each step of a promotion and fails it.
	fault func(StepName) error

	saving   sync.Mutex // one writer of the promise at a time
	mu       sync.Mutex // for what follows; never held during I/O
	promise  Promise
	running  *operation
	orphans  map[uint64]bool // connections with a statement we gave up
	stopping *receiverStop   // the last stop of the receiver, perhaps under way
}

// NewServer returns the server of c, with the promise found in c.StateDir. It
// does not connect.
func NewServer(c Config) (*Server, error) {
	p, err := loadPromise(c.StateDir)
	if err != nil {
		return nil, err
	}
	if c.FenceTimeout <= 0 {
		c.FenceTimeout = defaultFenceTimeout
	}
	if c.Log == nil {
		c.Log = slog.Default()
	}
	return &Server{cfg: c, promise: p, orphans: make(map[uint64]bool)}, nil
}

// Promised returns the highest term the server was sealed for.
func (s *Server) Promised() uint64 { return s.Promise().Promised }

// Promise returns what the server has promised, as it is on disk.
func (s *Server) Promise() Promise {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.promise
}

// keepPromise makes the change of edit durable. It returns [ErrPromised] for a
// term below the promise.
func (s *Server) keepPromise(term uint64, edit func(*Promise)) error {
	s.saving.Lock()
	defer s.saving.Unlock()
	before := s.Promise()
	if term < before.Promised {
		return ErrPromised{Promised: before.Promised, Term: term}
	}
	p := before
	edit(&p)
	if p == before {
		return nil
	}
	if err := p.save(s.cfg.StateDir); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.promise = p
	return nil
}

// rank says who comes first: an operation interrupts those of lower rank.
type rank uint8

const (
	rankPrepare rank = iota // becoming a replica, and tidying
	rankPromote             // sealing and promoting
	rankDemote
)

type operation struct {
	name   string
	rank   rank
	cancel context.CancelCauseFunc
	done   chan struct{}
}

// begin waits until no other operation runs, interrupting those that must
// yield. The caller works under the context it returns and calls end.
func (s *Server) begin(ctx context.Context, name string, r rank) (_ context.Context, end func(), _ error) {
	for {
		s.mu.Lock()
		other := s.running
		if other == nil {
			op := &operation{name: name, rank: r, done: make(chan struct{})}
			ctx, op.cancel = context.WithCancelCause(ctx)
			s.running = op
			s.mu.Unlock()
			return ctx, func() {
				op.cancel(nil)
				s.mu.Lock()
				s.running = nil
				s.mu.Unlock()
				close(op.done)
			}, nil
		}
		s.mu.Unlock()
		if other.rank < r {
			other.cancel(errInterrupted)
		}
		select {
		case <-other.done:
		case <-ctx.Done():
			return nil, nil, fmt.Errorf("%s: wait for %s to end: %w", name, other.name, context.Cause(ctx))
		}
	}
}

// start is begin, and a session on which nothing we gave up earlier can take
// effect any more.
func (s *Server) start(ctx context.Context, name string, r rank) (context.Context, *session, func(), error) {
	ctx, end, err := s.begin(ctx, name, r)
	if err != nil {
		return nil, nil, nil, err
	}
	c, err := s.connect(ctx)
	if err == nil {
		if err = c.reap(ctx); err == nil {
			return ctx, c, func() { c.close(); end() }, nil
		}
		c.close()
	}
	end()
	return nil, nil, nil, fmt.Errorf("%s: %w", name, err)
}

// reasonOf names the reason of an error that no step knows better.
func reasonOf(err error, otherwise Reason) Reason {
	var promised ErrPromised
	var applier ErrApplier
	switch {
	case errors.As(err, &promised):
		return ReasonPromised
	case errors.As(err, &applier):
		return ReasonApplier
	case errors.Is(err, errInterrupted):
		return ReasonInterrupted
	case errors.Is(err, context.DeadlineExceeded):
		return ReasonTimeout
	default:
		return otherwise
	}
}
