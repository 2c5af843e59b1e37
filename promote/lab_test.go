// SPDX-License-Identifier: Apache-2.0

package promote

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"highwater/mysqlcheck"
	"highwater/mysqlcheck/gtid"
	"highwater/test/lab"
)

// labHost is a real server with what controls it.
type labHost struct {
	*lab.Server
	t       testing.TB
	name    string
	control *Server
	dir     string // its state directory
}

// password is the replication account's. Its characters need quoting.
const password = `it's a \ secret`

// both runs a test on MySQL and on MariaDB. It must be all that the test does:
// servers mostly wait, so such tests run beside each other.
func both(t *testing.T, f func(t *testing.T, flavor lab.Flavor)) {
	t.Parallel()
	for _, flavor := range []lab.Flavor{lab.MySQL, lab.MariaDB} {
		t.Run(string(flavor), func(t *testing.T) {
			lab.Require(t, string(flavor))
			t.Parallel()
			f(t, flavor)
		})
	}
}

func testContext(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	t.Cleanup(cancel)
	return ctx
}

// options changes the configuration of a host in a test.
type options func(*lab.ServerConfig, *Config)

// newHost starts a read-only server.
func newHost(t testing.TB, flavor lab.Flavor, name string, opts ...options) *labHost {
	t.Helper()
	h := &labHost{t: t, name: name, dir: t.TempDir()}
	sc := lab.ServerConfig{Flavor: flavor, Dir: filepath.Join(t.TempDir(), name), ReadOnly: true}
	c := Config{
		Node:        name,
		Replication: Replication{User: "repl", Password: func() string { return password }},
		StateDir:    h.dir,
		Pid:         func() (int, error) { return h.pid() },
		Log:         slog.New(slog.NewTextHandler(io.Discard, nil)),
	}
	if program, err := lab.Program(map[bool]string{false: "mysqlbinlog", true: "mariadb-binlog"}[flavor.IsMariaDB()]); err == nil {
		c.BinlogProgram = program
	}
	for _, o := range opts {
		o(&sc, &c)
	}
	server, err := lab.StartServer(testContext(t), sc)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Close)
	h.Server = server
	if c.DB == nil {
		c.DB = mysqlcheck.OpenDB(mysqlcheck.ConnConfig{Address: server.Socket(), User: "root", ReadTimeout: time.Minute}, 6)
		t.Cleanup(func() { _ = c.DB.Close() })
	}
	if h.control, err = NewServer(c); err != nil {
		t.Fatal(err)
	}
	return h
}

func (h *labHost) pid() (int, error) {
	if !h.Alive() {
		return 0, os.ErrProcessDone
	}
	return h.Pid(), nil
}

// freeze stops the server process, and waits until its last thread stands still.
func (h *labHost) freeze() {
	h.t.Helper()
	if err := h.Stop(); err != nil {
		h.t.Fatal(err)
	}
	await(h.t, "all threads are stopped", func() bool {
		stats, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stat", h.Pid()))
		if err != nil || len(stats) == 0 {
			return false
		}
		return !slices.ContainsFunc(stats, func(path string) bool {
			stat, err := os.ReadFile(path)
			_, rest, _ := strings.Cut(string(stat), ") ")
			return err != nil || !strings.HasPrefix(rest, "T")
		})
	})
}

// do runs statements as root.
func (h *labHost) do(statements ...string) {
	h.t.Helper()
	if err := h.Exec(testContext(h.t), statements...); err != nil {
		h.t.Fatalf("%s: %v", h.name, err)
	}
}

// get returns the first column of the first row.
func (h *labHost) get(query string) string {
	h.t.Helper()
	v, err := h.QueryString(testContext(h.t), query)
	if err != nil {
		h.t.Fatalf("%s: %v", h.name, err)
	}
	return v
}

// sql turns MySQL's words for replication into MariaDB's, where h is one.
func (h *labHost) sql(statement string) string {
	if !h.Config().Flavor.IsMariaDB() {
		return statement
	}
	return strings.NewReplacer("CHANGE REPLICATION SOURCE", "CHANGE MASTER", "REPLICA", "SLAVE", "SOURCE_", "MASTER_", "super_read_only", "read_only").Replace(statement)
}

func (h *labHost) position() Position {
	h.t.Helper()
	p, err := h.control.Position(testContext(h.t))
	if err != nil {
		h.t.Fatalf("%s: %v", h.name, err)
	}
	return p
}

// source is h as others would follow it.
func (h *labHost) source(term uint64) Source {
	h.t.Helper()
	p := h.position()
	return Source{
		Node: h.name, Host: "127.0.0.1", Port: uint16(h.Config().Port), ServerUUID: p.ServerUUID, Term: term,
		Executed: p.Executed, Purged: p.Purged,
		Refresh: func(ctx context.Context) (executed, purged gtid.Set, err error) {
			p, err := h.control.Position(ctx)
			return p.Executed, p.Purged, err
		},
	}
}

// status is a column of the default channel, by its MySQL name.
func (h *labHost) channel() *channel {
	h.t.Helper()
	c, err := h.control.connect(testContext(h.t))
	if err != nil {
		h.t.Fatal(err)
	}
	defer c.close()
	ch, err := c.channel(testContext(h.t))
	if err != nil {
		h.t.Fatal(err)
	}
	if ch != nil {
		if err := c.receiverSettings(testContext(h.t), ch, &Position{}); err != nil {
			h.t.Fatal(err)
		}
	}
	return ch
}

// binlogs are the names of the binary logs, oldest first.
func (h *labHost) binlogs() []string {
	h.t.Helper()
	c, err := h.control.connect(testContext(h.t))
	if err != nil {
		h.t.Fatal(err)
	}
	defer c.close()
	files, err := c.binlogFiles(testContext(h.t))
	if err != nil {
		h.t.Fatal(err)
	}
	return files
}

// await polls until ok, or fails the test.
func await(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain: %s", what)
		}
	}
}

// caughtUp waits until h has applied all that the other has.
func (h *labHost) caughtUp(other *labHost) {
	h.t.Helper()
	want := other.position().Executed
	await(h.t, h.name+" has all of "+other.name, func() bool { return h.position().Executed.Contains(want) })
}

// newCluster starts a primary in term 1 and replicas that follow it, with a
// table d.t.
func newCluster(t testing.TB, flavor lab.Flavor, n int, opts ...options) []*labHost {
	t.Helper()
	hosts := make([]*labHost, n)
	var g errgroup.Group
	for i := range hosts {
		g.Go(func() error {
			hosts[i] = newHost(t, flavor, fmt.Sprintf("db%d", i+1), opts...)
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		t.Fatal(err)
	}
	primary := hosts[0]
	if _, err := primary.control.Promote(testContext(t), PromoteInput{Term: 1}); err != nil {
		t.Fatal(err)
	}
	primary.do(
		`CREATE USER repl@'%' IDENTIFIED BY 'it''s a \\ secret'`,
		"GRANT REPLICATION SLAVE ON *.* TO repl@'%'",
		"CREATE DATABASE d", "CREATE TABLE d.t (i INT AUTO_INCREMENT PRIMARY KEY, s VARCHAR(100)) ENGINE=InnoDB",
		"INSERT INTO d.t (s) VALUES ('first')",
	)
	for _, h := range hosts[1:] {
		g.Go(func() error {
			if _, err := h.control.Follow(testContext(t), primary.source(1)); err != nil {
				return fmt.Errorf("%s: %w", h.name, err)
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		t.Fatal(err)
	}
	for _, h := range hosts[1:] {
		h.caughtUp(primary)
	}
	return hosts
}

// steps are the names of what was done.
func steps(list []Step) string {
	var names []string
	for _, s := range list {
		names = append(names, string(s.Name))
	}
	return strings.Join(names, " ")
}

// sourceAt is h as others would follow it, without asking it where it stands.
func (h *labHost) sourceAt(term uint64) Source {
	return Source{Node: h.name, Host: "127.0.0.1", Port: uint16(h.Config().Port), Term: term}
}

// replay runs a file of SQL with the server's own client.
func (h *labHost) replay(file string) {
	h.t.Helper()
	client, err := lab.Program("mysql")
	if err != nil {
		h.t.Fatal(err)
	}
	f, err := os.Open(file)
	if err != nil {
		h.t.Fatal(err)
	}
	defer f.Close()
	cmd := exec.CommandContext(testContext(h.t), client, "-uroot", "-S", h.Socket())
	cmd.Stdin = f
	if out, err := cmd.CombinedOutput(); err != nil {
		h.t.Fatalf("replay %s: %v: %s", file, err, out)
	}
}
