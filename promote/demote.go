// SPDX-License-Identifier: Apache-2.0

package promote

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"maps"
	"math"
	"net"
	"os"
	"slices"
	"strings"
	"syscall"
	"time"

	"highwater/mysqlcheck"
)

const (
	// killPatience is how long a server may take to become read-only before its
	// clients are killed for it.
	killPatience = 50 * time.Millisecond
	// killPeriod is how often they are killed while it takes.
	killPeriod = 50 * time.Millisecond
	// killSettle is how long to wait for killed sessions to go.
	killSettle = 200 * time.Millisecond
	// killLimit bounds the wait for a killed server process to be gone.
	killLimit = 5 * time.Second
)

// DemoteInput says why and how a server gives up being primary.
type DemoteInput struct {
	Reason string
	// KillClients ends the clients' connections, and if the configuration allows
	// it the server, rather than leave it writable. Without it a server that
	// cannot obey in time stays as it was.
	KillClients bool
	// Progress, if not nil, is told each step once it has ended. It must not
	// block.
	Progress func(Step)
}

// DemoteResult is a demotion that succeeded: the server is read-only, or gone.
type DemoteResult struct {
	Steps []Step
	// Position is where the server stood once it was read-only. It is not known
	// of one that is gone.
	Position Position
	// Gone says that there is no server process, and KilledPid which one was
	// killed for that, 0 if none had to be.
	Gone      bool
	KilledPid int
	// KilledSessions counts the clients' connections that were ended.
	KilledSessions int
	// Events are those that ran here, as schema.name; they are disabled now. Nil
	// if they could not be read.
	Events []string
	// Exempt are the accounts that read_only does not bind (MariaDB). Their
	// sessions were ended, and nothing keeps them from coming back.
	Exempt []string
	// Prepared are the XA transactions that somebody may yet commit; -1 if the
	// server does not tell.
	Prepared int
	Warnings []string
}

// Demote makes the server refuse writes, within the configuration's
// FenceTimeout and a moment, whatever the server does; a promotion under way is
// undone first, in as much time. It never lets through a commit that
// waits for an acknowledgement. The error wraps [ErrNotDemoted] if the server
// may still commit.
func (s *Server) Demote(ctx context.Context, in DemoteInput) (DemoteResult, error) {
	ctx, end, err := s.begin(ctx, "demote", rankDemote)
	if err != nil {
		return DemoteResult{}, fmt.Errorf("%w: %w", ErrNotDemoted, err)
	}
	defer end()
	return s.demote(ctx, in)
}

// ReadOnly reports whether the server refuses the writes of everybody whom its
// flavour can refuse.
func (s *Server) ReadOnly(ctx context.Context) (bool, error) {
	c, err := s.connect(ctx)
	if err != nil {
		return false, fmt.Errorf("read read_only: %w", err)
	}
	defer c.close()
	st, err := c.state(ctx)
	if err != nil {
		return false, fmt.Errorf("read read_only: %w", err)
	}
	return st.readOnly, nil
}

// EnforceReadOnly is for a server that has just started: it must not stay
// writable if its options say so. Nobody's session is ended.
func (s *Server) EnforceReadOnly(ctx context.Context) error {
	if ok, err := s.ReadOnly(ctx); err != nil || ok {
		return err
	}
	_, err := s.Demote(ctx, DemoteInput{Reason: "started_writable"})
	return err
}

// demote is Demote for a caller that has the turn.
func (s *Server) demote(ctx context.Context, in DemoteInput) (DemoteResult, error) {
	run := demotion{
		server: s, in: in, deadline: mysqlcheck.Boottime() + s.cfg.FenceTimeout,
		killed: make(map[uint64]bool), protected: make(map[uint64]bool),
	}
	err := run.obey(ctx)
	if err == nil || run.result.Gone {
		return run.result, nil
	}
	if run.mayKill() {
		killErr := run.step(StepKill, func() (string, error) { return run.killServer(ctx) })
		if killErr == nil {
			return run.result, nil
		}
		err = errors.Join(err, killErr)
	} else if run.result.Gone = s.goneNow(ctx); run.result.Gone {
		return run.result, nil
	}
	return run.result, fmt.Errorf("%w: %w", ErrNotDemoted, err)
}

// demotion is one run of Demote.
type demotion struct {
	server   *Server
	in       DemoteInput
	deadline time.Duration   // CLOCK_BOOTTIME
	killed   map[uint64]bool // sessions
	// protected are sessions that we may not kill: MySQL keeps those of accounts
	// with SYSTEM_USER for those who have it too.
	protected map[uint64]bool
	result    DemoteResult
}

// mayKill reports whether a server that does not obey is killed.
func (r *demotion) mayKill() bool {
	return r.in.KillClients && r.server.cfg.KillServer && r.server.cfg.Pid != nil
}

// step runs one step and reports it.
func (r *demotion) step(name StepName, do func() (detail string, err error)) error {
	start := mysqlcheck.Boottime()
	detail, err := do()
	st := Step{Name: name, Start: start, Took: mysqlcheck.Boottime() - start, Detail: detail}
	if err != nil {
		st.Err = err.Error()
	}
	r.result.Steps = append(r.result.Steps, st)
	if r.in.Progress != nil {
		r.in.Progress(st)
	}
	return err
}

// obey has the server do it by itself.
func (r *demotion) obey(ctx context.Context) error {
	ctx, cancel := context.WithTimeoutCause(ctx, r.deadline-mysqlcheck.Boottime(), errors.New("fence timeout"))
	defer cancel()
	c, err := r.connect(ctx, func() {})
	if err != nil {
		return err
	}
	defer c.close()
	// What we gave up may have been the statement that opens writes.
	if err := c.reap(ctx); err != nil {
		return err
	}
	st, err := c.state(ctx)
	if err != nil {
		return err
	}
	if !st.readOnly {
		_ = r.step(StepEvents, func() (string, error) {
			events, err := r.server.disableEvents(ctx)
			r.result.Events = events
			r.warn("disable events", err)
			return fmt.Sprintf("%d ran here", len(events)), err
		})
	}
	if err := r.step(StepReadOnly, func() (string, error) { return "", r.readOnly(ctx, c) }); err != nil {
		return err
	}
	_ = r.step(StepSessions, func() (string, error) {
		err := r.endSessions(ctx, c)
		r.warn("end sessions", err)
		return fmt.Sprintf("%d ended", r.result.KilledSessions), err
	})
	r.result.Prepared, err = c.prepared(ctx)
	r.warn("count prepared XA transactions", err)
	// It is read-only; not to know where it stands does not change that.
	r.result.Position, _, err = c.position(ctx)
	r.warn("read position", err)
	return nil
}

// connect connects until the deadline: a server that has too many connections
// may have fewer in a moment, and meanwhile may help with that. If there is no
// server it sets Gone.
func (r *demotion) connect(ctx context.Context, meanwhile func()) (*session, error) {
	for {
		c, err := r.server.connect(ctx)
		if err == nil {
			return c, nil
		}
		if r.server.gone(err) {
			r.result.Gone = true
			return nil, err
		}
		meanwhile()
		if sleep(ctx, 10*time.Millisecond) != nil {
			return nil, err
		}
	}
}

// goneNow connects once to see whether there is a server process.
func (s *Server) goneNow(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), killSettle)
	defer cancel()
	c, err := s.connect(ctx)
	if err == nil {
		c.close()
	}
	return s.gone(err)
}

// gone reports whether connecting failed because there is no server process. A
// refused connection alone does not say so: a server that shuts down closes its
// socket first, and commits on.
func (s *Server) gone(err error) bool {
	var dial *net.OpError
	if !errors.As(err, &dial) || !errors.Is(err, syscall.ECONNREFUSED) && !errors.Is(err, syscall.ENOENT) || s.cfg.Pid == nil {
		return false
	}
	pid, err := s.cfg.Pid()
	switch {
	case err == nil:
		err = syscall.Kill(pid, 0)
	case dial.Net == "unix" && errors.Is(err, mysqlcheck.ErrNoPid):
		// Behind a unix socket the process is known for as long as it lives.
		err = os.ErrProcessDone
	}
	if !errors.Is(err, os.ErrProcessDone) && !errors.Is(err, syscall.ESRCH) {
		return false
	}
	s.forgetOrphans()
	return true
}

// readOnly sets read-only and returns when the server says that it is.
func (r *demotion) readOnly(ctx context.Context, c *session) error {
	setter, err := r.connect(ctx, func() { r.killClients(ctx, c) })
	if err != nil {
		return err
	}
	seconds := max(1, math.Ceil((r.deadline - mysqlcheck.Boottime()).Seconds()))
	done := make(chan error, 1)
	go func() {
		done <- setter.exec(ctx, mysqlcheck.StmtReadOnly, seconds)
		setter.discard() // it has a lock_wait_timeout of its own
	}()
	err = r.awaitReadOnly(ctx, c, done)
	if err != nil && r.mayKill() {
		return err
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), killSettle)
	defer cancel()
	if err != nil {
		// Nobody waits for it any more, so it must not come true later. It may
		// have done so just now.
		err = errors.Join(err, c.reap(ctx))
	}
	st, stateErr := c.state(ctx)
	switch {
	case stateErr != nil:
		return errors.Join(err, stateErr)
	case st.readOnly:
		return nil
	case err == nil:
		return errors.New("server says that it is not read-only")
	}
	return err
}

// awaitReadOnly waits for the setter, killing clients meanwhile if that is
// wanted.
func (r *demotion) awaitReadOnly(ctx context.Context, c *session, done <-chan error) error {
	patience := time.NewTimer(killPatience)
	defer patience.Stop()
	for {
		select {
		case err := <-done:
			return err
		case <-ctx.Done():
			<-done // it has the same context
			return context.Cause(ctx)
		case <-patience.C:
		}
		r.killClients(ctx, c)
		patience.Reset(killPeriod)
	}
}

// killClients ends all clients' sessions of this moment, if that is wanted.
func (r *demotion) killClients(ctx context.Context, c *session) {
	if !r.in.KillClients {
		return
	}
	sessions, err := mysqlcheck.Sessions(ctx, c.conn, c.version)
	if err == nil {
		err = r.kill(ctx, c, sessions)
	}
	r.warn("kill clients", err)
}

// endSessions ends the clients' sessions, or only those that read-only does not
// bind.
func (r *demotion) endSessions(ctx context.Context, c *session) error {
	exempt, err := c.exempt(ctx)
	if err != nil {
		return err
	}
	r.result.Exempt = slices.Sorted(maps.Keys(exempt))
	settled := mysqlcheck.Boottime() + killSettle
	for {
		sessions, err := mysqlcheck.Sessions(ctx, c.conn, c.version)
		if err != nil {
			return err
		}
		var wanted []mysqlcheck.ServerThread
		for _, s := range sessions {
			if (r.in.KillClients || exempt[s.User]) && !r.protected[s.ID] {
				wanted = append(wanted, s)
			}
		}
		if len(wanted) == 0 || mysqlcheck.Boottime() >= settled {
			return nil
		}
		if err := r.kill(ctx, c, wanted); err != nil {
			return err
		}
		if err := sleep(ctx, pollMin); err != nil {
			return err
		}
	}
}

// kill ends sessions, each once. Those whose commit waits for an
// acknowledgement are left alone: MariaDB commits it when they are killed
// (10.11.19), and on MySQL they only leave their client without an answer.
func (r *demotion) kill(ctx context.Context, c *session, sessions []mysqlcheck.ServerThread) error {
	for _, s := range sessions {
		if r.killed[s.ID] || r.protected[s.ID] || s.WaitsForAck() {
			continue
		}
		switch err := c.kill(ctx, s.ID); {
		case err == nil:
			r.killed[s.ID] = true
		case errorNumber(err) == erNotOwner:
			r.protected[s.ID] = true
			r.warn("kill a session of "+s.User, err)
		default:
			return err
		}
	}
	r.result.KilledSessions = len(r.killed)
	return nil
}

// killServer is the last rung.
func (r *demotion) killServer(ctx context.Context) (string, error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), killLimit)
	defer cancel()
	pid, err := killProcess(ctx, r.server.cfg.Pid)
	if err != nil && !errors.Is(err, os.ErrProcessDone) {
		return "", err
	}
	r.result.Gone, r.result.KilledPid = true, pid
	r.server.forgetOrphans()
	return fmt.Sprintf("process %d", pid), nil
}

func (r *demotion) warn(what string, err error) {
	if err == nil {
		return
	}
	r.result.Warnings = append(r.result.Warnings, fmt.Sprintf("%s: %v", what, err))
	r.server.cfg.Log.Warn("demotion goes on in spite of an error", "what", what, "error", err)
}

// exempt returns the users that read-only does not bind. All of a name count,
// whatever their host. MySQL has none.
func (c *session) exempt(ctx context.Context) (map[string]bool, error) {
	if _, ok := c.version.SQL(mysqlcheck.StmtExempt); !ok {
		return nil, nil
	}
	users := make(map[string]bool)
	err := c.query(ctx, mysqlcheck.StmtExempt, nil, func(rows *sql.Rows) error {
		var grantee string // 'user'@'host'
		if err := rows.Scan(&grantee); err != nil {
			return err
		}
		user := strings.TrimPrefix(grantee, "'")
		if end := strings.LastIndex(user, "'@'"); end >= 0 {
			user = user[:end]
		}
		users[user] = true
		return nil
	})
	return users, err
}
