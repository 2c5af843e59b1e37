// SPDX-License-Identifier: Apache-2.0

package promote

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"highwater/mysqlcheck"
)

var (
	// ErrNoSemiSync says that a half of semi-sync is not there: its plugin is not
	// loaded.
	ErrNoSemiSync = errors.New("semi-sync is not loaded")
	// ErrAcks says that this server cannot wait for so many acknowledgements.
	ErrAcks = errors.New("server cannot wait for that many acknowledgements")
	// ErrDegraded says that semi-sync is on and commits do not wait: it had fallen
	// back to asynchronous replication.
	ErrDegraded = errors.New("semi-sync is on and not in effect: commits do not wait")
)

// SourceState is how a server waits for acknowledgements, on its own word.
type SourceState struct {
	Loaded  bool // the source half is there; all else is zero without it
	Enabled bool
	// Active says that commits wait: a source that was given a timeout, or lost
	// its replicas without wait-for-no-replica, is enabled and lets them through.
	Active bool
	// Acks is how many are waited for. MariaDB knows only one.
	Acks int
	// Forever is the timeout of [EnableSource], AfterSync its wait point, and
	// WaitNoReplica that commits wait also while no replica is there.
	Forever, AfterSync, WaitNoReplica bool
	// Clients are the connected replicas that acknowledge, and Waiting the
	// sessions that wait.
	Clients, Waiting int
	// Acknowledged counts the transactions that were acknowledged since the server's start.
	Acknowledged uint64
}

// Lossless reports whether no commit ends without k acknowledgements.
func (st SourceState) Lossless(k int) bool {
	return st.Enabled && st.Active && st.Acks >= k && k >= 1 && st.Forever && st.AfterSync && st.WaitNoReplica
}

// SourceState reads how the server waits for acknowledgements.
func (s *Server) SourceState(ctx context.Context) (SourceState, error) {
	c, err := s.connect(ctx)
	if err != nil {
		return SourceState{}, fmt.Errorf("read semi-sync: %w", err)
	}
	defer c.close()
	st, err := c.sourceState(ctx)
	if err != nil {
		return SourceState{}, fmt.Errorf("read semi-sync: %w", err)
	}
	return st, nil
}

func (c *session) sourceState(ctx context.Context) (SourceState, error) {
	names, values, err := c.semiSyncSettings(ctx)
	if err != nil || names.SourceEnabled == "" {
		return SourceState{}, err
	}
	status, err := c.semiSyncStatus(ctx)
	if err != nil {
		return SourceState{}, err
	}
	st := SourceState{
		Loaded:        true,
		Enabled:       values[names.SourceEnabled] == "ON",
		Active:        status["source_status"] == "ON",
		Acks:          1,
		Forever:       values[names.Timeout] == semiSyncForever,
		AfterSync:     values[names.WaitPoint] == "AFTER_SYNC",
		WaitNoReplica: values[names.WaitNoReplica] == "ON",
	}
	if names.Acks != "" {
		if st.Acks, err = strconv.Atoi(values[names.Acks]); err != nil {
			return SourceState{}, fmt.Errorf("%s: %w", names.Acks, err)
		}
	}
	if st.Clients, err = strconv.Atoi(status["source_clients"]); err == nil {
		st.Waiting, err = strconv.Atoi(status["source_wait_sessions"])
	}
	if err == nil {
		st.Acknowledged, err = strconv.ParseUint(status["source_yes_tx"], 10, 64)
	}
	return st, err
}

// semiSyncStatus reads the status variables of semi-sync, by what follows
// Rpl_semi_sync_ in the words of MySQL 9.
func (c *session) semiSyncStatus(ctx context.Context) (map[string]string, error) {
	status := make(map[string]string)
	words := strings.NewReplacer("Rpl_semi_sync_", "", "master", "source", "slave", "replica")
	err := c.query(ctx, mysqlcheck.StmtSemiSyncStatus, nil, func(rows *sql.Rows) error {
		var name, value string
		if err := rows.Scan(&name, &value); err != nil {
			return err
		}
		status[words.Replace(name)] = value
		return nil
	})
	return status, err
}

// EnableSource makes every later commit wait for acks acknowledgements: without
// a timeout, after the sync of the binary log, and also while no replica is
// there. What was set is read back. It belongs before writes open.
//
// What a server does with commits that wait (measured on MySQL 9.7.4 and MariaDB
// 10.11.19):
//
//   - Ended by SIGTERM or SHUTDOWN, MySQL tells their clients OK; MariaDB leaves
//     them without an answer. Both have the transactions when they are back.
//   - A kill of such a session commits on MariaDB, and only leaves the client
//     without an answer on MySQL. That the client closes the connection commits on
//     neither.
//   - Behind one that waits, MySQL writes every later commit into its binary
//     log. MariaDB writes one more group; from then on SHOW BINARY LOGS and SHOW
//     MASTER STATUS hang too, and with them [Server.Position].
//   - A replica that holds them already acknowledges none of them when it comes
//     back, until something new comes.
//
// It returns [ErrNoSemiSync] without the plugin, [ErrAcks] for a number that
// this flavour cannot wait for, and [ErrDegraded] if commits would not wait all
// the same. On a server that refuses writes it mends the latter itself; on one
// that accepts them it could not without switching semi-sync off for a moment,
// and a commit that waits by then would be let through.
func (s *Server) EnableSource(ctx context.Context, acks int) error {
	c, err := s.connect(ctx)
	if err != nil {
		return fmt.Errorf("enable semi-sync: %w", err)
	}
	defer c.close()
	if err := c.enableSource(ctx, acks); err != nil {
		return fmt.Errorf("enable semi-sync: %w", err)
	}
	return nil
}

func (c *session) enableSource(ctx context.Context, acks int) error {
	if err := c.reap(ctx); err != nil {
		return err
	}
	before, err := c.sourceState(ctx)
	if err != nil {
		return err
	}
	if err := c.canWaitFor(before, acks); err != nil {
		return err
	}
	if before.Enabled && !before.Active {
		st, err := c.state(ctx)
		if err != nil {
			return err
		}
		if !st.readOnly {
			return ErrDegraded
		}
		if err := c.semiSyncSourceOff(ctx, st); err != nil {
			return err
		}
	}
	if _, err := c.semiSyncSourceOn(ctx, SemiSync{Acks: acks}); err != nil {
		return err
	}
	after, err := c.sourceState(ctx)
	if err != nil {
		return err
	}
	switch {
	case after.Lossless(acks) && after.Acks == acks:
		return nil
	case after.Enabled && !after.Active:
		return ErrDegraded
	default:
		return fmt.Errorf("server did not take the settings: %+v", after)
	}
}

// canWaitFor returns why a server in state st cannot wait for so many.
func (c *session) canWaitFor(st SourceState, acks int) error {
	switch {
	case !st.Loaded:
		return ErrNoSemiSync
	case acks < 1, acks > 1 && c.version.Flavor == mysqlcheck.MariaDB:
		return fmt.Errorf("%w: %d on %s", ErrAcks, acks, c.version)
	default:
		return nil
	}
}

// SetAcks changes how many acknowledgements commits wait for, on a server whose
// commits wait, and reads it back. It holds at once, for those that wait already
// too: to lower it lets go those that have enough (docs/design.md §5 says what
// must be committed first). The errors are those of [Server.EnableSource].
func (s *Server) SetAcks(ctx context.Context, acks int) error {
	c, err := s.connect(ctx)
	if err != nil {
		return fmt.Errorf("set acknowledgements: %w", err)
	}
	defer c.close()
	if err := c.setAcks(ctx, acks); err != nil {
		return fmt.Errorf("set acknowledgements: %w", err)
	}
	return nil
}

func (c *session) setAcks(ctx context.Context, acks int) error {
	if err := c.reap(ctx); err != nil {
		return err
	}
	st, err := c.sourceState(ctx)
	if err != nil {
		return err
	}
	if err := c.canWaitFor(st, acks); err != nil {
		return err
	}
	if !st.Enabled || !st.Active {
		return ErrDegraded
	}
	names, values, err := c.semiSyncSettings(ctx)
	if err != nil {
		return err
	}
	if err := c.set(ctx, values, setting{names.Acks, strconv.Itoa(acks)}); err != nil {
		return err
	}
	after, err := c.sourceState(ctx)
	if err != nil {
		return err
	}
	if after.Acks != acks || !after.Active {
		return fmt.Errorf("server did not take the settings: %+v", after)
	}
	return nil
}

// Stalled reports whether the commit of the session id waits for a semi-sync
// acknowledgement, its own or that of a commit before it. Such a commit is in
// the binary log, or about to be, and has proved the storage as far as it can be
// proved: it says nothing against the server (docs/design.md §2, door 2).
//
// Commits become visible in order, so behind one that waits for its
// acknowledgement every later one waits in another state: "waiting for handler
// commit" (MySQL 9.7.4), "Commit" (MariaDB 10.11.19). A session that is gone is not
// stalled.
func (s *Server) Stalled(ctx context.Context, id uint64) (bool, error) {
	c, err := s.connect(ctx)
	if err != nil {
		return false, fmt.Errorf("look at connection %d: %w", id, err)
	}
	defer c.close()
	stalled, err := mysqlcheck.Stalled(ctx, c.conn, c.version, id)
	if err != nil {
		return false, fmt.Errorf("look at connection %d: %w", id, err)
	}
	return stalled, nil
}
