// SPDX-License-Identifier: Apache-2.0

package promote

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"highwater/mysqlcheck"
	"highwater/mysqlcheck/gtid"
)

// PromoteInput is what a promotion is told.
type PromoteInput struct {
	// Term is the one that this server becomes primary of. One below the promise
	// is refused.
	Term uint64
	// Fetch, if not nil, is a peer that has what is missing here.
	Fetch *Source
	// Received is what this server must hold before writes open, besides what it
	// received itself: what the peers hold. Leave out what is to be given up.
	Received gtid.Set
	// Start, if not empty, names the run of the server process that was found to hold
	// everything (Position.StartID). Another one may have lost relay log.
	Start string
	// WaitUntil is the reading of CLOCK_BOOTTIME before which writes do not open:
	// until then the old primary may hold the VIP. 0 means no wait.
	WaitUntil time.Duration
	// Check returns an error once the right to be primary is lost. It is asked
	// right before each step that cannot be taken back. It must not block.
	Check func() error
	// SemiSync is how the old primary waited for acknowledgements; nil: it did
	// not.
	SemiSync *SemiSync
	// Lossless, if not nil, is for a term in which nothing acknowledged may be
	// lost; nil: durability is best-effort. It excludes SemiSync.
	Lossless *Lossless
	// Failover is told to hooks.
	Failover FailoverInfo
	// Progress, if not nil, is told each step once it has ended. It must not
	// block.
	Progress func(Step)
}

// Step is a step that has ended.
type Step struct {
	Name   StepName      `json:"name"`
	Start  time.Duration `json:"start"` // CLOCK_BOOTTIME
	Took   time.Duration `json:"took"`
	Detail string        `json:"detail,omitempty"`
	Err    string        `json:"error,omitempty"`
}

// Result is a promotion that succeeded.
type Result struct {
	Steps []Step
	// Executed is where the server stood when writes opened.
	Executed gtid.Set
	// Prepared are the XA transactions that somebody may yet commit; -1 if the
	// server does not tell.
	Prepared int
	// Warnings are what went wrong without making the promotion fail.
	Warnings []string
}

// Promote makes the server accept writes. The receiver must have been stopped
// by [Server.Seal]. What has to be done is decided by [Plan]; ctx bounds it as a
// whole, hooks included. On failure the server is read-only again, its receiver
// stopped, and the error is a [*StepError].
//
// The channel to the old primary stays until [Server.Finish], which has time
// until the VIP is up.
func (s *Server) Promote(ctx context.Context, in PromoteInput) (Result, error) {
	ctx, r, end, err := s.beginPromotion(ctx, "promote", in)
	if err != nil {
		return Result{}, err
	}
	defer end()
	err = r.run(ctx, r.plan())
	return r.result, err
}

// promotion is one run of a plan, or of the first steps of one.
type promotion struct {
	server  *Server
	session *session
	in      PromoteInput
	hook    hookInput
	target  gtid.Set // to be executed before writes open
	fetched bool     // a receiver was started
	result  Result
	// Where the binary log ended when writes were about to open.
	binlogFile string
	binlogPos  uint64
}

// beginPromotion keeps the promise and takes the turn, until end.
func (s *Server) beginPromotion(ctx context.Context, name string, in PromoteInput) (_ context.Context, r *promotion, end func(), _ error) {
	fail := func(err error) error {
		return &StepError{Step: StepSealed, Reason: reasonOf(err, ReasonServer), Err: err}
	}
	if in.Lossless != nil && in.SemiSync != nil {
		return nil, nil, nil, fail(errTwoSemiSyncs)
	}
	err := s.keepPromise(in.Term, func(p *Promise) { p.Promised = in.Term })
	if err != nil {
		return nil, nil, nil, fail(err)
	}
	ctx, c, end, err := s.start(ctx, name, rankPromote)
	if err != nil {
		return nil, nil, nil, fail(err)
	}
	return ctx, &promotion{server: s, session: c, in: in, hook: hookInput{FailoverInfo: in.Failover}}, end, nil
}

func (r *promotion) plan() []StepName {
	return Plan(PlanInput{
		Fetch:    r.in.Fetch != nil,
		Lease:    r.in.WaitUntil > 0,
		Before:   len(r.server.cfg.Hooks.Before) > 0,
		After:    len(r.server.cfg.Hooks.After) > 0,
		SemiSync: r.in.SemiSync != nil,
		Lossless: r.in.Lossless != nil,
		Command:  len(r.server.cfg.Command) > 0,
	})
}

// run runs steps until one fails, and then undoes what was done.
func (r *promotion) run(ctx context.Context, steps []StepName) error {
	for _, step := range steps {
		if failure := r.step(ctx, step); failure != nil {
			failure.Undo = r.undo(ctx, step)
			return failure
		}
	}
	return nil
}

// step runs one step and reports it.
func (r *promotion) step(ctx context.Context, name StepName) *StepError {
	start := mysqlcheck.Boottime()
	detail, failure := r.try(ctx, name)
	st := Step{Name: name, Start: start, Took: mysqlcheck.Boottime() - start, Detail: detail}
	if failure != nil {
		st.Err = failure.Err.Error()
	}
	r.result.Steps = append(r.result.Steps, st)
	if r.in.Progress != nil {
		r.in.Progress(st)
	}
	return failure
}

// try runs one step.
func (r *promotion) try(ctx context.Context, name StepName) (detail string, _ *StepError) {
	fail := func(otherwise Reason, err error) *StepError {
		return &StepError{Step: name, Reason: reasonOf(err, otherwise), Err: err}
	}
	if name.needsRight() && r.in.Check != nil {
		if err := r.in.Check(); err != nil {
			return "", &StepError{Step: name, Reason: ReasonRight, Err: err}
		}
	}
	if r.server.fault != nil {
		if err := r.server.fault(name); err != nil {
			return "", fail(ReasonServer, err)
		}
	}
	reason := ReasonServer
	var err error
	switch name {
	case StepSealed:
		reason, err = r.sealed(ctx)
	case StepDrain:
		detail, err = r.session.drain(ctx, r.target)
	case StepFetch:
		reason = ReasonFetch
		detail, err = r.fetch(ctx)
	case StepLease:
		err = sleepUntil(ctx, r.in.WaitUntil)
	case StepBefore:
		reason = ReasonVeto
		err = r.hooks(ctx, hookBefore, r.server.cfg.Hooks.Before)
	case StepSemiSync:
		detail, err = r.semiSync(ctx)
	case StepLocks:
		detail, err = r.lockReplicas(ctx)
	case StepOpen:
		r.findBinlogEnd(ctx)
		err = r.session.exec(ctx, mysqlcheck.StmtWritable)
	case StepCommand:
		r.findBinlogEnd(ctx)
		reason = ReasonCommand
		r.hook.Hook = hookCommand
		err = runHook(ctx, r.server.cfg.Command, r.hook, r.timeLeft(ctx), r.server.cfg.Log)
	case StepReadBack:
		reason = ReasonReadOnly
		detail, err = r.readBack(ctx)
	case StepAfter:
		r.after(ctx)
	default:
		panic("promote: no such step: " + string(name))
	}
	if err != nil {
		return detail, fail(reason, err)
	}
	return detail, nil
}

// sealed asserts that nothing comes in any more, and learns what to wait for.
func (r *promotion) sealed(ctx context.Context) (Reason, error) {
	p, ch, err := r.session.position(ctx)
	if err != nil {
		return ReasonServer, err
	}
	if r.in.Start != "" && p.StartID != r.in.Start {
		return ReasonNotSealed, fmt.Errorf("server has restarted since it was sealed: %s, not %s", p.StartID, r.in.Start)
	}
	if ok, err := r.session.receiverSealed(ctx, ch); err != nil {
		return ReasonServer, err
	} else if !ok {
		return ReasonNotSealed, fmt.Errorf("receiver is %s", ch.receiver)
	}
	r.target = p.Received
	if missing := r.in.Received.Subtract(p.Received); r.in.Fetch == nil && !missing.IsEmpty() {
		return ReasonIncomplete, fmt.Errorf("lack %d transactions: %s", missing.Count(), missing)
	}
	return "", nil
}

// fetch reads from a peer what is missing here, and seals again.
func (r *promotion) fetch(ctx context.Context) (detail string, err error) {
	c := r.session
	missing := r.in.Received.Subtract(r.target)
	detail = fmt.Sprintf("%d transactions from %s", missing.Count(), r.in.Fetch.Node)
	if missing.IsEmpty() {
		return detail, nil
	}
	if err := r.server.awaitStop(ctx); err != nil {
		return detail, err
	}
	st, err := c.state(ctx)
	if err != nil {
		return detail, err
	}
	// As in drain, which had nothing to apply perhaps: a former primary still has
	// it on.
	if err := c.semiSyncSourceOff(ctx, st); err != nil {
		return detail, err
	}
	ch, err := c.channel(ctx)
	if err != nil {
		return detail, err
	}
	r.fetched = true
	if err := c.point(ctx, ch, *r.in.Fetch); err != nil {
		return detail, err
	}
	if err := c.exec(ctx, mysqlcheck.StmtStartReplica); err != nil {
		return detail, err
	}
	r.target = r.target.Union(r.in.Received)
	if err := c.awaitExecuted(ctx, r.target, true); err != nil {
		return detail, err
	}
	if err := c.stopReceiver(ctx); err != nil {
		return detail, err
	}
	// It may have sent more than was asked for.
	p, _, err := c.position(ctx)
	if err != nil {
		return detail, err
	}
	r.target = p.Received
	_, err = c.drain(ctx, r.target)
	return detail, err
}

// timeLeft is what ctx has left, for a hook that may take it all.
func (r *promotion) timeLeft(ctx context.Context) time.Duration {
	if deadline, ok := ctx.Deadline(); ok {
		return time.Until(deadline)
	}
	return r.server.cfg.Hooks.Timeout
}

func (r *promotion) hooks(ctx context.Context, stage hookStage, argvs [][]string) error {
	r.hook.Hook = stage
	return runHooks(ctx, argvs, r.hook, r.server.cfg.Hooks.Timeout, r.server.cfg.Log)
}

// readBack asserts that the server accepts writes, by its own word and, where
// no acknowledgement is needed for it, by a commit. One that waits for the
// first replica would wait here for ever.
func (r *promotion) readBack(ctx context.Context) (detail string, err error) {
	st, err := r.session.state(ctx)
	if err != nil {
		return "", err
	}
	if !st.writable {
		return "", errors.New("server is still read-only")
	}
	if err := r.stillLossless(ctx); err != nil {
		return "", err
	}
	if !st.executed.Contains(r.target) {
		missing := r.target.Subtract(st.executed)
		return "", fmt.Errorf("writes are open and %d transactions are missing: %s", missing.Count(), missing)
	}
	r.result.Executed = r.target
	r.result.Prepared, err = r.session.prepared(ctx)
	if err != nil {
		r.warn("count prepared XA transactions", err)
	}
	if r.server.cfg.Commit == nil || r.in.SemiSync != nil || r.in.Lossless != nil {
		return "", nil
	}
	if err := r.server.cfg.Commit(ctx); err != nil {
		return "", fmt.Errorf("commit: %w", err)
	}
	return "committed", nil
}

// findBinlogEnd is for the after hooks. Once writes are open, commits may wait for
// an acknowledgement, and MariaDB does not tell behind those.
func (r *promotion) findBinlogEnd(ctx context.Context) {
	if len(r.server.cfg.Hooks.After) == 0 {
		return
	}
	var err error
	r.binlogFile, r.binlogPos, err = r.session.binlogEnd(ctx)
	if err != nil {
		r.warn("read the end of the binary log", err)
	}
}

// after runs the after hooks.
func (r *promotion) after(ctx context.Context) {
	r.hook.BinlogFile, r.hook.BinlogPos = r.binlogFile, r.binlogPos
	if err := r.hooks(ctx, hookAfter, r.server.cfg.Hooks.After); err != nil {
		r.warn("run hooks after the promotion", err)
	}
}

func (r *promotion) warn(what string, err error) {
	r.result.Warnings = append(r.result.Warnings, fmt.Sprintf("%s: %v", what, err))
	r.server.cfg.Log.Warn("promotion goes on in spite of an error", "what", what, "error", err)
}

// undo leaves the server read-only and sealed, whatever ended the promotion.
func (r *promotion) undo(ctx context.Context, failed StepName) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*r.server.cfg.FenceTimeout)
	defer cancel()
	opened := failed.opens()
	if failed == StepLocks { // it goes below super_read_only
		readOnly, err := r.server.ReadOnly(ctx)
		opened = err != nil || !readOnly
	}
	if opened {
		if _, err := r.server.demote(ctx, DemoteInput{Reason: "promotion_failed", KillClients: true}); err != nil {
			return err
		}
	}
	if !r.fetched {
		return nil
	}
	c, err := r.server.connect(ctx)
	if err != nil {
		return err
	}
	defer c.close()
	if err := c.reap(ctx); err != nil {
		return err
	}
	return c.stopReceiver(ctx)
}

// prepared counts prepared XA transactions; -1 with an error.
func (c *session) prepared(ctx context.Context) (int, error) {
	n := 0
	err := c.query(ctx, mysqlcheck.StmtPrepared, nil, func(*sql.Rows) error { n++; return nil })
	if err != nil {
		return -1, err
	}
	return n, nil
}

// binlogEnd returns the current binary log and its size.
func (c *session) binlogEnd(ctx context.Context) (file string, pos uint64, err error) {
	err = c.query(ctx, mysqlcheck.StmtBinlogEnd, nil, func(rows *sql.Rows) error {
		columns, err := rows.Columns()
		if err != nil {
			return err
		}
		dest := []any{&file, &pos}
		for range columns[len(dest):] {
			dest = append(dest, new(any))
		}
		return rows.Scan(dest...)
	})
	return file, pos, err
}
