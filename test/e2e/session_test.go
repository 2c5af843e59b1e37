// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"testing"

	"github.com/go-sql-driver/mysql"
	"github.com/google/go-cmp/cmp"

	"highwater/test/cluster"
	"highwater/test/lab"
)

// Highwater adds nothing to the path of a client: its session goes from its own socket to the server, which is asked
// exactly what the client sends.
func TestNothingAddedToSessions(t *testing.T) {
	withMariaDB := func(c cluster.Config) cluster.Config {
		c.Lab.Flavor = lab.MariaDB
		return c
	}
	for _, c := range []struct {
		name  string
		start func(*testing.T) *rig
	}{
		{"quorum", func(t *testing.T) *rig { return start(t, majority()) }},
		{"lossless", func(t *testing.T) *rig { return protected(t, lossless()) }},
		{"quorum, MariaDB", func(t *testing.T) *rig { return start(t, withMariaDB(majority())) }},
		{"lossless, MariaDB", func(t *testing.T) *rig { return protected(t, withMariaDB(lossless())) }},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := c.start(t)
			r.nothingAdded(r.db(1))
			r.db(1).Server.Kill()
			primary := r.moved(r.db(1)) // one that Highwater has promoted
			r.must(r.db(1).Server.Start(r.ctx))
			r.settled(primary)
			r.nothingAdded(primary)
			r.end(r.write(), primary, 0)
		})
	}
}

// nothingAdded compares what a client sends and what the primary logs of it. Then it puts something into the client's
// path by hand, which shows: so it would if Highwater had.
func (r *rig) nothingAdded(primary *lab.Host) {
	r.t.Helper()
	for _, c := range []struct {
		name                string
		put, undo           string
		atBegin, afterWrite []string // what the log then has more
	}{
		{name: "nothing", put: "DO 0", undo: "DO 0"},
		{
			name: "init_connect", put: "SET GLOBAL init_connect = 'SET @added = 1'", undo: "SET GLOBAL init_connect = ''",
			atBegin: []string{"Query SET @added = 1"},
		},
		{
			name: "trigger", put: "CREATE TRIGGER lab.added AFTER INSERT ON lab.session FOR EACH ROW SET @added = NEW.n",
			undo: "DROP TRIGGER lab.added", afterWrite: []string{"Query SET @added = NEW.n"},
		},
	} {
		r.must(primary.Server.Exec(r.ctx, "CREATE TABLE lab.session (n INT PRIMARY KEY)", c.put))
		var want []string
		sent, logged := r.talk(primary)
		for i, s := range sent {
			want = append(want, s)
			if i == 0 {
				want = append(want, c.atBegin...)
			}
			if strings.Contains(s, "INSERT") {
				want = append(want, c.afterWrite...)
			}
		}
		if diff := cmp.Diff(want, logged); diff != "" {
			r.t.Errorf("%s on %s: -want +logged:\n%s", c.name, primary, diff)
		}
		r.t.Logf("%s on %s: the client sent %d commands, the server logged %d", c.name, primary, len(sent), len(logged))
		r.must(primary.Server.Exec(r.ctx, c.undo, "DROP TABLE lab.session"))
	}
}

// talk has a client on its host run transactions through the VIP, and returns what it did and what the primary's
// general log has of its connection, both in that log's words.
func (r *rig) talk(primary *lab.Host) (sent, logged []string) {
	r.t.Helper()
	server := primary.Server
	r.must(server.Exec(r.ctx, "SET GLOBAL log_output = 'TABLE'", "SET GLOBAL general_log = ON"))
	var socket net.Addr // the client's own end
	config := mysql.NewConfig()
	config.User, config.Passwd, config.DBName = lab.App.User, lab.App.Password, lab.Database
	config.Net, config.Addr = "tcp", netip.AddrPortFrom(lab.VIP, lab.MySQLPort).String()
	config.DialFunc = func(ctx context.Context, network, address string) (net.Conn, error) {
		conn, err := r.Client().Dial(ctx, network, address)
		if err == nil {
			socket = conn.LocalAddr()
		}
		return conn, err
	}
	connector, err := mysql.NewConnector(config)
	r.must(err)
	db := sql.OpenDB(connector)
	defer db.Close()
	conn, err := db.Conn(r.ctx)
	r.must(err)
	defer conn.Close()

	sent = []string{fmt.Sprintf("Connect %s@%s on %s using TCP/IP", lab.App.User, r.Client().Address(), lab.Database)}
	const who = "SELECT CONNECTION_ID(), @@hostname"
	var id uint64
	var host string
	r.must(conn.QueryRowContext(r.ctx, who).Scan(&id, &host))
	sent = append(sent, "Query "+who)
	if host != primary.Name() {
		r.t.Fatalf("the VIP leads to %s", host)
	}
	from, err := server.QueryString(r.ctx, "SELECT host FROM information_schema.processlist WHERE id = ?", id)
	r.must(err)
	if from != socket.String() {
		r.t.Errorf("the server has the session from %s, and the client's socket is %s", from, socket)
	}
	for n := range 20 {
		row := fmt.Sprintf("INSERT INTO session VALUES (%d)", n)
		statements := []string{row}
		if n%2 == 1 {
			statements = []string{"BEGIN", row, "COMMIT"}
		}
		for _, s := range statements {
			_, err := conn.ExecContext(r.ctx, s)
			r.must(err)
			sent = append(sent, "Query "+s)
		}
	}
	// Closed for good: the pool would keep it.
	r.must(conn.Raw(func(c any) error { return c.(driver.Conn).Close() }))
	sent = append(sent, "Quit ")

	r.eventually(moveTime, func() string {
		logged = r.logOf(primary, id)
		if n := len(logged); n == 0 || logged[n-1] != "Quit " {
			return fmt.Sprintf("the general log has no end of session %d: %q", id, logged)
		}
		return ""
	})
	r.must(server.Exec(r.ctx, "SET GLOBAL general_log = OFF"))
	return sent, logged
}

// logOf is what a server's general log has of a connection, in the order in which it was written.
func (r *rig) logOf(h *lab.Host, id uint64) []string {
	r.t.Helper()
	rows, err := h.Server.DB().QueryContext(r.ctx,
		"SELECT CONCAT(command_type, ' ', CONVERT(argument USING utf8mb4)) FROM mysql.general_log WHERE thread_id = ?", id)
	r.must(err)
	defer rows.Close()
	var entries []string
	for rows.Next() {
		var entry string
		r.must(rows.Scan(&entry))
		entries = append(entries, entry)
	}
	r.must(rows.Err())
	return entries
}
