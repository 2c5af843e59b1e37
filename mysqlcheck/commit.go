// SPDX-License-Identifier: Apache-2.0

package mysqlcheck

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-sql-driver/mysql"
)

// CommitState is how the heartbeat commit fares.
type CommitState uint8

// Commit states.
const (
	// CommitUnknown: none was tried.
	CommitUnknown CommitState = iota
	// CommitOK: it was committed.
	CommitOK
	// CommitPending: it is under way, for no known reason, and not for long.
	CommitPending
	// CommitBlocked: it waits for a reason that is not the server's health.
	CommitBlocked
	// CommitHung: no progress for the commit timeout, and no such reason.
	CommitHung
	// CommitFailed: the server answered with an error, or not at all.
	CommitFailed
)

// String returns the state in lower case.
func (c CommitState) String() string {
	switch c {
	case CommitOK:
		return "ok"
	case CommitPending:
		return "pending"
	case CommitBlocked:
		return "blocked"
	case CommitHung:
		return "hung"
	case CommitFailed:
		return "failed"
	default:
		return "unknown"
	}
}

// CommitResult is how the last heartbeat commit fared.
type CommitResult struct {
	State CommitState
	// At is when the commit began, a reading of CLOCK_BOOTTIME; Took is how
	// long it took, or has taken so far.
	At, Took time.Duration
	// Reason is why it is Blocked, Hung or Failed.
	Reason  Reason
	Failure Failure
	// Thread is the server's word for what the commit's thread does while it
	// waits.
	Thread string
}

// commitFlightLimit is how long a heartbeat commit may wait before its
// connection is given up. A global read lock may be held for as long as a
// backup takes; no second probe joins the first meanwhile.
const commitFlightLimit = 10 * time.Minute

// errReadOnly: the heartbeat was not written because read_only is ON.
var errReadOnly = errors.New("the server is read-only")

// committer writes the heartbeat row. There is never more than one write on the
// server: one that does not come back is watched, not repeated.
type committer struct {
	cfg     ProbeConfig
	lane    *lane
	looker  *lane // where the waiting thread is looked at from
	schema  string
	table   string
	running sync.Mutex // held by the Commit under way

	// of the write under way, or the last one that was given up
	write      *heartbeatWrite
	flight     *flight
	began      time.Duration
	progress   string
	progressAt time.Duration
	excuse     Reason // why it waited when it was last looked at
	excusedAt  time.Duration
	abandoned  uint64 // connection id of a write whose connection was given up
	startID    string // of the server process that has it

	mu   sync.Mutex
	last CommitResult
}

func newCommitter(c ProbeConfig, looker *lane) *committer {
	w := &committer{cfg: c, looker: looker}
	schema, table, _ := strings.Cut(c.Heartbeat, ".")
	w.schema = quoteName(schema)
	w.table = w.schema + "." + quoteName(table)
	// A row lock that somebody holds on the heartbeat ends as error 1205, well
	// before the commit could be taken for hung.
	rowLock := max(1, int(c.CommitTimeout/2/time.Second))
	w.lane = newLane(c.Conn, commitFlightLimit, func(ctx context.Context, s *session) error {
		if _, err := s.ExecContext(ctx, fmt.Sprintf("SET SESSION innodb_lock_wait_timeout = %d", rowLock)); err != nil {
			return fmt.Errorf("set the lock wait timeout: %w", err)
		}
		return nil
	})
	return w
}

func quoteName(name string) string { return "`" + strings.ReplaceAll(name, "`", "``") + "`" }

// Commit writes the heartbeat row, or looks after the write that has not come
// back yet, and waits for at most the configured Timeout or until ctx ends. It
// is meant for a primary: elsewhere the row is not written, and the result is
// Failed. A Commit beside another one returns the last result.
func (p *Probe) Commit(ctx context.Context) CommitResult {
	return p.writer.commit(ctx)
}

func (c *committer) lastResult() CommitResult {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.last
}

func (c *committer) commit(ctx context.Context) CommitResult {
	if !c.running.TryLock() {
		return c.lastResult()
	}
	defer c.running.Unlock()
	ctx, cancel := context.WithTimeout(ctx, c.cfg.Timeout)
	defer cancel()
	r := c.advance(ctx)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.last = r
	return r
}

// advance begins a write or looks after the present one.
func (c *committer) advance(ctx context.Context) CommitResult {
	now := c.cfg.Now()
	if c.flight == nil && c.abandoned != 0 {
		// Our end of the old write is closed; the server's may still wait.
		thread, err := c.look(ctx, c.abandoned)
		// A server that was started since has other connections of the same ids.
		if err != nil || thread.found && thread.startID == c.startID {
			return c.waiting(thread, err)
		}
		c.abandoned = 0
	}
	if c.flight == nil {
		c.write = &heartbeatWrite{node: c.cfg.Node, schema: c.schema, table: c.table}
		c.flight, _ = c.lane.start(c.write.run)
		c.began, c.progress, c.progressAt, c.excuse = now, "", now, ""
	}
	err := c.flight.waitFor(ctx, c.cfg.Timeout/2)
	if errors.Is(err, errNoAnswerYet) {
		thread, lookErr := c.look(ctx, c.write.thread.Load())
		select {
		case <-c.flight.done:
			err = c.flight.err
		default:
			return c.waiting(thread, lookErr)
		}
	} else if ctx.Err() != nil && !c.flight.over() {
		return c.waiting(threadState{}, ctx.Err())
	}
	c.flight = nil
	r := CommitResult{State: CommitOK, At: c.began, Took: c.cfg.Now() - c.began}
	if err == nil {
		return r
	}
	r.State, r.Failure = CommitFailed, Classify(err)
	r.Reason = r.Failure.Reason
	switch {
	case errors.Is(err, errReadOnly):
		r.Failure = Failure{Class: Answered, Reason: ReasonPrimaryReadOnly, Text: err.Error()}
		r.Reason = ReasonPrimaryReadOnly
	case r.Reason == WarnCommitWaitsForLock:
		r.State = CommitBlocked
	case r.Reason == ReasonProbeFailed:
		r.Reason = ReasonCommitFailed
	case r.Failure.Class == TimedOut || r.Failure.Class == Dropped:
		c.abandoned = c.write.thread.Load()
		if start := c.write.startID.Load(); start != nil {
			c.startID = *start
		}
	}
	return r
}

// ForgetCommit drops the last result of [Probe.Commit], which a server that is primary anew is not to be
// judged by. A write that still waits on the server is not forgotten: the next Commit looks after it.
func (p *Probe) ForgetCommit() {
	p.writer.mu.Lock()
	defer p.writer.mu.Unlock()
	p.writer.last = CommitResult{}
}

// waiting judges a write that has not come back.
func (c *committer) waiting(thread threadState, lookErr error) CommitResult {
	now := c.cfg.Now()
	if lookErr == nil && thread.progress != c.progress {
		if c.progress != "" {
			c.progressAt = now
		}
		c.progress = thread.progress
	}
	r := judgeWaiting(thread.state, now-c.began, now-c.progressAt, c.cfg.CommitTimeout)
	if thread.behindAck {
		r.State, r.Reason = CommitBlocked, WarnCommitWaitsForAck
	}
	switch {
	case lookErr == nil:
		c.excuse, c.excusedAt = "", now
		if r.State == CommitBlocked {
			c.excuse = r.Reason
		}
	case c.excuse != "" && now-c.excusedAt < c.cfg.CommitTimeout:
		// That nobody could look just now is no sign that the reason is gone.
		r.State, r.Reason = CommitBlocked, c.excuse
	}
	r.At, r.Took = c.began, now-c.began
	r.Failure = Classify(lookErr)
	if r.State == CommitHung && r.Failure.Class == Answered {
		// Too many connections, a wrong password: the server lives, and that it does
		// not let us look says nothing of the commit.
		r.State, r.Reason = CommitBlocked, r.Failure.Reason
	}
	return r
}

// judgeWaiting says what it means that a commit has waited for waited, on a
// server that last wrote to its logs idle ago (or has not since the commit
// began), and whose word for the waiting is state ("": nobody could look).
func judgeWaiting(state string, waited, idle, timeout time.Duration) CommitResult {
	r := CommitResult{State: CommitPending, Thread: state}
	if reason := waitReason(state); reason != "" {
		r.State, r.Reason = CommitBlocked, reason
		return r
	}
	switch {
	case idle >= timeout:
		r.State, r.Reason = CommitHung, ReasonCommitHung
	case idle < waited:
		r.State, r.Reason = CommitBlocked, WarnCommitWaitsForCommit
	}
	return r
}

// waitReason reads the state of a thread that waits in a commit, as
// StmtThread gives it.
func waitReason(state string) Reason {
	switch {
	case strings.HasPrefix(state, "Waiting for semi-sync ACK"):
		return WarnCommitWaitsForAck
	case state == "Waiting for global read lock", state == "Waiting for commit lock", state == "Waiting for backup lock":
		return WarnCommitWaitsForGlobalLock
	case strings.HasPrefix(state, "Waiting for ") && (strings.HasSuffix(state, " lock") || strings.HasSuffix(state, "table flush")):
		return WarnCommitWaitsForLock
	default:
		return ""
	}
}

// threadState is what the server says about the thread of a write.
type threadState struct {
	found     bool
	state     string
	behindAck bool   // another commit waits for its acknowledgement
	progress  string // counters of bytes written
	startID   string // of the server process that was asked
}

// look asks another connection what the write's thread waits for.
func (c *committer) look(ctx context.Context, id uint64) (threadState, error) {
	var t threadState
	err := c.looker.doWhenFree(ctx, func(ctx context.Context, s *session) error {
		t.startID = s.startID
		if id != 0 {
			thread, found, err := commitThread(ctx, s, s.version, id)
			if err != nil {
				return fmt.Errorf("look at the commit's thread: %w", err)
			}
			t.found, t.state = found, thread.State
			if found && waitReason(t.state) == "" {
				// Commits become visible in order: behind one that waits for its
				// acknowledgement all wait, in states that say nothing of it.
				waiting, err := Waiting(ctx, s, s.version)
				if err != nil {
					return fmt.Errorf("look at the commits before: %w", err)
				}
				t.behindAck = len(waiting) > 0
			}
		}
		written, err := pairs(ctx, s, StmtProgress)
		if err != nil {
			return fmt.Errorf("read the bytes written: %w", err)
		}
		t.progress = fmt.Sprint(written) // maps print in key order
		return nil
	})
	if err != nil {
		return threadState{}, err // the flight may still be writing to t
	}
	return t, nil
}

// heartbeatWrite is one write of the heartbeat row.
type heartbeatWrite struct {
	node, schema, table string
	thread              atomic.Uint64 // connection id, once it is known
	startID             atomic.Pointer[string]
}

func (w *heartbeatWrite) run(ctx context.Context, s *session) error {
	w.startID.Store(&s.startID)
	w.thread.Store(s.id)
	err := w.exec(ctx, s)
	var answer *mysql.MySQLError
	// ER_BAD_DB_ERROR, ER_NO_SUCH_TABLE. CREATE ... IF NOT EXISTS goes into
	// the binary log even when it does nothing, so it is not tried first.
	if errors.As(err, &answer) && (answer.Number == 1049 || answer.Number == 1146) {
		if err := w.create(ctx, s); err != nil {
			return err
		}
		err = w.exec(ctx, s)
	}
	return err
}

func (w *heartbeatWrite) exec(ctx context.Context, s *session) error {
	result, err := s.ExecContext(ctx, w.text(s.version, StmtHeartbeatWrite), w.node, w.node)
	if err != nil {
		return fmt.Errorf("write the heartbeat: %w", err)
	}
	n, err := result.RowsAffected()
	if err != nil {
		return fmt.Errorf("write the heartbeat: %w", err)
	}
	if n == 0 {
		return errReadOnly
	}
	return nil
}

// create makes the table, unless the server is read-only: our account may be
// among those that read_only does not stop.
func (w *heartbeatWrite) create(ctx context.Context, s *session) error {
	var readOnly string
	if err := s.QueryRowContext(ctx, "SELECT @@global.read_only").Scan(&readOnly); err != nil {
		return fmt.Errorf("create the heartbeat table: %w", err)
	}
	if on(readOnly) {
		return errReadOnly
	}
	for _, statement := range []Statement{StmtHeartbeatSchema, StmtHeartbeatTable} {
		if _, err := s.ExecContext(ctx, w.text(s.version, statement)); err != nil {
			return fmt.Errorf("create the heartbeat table: %w", err)
		}
	}
	return nil
}

func (w *heartbeatWrite) text(v Version, s Statement) string {
	text, _ := v.SQL(s)
	return strings.NewReplacer("{schema}", w.schema, "{table}", w.table).Replace(text)
}
