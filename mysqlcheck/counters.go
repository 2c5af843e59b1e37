// SPDX-License-Identifier: Apache-2.0

package mysqlcheck

import (
	"context"
	"database/sql"
	"fmt"
	"strconv"
)

// readCounters reads Counters when they are due.
func (p *Probe) readCounters(ctx context.Context, onMain bool, s *Sample) {
	now := p.cfg.Now()
	if !onMain || ctx.Err() != nil || p.countersAt != 0 && now-p.countersAt < p.cfg.CountersInterval {
		return
	}
	var c Counters
	if err := p.main.do(ctx, c.read); err != nil {
		s.SettingsFailure = Classify(err)
		return
	}
	p.counters, p.countersAt = c, now
}

func (c *Counters) read(ctx context.Context, s *session) error {
	status, err := pairs(ctx, s, StmtCounters)
	if err != nil {
		return fmt.Errorf("read status counters: %w", err)
	}
	number := func(name string) int {
		n, err := strconv.Atoi(status[name])
		if err != nil {
			return 0 // no such plugin
		}
		return n
	}
	c.SemiSyncSource = on(status["Rpl_semi_sync_source_status"]) || on(status["Rpl_semi_sync_master_status"])
	c.SemiSyncReplica = on(status["Rpl_semi_sync_replica_status"]) || on(status["Rpl_semi_sync_slave_status"])
	c.SemiSyncClients = number("Rpl_semi_sync_source_clients") + number("Rpl_semi_sync_master_clients")
	c.SemiSyncWaiting = number("Rpl_semi_sync_source_wait_sessions") + number("Rpl_semi_sync_master_wait_sessions")

	replicas, err := Dumps(ctx, s, s.version)
	if err != nil {
		return fmt.Errorf("list the replicas: %w", err)
	}
	for _, t := range replicas {
		c.Replicas = append(c.Replicas, ReplicaConnection{Host: t.Host, User: t.User, State: t.State})
	}
	return c.readPrepared(ctx, s)
}

// readPrepared counts prepared XA transactions. MySQL wants XA_RECOVER_ADMIN
// for that; to lack it is no reason not to look at the rest.
func (c *Counters) readPrepared(ctx context.Context, s *session) error {
	text, _ := s.version.SQL(StmtPrepared)
	rows, err := s.QueryContext(ctx, text)
	if err != nil {
		if Classify(err).Class == Answered {
			c.PreparedXAFailed = true
			return nil
		}
		return fmt.Errorf("list prepared transactions: %w", err)
	}
	defer rows.Close()
	for rows.Next() {
		c.PreparedXA++
	}
	return rows.Err()
}

// pairs reads a statement of names and values.
func pairs(ctx context.Context, s *session, statement Statement) (map[string]string, error) {
	text, ok := s.version.SQL(statement)
	if !ok {
		return nil, fmt.Errorf("%w: no statement %q", ErrUnsupported, statement)
	}
	rows, err := s.QueryContext(ctx, text)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	m := make(map[string]string)
	for rows.Next() {
		var name string
		var value sql.NullString
		if err := rows.Scan(&name, &value); err != nil {
			return nil, err
		}
		m[name] = value.String
	}
	return m, rows.Err()
}
