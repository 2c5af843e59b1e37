// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"highwater/configs"
	"highwater/mysqlcheck"
	"highwater/supervisor/web"
	"highwater/test/lab"
)

// comeBack ends the fault and shows what becomes of the old primary, while clients go on
// writing.
func (s *story) comeBack(ctx context.Context) error {
	if s.new == s.old {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, returnLimit)
	defer cancel()
	w, err := s.write(ctx)
	if err != nil {
		return err
	}
	defer w.Stop()
	if s.inside != nil {
		if err := s.accountInside(ctx); err != nil {
			return err
		}
	}
	from := mysqlcheck.Boottime()
	s.begin("return", "%s: %s", s.old, s.f.heal)
	if err := s.f.end(ctx, s.c, s.old); err != nil {
		return fmt.Errorf("%s: %s: %w", s.old, s.f.heal, err)
	}
	back, err := s.awaitReturn(ctx, func(h *web.Host) bool { return h.Held || follows(h, s.new) })
	if err != nil {
		return err
	}
	s.done("%s after %s", s.paint(roleColor(back), back.Role), short(time.Since(s.started)))
	if err := s.showReturn(from); err != nil {
		return err
	}
	if s.restarted {
		s.line("", "its server did not become read-only: highwater killed it, and it was started again, as systemd would")
	}
	if back.Held {
		if err := s.showHeld(ctx, back); err != nil {
			return err
		}
		if err := s.rebuild(ctx); err != nil {
			return err
		}
	}
	if err := pause(ctx, settle); err != nil {
		return err
	}
	s.records = append(s.records, w.Stop())
	return s.compare(ctx)
}

func follows(h *web.Host, source *lab.Host) bool {
	return h.Up && h.Role == "replica" && h.Source == source.Name() && h.Replicating
}

func roleColor(h *web.Host) string {
	if h.Held {
		return sgrYellow
	}
	return sgrGreen
}

// showReturn shows what the old primary did since its fault has ended, as far as it was told.
func (s *story) showReturn(from time.Duration) error {
	marks, err := journalMarks(s.c, from, s.old)
	if err != nil {
		return err
	}
	seen, _ := s.watch.seen(from)
	if marks = append(marks, seen...); len(marks) > 0 {
		show(s.printer, "", marks, from)
	}
	return nil
}

// awaitReturn waits until the new primary sees the old one in a state that will do. A server
// that has ended meanwhile is started again: something like systemd does that in earnest.
func (s *story) awaitReturn(ctx context.Context, enough func(*web.Host) bool) (*web.Host, error) {
	var last web.Status
	for {
		if status, err := s.c.Status(ctx, s.new); err == nil {
			last = status
			if h := status.Host(s.old.Name()); h.Up && enough(h) {
				return h, nil
			}
		}
		if s.old.On() && !s.old.Server.Alive() {
			if err := s.old.Server.Start(ctx); err != nil {
				return nil, err
			}
			s.restarted = true
		}
		if err := pause(ctx, 20*time.Millisecond); err != nil {
			return nil, fmt.Errorf("wait for the return of %s: %w (last seen: %s)", s.old, err, last.Summary)
		}
	}
}

// heldRows is how many rows of a held server are named.
const heldRows = 5

// showHeld names what keeps the old primary from following the new one.
func (s *story) showHeld(ctx context.Context, h *web.Host) error {
	s.line("", "it has %s that %s has not: %s", count(int(h.ErrantCount), "transaction", "transactions"), s.new, h.Errant)
	rows, err := s.onlyThere(ctx)
	if err != nil {
		return err
	}
	acked := map[lab.Row]bool{}
	for _, r := range s.records {
		for _, a := range r.Acks {
			acked[a.Row] = true
		}
	}
	told := 0
	for _, row := range rows {
		if acked[row] {
			told++
		}
	}
	for i, row := range rows[:min(len(rows), heldRows)] {
		text := fmt.Sprintf("row %d of client %d", row.Seq, row.Client)
		if i == heldRows-1 && len(rows) > heldRows {
			text += fmt.Sprintf(" ... %d rows in all", len(rows))
		}
		s.line("", "  %s", text)
	}
	if told == 0 {
		s.line("", "no client was told that any of them is committed")
	} else {
		s.line("", "%s", s.paint(sgrRed, fmt.Sprintf("of %d rows a client was told that they are committed", told)))
	}
	saved, err := filepath.Glob(filepath.Join(s.c.StateDir(s.old), "errant-*.sql"))
	if err != nil {
		return err
	}
	for _, path := range saved {
		s.line("", "saved, to read and to replay, in state_dir/%s", filepath.Base(path))
	}
	return nil
}

// onlyThere are the rows that the old primary has and the new one has not.
func (s *story) onlyThere(ctx context.Context) ([]lab.Row, error) {
	there, err := rowsOf(ctx, s.new.Server)
	if err != nil {
		return nil, err
	}
	has := map[lab.Row]bool{}
	for _, r := range there {
		has[r] = true
	}
	here, err := rowsOf(ctx, s.old.Server)
	if err != nil {
		return nil, err
	}
	var only []lab.Row
	for _, r := range here {
		if !has[r] {
			only = append(only, r)
		}
	}
	return only, nil
}

func rowsOf(ctx context.Context, server *lab.Server) ([]lab.Row, error) {
	result, err := server.DB().QueryContext(ctx, "SELECT client, seq FROM "+lab.Database+".writes ORDER BY client, seq")
	if err != nil {
		return nil, fmt.Errorf("read the rows: %w", err)
	}
	defer result.Close() //nolint:errcheck // only read; Err tells
	var rows []lab.Row
	for result.Next() {
		var r lab.Row
		if err := result.Scan(&r.Client, &r.Seq); err != nil {
			return nil, fmt.Errorf("read the rows: %w", err)
		}
		rows = append(rows, r)
	}
	return rows, result.Err()
}

// rebuild replaces the data of the held server by a copy of the primary's.
func (s *story) rebuild(ctx context.Context) error {
	s.begin("", "`highwater rejoin --rebuild` on %s", s.old)
	text, err := s.c.Command(ctx, s.old, "rejoin", "--rebuild")
	if s.o.flavor.IsMariaDB() && err != nil {
		s.done("refused, it stays held")
		s.line("", "%s", strings.TrimSpace(text)) // the command's own words; they say what to do
		return nil
	}
	if err != nil && s.o.durability != configs.Lossless {
		return err // says what the command printed
	}
	// With lossless it may be refused because the supervisor rebuilds by itself already.
	if _, waited := s.awaitReturn(ctx, func(h *web.Host) bool { return follows(h, s.new) }); waited != nil {
		return errors.Join(err, waited)
	}
	s.done("%s after %s", s.paint(sgrGreen, "replica"), short(time.Since(s.started)))
	return nil
}

// compare holds the old primary to what the clients were told, once it follows again.
func (s *story) compare(ctx context.Context) error {
	status, err := s.c.Status(ctx, s.new)
	if err != nil || status.Host(s.old.Name()).Held {
		return err
	}
	if err := s.c.WaitReplicas(ctx, s.new, s.old); err != nil {
		return err
	}
	acked, missing := 0, 0
	for _, r := range s.records {
		d, err := r.Verify(ctx, s.old.Server)
		if err != nil {
			return err
		}
		acked, missing = acked+len(r.Acks), missing+len(d.Missing)
	}
	s.line("", "clients wrote on meanwhile; %s has %d of %d acknowledged rows", s.old, acked-missing, acked)
	return nil
}
