// SPDX-License-Identifier: Apache-2.0

package promote

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"highwater/mysqlcheck"
	"highwater/mysqlcheck/gtid"
	"highwater/test/lab"
)

// succeed kills the first host and promotes the second one in term 2.
func succeed(t *testing.T, a, b *labHost) {
	t.Helper()
	a.Kill()
	b.seal(2)
	if _, err := b.control.Promote(testContext(t), PromoteInput{Term: 2}); err != nil {
		t.Fatal(err)
	}
	if _, err := b.control.Finish(testContext(t), FinishInput{Term: 2}); err != nil {
		t.Fatal(err)
	}
}

func TestFollow(t *testing.T) {
	both(t, func(t *testing.T, flavor lab.Flavor) {
		hosts := newCluster(t, flavor, 3)
		a, b, c := hosts[0], hosts[1], hosts[2]
		ch := c.channel()
		if !flavor.IsMariaDB() && ch.retryCount != retryCount {
			t.Errorf("SOURCE_RETRY_COUNT is %d", ch.retryCount)
		}
		if ch.connectRetry != time.Second || ch.heartbeat != time.Second || !ch.autoPosition {
			t.Errorf("channel %+v", ch)
		}
		// What somebody set stays: a longer heartbeat, a delay, TLS.
		c.do(c.sql("STOP REPLICA"),
			c.sql("CHANGE REPLICATION SOURCE TO SOURCE_HEARTBEAT_PERIOD = 1.5, SOURCE_DELAY = 1, SOURCE_SSL = 1, SOURCE_SSL_CIPHER = 'ECDHE-RSA-AES256-GCM-SHA384'"),
			c.sql("START REPLICA"))
		if !flavor.IsMariaDB() {
			c.do("STOP REPLICA SQL_THREAD", "CHANGE REPLICATION FILTER REPLICATE_IGNORE_TABLE = (d.ignored)", "START REPLICA SQL_THREAD")
		}
		succeed(t, a, b)
		result, err := c.control.Follow(testContext(t), b.source(2))
		if err != nil || !result.Changed {
			t.Fatalf("%+v, %v", result, err)
		}
		ch = c.channel()
		if ch.heartbeat != 1500*time.Millisecond || ch.delay != time.Second || !ch.tls || int(ch.port) != b.Config().Port {
			t.Errorf("channel after re-pointing: %+v", ch)
		}
		for name, want := range map[string]string{"SSL_Cipher": "ECDHE-RSA-AES256-GCM-SHA384"} {
			if got := ch.row["Source_"+name] + ch.row["Master_"+name]; got != want {
				t.Errorf("%s is %q, want %q", name, got, want)
			}
		}
		if got := ch.row["Replicate_Ignore_Table"]; !flavor.IsMariaDB() && got != "d.ignored" {
			t.Errorf("replication filter is %q", got)
		}
		if got, want := c.control.Promise(), (Promise{Term: 2, Primary: "db2"}); got != want {
			t.Errorf("promise %+v, want %+v", got, want)
		}
		again, err := c.control.Follow(testContext(t), b.source(2))
		if err != nil || again.Changed {
			t.Errorf("again: %+v, %v", again, err)
		}
	})
}

// A channel that gave up, or was stopped, is started again.
func TestFollowStartsAgain(t *testing.T) {
	both(t, func(t *testing.T, flavor lab.Flavor) {
		hosts := newCluster(t, flavor, 2)
		a, b := hosts[0], hosts[1]
		for _, stop := range []string{"STOP REPLICA", "STOP REPLICA IO_THREAD", "STOP REPLICA SQL_THREAD"} {
			b.do(b.sql(stop))
			if result, err := b.control.Follow(testContext(t), a.source(1)); err != nil || !result.Changed {
				t.Errorf("after %s: %+v, %v", stop, result, err)
			}
			a.do("INSERT INTO d.t (s) VALUES ('x')")
			b.caughtUp(a)
		}
	})
}

// What is received and not applied survives the change of sources.
func TestFollowKeepsRelayLog(t *testing.T) {
	both(t, func(t *testing.T, flavor lab.Flavor) {
		hosts := newCluster(t, flavor, 3)
		a, b, c := hosts[0], hosts[1], hosts[2]
		c.do(c.sql("STOP REPLICA SQL_THREAD"))
		for range 20 {
			a.do("INSERT INTO d.t (s) VALUES ('x')")
		}
		want := a.position().Executed
		await(t, "it is received", func() bool { return c.position().Received.Contains(want) })
		b.caughtUp(a)
		succeed(t, a, b)
		// The new primary does not say that it has them: it may be behind.
		src := b.source(2)
		src.Refresh = nil
		src.Executed = gtid.Set{}
		_, err := c.control.Follow(testContext(t), src)
		var errant ErrErrant
		if !errors.As(err, &errant) {
			t.Errorf("follow a source without them: %v", err)
		}
		if got := c.position().Received; !got.Contains(want) {
			t.Errorf("received %s, want %s", got, want)
		}
		if _, err := c.control.Follow(testContext(t), b.source(2)); err != nil {
			t.Fatal(err)
		}
		c.caughtUp(b)
		if got := c.get("SELECT COUNT(*) FROM d.t"); got != "21" {
			t.Errorf("%s rows, want 21", got)
		}
	})
}

// Transactions that only a sibling received are applied before it is found that
// its new source lacks them: they are not thrown away with the relay log.
func TestFollowAppliesWhatNobodyElseHas(t *testing.T) {
	lab.Require(t, "mysql")
	t.Parallel()
	hosts := newCluster(t, lab.MySQL, 3)
	a, b, c := hosts[0], hosts[1], hosts[2]
	b.seal(2)
	c.do("STOP REPLICA SQL_THREAD")
	a.do("INSERT INTO d.t (s) VALUES ('only at db3')")
	want := a.position().Executed
	await(t, "it is received", func() bool { return c.position().Received.Contains(want) })
	succeed(t, a, b) // with this loss accepted
	_, err := c.control.Follow(testContext(t), b.source(2))
	var errant ErrErrant
	if !errors.As(err, &errant) || errant.Set.Count() != 1 {
		t.Errorf("error %v, want one errant transaction", err)
	}
	if got := c.get("SELECT COUNT(*) FROM d.t"); got != "2" {
		t.Errorf("%s rows, want 2", got)
	}
}

func TestFollowRefusals(t *testing.T) {
	both(t, func(t *testing.T, flavor lab.Flavor) {
		hosts := newCluster(t, flavor, 2)
		a, b := hosts[0], hosts[1]
		ctx := testContext(t)
		b.seal(1)
		b.do(b.sql("SET GLOBAL super_read_only = OFF"), "SET GLOBAL read_only = OFF")
		if _, err := b.control.Follow(ctx, a.source(1)); !errors.Is(err, ErrWritable) {
			t.Errorf("writable server: %v", err)
		}
		b.do(b.sql("SET GLOBAL super_read_only = ON"))
		a.do("INSERT INTO d.t (s) VALUES ('purged')", "FLUSH BINARY LOGS", "INSERT INTO d.t (s) VALUES ('kept')")
		logs := a.binlogs()
		a.do("PURGE BINARY LOGS TO '" + logs[len(logs)-1] + "'")
		var purged ErrPurged
		if _, err := b.control.Follow(ctx, a.source(1)); !errors.As(err, &purged) || purged.Set.IsEmpty() {
			t.Errorf("purged source: %v", err)
		}
	})
}

// The password goes into a statement, and into nothing else.
func TestFollowHidesPassword(t *testing.T) {
	both(t, func(t *testing.T, flavor lab.Flavor) {
		secret := strings.Repeat("hunter2", 20) // too long; MariaDB quotes it, cut short
		hosts := newCluster(t, flavor, 2)
		a, b := hosts[0], hosts[1]
		b.control.cfg.Replication.Password = func() string { return secret }
		b.do(b.sql("STOP REPLICA"))
		_, err := b.control.Follow(testContext(t), a.source(1))
		if err == nil || strings.Contains(err.Error(), "hunt") {
			t.Errorf("error %v", err)
		}
		secret = "hunter2"
		// One that is wrong is replaced once it is right.
		result, err := b.control.Follow(testContext(t), a.source(1))
		if err != nil || result.ReceiverError == nil || strings.Contains(result.ReceiverError.Error(), secret) {
			t.Errorf("%+v, %v", result, err)
		}
		secret = password
		if _, err := b.control.Follow(testContext(t), a.source(1)); err != nil {
			t.Fatal(err)
		}
		a.do("INSERT INTO d.t (s) VALUES ('x')")
		b.caughtUp(a)
	})
}

// A crashed primary that has nothing of its own comes back by itself, with the
// heartbeat that its channel had when it was promoted.
func TestRejoinClean(t *testing.T) {
	both(t, func(t *testing.T, flavor lab.Flavor) {
		hosts := newCluster(t, flavor, 3)
		a, b, c := hosts[0], hosts[1], hosts[2]
		b.do(b.sql("STOP REPLICA"), b.sql("CHANGE REPLICATION SOURCE TO SOURCE_HEARTBEAT_PERIOD = 2.5"), b.sql("START REPLICA"))
		b.caughtUp(a)
		succeed(t, a, b)
		b.do("INSERT INTO d.t (s) VALUES ('by db2')")
		if _, err := c.control.Follow(testContext(t), b.source(2)); err != nil {
			t.Fatal(err)
		}
		if err := a.Start(testContext(t)); err != nil {
			t.Fatal(err)
		}
		result, err := a.control.Rejoin(testContext(t), b.source(2))
		if err != nil || result.Held || !result.Follow.Changed {
			t.Fatalf("%+v, %v", result, err)
		}
		a.caughtUp(b)

		// And back again: the old new primary demotes itself.
		b.demote(DemoteInput{KillClients: true})
		a.caughtUp(b)
		a.seal(3)
		if _, err := a.control.Promote(testContext(t), PromoteInput{Term: 3}); err != nil {
			t.Fatal(err)
		}
		if _, err := a.control.Finish(testContext(t), FinishInput{Term: 3}); err != nil {
			t.Fatal(err)
		}
		a.do("INSERT INTO d.t (s) VALUES ('by db1 again')")
		for _, h := range []*labHost{b, c} {
			if result, err := h.control.Rejoin(testContext(t), a.source(3)); err != nil || result.Held {
				t.Fatalf("%s: %+v, %v", h.name, result, err)
			}
			h.caughtUp(a)
			if got := h.get("SELECT COUNT(*) FROM d.t"); got != "3" {
				t.Errorf("%s: %s rows, want 3", h.name, got)
			}
		}
		if got := b.channel().heartbeat; got != 2500*time.Millisecond {
			t.Errorf("heartbeat period %v, want that of the channel it had", got)
		}
	})
}

// An old primary that has what its successor lacks is held: untouched, named,
// and the transactions saved so that they can be replayed.
func TestRejoinErrant(t *testing.T) {
	both(t, func(t *testing.T, flavor lab.Flavor) {
		hosts := newCluster(t, flavor, 2)
		a, b := hosts[0], hosts[1]
		b.seal(2)
		a.do("FLUSH BINARY LOGS", "INSERT INTO d.t (s) VALUES ('lost one')", "FLUSH BINARY LOGS", "INSERT INTO d.t (s) VALUES ('lost two')", "FLUSH BINARY LOGS")
		lost := a.position().Executed.Subtract(b.position().Executed)
		succeed(t, a, b)
		b.do("INSERT INTO d.t VALUES (100, 'by db2')")
		if err := a.Start(testContext(t)); err != nil {
			t.Fatal(err)
		}
		before := a.position()
		result, err := a.control.Rejoin(testContext(t), b.source(2))
		// Of diverged histories MariaDB's positions only tell the ends.
		if err != nil || !result.Held || result.Errant.IsEmpty() || !flavor.IsMariaDB() && !result.Errant.Equal(lost) {
			t.Fatalf("%+v, %v; errant should be %s", result, err, lost)
		}
		if after := a.position(); !after.Executed.Equal(before.Executed) || a.channel() != nil || !a.readOnly() {
			t.Errorf("the held server was changed: %+v", after)
		}
		if want := filepath.Join(a.dir, "errant-"+before.ServerUUID+"-2.sql"); result.Tail != want {
			t.Errorf("tail in %s, want %s", result.Tail, want)
		}
		text, err := os.ReadFile(result.Tail)
		if err != nil {
			t.Fatal(err)
		}
		for _, want := range []string{result.Errant.String(), "lost one", "lost two", "BINLOG '"} {
			if !strings.Contains(string(text), want) {
				t.Errorf("the tail does not contain %q", want)
			}
		}
		info, err := os.Stat(result.Tail)
		if err != nil {
			t.Fatal(err)
		}
		if info.Mode().Perm() != 0o600 {
			t.Errorf("the tail has mode %v", info.Mode())
		}
		again, err := a.control.Rejoin(testContext(t), b.source(2))
		if err != nil || again.Tail != result.Tail {
			t.Errorf("again: %+v, %v", again, err)
		}
		if same, err := os.Stat(again.Tail); err != nil || !os.SameFile(info, same) {
			t.Errorf("the tail was written twice: %v", err)
		}
		if flavor.IsMariaDB() {
			return
		}
		// Replayed at the new primary, they are errant no more.
		b.replay(result.Tail)
		if result, err := a.control.Rejoin(testContext(t), b.source(2)); err != nil || result.Held {
			t.Errorf("after the replay: %+v, %v", result, err)
		}
		a.caughtUp(b)
	})
}

// Without a program that reads binary logs, the tail is a list of their events.
func TestRejoinErrantWithoutProgram(t *testing.T) {
	both(t, func(t *testing.T, flavor lab.Flavor) {
		hosts := newCluster(t, flavor, 2)
		a, b := hosts[0], hosts[1]
		a.control.cfg.BinlogProgram = filepath.Join(t.TempDir(), "absent")
		b.seal(2)
		a.do("CREATE TABLE d.lost (i INT)")
		succeed(t, a, b)
		if err := a.Start(testContext(t)); err != nil {
			t.Fatal(err)
		}
		result, err := a.control.Rejoin(testContext(t), b.source(2))
		if err != nil || !result.Held {
			t.Fatalf("%+v, %v", result, err)
		}
		text, err := os.ReadFile(result.Tail)
		if err != nil {
			t.Fatal(err)
		}
		for _, want := range []string{"cannot be replayed", "CREATE TABLE d.lost (i INT)"} {
			if !strings.Contains(string(text), want) {
				t.Errorf("the tail does not contain %q:\n%s", want, text)
			}
		}
		for line := range strings.Lines(string(text)) {
			if !strings.HasPrefix(line, "--") {
				t.Errorf("a line that a client would run: %q", line)
			}
		}
	})
}

func TestRebuild(t *testing.T) {
	lab.Require(t, "mysql")
	t.Parallel()
	hosts := newCluster(t, lab.MySQL, 2)
	a, b := hosts[0], hosts[1]
	b.seal(2)
	a.do("INSERT INTO d.t (s) VALUES ('lost')")
	succeed(t, a, b)
	b.do("GRANT BACKUP_ADMIN ON *.* TO repl@'%'", "INSERT INTO d.t (s) VALUES ('by db2')")
	ctx := testContext(t)
	if _, err := b.control.Rebuild(ctx, a.sourceAt(2), nil); !errors.Is(err, ErrWritable) {
		t.Errorf("rebuild a primary: %v", err)
	}
	if err := a.Start(ctx); err != nil {
		t.Fatal(err)
	}
	uuid := a.position().ServerUUID
	var seen []CloneProgress
	result, err := a.control.Rebuild(ctx, b.source(2), func(p CloneProgress) { seen = append(seen, p) })
	if err != nil || result.NeedsStart {
		t.Fatalf("%+v, %v", result, err)
	}
	if text, err := os.ReadFile(result.Tail); err != nil || !strings.Contains(string(text), "lost") || result.Errant.Count() != 1 {
		t.Errorf("errant %s saved as %q, %v", result.Errant, text, err)
	}
	if len(seen) == 0 || seen[len(seen)-1].State != "Completed" {
		t.Errorf("progress %+v", seen)
	}
	p := a.position()
	if p.ServerUUID != uuid || !p.Executed.Equal(b.position().Executed) || !a.readOnly() {
		t.Errorf("rebuilt: %+v, read-only %v", p, a.readOnly())
	}
	if joined, err := a.control.Rejoin(ctx, b.source(2)); err != nil || joined.Held {
		t.Fatalf("%+v, %v", joined, err)
	}
	b.do("INSERT INTO d.t (s) VALUES ('more')")
	a.caughtUp(b)
}

// A server that nobody starts again only shuts down after the copy.
func TestRebuildNeedsStart(t *testing.T) {
	lab.Require(t, "mysql")
	t.Parallel()
	program, err := lab.Program("mysqld")
	if err != nil {
		t.Fatal(err)
	}
	hosts := newCluster(t, lab.MySQL, 2)
	a, b := hosts[0], hosts[1]
	a.do("GRANT BACKUP_ADMIN ON *.* TO repl@'%'", "INSERT INTO d.t (s) VALUES ('copied')")
	b.Kill()
	alone := exec.Command(program, "--defaults-file="+filepath.Join(b.Config().Dir, "my.cnf"))
	alone.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := alone.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() { _ = alone.Wait(); close(ended) }()
	t.Cleanup(func() { _ = alone.Process.Kill(); <-ended })
	await(t, "the server answers", func() bool { return b.DB().PingContext(testContext(t)) == nil })

	result, err := b.control.Rebuild(testContext(t), a.source(1), nil)
	if err != nil || !result.NeedsStart || !result.Errant.IsEmpty() || result.Tail != "" {
		t.Fatalf("%+v, %v", result, err)
	}
	<-ended
	if err := b.Start(testContext(t)); err != nil {
		t.Fatal(err)
	}
	if joined, err := b.control.Rejoin(testContext(t), a.source(1)); err != nil || joined.Held {
		t.Errorf("%+v, %v", joined, err)
	}
	b.caughtUp(a)
	if got := b.get("SELECT COUNT(*) FROM d.t"); got != "2" {
		t.Errorf("%s rows, want 2", got)
	}
}

// A donor that refuses leaves the server as it was, and read-only.
func TestRebuildFails(t *testing.T) {
	lab.Require(t, "mysql")
	t.Parallel()
	hosts := newCluster(t, lab.MySQL, 2)
	a, b := hosts[0], hosts[1]
	before := b.position().Executed
	_, err := b.control.Rebuild(testContext(t), a.source(1), nil)
	if err == nil || strings.Contains(err.Error(), "secret") {
		t.Errorf("without BACKUP_ADMIN: %v", err)
	}
	if got := b.position().Executed; !got.Equal(before) || !b.readOnly() {
		t.Errorf("executed %s, before %s; read-only %v", got, before, b.readOnly())
	}
}

func TestRebuildMariaDB(t *testing.T) {
	lab.Require(t, "mariadb")
	t.Parallel()
	hosts := newCluster(t, lab.MariaDB, 2)
	_, err := hosts[1].control.Rebuild(testContext(t), hosts[0].source(1), nil)
	if !errors.Is(err, ErrCloneUnsupported) || !strings.Contains(err.Error(), "mariadb-backup") {
		t.Errorf("error %v", err)
	}
	if got := hosts[1].position().ReceiverState; got != ReceiverRunning {
		t.Errorf("receiver is %s", got)
	}
}

func TestSavedChannel(t *testing.T) {
	dir := t.TempDir()
	if ch, err := loadChannel(dir); err != nil || ch != nil {
		t.Errorf("without a file: %+v, %v", ch, err)
	}
	row := map[string]string{
		"Source_Host": "10.0.0.11", "Source_Port": "3306", "Source_SSL_Allowed": "Yes", "Source_SSL_CA_File": "/etc/ca.pem",
		"Source_SSL_Cert": "/etc/cert.pem", "Source_SSL_Key": "/etc/key.pem", "Source_SSL_Verify_Server_Cert": "Yes", "Source_Retry_Count": "10",
	}
	for term, heartbeat := range map[uint64]time.Duration{9: 1, 10: 2 * time.Second, 2: 3} {
		ch, err := parseChannel(row)
		if err != nil {
			t.Fatal(err)
		}
		ch.heartbeat = heartbeat
		if err := ch.save(dir, term, Position{}); err != nil {
			t.Fatal(err)
		}
	}
	ch, err := loadChannel(dir)
	if err != nil || ch.heartbeat != 2*time.Second {
		t.Fatalf("%+v, %v: want the one of term 10", ch, err)
	}
	want := mysqlcheck.SourceTLS{CAFile: "/etc/ca.pem", CertFile: "/etc/cert.pem", KeyFile: "/etc/key.pem", Verify: true}
	if got := *ch.savedTLS(); got != want {
		t.Errorf("TLS %+v, want %+v", got, want)
	}
	if err := os.WriteFile(filepath.Join(dir, "replica-status-11.json"), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := loadChannel(dir); err == nil || !strings.Contains(err.Error(), "replica-status-11.json") {
		t.Errorf("damaged file: %v", err)
	}
}
