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

const (
	// erRestartFailed is ER_RESTART_SERVER_FAILED: nobody would start the server
	// again, so after CLONE it only shuts down.
	erRestartFailed = 3707
	// clonePoll is how often progress is looked at.
	clonePoll = 200 * time.Millisecond
	// cloneRestart is how long a server that restarts may not answer before it
	// is taken for one that has to be started.
	cloneRestart = 30 * time.Second
	// pluginActive is PLUGIN_STATUS of a plugin that works.
	pluginActive = "ACTIVE"
)

// CloneProgress is how far a copy has come.
type CloneProgress struct {
	Stage           string // such as FILE COPY
	State           string // such as In Progress
	Estimate, Bytes uint64 // of the stage
}

// RebuildResult is a server whose data were replaced by another one's.
type RebuildResult struct {
	// NeedsStart: the copy is complete, and the server process ended and does not
	// come back by itself. Start it, then have it follow.
	NeedsStart bool
	// Errant are the transactions that only this server had, and Tail is the file
	// that holds them; both empty if there were none.
	Errant gtid.Set
	Tail   string
}

// Rebuild replaces this server's data by those of donor with MySQL's CLONE
// plugin, which restarts the server. What only this server had is saved first.
// The server must be read-only, and afterwards it still is; it follows nobody
// until [Server.Follow].
//
// The account of Config.Replication needs BACKUP_ADMIN at the donor, ours needs
// CLONE_ADMIN here. On MariaDB the error wraps [ErrCloneUnsupported] and says
// what to do.
func (s *Server) Rebuild(ctx context.Context, donor Source, progress func(CloneProgress)) (RebuildResult, error) {
	return s.rebuild(ctx, donor, func(RebuildResult) error { return nil }, progress)
}

// RebuildUntold is Rebuild where nobody decided to give up what only this server
// has: untold are transactions of which no client was told. It is refused with
// [ErrErrant] if there are others, and if those are not saved in a file that can be
// replayed.
func (s *Server) RebuildUntold(ctx context.Context, donor Source, untold gtid.Set, progress func(CloneProgress)) (RebuildResult, error) {
	return s.rebuild(ctx, donor, func(r RebuildResult) error {
		if others := r.Errant.Subtract(untold); !others.IsEmpty() {
			return ErrErrant{others}
		}
		if r.Tail == "" {
			return nil
		}
		ok, err := replayable(r.Tail)
		if err == nil && !ok {
			err = fmt.Errorf("%s %w", r.Tail, ErrNotReplayable)
		}
		return err
	}, progress)
}

// rebuild asks allow once everything is saved and before anything changes.
func (s *Server) rebuild(ctx context.Context, donor Source, allow func(RebuildResult) error, progress func(CloneProgress)) (RebuildResult, error) {
	if promised := s.Promised(); donor.Term < promised {
		return RebuildResult{}, fmt.Errorf("rebuild from %s: %w", donor.Node, ErrPromised{promised, donor.Term})
	}
	ctx, c, end, err := s.start(ctx, "rebuild from "+donor.Node, rankPrepare)
	if err != nil {
		return RebuildResult{}, err
	}
	defer end()
	result, err := c.rebuild(ctx, donor, allow, progress)
	if err != nil {
		return result, fmt.Errorf("rebuild from %s: %w", donor.Node, err)
	}
	return result, nil
}

func (c *session) rebuild(ctx context.Context, donor Source, allow func(RebuildResult) error, progress func(CloneProgress)) (RebuildResult, error) {
	if _, ok := c.version.SQL(mysqlcheck.StmtClone); !ok {
		return RebuildResult{}, fmt.Errorf("%w (%s): stop it, restore a mariadb-backup of %s into its data directory, start it read-only; it then rejoins by itself",
			ErrCloneUnsupported, c.version, donor.Node)
	}
	st, err := c.state(ctx)
	if err != nil {
		return RebuildResult{}, err
	}
	if !st.readOnly {
		return RebuildResult{}, ErrWritable
	}
	if err := c.server.awaitStop(ctx); err != nil {
		return RebuildResult{}, err
	}
	p, ch, err := c.position(ctx)
	if err != nil {
		return RebuildResult{}, err
	}
	result := RebuildResult{Errant: foreign(p.Executed, donor)}
	if !result.Errant.IsEmpty() {
		if result.Tail, err = c.saveTail(ctx, result.Errant, donor); err != nil {
			return result, fmt.Errorf("save errant transactions: %w", err)
		}
	}
	if err := allow(result); err != nil {
		return result, err
	}
	if ch != nil {
		if err := c.exec(ctx, mysqlcheck.StmtStopReplica); err != nil {
			return result, err
		}
	}
	result.NeedsStart, err = c.clone(ctx, donor, progress)
	return result, err
}

// clone copies the donor's data and waits until the server is back.
func (c *session) clone(ctx context.Context, donor Source, progress func(CloneProgress)) (needsStart bool, err error) {
	// Administrators may write from here on: into what is about to be replaced.
	if err := c.exec(ctx, mysqlcheck.StmtReadOnlyMost); err != nil {
		return false, err
	}
	defer func() {
		if !needsStart {
			// Whatever happened; a server that is back has options of its own.
			ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*c.server.cfg.FenceTimeout)
			defer cancel()
			_, demoteErr := c.server.demote(ctx, DemoteInput{Reason: "rebuilt", KillClients: true})
			err = errors.Join(err, demoteErr)
		}
	}()
	if err := c.prepareClone(ctx, donor); err != nil {
		return false, err
	}
	begun, _, err := c.cloneStatus(ctx)
	if err != nil {
		return false, err
	}
	copying, err := c.server.connect(ctx)
	if err != nil {
		return false, err
	}
	done := make(chan error, 1)
	account := c.server.cfg.Replication
	go func() {
		password := ""
		if account.Password != nil {
			password = account.Password()
		}
		err := copying.exec(ctx, mysqlcheck.StmtClone, account.User, donor.Host, donor.Port, password)
		copying.discard()
		done <- redact(err, password)
	}()
	for {
		select {
		case err := <-done:
			switch number := errorNumber(err); {
			case number == erRestartFailed:
				return true, nil
			case number != 0 || ctx.Err() != nil:
				return false, err
			}
			// It succeeded or the connection is lost, which its restart explains
			// as well as our own read timeout.
			return c.server.awaitClone(ctx, begun, progress)
		case <-time.After(clonePoll):
			c.reportClone(ctx, progress)
		}
	}
}

// prepareClone makes the plugin and the donor known.
func (c *session) prepareClone(ctx context.Context, donor Source) error {
	var status string
	err := c.queryRow(ctx, mysqlcheck.StmtClonePlugin, nil, &status)
	if errors.Is(err, sql.ErrNoRows) {
		err = c.exec(ctx, mysqlcheck.StmtCloneInstall)
		status = pluginActive
	}
	if err != nil {
		return err
	}
	if status != pluginActive {
		return fmt.Errorf("clone plugin is %s", status)
	}
	return c.exec(ctx, mysqlcheck.StmtCloneDonors, Endpoint{Host: donor.Host, Port: donor.Port}.address())
}

// awaitClone waits until the server says how the copy begun after the instant
// before ended.
func (s *Server) awaitClone(ctx context.Context, before string, progress func(CloneProgress)) (needsStart bool, err error) {
	answered := mysqlcheck.Boottime()
	for {
		c, err := s.connect(ctx)
		if err == nil {
			answered = mysqlcheck.Boottime()
			s.forgetOrphans() // the copy, which nobody has given up
			var begun string
			var state cloneState
			begun, state, err = c.cloneStatus(ctx)
			c.reportClone(ctx, progress)
			c.close()
			if err == nil && begun != before {
				switch {
				case state.name == "Completed":
					return false, nil
				case state.number != 0:
					return false, fmt.Errorf("clone ended with error %d: %s", state.number, state.text)
				}
			}
		}
		if mysqlcheck.Boottime()-answered > cloneRestart {
			return true, nil
		}
		if err := sleep(ctx, clonePoll); err != nil {
			return false, err
		}
	}
}

// cloneState is how a copy ended, or goes.
type cloneState struct {
	name   string
	number int
	text   string
}

// cloneStatus returns when the last copy began, empty if there was none, and
// how it ended.
func (c *session) cloneStatus(ctx context.Context) (begun string, state cloneState, err error) {
	var at, text sql.NullString
	err = c.queryRow(ctx, mysqlcheck.StmtCloneStatus, nil, &at, &state.name, &state.number, &text)
	if errors.Is(err, sql.ErrNoRows) || errorNumber(err) == erNoSuchTable {
		err = nil
	}
	state.text = text.String
	return at.String, state, err
}

// reportClone tells how far it has come, if that can be read.
func (c *session) reportClone(ctx context.Context, progress func(CloneProgress)) {
	if progress == nil {
		return
	}
	var p CloneProgress
	if c.queryRow(ctx, mysqlcheck.StmtCloneProgress, nil, &p.Stage, &p.State, &p.Estimate, &p.Bytes) == nil {
		progress(p)
	}
}
