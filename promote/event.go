// SPDX-License-Identifier: Apache-2.0

package promote

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"highwater/mysqlcheck"
)

// eventLimit bounds what a demotion spends on events before it makes the server
// read-only: those that it does not reach fail to write all the same.
const eventLimit = 250 * time.Millisecond

// event is an entry of the event scheduler.
type event struct{ schema, name, definer string }

// String is schema.name, by which events are known outside.
func (e event) String() string { return e.schema + "." + e.name }

// IdleEvents returns the events that do not run on this server, as schema.name,
// never nil. A primary's are worth knowing at its successor: on a replica an event
// that was disabled for good looks like one that is only waiting for the promotion.
// An event that the list does not name yet, because it is new, runs.
func (s *Server) IdleEvents(ctx context.Context) ([]string, error) {
	c, err := s.connect(ctx)
	if err != nil {
		return nil, fmt.Errorf("list events: %w", err)
	}
	defer c.close()
	events, err := c.events(ctx, mysqlcheck.StmtEventsIdle)
	if err != nil {
		return nil, fmt.Errorf("list events: %w", err)
	}
	return eventNames(events), nil
}

// eventNames is never nil.
func eventNames(events []event) []string {
	names := make([]string, len(events))
	for i, e := range events {
		names[i] = e.String()
	}
	return names
}

// events lists those that which returns.
func (c *session) events(ctx context.Context, which mysqlcheck.Statement) ([]event, error) {
	var events []event
	err := c.query(ctx, which, nil, func(rows *sql.Rows) error {
		var e event
		if err := rows.Scan(&e.schema, &e.name, &e.definer); err != nil {
			return err
		}
		events = append(events, e)
		return nil
	})
	return events, err
}

// alterEvent enables or disables e. It stays its definer's.
func (c *session) alterEvent(ctx context.Context, statement mysqlcheck.Statement, e event) error {
	text, err := c.text(statement)
	if err != nil {
		return err
	}
	query := strings.NewReplacer(
		"{definer}", quoteAccount(e.definer),
		"{event}", quoteName(e.schema)+"."+quoteName(e.name),
	).Replace(text)
	return c.execText(ctx, string(statement)+" "+e.String(), query)
}

// enableEvents enables the events that did not run because the server was a
// replica, except those that did not run on the old primary either.
//
// The change is binlogged. Replicas turn it into "disabled on the replica", so
// that an old primary that crashed, whose events nobody disabled, is mended as
// it catches up. It may therefore wait for an acknowledgement, which is why it
// is not part of the promotion.
func (c *session) enableEvents(ctx context.Context, idle []string) ([]string, error) {
	events, err := c.events(ctx, mysqlcheck.StmtEventsDisabled)
	if err != nil {
		return nil, err
	}
	var enabled []string
	var failed error
	for _, e := range events {
		if slices.Contains(idle, e.String()) {
			continue
		}
		switch err := c.alterEvent(ctx, mysqlcheck.StmtEventEnable, e); {
		case err == nil:
			enabled = append(enabled, e.String())
		case errorNumber(err) != 0: // it may be this one event's fault
			failed = errors.Join(failed, err)
		default:
			return enabled, errors.Join(failed, err)
		}
	}
	return enabled, failed
}

// disableEvents disables the events that run here, as a replica would have
// them, and returns them, not nil, also where it fails at one. That is not
// binlogged: it would be a transaction that the next primary lacks. It comes before
// the server is read-only, since under super_read_only nobody may alter an event.
func (s *Server) disableEvents(ctx context.Context) (running []string, err error) {
	ctx, cancel := context.WithTimeout(ctx, eventLimit)
	defer cancel()
	c, err := s.connect(ctx)
	if err != nil {
		return nil, err
	}
	events, err := c.events(ctx, mysqlcheck.StmtEventsEnabled)
	if err != nil {
		c.close()
		return nil, err
	}
	running = eventNames(events)
	if len(events) == 0 {
		c.close()
		return running, nil
	}
	defer c.discard()
	if err := c.exec(ctx, mysqlcheck.StmtNoBinlog); err != nil {
		return running, err
	}
	if err := c.exec(ctx, mysqlcheck.StmtLockWait, 1); err != nil {
		return running, err
	}
	var failed error
	for _, e := range events {
		err := c.alterEvent(ctx, mysqlcheck.StmtEventDisable, e)
		failed = errors.Join(failed, err)
		if err != nil && errorNumber(err) == 0 {
			break
		}
	}
	return running, failed
}

// quoteName quotes an identifier.
func quoteName(name string) string { return "`" + strings.ReplaceAll(name, "`", "``") + "`" }

// quoteAccount quotes user@host, in which the host has no @.
func quoteAccount(account string) string {
	at := strings.LastIndexByte(account, '@')
	if at < 0 {
		return quoteName(account) // a role
	}
	return quoteName(account[:at]) + "@" + quoteName(account[at+1:])
}
