// SPDX-License-Identifier: Apache-2.0

package mysqlcheck

import (
	"context"
	"database/sql"
	"fmt"
	"slices"
	"strings"
)

// ServerThread is a thread of a server that has a connection id: a client's
// session, a replica's dump thread, or one of the server's own.
type ServerThread struct {
	ID      uint64
	User    string // "" before the login
	Host    string // on MariaDB with the port
	Command string
	State   string // what it does or waits for, in the server's words
}

// WaitsForAck reports whether the thread waits for a semi-sync acknowledgement.
// MySQL says "Waiting for semi-sync ACK from replica." (since 8.0.26; "from
// slave." before), MariaDB "Waiting for semi-sync ACK from slave".
func (t ServerThread) WaitsForAck() bool {
	return strings.HasPrefix(t.State, "Waiting for semi-sync ACK")
}

// IsDump reports whether the thread sends the binary log to somebody.
func (t ServerThread) IsDump() bool { return strings.HasPrefix(t.Command, "Binlog Dump") }

// isClient reports whether the thread is a session of somebody, or an event
// that runs: appliers and dump threads have other names or commands.
func (t ServerThread) isClient() bool {
	switch t.Command {
	case "Daemon", "Slave_IO", "Slave_SQL", "Slave_worker":
		return false
	}
	return t.User != "system user" && t.User != "event_scheduler" && !t.IsDump()
}

// unauthenticated is MariaDB's name for a user who has not logged in yet.
const unauthenticated = "unauthenticated user"

// Threads lists the sessions of clients and replicas, those under login too.
func Threads(ctx context.Context, q Queryer, v Version) ([]ServerThread, error) {
	return threads(ctx, q, v, StmtThreads, func(t ServerThread) bool { return t.isClient() || t.IsDump() })
}

// Sessions lists the sessions that are not of our user, not replication and not
// the server's own.
func Sessions(ctx context.Context, q Queryer, v Version) ([]ServerThread, error) {
	var self string
	if text, ok := v.SQL(StmtOwnUser); ok {
		if err := q.QueryRowContext(ctx, text).Scan(&self); err != nil {
			return nil, fmt.Errorf("%s: %w", StmtOwnUser, err)
		}
	}
	return threads(ctx, q, v, StmtSessions, func(t ServerThread) bool { return t.isClient() && t.User != self })
}

// Session looks at the thread of one connection; ok is false when it is gone.
func Session(ctx context.Context, q Queryer, v Version, id uint64) (t ServerThread, ok bool, err error) {
	list, err := threads(ctx, q, v, StmtSession, func(t ServerThread) bool { return t.ID == id }, id)
	if err != nil || len(list) == 0 {
		return ServerThread{}, false, err
	}
	return list[0], true, nil
}

// Waiting lists the sessions, ours too, whose commit waits for a semi-sync
// acknowledgement. The applier's are not among them.
func Waiting(ctx context.Context, q Queryer, v Version) ([]ServerThread, error) {
	return threads(ctx, q, v, StmtWaiting, func(t ServerThread) bool { return t.isClient() && t.WaitsForAck() })
}

// Dumps lists the threads that send the binary log to somebody.
func Dumps(ctx context.Context, q Queryer, v Version) ([]ServerThread, error) {
	return threads(ctx, q, v, StmtReplicas, ServerThread.IsDump)
}

// commitThread is Session for a thread that may wait for a row lock, for which
// neither flavour has a state.
func commitThread(ctx context.Context, q Queryer, v Version, id uint64) (t ServerThread, ok bool, err error) {
	list, err := threads(ctx, q, v, StmtThread, func(t ServerThread) bool { return t.ID == id }, id)
	if err != nil || len(list) == 0 {
		return ServerThread{}, false, err
	}
	if text, ok := v.SQL(StmtRowLock); ok {
		var waits int
		if err := q.QueryRowContext(ctx, text, id).Scan(&waits); err != nil {
			return ServerThread{}, false, fmt.Errorf("%s: %w", StmtRowLock, err)
		}
		if waits > 0 {
			list[0].State = "Waiting for row lock"
		}
	}
	return list[0], true, nil
}

// threads runs a statement that lists threads. MySQL's returns those that are
// meant. MariaDB's is SHOW PROCESSLIST, whatever is meant: its table
// information_schema.PROCESSLIST holds a BLOB and so goes through a temporary
// Aria table, for which a server with a small aria_pagecache_buffer_size has
// been seen to crash.
func threads(ctx context.Context, q Queryer, v Version, s Statement, wanted func(ServerThread) bool, args ...any) ([]ServerThread, error) {
	text, ok := v.SQL(s)
	if !ok {
		return nil, fmt.Errorf("%w: no statement %q", ErrUnsupported, s)
	}
	if v.Flavor == MariaDB {
		args = nil
	}
	rows, err := q.QueryContext(ctx, text, args...)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", s, err)
	}
	defer rows.Close()
	list, err := scanThreads(rows)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", s, err)
	}
	if v.Flavor == MariaDB {
		list = slices.DeleteFunc(list, func(t ServerThread) bool { return !wanted(t) })
	}
	return list, nil
}

// scanThreads reads rows by the names of their columns, of which SHOW
// PROCESSLIST has more and in an order of its own.
func scanThreads(rows *sql.Rows) ([]ServerThread, error) {
	columns, err := rows.Columns()
	if err != nil {
		return nil, err
	}
	var list []ServerThread
	for rows.Next() {
		var t ServerThread
		var user, host, command, state sql.NullString
		targets := make([]any, len(columns))
		for i, column := range columns {
			switch column {
			case "Id":
				targets[i] = &t.ID
			case "User":
				targets[i] = &user
			case "Host":
				targets[i] = &host
			case "Command":
				targets[i] = &command
			case "State":
				targets[i] = &state
			default:
				targets[i] = new(sql.RawBytes)
			}
		}
		if err := rows.Scan(targets...); err != nil {
			return nil, err
		}
		t.User, t.Host, t.Command, t.State = user.String, host.String, command.String, state.String
		if t.User == unauthenticated {
			t.User = ""
		}
		list = append(list, t)
	}
	return list, rows.Err()
}

// Stalled reports whether the session id waits for a semi-sync acknowledgement,
// or has not ended while another session's commit does: commits become visible
// in order, so those behind it wait in other states.
func Stalled(ctx context.Context, q Queryer, v Version, id uint64) (bool, error) {
	t, ok, err := Session(ctx, q, v, id)
	if err != nil || !ok || t.WaitsForAck() {
		return ok && t.WaitsForAck(), err
	}
	if t.Command == "Sleep" {
		return false, nil
	}
	waiting, err := Waiting(ctx, q, v)
	return len(waiting) > 0, err
}
