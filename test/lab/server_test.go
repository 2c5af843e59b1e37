// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// bothFlavors runs a test with MySQL and with MariaDB.
func bothFlavors(t *testing.T, f func(t *testing.T, flavor Flavor)) {
	for _, flavor := range []Flavor{MySQL, MariaDB} {
		t.Run(string(flavor), func(t *testing.T) {
			Require(t, string(flavor))
			f(t, flavor)
		})
	}
}

func testContext(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	t.Cleanup(cancel)
	return ctx
}

func startServer(t *testing.T, c ServerConfig) *Server {
	t.Helper()
	c.Dir = filepath.Join(t.TempDir(), "server")
	s, err := StartServer(testContext(t), c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

func query(t *testing.T, s *Server, q string) string {
	t.Helper()
	v, err := s.QueryString(testContext(t), q)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func TestServerStartsFresh(t *testing.T) {
	bothFlavors(t, func(t *testing.T, flavor Flavor) {
		s := startServer(t, ServerConfig{Flavor: flavor, ReadOnly: true})
		if got, err := s.ExecutedGTIDs(testContext(t)); err != nil || got != "" {
			t.Errorf("executed GTIDs of a fresh server: %q, %v; want none", got, err)
		}
		variables := map[string]string{
			"read_only": "1", "log_bin": "1", "sync_binlog": "1", "skip_name_resolve": "1",
			"innodb_flush_log_at_trx_commit": "1", "performance_schema": "1", "binlog_format": "ROW", "relay_log_recovery": "1",
		}
		if flavor.IsMariaDB() {
			for name, value := range map[string]string{
				"rpl_semi_sync_master_wait_point": "AFTER_SYNC", "rpl_semi_sync_master_timeout": "1000000000000000000",
				"gtid_strict_mode": "1", "slave_net_timeout": "4", "log_slave_updates": "1",
			} {
				variables[name] = value
			}
		} else {
			for name, value := range map[string]string{
				"rpl_semi_sync_source_wait_point": "AFTER_SYNC", "rpl_semi_sync_source_timeout": "1000000000000000000",
				"super_read_only": "1", "gtid_mode": "ON", "replica_net_timeout": "4", "log_replica_updates": "1",
			} {
				variables[name] = value
			}
		}
		for name, want := range variables {
			if got := query(t, s, "SELECT @@global."+name); got != want {
				t.Errorf("%s = %q, want %q", name, got, want)
			}
		}
		over, err := sql.Open("mysql", s.TCPDSN())
		if err != nil {
			t.Fatal(err)
		}
		defer over.Close()
		if err := over.PingContext(testContext(t)); err != nil {
			t.Errorf("over TCP: %v", err)
		}
	})
}

func TestServersHaveUUIDsOfTheirOwn(t *testing.T) {
	Require(t, "mysql")
	a, b := startServer(t, ServerConfig{Flavor: MySQL}), startServer(t, ServerConfig{Flavor: MySQL})
	if ua, ub := query(t, a, "SELECT @@server_uuid"), query(t, b, "SELECT @@server_uuid"); ua == ub {
		t.Errorf("both servers have UUID %s", ua)
	}
}

func TestServerKeepsDataThroughKill(t *testing.T) {
	bothFlavors(t, func(t *testing.T, flavor Flavor) {
		s := startServer(t, ServerConfig{Flavor: flavor})
		ctx := testContext(t)
		if err := s.Exec(ctx, "CREATE DATABASE d", "CREATE TABLE d.t (i INT PRIMARY KEY)", "INSERT INTO d.t VALUES (7)"); err != nil {
			t.Fatal(err)
		}
		pid := s.Pid()
		s.Kill()
		if s.Alive() {
			t.Error("killed server is alive")
		}
		if err := unix.Kill(pid, 0); !errors.Is(err, unix.ESRCH) {
			t.Errorf("process %d after Kill: %v", pid, err)
		}
		if err := s.DB().PingContext(ctx); err == nil {
			t.Error("killed server answers")
		}
		if err := s.Start(ctx); err != nil {
			t.Fatal(err)
		}
		if got := query(t, s, "SELECT i FROM d.t"); got != "7" {
			t.Errorf("row after the crash: %q, want 7", got)
		}
		if err := s.Restart(ctx); err != nil {
			t.Fatal(err)
		}
		if got := query(t, s, "SELECT i FROM d.t"); got != "7" {
			t.Errorf("row after the restart: %q, want 7", got)
		}
	})
}

func TestServerStopFreezes(t *testing.T) {
	Require(t, "mysql")
	s := startServer(t, ServerConfig{Flavor: MySQL})
	if err := s.Stop(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 300*time.Millisecond)
	defer cancel()
	if _, err := s.QueryString(ctx, "SELECT 1"); err == nil {
		t.Error("frozen server answers")
	}
	if err := s.Cont(); err != nil {
		t.Fatal(err)
	}
	query(t, s, "SELECT 1")
}

// The SQL statement RESTART, which CLONE uses, works only under a parent that starts the server again.
func TestServerRestartsOnRequest(t *testing.T) {
	Require(t, "mysql")
	s := startServer(t, ServerConfig{Flavor: MySQL})
	pid := s.Pid()
	if err := s.Exec(testContext(t), "RESTART"); err != nil {
		t.Fatal(err)
	}
	ctx := testContext(t)
	for s.Pid() == pid {
		select {
		case <-ctx.Done():
			t.Fatal("not started again")
		case <-time.After(10 * time.Millisecond):
		}
	}
	if err := s.WaitReady(ctx); err != nil {
		t.Fatal(err)
	}
}

func TestServerReportsWhyItDidNotStart(t *testing.T) {
	Require(t, "mysql")
	_, err := StartServer(testContext(t), ServerConfig{
		Flavor: MySQL, Dir: filepath.Join(t.TempDir(), "server"), Extra: []string{"no_such_option=1"},
	})
	if err == nil {
		t.Fatal("started with an unknown option")
	}
	if !strings.Contains(err.Error(), "no_such_option") {
		t.Errorf("the error does not name the option: %v", err)
	}
}

// The fencing of docs/design.md §2 kills the process behind the socket: its peer credentials must name it.
func TestServerIsThePeerOfItsSocket(t *testing.T) {
	Require(t, "mysql")
	s := startServer(t, ServerConfig{Flavor: MySQL})
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	if err := unix.Connect(fd, &unix.SockaddrUnix{Name: s.Socket()}); err != nil {
		t.Fatal(err)
	}
	peer, err := unix.GetsockoptUcred(fd, unix.SOL_SOCKET, unix.SO_PEERCRED)
	if err != nil {
		t.Fatal(err)
	}
	if int(peer.Pid) != s.Pid() {
		t.Errorf("peer %d, server %d", peer.Pid, s.Pid())
	}
	comm, err := os.ReadFile(fmt.Sprintf("/proc/%d/comm", s.Pid()))
	if err != nil {
		t.Fatal(err)
	}
	if string(comm) != "mysqld\n" {
		t.Errorf("the server process is called %q", comm)
	}
}

// MariaDB 11 is there only after setup.sh --extra, so its absence proves nothing wrong.
func TestServerMariaDB11(t *testing.T) {
	if _, err := Program("mariadbd-11"); err != nil {
		t.Skip(err)
	}
	s := startServer(t, ServerConfig{Flavor: MariaDB11, ReadOnly: true})
	if got := query(t, s, "SELECT VERSION()"); !strings.HasPrefix(got, "11.") {
		t.Errorf("version %q", got)
	}
}
