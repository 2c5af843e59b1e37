// SPDX-License-Identifier: Apache-2.0

package promote

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"highwater/mysqlcheck"
	"highwater/test/lab"
)

// replUser is the replication account of a node.
func replUser(node string) string { return "repl-" + node }

// nodeAccount gives a host a replication account of its own.
func nodeAccount(sc *lab.ServerConfig, c *Config) { c.Replication.User = replUser(c.Node) }

// newLossless starts a primary that waits for one acknowledgement and n-1
// replicas, each with an account of its own, of which those named acknowledge.
func newLossless(t testing.TB, flavor lab.Flavor, n int, acknowledging ...string) []*labHost {
	t.Helper()
	hosts := make([]*labHost, n)
	var g errgroup.Group
	for i := range hosts {
		g.Go(func() error {
			hosts[i] = newHost(t, flavor, fmt.Sprintf("db%d", i+1), nodeAccount)
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
	for _, h := range hosts {
		primary.do(fmt.Sprintf(`CREATE USER '%s'@'%%' IDENTIFIED BY 'it''s a \\ secret'`, replUser(h.name)),
			fmt.Sprintf("GRANT REPLICATION SLAVE ON *.* TO '%s'@'%%'", replUser(h.name)))
	}
	primary.do("CREATE DATABASE d", "CREATE TABLE d.t (i INT AUTO_INCREMENT PRIMARY KEY, s LONGTEXT) ENGINE=InnoDB", "INSERT INTO d.t (s) VALUES ('first')")
	for _, h := range hosts[1:] {
		follow := h.control.FollowSilently
		if slices.Contains(acknowledging, h.name) {
			follow = h.control.FollowAcknowledging
		}
		if _, err := follow(testContext(t), primary.source(1)); err != nil {
			t.Fatal(err)
		}
		h.caughtUp(primary)
	}
	if err := primary.control.EnableSource(testContext(t), 1); err != nil {
		t.Fatal(err)
	}
	primary.clients(len(acknowledging))
	return hosts
}

// clients waits until so many replicas are attached that acknowledge.
func (h *labHost) clients(n int) {
	h.t.Helper()
	await(h.t, fmt.Sprintf("%d replicas acknowledge", n), func() bool { return h.sourceState().Clients == n })
}

func (h *labHost) sourceState() SourceState {
	h.t.Helper()
	st, err := h.control.SourceState(testContext(h.t))
	if err != nil {
		h.t.Fatal(err)
	}
	return st
}

// pending is a commit of a client.
type pending struct {
	id   uint64 // its connection
	done chan error
}

// write begins a commit, on a connection of its own.
func (h *labHost) write(text string) *pending {
	h.t.Helper()
	c := conn(h.t, h.DB())
	p := &pending{done: make(chan error, 1)}
	if err := c.QueryRowContext(testContext(h.t), "SELECT CONNECTION_ID()").Scan(&p.id); err != nil {
		h.t.Fatal(err)
	}
	ctx := testContext(h.t)
	go func() {
		_, err := c.ExecContext(ctx, "INSERT INTO d.t (s) VALUES (?)", text)
		p.done <- err
	}()
	return p
}

// stalls waits until the commit waits for an acknowledgement.
func (h *labHost) stalls(p *pending) {
	h.t.Helper()
	await(h.t, "the commit is stalled", func() bool {
		select {
		case err := <-p.done:
			h.t.Fatalf("the commit ended: %v", err)
		default:
		}
		stalled, err := h.control.Stalled(testContext(h.t), p.id)
		if err != nil {
			h.t.Fatal(err)
		}
		return stalled
	})
}

// still asserts that the commit has not ended.
func (h *labHost) still(p *pending, when string) {
	h.t.Helper()
	select {
	case err := <-p.done:
		h.t.Fatalf("%s the commit ended: %v", when, err)
	default:
	}
}

// acknowledged waits until the client was told.
func (h *labHost) acknowledged(p *pending) {
	h.t.Helper()
	select {
	case err := <-p.done:
		if err != nil {
			h.t.Fatal(err)
		}
	case <-time.After(20 * time.Second):
		h.t.Fatalf("no acknowledgement: %+v", h.sourceState())
	}
}

// refused waits until the receiver of h has been refused n times more.
func (h *labHost) refused(n int) {
	h.t.Helper()
	const locked, lockedMariaDB = 3118, 4151 // ER_ACCOUNT_HAS_BEEN_LOCKED
	for last := ""; n > 0; n-- {
		await(h.t, h.name+" is refused", func() bool {
			ch := h.channel()
			when := ch.row["Last_IO_Error_Timestamp"] + ch.receiverError.Text
			if h.Config().Flavor.IsMariaDB() {
				when = "once" // it does not count
			}
			if e := ch.receiverError.Number; e != locked && e != lockedMariaDB || when == last {
				return false
			}
			if !h.Config().Flavor.IsMariaDB() {
				last = when
			}
			return true
		})
	}
}

func TestEnableSource(t *testing.T) {
	both(t, func(t *testing.T, flavor lab.Flavor) {
		ctx := testContext(t)
		// As a package leaves it: a short timeout, AFTER_COMMIT, and without
		// replicas nothing waits.
		h := newHost(t, flavor, "db1", func(sc *lab.ServerConfig, _ *Config) {
			name := "rpl_semi_sync_source_"
			noReplica := "no_replica"
			if flavor.IsMariaDB() {
				name, noReplica = "rpl_semi_sync_master_", "no_slave"
			}
			sc.Extra = []string{name + "wait_point=AFTER_COMMIT", name + "timeout=100", name + "wait_" + noReplica + "=OFF"}
		})
		if st := h.sourceState(); !st.Loaded || st.Enabled || st.Forever || st.AfterSync || st.WaitNoReplica || st.Lossless(1) {
			t.Errorf("before: %+v", st)
		}
		for _, acks := range []int{0, -1} {
			if err := h.control.EnableSource(ctx, acks); !errors.Is(err, ErrAcks) {
				t.Errorf("%d acknowledgements: %v", acks, err)
			}
		}
		if err := h.control.SetAcks(ctx, 1); !errors.Is(err, ErrDegraded) {
			t.Errorf("set acknowledgements of a server that does not wait: %v", err)
		}
		if err := h.control.EnableSource(ctx, 1); err != nil {
			t.Fatal(err)
		}
		if st := h.sourceState(); !st.Lossless(1) || st.Lossless(2) || st.Acks != 1 {
			t.Errorf("after: %+v", st)
		}
		err, want := h.control.EnableSource(ctx, 2), error(nil)
		if flavor.IsMariaDB() {
			want = ErrAcks
		}
		if !errors.Is(err, want) {
			t.Errorf("two acknowledgements: %v, want %v", err, want)
		}
		if _, err := h.control.Promote(ctx, PromoteInput{Term: 1}); err != nil {
			t.Fatal(err)
		}
		// Somebody shortened the wait, and a commit went through: semi-sync is on,
		// and off.
		h.do("SET GLOBAL "+h.semiSync("timeout")+" = 1", "CREATE DATABASE d")
		if st := h.sourceState(); !st.Enabled || st.Active || st.Lossless(1) {
			t.Errorf("degraded: %+v", st)
		}
		if err := h.control.EnableSource(ctx, 1); !errors.Is(err, ErrDegraded) {
			t.Errorf("a writable server that has degraded: %v", err)
		}
		h.demote(DemoteInput{})
		if err := h.control.EnableSource(ctx, 1); err != nil || !h.sourceState().Lossless(1) {
			t.Errorf("a read-only server that had degraded: %v, %+v", err, h.sourceState())
		}
	})
}

// semiSync is a variable of the source half.
func (h *labHost) semiSync(name string) string {
	if h.Config().Flavor.IsMariaDB() {
		return "rpl_semi_sync_master_" + name
	}
	return "rpl_semi_sync_source_" + name
}

func TestEnableSourceWithoutPlugin(t *testing.T) {
	lab.Require(t, "mysql")
	t.Parallel()
	h := newHost(t, lab.MySQL, "db1")
	h.do("SET GLOBAL super_read_only = OFF", "UNINSTALL PLUGIN rpl_semi_sync_source", "UNINSTALL PLUGIN rpl_semi_sync_replica")
	if err := h.control.EnableSource(testContext(t), 1); !errors.Is(err, ErrNoSemiSync) {
		t.Errorf("%v", err)
	}
	if _, err := h.control.FollowAcknowledging(testContext(t), Source{Node: "db2", Term: 1}); !errors.Is(err, ErrNoSemiSync) {
		t.Errorf("follow: %v", err)
	}
	h.do("SET GLOBAL super_read_only = ON")
	h.refusedPromotion(PromoteInput{Term: 1, Lossless: &Lossless{Acks: 1}}, StepSemiSync, ErrNoSemiSync.Error())
	if err := h.control.StopAcknowledging(testContext(t)); err != nil {
		t.Errorf("stop acknowledging: %v", err)
	}
}

// A higher k holds for the commits that come, and a lower one lets go those
// that have enough.
func TestSetAcks(t *testing.T) {
	lab.Require(t, "mysql")
	t.Parallel()
	ctx := testContext(t)
	hosts := newLossless(t, lab.MySQL, 2, "db2")
	a := hosts[0]
	a.acknowledged(a.write("one of one"))
	if err := a.control.SetAcks(ctx, 2); err != nil {
		t.Fatal(err)
	}
	p := a.write("one of two")
	a.stalls(p)
	hosts[1].caught(a)
	a.still(p, "with one of two acknowledgements")
	if err := a.control.SetAcks(ctx, 1); err != nil {
		t.Fatal(err)
	}
	a.acknowledged(p)
	if st := a.sourceState(); st.Acks != 1 || st.Waiting != 0 {
		t.Errorf("%+v", st)
	}
}

// caught waits until h has received all that is in the primary's log.
func (h *labHost) caught(primary *labHost) {
	h.t.Helper()
	c, err := primary.control.connect(testContext(h.t))
	if err != nil {
		h.t.Fatal(err)
	}
	defer c.close()
	p, err := c.logEnd(testContext(h.t), 0)
	if err != nil {
		h.t.Fatal(err)
	}
	h.receives(p)
}

// C4: switching semi-sync off below a running receiver changes nothing.
// StopAcknowledging stops the receiver first, and FollowSilently starts it anew.
func TestStopAcknowledging(t *testing.T) {
	both(t, func(t *testing.T, flavor lab.Flavor) {
		ctx := testContext(t)
		hosts := newLossless(t, flavor, 2, "db2")
		a, b := hosts[0], hosts[1]
		off := "SET GLOBAL rpl_semi_sync_replica_enabled = OFF"
		if flavor.IsMariaDB() {
			off = "SET GLOBAL rpl_semi_sync_slave_enabled = OFF"
		}
		b.do(off)
		for i := range 3 {
			a.acknowledged(a.write(fmt.Sprintf("acknowledged by a replica that is switched off, %d", i)))
		}
		if acks, err := b.control.Acknowledging(ctx); err != nil || !acks {
			t.Errorf("switched off below a running receiver: acknowledges %t, %v", acks, err)
		}

		if err := b.control.StopAcknowledging(ctx); err != nil {
			t.Fatal(err)
		}
		if acks, err := b.control.Acknowledging(ctx); err != nil || acks {
			t.Errorf("stopped: acknowledges %t, %v", acks, err)
		}
		if got := b.position().ReceiverState; got != ReceiverStopped {
			t.Errorf("receiver is %s", got)
		}
		src := a.source(1)
		p := a.write("not acknowledged")
		a.stalls(p)
		if _, err := b.control.FollowSilently(ctx, src); err != nil {
			t.Fatal(err)
		}
		b.caught(a)
		a.still(p, "received by a silent replica,")
		if acks, err := b.control.Acknowledging(ctx); err != nil || acks {
			t.Errorf("silent: acknowledges %t, %v", acks, err)
		}
		if again, err := b.control.FollowSilently(ctx, src); err != nil || again.Changed {
			t.Errorf("again: %+v, %v", again, err)
		}

		// The other way round: on below a running receiver is not on.
		b.do(strings.Replace(off, "OFF", "ON", 1))
		if acks, err := b.control.Acknowledging(ctx); err != nil || acks {
			t.Errorf("switched on below a running receiver: acknowledges %t, %v", acks, err)
		}
		if _, err := b.control.FollowAcknowledging(ctx, src); err != nil {
			t.Fatal(err)
		}
		await(t, "it acknowledges", func() bool {
			acks, err := b.control.Acknowledging(ctx)
			return err == nil && acks
		})
		a.clients(1)
		// What it had received by then it acknowledges with what comes next.
		next := a.write("acknowledged")
		a.acknowledged(next)
		a.acknowledged(p)
	})
}

// H3: a commit that waits for an acknowledgement is told from one that does
// not, also where it waits behind another one.
func TestStalled(t *testing.T) {
	both(t, func(t *testing.T, flavor lab.Flavor) {
		ctx := testContext(t)
		hosts := newLossless(t, flavor, 1)
		a := hosts[0]
		// A row lock is no acknowledgement.
		lock := conn(t, a.DB())
		tx, err := lock.BeginTx(ctx, nil)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := tx.ExecContext(ctx, "UPDATE d.t SET s = 'locked'"); err != nil {
			t.Fatal(err)
		}
		blocked := conn(t, a.DB())
		var id uint64
		if err := blocked.QueryRowContext(ctx, "SELECT CONNECTION_ID()").Scan(&id); err != nil {
			t.Fatal(err)
		}
		ended := make(chan error, 1)
		go func() { ended <- execErr(ctx, blocked, "UPDATE d.t SET s = 'blocked'") }()
		a.running("UPDATE d.t SET s = ''blocked''")
		if stalled, err := a.control.Stalled(ctx, id); err != nil || stalled {
			t.Errorf("behind a row lock: %t, %v", stalled, err)
		}
		if err := tx.Rollback(); err != nil {
			t.Fatal(err)
		}
		await(t, "the update waits for its acknowledgement", func() bool {
			stalled, err := a.control.Stalled(ctx, id)
			return err == nil && stalled
		})
		for range 3 {
			a.stalls(a.write("behind it"))
		}
		if st := a.sourceState(); st.Waiting < 1 {
			t.Errorf("%+v", st)
		}
		a.Kill()
		if err := <-ended; err == nil {
			t.Error("the client was told OK")
		}
	})
}

func execErr(ctx context.Context, c *sql.Conn, query string) error {
	_, err := c.ExecContext(ctx, query)
	return err
}

// The account of the grants suffices for all of it.
func TestAcksLeastPrivilege(t *testing.T) {
	both(t, func(t *testing.T, flavor lab.Flavor) {
		ctx := testContext(t)
		hosts := newLossless(t, flavor, 2, "db2")
		a, b := hosts[0], hosts[1]
		conn, err := a.control.connect(ctx)
		if err != nil {
			t.Fatal(err)
		}
		conn.close()
		a.do(mysqlcheck.Grants(conn.version, mysqlcheck.Accounts{
			Supervisor: mysqlcheck.Account{User: "highwater", Host: "localhost", Password: "few"}, Lossless: true,
		})...)
		b.caughtUp(a)
		for _, h := range hosts {
			h.control.cfg.DB = mysqlcheck.OpenDB(mysqlcheck.ConnConfig{
				Address: h.Socket(), User: "highwater", Password: func() string { return "few" }, ReadTimeout: time.Minute,
			}, 6)
			t.Cleanup(func() { _ = h.control.cfg.DB.Close() })
		}
		if missing, err := mysqlcheck.CheckGrants(ctx, a.control.cfg.DB, "", true); err != nil || len(missing) > 0 {
			t.Errorf("missing: %v, %v", missing, err)
		}
		barrier := NewBarrier(a.control, "highwater.heartbeat")
		if p, err := barrier.Pass(ctx); err != nil || !p.Fresh {
			t.Errorf("barrier: %+v, %v", p, err)
		}
		dumps, err := a.control.Dumps(ctx)
		if err != nil || len(dumps) != 1 || dumps[0].User != "repl-db2" || !dumps[0].AcksKnown || !dumps[0].Acks {
			t.Errorf("dump threads %+v, %v", dumps, err)
		}
		if err := a.control.LockReplica(ctx, "repl-db2"); err != nil {
			t.Error(err)
		}
		if err := a.control.UnlockReplica(ctx, "repl-db2"); err != nil {
			t.Error(err)
		}
		if err := b.control.StopAcknowledging(ctx); err != nil {
			t.Error(err)
		}
		for _, h := range hosts {
			if d, err := h.control.Durability(ctx); err != nil || len(d.Barred()) > 0 {
				t.Errorf("%s: %+v, %v", h.name, d, err)
			}
		}
		if err := b.control.EnableSource(ctx, 1); err != nil {
			t.Error(err)
		}
		if err := b.control.LockAll(ctx, []string{"repl-db1"}); err != nil || !b.readOnly() {
			t.Errorf("%v, read-only %t", err, b.readOnly())
		}
	})
}
