// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"database/sql"
	"testing"
	"time"

	"highwater/test/lab"
)

// The primary cannot commit or cannot be looked at, for a reason that is no fault of the
// server: nothing moves, nobody is fenced.
func TestNothingMoves(t *testing.T) {
	r := start(t, semiSync())
	w := r.write()
	for _, c := range []struct {
		name  string
		fault func(r *rig, h *lab.Host) (undo func())
	}{
		{"global read lock", func(r *rig, h *lab.Host) func() {
			return r.session(h, "FLUSH TABLES WITH READ LOCK")
		}},
		{"locked heartbeat", func(r *rig, h *lab.Host) func() {
			r.eventually(moveTime, func() string { // made by the first commit of a primary
				if _, err := h.Server.QueryString(r.ctx, "SELECT 1 FROM highwater.heartbeat LIMIT 1"); err != nil {
					return err.Error()
				}
				return ""
			})
			return r.session(h, "LOCK TABLES highwater.heartbeat WRITE")
		}},
		{"backup lock", func(r *rig, h *lab.Host) func() {
			return r.session(h, "LOCK INSTANCE FOR BACKUP")
		}},
		{"wrong password", func(r *rig, h *lab.Host) func() {
			r.must(h.Server.Exec(r.ctx, "ALTER USER '"+lab.Control.User+"'@'%' IDENTIFIED BY 'another'"))
			r.killSessions(h, lab.Control.User)
			return func() {
				r.must(h.Server.Exec(r.ctx, "ALTER USER '"+lab.Control.User+"'@'%' IDENTIFIED BY '"+lab.Control.Password+"'"))
			}
		}},
		{"too many connections", func(r *rig, h *lab.Host) func() {
			r.must(h.Server.Exec(r.ctx, "SET GLOBAL max_connections=20"))
			end := r.flood(h)
			r.killSessions(h, lab.Control.User)
			return func() {
				end()
				r.eventually(moveTime, func() string { // the server takes its time to see them go
					if err := h.Server.Exec(r.ctx, "SET GLOBAL max_connections=100"); err != nil {
						return err.Error()
					}
					return ""
				})
			}
		}},
	} {
		t.Log(c.name)
		undo := c.fault(r, r.db(1))
		r.stays(6 * time.Second) // longer than check.commit_timeout and the age of a verdict
		undo()
		r.settled(r.db(1))
	}
	r.end(w, r.db(1), 0)
}

// session runs a statement in a session that stays open until the returned function is
// called.
func (r *rig) session(h *lab.Host, statement string) (end func()) {
	r.t.Helper()
	conn, err := h.Server.DB().Conn(r.ctx)
	r.must(err)
	_, err = conn.ExecContext(r.ctx, statement)
	r.must(err)
	return func() {
		// The pool must not keep a session that holds locks.
		_ = conn.Raw(func(any) error { return context.Canceled })
		_, _ = conn.ExecContext(r.ctx, "UNLOCK TABLES")
		_, _ = conn.ExecContext(r.ctx, "UNLOCK INSTANCE")
		r.must(conn.Close())
	}
}

// killSessions ends the sessions of an account.
func (r *rig) killSessions(h *lab.Host, user string) {
	r.t.Helper()
	rows, err := h.Server.DB().QueryContext(r.ctx, "SELECT ID FROM information_schema.PROCESSLIST WHERE USER=?", user)
	r.must(err)
	defer rows.Close()
	var ids []string
	for rows.Next() {
		var id string
		r.must(rows.Scan(&id))
		ids = append(ids, id)
	}
	r.must(rows.Err())
	for _, id := range ids {
		_ = h.Server.Exec(r.ctx, "KILL "+id) // it may have ended by itself
	}
}

// flood takes all connections that clients can have, until the returned function is called.
func (r *rig) flood(h *lab.Host) (end func()) {
	r.t.Helper()
	db, err := sql.Open("mysql", lab.App.User+":"+lab.App.Password+"@unix("+h.Server.Socket()+")/"+lab.Database)
	r.must(err)
	var conns []*sql.Conn
	for range 100 {
		conn, err := db.Conn(r.ctx)
		if err == nil {
			conns = append(conns, conn)
			continue
		}
		return func() {
			r.must(db.Close()) // leaves those in use open
			for _, c := range conns {
				r.must(c.Close())
			}
		}
	}
	r.t.Fatal("the server takes more connections than it may")
	return nil
}
