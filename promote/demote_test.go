// SPDX-License-Identifier: Apache-2.0

package promote

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/go-sql-driver/mysql"

	"highwater/mysqlcheck"
	"highwater/test/lab"
)

// newPrimary starts a writable server with a table d.t of three rows.
func newPrimary(t testing.TB, flavor lab.Flavor, opts ...options) *labHost {
	t.Helper()
	h := newHost(t, flavor, "db1", opts...)
	if _, err := h.control.Promote(testContext(t), PromoteInput{Term: 1}); err != nil {
		t.Fatal(err)
	}
	h.do("CREATE DATABASE d", "CREATE TABLE d.t (i INT AUTO_INCREMENT PRIMARY KEY, s VARCHAR(100)) ENGINE=InnoDB",
		"INSERT INTO d.t (s) VALUES ('one'), ('two'), ('three')")
	return h
}

// app is an application's connections: an account with all privileges, which
// on MariaDB exempts it from read_only.
func (h *labHost) app(user, privileges string) *sql.DB {
	h.t.Helper()
	h.do(fmt.Sprintf("CREATE USER IF NOT EXISTS %s@'%%' IDENTIFIED BY 'app'", user), fmt.Sprintf("GRANT %s ON *.* TO %s@'%%'", privileges, user))
	db := mysqlcheck.OpenDB(mysqlcheck.ConnConfig{
		Address: h.Addr(), User: user, Password: func() string { return "app" }, ReadTimeout: time.Minute,
	}, 4)
	h.t.Cleanup(func() { _ = db.Close() })
	return db
}

// conn is one connection of db.
func conn(t testing.TB, db *sql.DB) *sql.Conn {
	t.Helper()
	c, err := db.Conn(testContext(t))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// running waits until a session runs a statement that begins like this.
func (h *labHost) running(statement string) {
	h.t.Helper()
	await(h.t, statement+" runs", func() bool {
		return h.get("SELECT COUNT(*) FROM information_schema.PROCESSLIST WHERE INFO LIKE '"+statement+"%'") != "0"
	})
}

func (h *labHost) demote(in DemoteInput) DemoteResult {
	h.t.Helper()
	result, err := h.control.Demote(testContext(h.t), in)
	if err != nil {
		h.t.Fatal(err)
	}
	return result
}

const appPrivileges = "SELECT, INSERT, UPDATE, DELETE, LOCK TABLES"

func TestDemoteIdle(t *testing.T) {
	both(t, func(t *testing.T, flavor lab.Flavor) {
		h := newPrimary(t, flavor)
		before := h.position().Executed
		var reported []Step
		result := h.demote(DemoteInput{Progress: func(s Step) { reported = append(reported, s) }})
		if got, want := steps(result.Steps), "events read_only sessions"; got != want || steps(reported) != want {
			t.Errorf("steps %q, reported %q, want %q", got, steps(reported), want)
		}
		if result.Gone || result.KilledPid != 0 || !result.Position.Executed.Equal(before) || len(result.Warnings) > 0 {
			t.Errorf("%+v", result)
		}
		if !h.readOnly() {
			t.Error("server is not read-only")
		}
		if again := h.demote(DemoteInput{}); steps(again.Steps) != "read_only sessions" {
			t.Errorf("again: steps %q", steps(again.Steps))
		}
		if err := h.control.EnforceReadOnly(testContext(t)); err != nil {
			t.Error(err)
		}
	})
}

func TestEnforceReadOnly(t *testing.T) {
	both(t, func(t *testing.T, flavor lab.Flavor) {
		h := newHost(t, flavor, "db1", func(c *lab.ServerConfig, _ *Config) { c.ReadOnly = false })
		if h.readOnly() {
			t.Fatal("server started read-only")
		}
		if err := h.control.EnforceReadOnly(testContext(t)); err != nil || !h.readOnly() {
			t.Errorf("%v, read-only %v", err, h.readOnly())
		}
	})
}

// An open transaction does not hold up the demotion, and its commit fails.
func TestDemoteOpenTransaction(t *testing.T) {
	both(t, func(t *testing.T, flavor lab.Flavor) {
		h := newPrimary(t, flavor)
		tx, err := h.app("app", appPrivileges).BeginTx(testContext(t), nil)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := tx.Exec("INSERT INTO d.t (s) VALUES ('never')"); err != nil {
			t.Fatal(err)
		}
		result := h.demote(DemoteInput{})
		if result.KilledSessions != 0 {
			t.Errorf("%d sessions ended", result.KilledSessions)
		}
		if err := tx.Commit(); err == nil {
			t.Error("a commit went through")
		}
		if got := h.get("SELECT COUNT(*) FROM d.t"); got != "3" {
			t.Errorf("%s rows, want 3", got)
		}
	})
}

func TestDemoteKillsClients(t *testing.T) {
	both(t, func(t *testing.T, flavor lab.Flavor) {
		hosts := newCluster(t, flavor, 2)
		h := hosts[0]
		db := h.app("app", appPrivileges)
		idle := conn(t, db)
		if err := idle.PingContext(testContext(t)); err != nil {
			t.Fatal(err)
		}
		result := h.demote(DemoteInput{KillClients: true})
		if result.KilledSessions == 0 {
			t.Error("no session was ended")
		}
		if err := idle.PingContext(testContext(t)); err == nil {
			t.Error("the client's session lives on")
		}
		if got := hosts[1].position().ReceiverState; got != ReceiverRunning {
			t.Errorf("the replica's receiver is %s: its session was ended", got)
		}
		if err := h.control.cfg.DB.PingContext(testContext(t)); err != nil {
			t.Errorf("our own session: %v", err)
		}
		if c := conn(t, db); c.PingContext(testContext(t)) != nil {
			t.Error("a client cannot come back to read")
		}
	})
}

// blockers hold up read_only. Each returns what undoes it.
var blockers = map[string]func(t *testing.T, h *labHost) (undo func()){
	"LOCK TABLES WRITE": func(t *testing.T, h *labHost) func() {
		c := conn(t, h.app("app", appPrivileges))
		if _, err := c.ExecContext(testContext(t), "LOCK TABLES d.t WRITE"); err != nil {
			t.Fatal(err)
		}
		return func() { _, _ = c.ExecContext(testContext(t), "UNLOCK TABLES") }
	},
	"running DML": func(t *testing.T, h *labHost) func() {
		c := conn(t, h.app("app", appPrivileges))
		done := make(chan struct{})
		go func() {
			defer close(done)
			_, _ = c.ExecContext(testContext(t), "UPDATE d.t SET s = SLEEP(20)")
		}()
		h.running("UPDATE")
		return func() {
			h.do("KILL " + h.get("SELECT ID FROM information_schema.PROCESSLIST WHERE INFO LIKE 'UPDATE%'"))
			<-done
		}
	},
}

// Asked and not forced, a server that cannot obey in time stays as it was, and
// does not obey later either.
func TestDemoteAskedInVain(t *testing.T) {
	both(t, func(t *testing.T, flavor lab.Flavor) {
		for name, block := range blockers {
			t.Run(name, func(t *testing.T) {
				h := newPrimary(t, flavor, func(_ *lab.ServerConfig, c *Config) {
					c.FenceTimeout, c.KillServer = 300*time.Millisecond, true
				})
				undo := block(t, h)
				if _, err := h.control.Demote(testContext(t), DemoteInput{}); !errors.Is(err, ErrNotDemoted) {
					t.Errorf("error %v, want ErrNotDemoted", err)
				}
				undo()
				if h.readOnly() {
					t.Error("read-only after all")
				}
				h.do("INSERT INTO d.t (s) VALUES ('still primary')")
				if !h.Alive() {
					t.Error("the server was killed")
				}
			})
		}
	})
}

func TestDemoteForced(t *testing.T) {
	both(t, func(t *testing.T, flavor lab.Flavor) {
		for name, block := range blockers {
			t.Run(name, func(t *testing.T) {
				h := newPrimary(t, flavor, func(_ *lab.ServerConfig, c *Config) { c.FenceTimeout = 20 * time.Second })
				block(t, h)
				begin := time.Now()
				result := h.demote(DemoteInput{KillClients: true})
				if result.KilledSessions == 0 || result.Gone || !h.readOnly() {
					t.Errorf("%+v, read-only %v", result, h.readOnly())
				}
				if took := time.Since(begin); took > 15*time.Second {
					t.Errorf("took %v: the statement was not ended", took)
				}
			})
		}
	})
}

// waitingCommit leaves a commit of a client that waits for an acknowledgement.
func waitingCommit(t *testing.T, h *labHost) (acknowledged <-chan error) {
	t.Helper()
	if _, err := h.control.Promote(testContext(t), PromoteInput{Term: 1, SemiSync: &SemiSync{Acks: 1}}); err != nil {
		t.Fatal(err)
	}
	answer := make(chan error, 1)
	c := conn(t, h.DB())
	go func() {
		_, err := c.ExecContext(testContext(t), "INSERT INTO d.t (s) VALUES ('unacknowledged')")
		answer <- err
	}()
	await(t, "the commit waits", func() bool {
		return h.get("SELECT COUNT(*) FROM information_schema.PROCESSLIST WHERE STATE LIKE 'Waiting for semi-sync ACK%'") != "0"
	})
	return answer
}

// A commit that waits for an acknowledgement ends only with the server, and is
// never let through.
func TestDemoteWaitingCommit(t *testing.T) {
	both(t, func(t *testing.T, flavor lab.Flavor) {
		h := newPrimary(t, flavor, func(_ *lab.ServerConfig, c *Config) {
			c.FenceTimeout, c.KillServer = 500*time.Millisecond, true
		})
		h.control.cfg.DB = otherUser(t, h)
		acknowledged := waitingCommit(t, h)
		pid := h.Pid()
		result := h.demote(DemoteInput{KillClients: true})
		if !result.Gone || result.KilledPid != pid {
			t.Errorf("%+v", result)
		}
		<-h.Done()
		if got, want := steps(result.Steps), "events read_only kill_server"; got != want {
			t.Errorf("steps %q, want %q", got, want)
		}
		if err := <-acknowledged; err == nil {
			t.Error("the client was told OK")
		}
	})
}

// otherUser are control connections of an account of their own, so that root
// is a client like any other.
func otherUser(t *testing.T, h *labHost) *sql.DB {
	t.Helper()
	h.do("CREATE USER highwater@localhost", "GRANT ALL ON *.* TO highwater@localhost")
	db := mysqlcheck.OpenDB(mysqlcheck.ConnConfig{Address: h.Socket(), User: "highwater", ReadTimeout: time.Minute}, 6)
	t.Cleanup(func() { _ = db.Close() })
	return db
}

// Where killing the server is not allowed, the caller is told that it may still
// commit; semi-sync is not switched off.
func TestDemoteWaitingCommitMayNotKill(t *testing.T) {
	both(t, func(t *testing.T, flavor lab.Flavor) {
		h := newPrimary(t, flavor, func(_ *lab.ServerConfig, c *Config) { c.FenceTimeout = 300 * time.Millisecond })
		h.control.cfg.DB = otherUser(t, h)
		waitingCommit(t, h)
		_, err := h.control.Demote(testContext(t), DemoteInput{KillClients: true})
		if !errors.Is(err, ErrNotDemoted) {
			t.Errorf("error %v, want ErrNotDemoted", err)
		}
		if got := h.get("SELECT COUNT(*) FROM d.t"); got != "3" {
			t.Errorf("%s rows, want 3: the commit was let through", got)
		}
		if got := h.get("SELECT COUNT(*) FROM information_schema.PROCESSLIST WHERE STATE LIKE 'Waiting for semi-sync ACK%'"); got != "1" {
			t.Errorf("%s commits wait, want 1", got)
		}
		if _, err := h.control.Follow(testContext(t), Source{Node: "db2", Term: 2, Executed: h.position().Executed}); !errors.Is(err, ErrWritable) {
			t.Errorf("follow: %v, want ErrWritable", err)
		}
	})
}

// Behind a commit that waits for its acknowledgement super_read_only blocks, and says ON all the while (MySQL 9.7.4): the
// server is not read-only yet.
func TestReadOnlyNotYet(t *testing.T) {
	both(t, func(t *testing.T, flavor lab.Flavor) {
		h := newPrimary(t, flavor, func(_ *lab.ServerConfig, _ *Config) {})
		h.control.cfg.DB = otherUser(t, h)
		waitingCommit(t, h)
		set, shown := "SET GLOBAL super_read_only = ON", "SELECT @@global.super_read_only"
		if flavor == lab.MariaDB {
			set, shown = "SET GLOBAL read_only = ON", "SELECT COUNT(*) FROM information_schema.PROCESSLIST WHERE INFO LIKE 'SET GLOBAL read_only%'"
		}
		ctx, cancel := context.WithCancel(testContext(t))
		defer cancel()
		go func() { _, _ = h.control.cfg.DB.ExecContext(ctx, set) }()
		await(t, "the SET begins", func() bool { return h.get(shown) == "1" })
		if ok, err := h.control.ReadOnly(testContext(t)); ok || err != nil {
			t.Errorf("read-only %v, error %v while the SET waits", ok, err)
		}
	})
}

// A frozen server cannot obey.
func TestDemoteFrozen(t *testing.T) {
	both(t, func(t *testing.T, flavor lab.Flavor) {
		h := newPrimary(t, flavor, func(_ *lab.ServerConfig, c *Config) {
			c.FenceTimeout, c.KillServer = 300*time.Millisecond, true
		})
		h.freeze()
		result := h.demote(DemoteInput{KillClients: true})
		if !result.Gone || result.KilledPid != h.Pid() {
			t.Errorf("%+v", result)
		}
		<-h.Done()
	})
}

func TestDemoteGone(t *testing.T) {
	lab.Require(t, "mysql")
	h := newPrimary(t, lab.MySQL)
	h.Kill()
	result := h.demote(DemoteInput{})
	if !result.Gone || result.KilledPid != 0 {
		t.Errorf("%+v", result)
	}
	h.control.cfg.Pid = func() (int, error) { return 0, fmt.Errorf("%w: of this socket", mysqlcheck.ErrNoPid) }
	if result := h.demote(DemoteInput{}); !result.Gone {
		t.Errorf("%+v", result)
	}
	// Nobody knows about the process behind a refused connection.
	h.control.cfg.Pid, h.control.cfg.FenceTimeout = nil, 100*time.Millisecond
	if _, err := h.control.Demote(testContext(t), DemoteInput{}); !errors.Is(err, ErrNotDemoted) {
		t.Errorf("without a process to look at: %v", err)
	}
	// It is there, and does not listen: it starts, or shuts down and commits on.
	h.control.cfg.Pid = func() (int, error) { return os.Getpid(), nil }
	if _, err := h.control.Demote(testContext(t), DemoteInput{}); !errors.Is(err, ErrNotDemoted) {
		t.Errorf("with a process that does not listen: %v", err)
	}
}

// A server without a free connection is made read-only all the same.
func TestDemoteTooManyConnections(t *testing.T) {
	lab.Require(t, "mysql")
	h := newPrimary(t, lab.MySQL, func(c *lab.ServerConfig, _ *Config) { c.Extra = append(c.Extra, "max_connections=10") })
	db := h.app("app", appPrivileges)
	db.SetMaxOpenConns(30)
	for {
		c, err := db.Conn(testContext(t))
		if err != nil {
			var answer *mysql.MySQLError
			if !errors.As(err, &answer) || answer.Number != 1040 {
				t.Fatal(err)
			}
			break
		}
		t.Cleanup(func() { _ = c.Close() })
	}
	if result := h.demote(DemoteInput{KillClients: true}); result.KilledSessions == 0 || !h.readOnly() {
		t.Errorf("%+v, read-only %v", result, h.readOnly())
	}
}

// MariaDB's read_only does not bind some accounts: they are named, and their
// sessions ended even where others are not.
func TestDemoteExempt(t *testing.T) {
	lab.Require(t, "mariadb")
	h := newPrimary(t, lab.MariaDB)
	ordinary := conn(t, h.app("app", appPrivileges))
	admin := conn(t, h.app("boss", "READ_ONLY ADMIN, SELECT, INSERT"))
	for _, c := range []*sql.Conn{ordinary, admin} {
		if err := c.PingContext(testContext(t)); err != nil {
			t.Fatal(err)
		}
	}
	result := h.demote(DemoteInput{})
	if !strings.Contains(fmt.Sprint(result.Exempt), "boss") || strings.Contains(fmt.Sprint(result.Exempt), "app") {
		t.Errorf("exempt %q", result.Exempt)
	}
	if err := admin.PingContext(testContext(t)); err == nil {
		t.Error("the session of an exempt account lives on")
	}
	if err := ordinary.PingContext(testContext(t)); err != nil {
		t.Errorf("the session of an ordinary account was ended: %v", err)
	}
}

// A statement that we gave up does not come true later: here the one that opens
// writes, on a server that was frozen for a moment.
func TestDemoteAfterGivingUp(t *testing.T) {
	both(t, func(t *testing.T, flavor lab.Flavor) {
		h := newHost(t, flavor, "db1", func(_ *lab.ServerConfig, c *Config) { c.FenceTimeout = 20 * time.Second })
		c, err := h.control.connect(testContext(t))
		if err != nil {
			t.Fatal(err)
		}
		h.freeze()
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		if err := c.exec(ctx, mysqlcheck.StmtWritable); !errors.Is(err, context.DeadlineExceeded) {
			t.Fatalf("a frozen server answers: %v", err)
		}
		c.close()
		if len(h.control.orphans) != 1 {
			t.Fatalf("given up: %v", h.control.orphans)
		}
		if err := h.Cont(); err != nil {
			t.Fatal(err)
		}
		h.demote(DemoteInput{})
		if !h.readOnly() || len(h.control.orphans) != 0 {
			t.Errorf("read-only %v, given up %v", h.readOnly(), h.control.orphans)
		}
	})
}

func BenchmarkDemote(b *testing.B) {
	for _, flavor := range []lab.Flavor{lab.MySQL, lab.MariaDB} {
		b.Run(string(flavor), func(b *testing.B) {
			lab.Require(b, string(flavor))
			h := newPrimary(b, flavor)
			for b.Loop() {
				if _, err := h.control.Demote(b.Context(), DemoteInput{KillClients: true}); err != nil {
					b.Fatal(err)
				}
				b.StopTimer()
				if _, err := h.control.Promote(b.Context(), PromoteInput{Term: 1}); err != nil {
					b.Fatal(err)
				}
				b.StartTimer()
			}
		})
	}
}
