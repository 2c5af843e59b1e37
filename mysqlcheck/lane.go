// SPDX-License-Identifier: Apache-2.0

package mysqlcheck

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"
)

// flightLimit is how long a statement that the server does not answer may stay
// in flight before its connection is given up. It bounds goroutines and
// connections, not the caller, who waits only as long as its own context. It is
// long, because a frozen server takes note of every connection that we made and
// gave up once it wakes.
const flightLimit = 2 * time.Minute

// errInFlight: the lane's earlier statement has not been answered yet.
var errInFlight = errors.New("an earlier statement is still in flight")

// errNoAnswerYet: the statement may still be answered.
var errNoAnswerYet = errors.New("no answer yet")

// lane is one persistent connection with at most one statement in flight. A
// statement outlives the caller that gave up on it, and while it does the lane
// takes no other: giving up would close our end, and leave the server with a
// thread that goes on waiting, and one more with every try.
type lane struct {
	db    *sql.DB
	ctx   context.Context // ends with the lane
	end   context.CancelFunc
	limit time.Duration
	open  func(ctx context.Context, s *session) error // prepares a new session

	mu      sync.Mutex
	current *flight
	session *session // owned by the flight while there is one
	wire    net.Conn // the connection, to cut it off at the end
}

// session is one connection of a lane, and what was learnt when it was opened.
type session struct {
	*sql.Conn
	raw        any    // the driver's connection, which tells this one from its successor
	id         uint64 // CONNECTION_ID()
	version    Version
	serverUUID string
	startID    string
}

// flight is one function that runs on a lane's session.
type flight struct {
	done chan struct{}
	err  error // after done
}

// newLane returns a lane that gives a statement up after limit.
func newLane(c ConnConfig, limit time.Duration, open func(context.Context, *session) error) *lane {
	ctx, end := context.WithCancel(context.Background())
	l := &lane{ctx: ctx, end: end, limit: limit, open: open}
	outside := c
	c.ReadTimeout = limit
	c.Dial = func(ctx context.Context, _, _ string) (net.Conn, error) {
		wire, err := outside.dial(ctx)
		l.mu.Lock()
		defer l.mu.Unlock()
		l.wire = wire
		return wire, err
	}
	l.db = OpenDB(c, 1)
	return l
}

// start runs f on the lane's session, which it opens when there is none. It
// returns the flight, or the earlier one and false when that is still under way.
func (l *lane) start(f func(ctx context.Context, s *session) error) (*flight, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.current != nil {
		return l.current, false
	}
	fl := &flight{done: make(chan struct{})}
	l.current = fl
	go func() {
		err := l.fly(f)
		l.mu.Lock()
		fl.err = err
		l.current = nil
		l.mu.Unlock()
		close(fl.done)
	}()
	return fl, true
}

// do runs f and waits for it, as long as ctx allows.
func (l *lane) do(ctx context.Context, f func(ctx context.Context, s *session) error) error {
	fl, ok := l.start(f)
	if !ok {
		return errInFlight
	}
	return fl.wait(ctx)
}

// doWhenFree is do, after waiting for the lane to be free.
func (l *lane) doWhenFree(ctx context.Context, f func(ctx context.Context, s *session) error) error {
	for {
		fl, ok := l.start(f)
		if ok {
			return fl.wait(ctx)
		}
		select {
		case <-fl.done:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// wait returns the flight's error, or the context's when that ends first.
func (f *flight) wait(ctx context.Context) error {
	select {
	case <-f.done:
		return f.err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// waitFor is wait with a limit of its own, at which it returns errNoAnswerYet.
func (f *flight) waitFor(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-f.done:
		return f.err
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return errNoAnswerYet
	}
}

// over reports whether the flight has ended.
func (f *flight) over() bool {
	select {
	case <-f.done:
		return true
	default:
		return false
	}
}

// fly runs f on the lane's connection. Taking it out of the pool is where the
// driver looks, without a round trip, whether it died since its last use, as
// when the server restarted; then the pool opens another.
//
// f gets a context without an end: the driver and database/sql keep a goroutine
// each for one that has, and wake them at every statement, which doubles the
// cost of a sample. What bounds a statement is the read timeout, which is the
// lane's limit.
func (l *lane) fly(f func(context.Context, *session) error) error {
	connect, cancel := context.WithTimeout(l.ctx, l.limit)
	defer cancel()
	conn, err := l.db.Conn(connect)
	if err != nil {
		return fmt.Errorf("connect: %w", err)
	}
	defer conn.Close() // back to the pool; its only error is that it is closed already

	ctx := context.WithoutCancel(l.ctx)
	var raw any
	if err := conn.Raw(func(c any) error { raw = c; return nil }); err != nil {
		return fmt.Errorf("connect: %w", err)
	}
	if l.session == nil || l.session.raw != raw {
		s := &session{Conn: conn, raw: raw}
		if err := s.identify(ctx); err != nil {
			return err
		}
		if l.open != nil {
			if err := l.open(ctx, s); err != nil {
				return err
			}
		}
		l.session = s
	}
	l.session.Conn = conn
	return f(ctx, l.session)
}

// close ends the lane, and a flight with it.
func (l *lane) close() {
	l.end()
	l.mu.Lock()
	if l.current != nil && l.wire != nil {
		_ = l.wire.Close() // what is in flight ends with an error of its own
	}
	l.mu.Unlock()
	_ = l.db.Close() // closes what is idle; it has no other error than the driver's on saying goodbye
}

// identify asks who answers.
func (s *session) identify(ctx context.Context) error {
	v, err := ServerVersion(ctx, s)
	if err != nil {
		return err
	}
	if err := s.QueryRowContext(ctx, "SELECT CONNECTION_ID()").Scan(&s.id); err != nil {
		return fmt.Errorf("ask for the connection id: %w", err)
	}
	s.version = v
	s.serverUUID, s.startID, err = Identity(ctx, s, v)
	return err
}

// Queryer is what runs a query: *sql.DB, *sql.Conn or *sql.Tx.
type Queryer interface {
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
}

// Identity returns what a Sample calls ServerUUID and StartID.
func Identity(ctx context.Context, q Queryer, v Version) (serverUUID, startID string, err error) {
	text, ok := v.SQL(StmtIdentity)
	if !ok {
		return "", "", fmt.Errorf("%w: %q", ErrUnsupported, v.Raw)
	}
	if err := q.QueryRowContext(ctx, text).Scan(&serverUUID, &startID); err != nil {
		return "", "", fmt.Errorf("ask for the server's identity: %w", err)
	}
	return serverUUID, serverUUID + "@" + startID, nil
}

// ServerVersion asks a server for its version.
func ServerVersion(ctx context.Context, q Queryer) (Version, error) {
	text, _ := Version{}.SQL(StmtVersion)
	var version, comment string
	if err := q.QueryRowContext(ctx, text).Scan(&version, &comment); err != nil {
		return Version{}, fmt.Errorf("ask for the version: %w", err)
	}
	return ParseVersion(version, comment)
}
