// SPDX-License-Identifier: Apache-2.0

package mysqlcheck

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
)

// readSettings reads Settings when they are due, which includes the first
// sample of every server process.
func (p *Probe) readSettings(ctx context.Context, onMain bool, s *Sample) {
	now := p.cfg.Now()
	if !onMain || ctx.Err() != nil || p.settingsAt != 0 && now-p.settingsAt < p.cfg.SettingsInterval {
		return
	}
	var read settingsReading
	if err := p.main.do(ctx, read.read); err != nil {
		s.SettingsFailure = Classify(err)
		return
	}
	p.settings, p.settingsAt = read.settings, now
	if s.Version.Flavor == MariaDB {
		set, err := p.purged.set(s.Version, read.logStart)
		if err != nil {
			s.SettingsFailure = Failure{Class: Answered, Reason: ReasonProbeFailed, Text: "parse the position of the oldest log: " + err.Error()}
			return
		}
		p.logStart, s.Purged = set, set
	}
}

// settingsReading is what one reading of the settings returns.
type settingsReading struct {
	settings Settings
	logStart string // MariaDB
}

func (r *settingsReading) read(ctx context.Context, s *session) error {
	variables, err := pairs(ctx, s, StmtSettings)
	if err != nil {
		return fmt.Errorf("read settings: %w", err)
	}
	origins, err := readOrigins(ctx, s)
	if err != nil {
		return err
	}
	filters, err := readFilters(ctx, s)
	if err != nil {
		return err
	}
	r.settings = parseSettings(s.version, variables, origins, filters)
	if s.version.Flavor == MariaDB && r.settings.LogBin {
		return r.readLogStart(ctx, s)
	}
	return nil
}

func readOrigins(ctx context.Context, s *session) (map[string]origin, error) {
	text, _ := s.version.SQL(StmtOrigins)
	rows, err := s.QueryContext(ctx, text)
	if err != nil {
		return nil, fmt.Errorf("read the origins of settings: %w", err)
	}
	defer rows.Close()
	origins := make(map[string]origin)
	for rows.Next() {
		var name string
		var o origin
		if err := rows.Scan(&name, &o.source, &o.persisted); err != nil {
			return nil, fmt.Errorf("read the origins of settings: %w", err)
		}
		origins[name] = o
	}
	return origins, rows.Err()
}

func readFilters(ctx context.Context, s *session) ([]string, error) {
	text, ok := s.version.SQL(StmtFilters)
	if !ok {
		return nil, nil // part of StmtReplication
	}
	rows, err := s.QueryContext(ctx, text)
	if err != nil {
		return nil, fmt.Errorf("read replication filters: %w", err)
	}
	defer rows.Close()
	var filters []string
	for rows.Next() {
		var name, rule string
		if err := rows.Scan(&name, &rule); err != nil {
			return nil, fmt.Errorf("read replication filters: %w", err)
		}
		filters = append(filters, name+"="+rule)
	}
	return filters, rows.Err()
}

// readLogStart finds the position at which MariaDB's oldest binary log begins:
// what precedes it is purged.
func (r *settingsReading) readLogStart(ctx context.Context, s *session) error {
	text, _ := s.version.SQL(StmtBinaryLogs)
	rows, err := s.QueryContext(ctx, text)
	if err != nil {
		return fmt.Errorf("list binary logs: %w", err)
	}
	names, err := rows.Columns()
	if err != nil || !rows.Next() {
		return errors.Join(err, rows.Err(), rows.Close())
	}
	var oldest string
	targets := make([]any, len(names))
	for i := range targets {
		targets[i] = new(sql.RawBytes)
	}
	targets[0] = &oldest
	if err := errors.Join(rows.Scan(targets...), rows.Close()); err != nil {
		return fmt.Errorf("list binary logs: %w", err)
	}
	text, _ = s.version.SQL(StmtBinaryLogStart)
	var position sql.NullString
	if err := s.QueryRowContext(ctx, text, oldest).Scan(&position); err != nil {
		return fmt.Errorf("read the position of %s: %w", oldest, err)
	}
	r.logStart = position.String
	return nil
}
