// SPDX-License-Identifier: Apache-2.0

package promote

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/go-sql-driver/mysql"

	"highwater/mysqlcheck"
)

// Error numbers of the servers.
const (
	erAccessDenied = 1045 // ER_ACCESS_DENIED_ERROR
	erNoSuchThread = 1094 // ER_NO_SUCH_THREAD
	erNotReplica   = 1200 // ER_BAD_SLAVE, ER_BAD_REPLICA: no source was ever set
	erNotOwner     = 1095 // ER_KILL_DENIED_ERROR
	erNoSuchTable  = 1146 // ER_NO_SUCH_TABLE
	// ER_ACCOUNT_HAS_BEEN_LOCKED
	erLocked, erLockedMariaDB = 3118, 4151
	// CR_MIN_ERROR and CR_MAX_ERROR: what a receiver reports that gets no
	// connection, or lost it.
	crMin, crMax = 2000, 2999
)

// session is one connection to the local server.
type session struct {
	server  *Server
	conn    *sql.Conn
	id      uint64 // CONNECTION_ID()
	version mysqlcheck.Version
}

// connect takes a connection out of the pool, past those that died in it.
func (s *Server) connect(ctx context.Context) (*session, error) {
	for {
		conn, err := s.cfg.DB.Conn(ctx)
		if err != nil {
			return nil, fmt.Errorf("connect to server: %w", err)
		}
		c := &session{server: s, conn: conn}
		var version, comment string
		err = conn.QueryRowContext(ctx, "SELECT CONNECTION_ID(), @@version, @@version_comment").Scan(&c.id, &version, &comment)
		if err == nil {
			c.version, err = mysqlcheck.ParseVersion(version, comment)
		}
		if err == nil {
			err = c.version.Supported()
		}
		if err == nil {
			return c, nil
		}
		_ = conn.Close()
		if !errors.Is(err, driver.ErrBadConn) {
			return nil, fmt.Errorf("connect to server: %w", err)
		}
	}
}

// close gives the connection back to the pool.
func (c *session) close() { _ = c.conn.Close() }

// discard closes the connection: its session has settings of its own.
func (c *session) discard() {
	_ = c.conn.Raw(func(any) error { return driver.ErrBadConn })
	_ = c.conn.Close()
}

// text returns the SQL of s.
func (c *session) text(s mysqlcheck.Statement) (string, error) {
	query, ok := c.version.SQL(s)
	if !ok {
		return "", fmt.Errorf("%s: %s has no such statement", s, c.version)
	}
	return query, nil
}

// exec runs s.
func (c *session) exec(ctx context.Context, s mysqlcheck.Statement, args ...any) error {
	query, err := c.text(s)
	if err != nil {
		return err
	}
	return c.execText(ctx, string(s), query, args...)
}

// execText runs query, which errors call name. A statement that ctx ended may
// still run on the server: its connection is remembered, and killed before the
// next operation does anything.
func (c *session) execText(ctx context.Context, name, query string, args ...any) error {
	_, err := c.conn.ExecContext(ctx, query, args...)
	if err == nil {
		return nil
	}
	var answer *mysql.MySQLError
	if !errors.As(err, &answer) {
		c.server.mu.Lock()
		c.server.orphans[c.id] = true
		c.server.mu.Unlock()
		if ctx.Err() != nil {
			err = context.Cause(ctx)
		}
	}
	return fmt.Errorf("%s: %w", name, err)
}

// queryRow scans the first row of s; without one the error is sql.ErrNoRows.
func (c *session) queryRow(ctx context.Context, s mysqlcheck.Statement, args []any, dest ...any) error {
	query, err := c.text(s)
	if err != nil {
		return err
	}
	if err := c.conn.QueryRowContext(ctx, query, args...).Scan(dest...); err != nil {
		return fmt.Errorf("%s: %w", s, err)
	}
	return nil
}

// query calls scan for each row of s.
func (c *session) query(ctx context.Context, s mysqlcheck.Statement, args []any, scan func(*sql.Rows) error) error {
	query, err := c.text(s)
	if err != nil {
		return err
	}
	return c.queryText(ctx, string(s), query, args, scan)
}

// queryText calls scan for each row of query, which errors call name.
func (c *session) queryText(ctx context.Context, name, query string, args []any, scan func(*sql.Rows) error) error {
	rows, err := c.conn.QueryContext(ctx, query, args...)
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	for rows.Next() {
		if err = scan(rows); err != nil {
			break
		}
	}
	if err = errors.Join(err, rows.Err(), rows.Close()); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return nil
}

// table returns the rows of s by column name.
func (c *session) table(ctx context.Context, s mysqlcheck.Statement) ([]map[string]string, error) {
	var table []map[string]string
	err := c.query(ctx, s, nil, func(rows *sql.Rows) error {
		columns, err := rows.Columns()
		if err != nil {
			return err
		}
		values := make([]sql.NullString, len(columns))
		dest := make([]any, len(columns))
		for i := range values {
			dest[i] = &values[i]
		}
		if err := rows.Scan(dest...); err != nil {
			return err
		}
		row := make(map[string]string, len(columns))
		for i, column := range columns {
			row[column] = values[i].String
		}
		table = append(table, row)
		return nil
	})
	return table, err
}

// kill ends another session. One that is gone already is no error.
func (c *session) kill(ctx context.Context, id uint64) error {
	err := c.exec(ctx, mysqlcheck.StmtKill, id)
	if errorNumber(err) == erNoSuchThread {
		return nil
	}
	return err
}

// stateOf returns the state of a connection; ok is false when it is gone.
func (c *session) stateOf(ctx context.Context, id uint64) (state string, ok bool, err error) {
	t, ok, err := mysqlcheck.Session(ctx, c.conn, c.version, id)
	return t.State, ok, err
}

// reap kills the statements that we gave up, and waits until they are gone.
func (c *session) reap(ctx context.Context) error {
	c.server.mu.Lock()
	var ids []uint64
	for id := range c.server.orphans {
		ids = append(ids, id)
	}
	c.server.mu.Unlock()
	slices.Sort(ids)
	for _, id := range ids {
		if id == c.id { // the server restarted and counts anew
			c.server.forgetOrphan(id)
			continue
		}
		if err := c.kill(ctx, id); err != nil {
			return fmt.Errorf("end connection %d: %w", id, err)
		}
		for {
			_, there, err := c.stateOf(ctx, id)
			if err != nil {
				return fmt.Errorf("end connection %d: %w", id, err)
			}
			if !there {
				break
			}
			if err := sleep(ctx, time.Millisecond); err != nil {
				return fmt.Errorf("end connection %d: it is still there: %w", id, err)
			}
		}
		c.server.forgetOrphan(id)
	}
	return nil
}

func (s *Server) forgetOrphan(id uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.orphans, id)
}

// forgetOrphans is for a server process that has ended.
func (s *Server) forgetOrphans() {
	s.mu.Lock()
	defer s.mu.Unlock()
	clear(s.orphans)
}

// errorNumber returns the server's number of err, 0 if it did not come from it.
func errorNumber(err error) uint16 {
	var answer *mysql.MySQLError
	if errors.As(err, &answer) {
		return answer.Number
	}
	return 0
}
