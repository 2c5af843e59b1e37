// SPDX-License-Identifier: Apache-2.0

package promote

import (
	"testing"

	"highwater/test/lab"
)

// tear stops the receiver of a replica, which asks by offset, within a transaction of its source, which it returns.
func (h *labHost) tear(source *labHost) *pending {
	h.t.Helper()
	h.do("STOP SLAVE", "CHANGE MASTER TO MASTER_USE_GTID=no", "SET GLOBAL read_binlog_speed_limit=200", "START SLAVE")
	source.clients(1)
	c, p := conn(h.t, source.DB()), &pending{done: make(chan error, 1)}
	ctx := testContext(h.t)
	go func() {
		_, err := c.ExecContext(ctx, "INSERT INTO d.t (s) SELECT REPEAT('x', 100000) FROM information_schema.COLUMNS LIMIT 30")
		p.done <- err
	}()
	torn := func() bool {
		ch := h.channel()
		return ch.row["Exec_Master_Log_Pos"] != ch.row["Read_Master_Log_Pos"]
	}
	await(h.t, "a part of the transaction is received", torn)
	h.do("STOP SLAVE IO_THREAD", "SET GLOBAL read_binlog_speed_limit=0")
	if source.still(p, "with a part of it received"); !torn() {
		h.t.Fatal("all of it was received")
	}
	return p
}

// A MariaDB receiver that asks by offset is stopped within a transaction: the applier waits for the rest of it, which
// does not come by itself. Neither following nor sealing waits for that; who follows has the whole of it in the end,
// and who is sealed has nothing of it.
func TestReceiverStoppedWithinTransaction(t *testing.T) {
	t.Parallel()
	lab.Require(t, string(lab.MariaDB))
	ctx := testContext(t)
	hosts := newLossless(t, lab.MariaDB, 2, "db2")
	a, b := hosts[0], hosts[1]
	src := a.source(1)
	src.Refresh = nil // that would wait behind the commit
	p := b.tear(a)
	if _, err := b.control.FollowAcknowledging(ctx, src); err != nil {
		t.Fatal(err)
	}
	a.acknowledged(p)
	b.caughtUp(a)
	if ch := b.channel(); !ch.autoPosition {
		t.Errorf("the replica asks by offset: %+v", ch.row)
	}
	before := b.position().Executed
	p = b.tear(a)
	if sealed := b.seal(2); !before.Contains(sealed.Received) || !sealed.Received.Contains(before) {
		t.Errorf("sealed with %s, want %s", sealed.Received, before)
	}
	a.still(p, "with a sealed replica")
}

// What is complete in the relay log is not taken for a part: it is applied before anything else is done.
func TestReceiverStoppedBehindTransaction(t *testing.T) {
	t.Parallel()
	lab.Require(t, string(lab.MariaDB))
	hosts := newLossless(t, lab.MariaDB, 2, "db2")
	a, b := hosts[0], hosts[1]
	b.do("STOP SLAVE", "CHANGE MASTER TO MASTER_USE_GTID=no", "START SLAVE")
	a.clients(1)
	b.do("STOP SLAVE SQL_THREAD")
	a.acknowledged(a.write("not applied"))
	b.do("STOP SLAVE IO_THREAD")
	c, err := b.control.connect(testContext(t))
	if err != nil {
		t.Fatal(err)
	}
	defer c.close()
	if torn, err := c.torn(testContext(t), b.channel()); torn || err != nil {
		t.Errorf("a whole transaction is taken for a part: %t, %v", torn, err)
	}
	b.do("START SLAVE SQL_THREAD")
	b.caughtUp(a)
	if torn, err := c.torn(testContext(t), b.channel()); !torn || err != nil {
		t.Errorf("with everything applied: %t, %v", torn, err)
	}
}
