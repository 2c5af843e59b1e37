// SPDX-License-Identifier: Apache-2.0

package promote

import (
	"context"
	"database/sql"
	"fmt"
	"strconv"
	"strings"

	"highwater/mysqlcheck"
)

// semiSyncForever is the wait for an acknowledgement, in milliseconds: 31 million
// years. Any shorter one turns into asynchronous replication without a word.
const semiSyncForever = "1000000000000000000"

// SemiSync is how a primary waits for acknowledgements: without a timeout,
// after the sync of its binary log, and also while no replica is there.
type SemiSync struct {
	// Acks is how many are waited for, at least 1. MariaDB waits for one.
	Acks int
}

// semiSyncSettings reads them all; without the plugins the names are empty.
func (c *session) semiSyncSettings(ctx context.Context) (mysqlcheck.SemiSyncNames, map[string]string, error) {
	values := make(map[string]string)
	err := c.query(ctx, mysqlcheck.StmtSemiSync, nil, func(rows *sql.Rows) error {
		var name, value string
		if err := rows.Scan(&name, &value); err != nil {
			return err
		}
		values[name] = value
		return nil
	})
	return mysqlcheck.FindSemiSync(values), values, err
}

// setting is a global variable and the value it should have.
type setting struct{ name, value string }

// set sets in one statement, in their order, those that exist and differ.
func (c *session) set(ctx context.Context, values map[string]string, settings ...setting) error {
	var assignments []string
	var args []any
	for _, s := range settings {
		if s.name == "" || values[s.name] == s.value {
			continue
		}
		assignments = append(assignments, "GLOBAL "+s.name+" = ?")
		if n, err := strconv.ParseUint(s.value, 10, 64); err == nil {
			args = append(args, n)
		} else {
			args = append(args, s.value)
		}
	}
	if len(assignments) == 0 {
		return nil
	}
	return c.execText(ctx, "semi_sync", "SET "+strings.Join(assignments, ", "), args...)
}

// semiSyncSourceOn makes every later commit wait for acknowledgements.
func (c *session) semiSyncSourceOn(ctx context.Context, want SemiSync) (detail string, err error) {
	names, values, err := c.semiSyncSettings(ctx)
	if err != nil {
		return "", err
	}
	if names.SourceEnabled == "" {
		return "no semi-sync plugin is loaded here: commits do not wait for acknowledgements", nil
	}
	acks := max(want.Acks, 1)
	if names.Acks == "" {
		acks = 1
	}
	err = c.set(ctx, values,
		setting{names.Acks, strconv.Itoa(acks)},
		setting{names.Timeout, semiSyncForever},
		setting{names.WaitPoint, "AFTER_SYNC"},
		setting{names.WaitNoReplica, "ON"},
		setting{names.ReplicaEnabled, "OFF"},
		setting{names.SourceEnabled, "ON"},
	)
	return fmt.Sprintf("%d acknowledgements", acks), err
}

// semiSyncSourceOff lets the applier of a read-only server commit without
// acknowledgements. Commits of clients that wait for one are not let through:
// [ErrWaitingCommits].
func (c *session) semiSyncSourceOff(ctx context.Context, st state) error {
	names, values, err := c.semiSyncSettings(ctx)
	if err != nil || values[names.SourceEnabled] != "ON" {
		return err
	}
	if !st.readOnly {
		return ErrWritable
	}
	waiting, err := mysqlcheck.Waiting(ctx, c.conn, c.version)
	if err != nil {
		return err
	}
	if len(waiting) > 0 {
		return fmt.Errorf("%d %w", len(waiting), ErrWaitingCommits)
	}
	return c.set(ctx, values, setting{names.SourceEnabled, "OFF"})
}
