// SPDX-License-Identifier: Apache-2.0

package promote

import (
	"context"
	"fmt"
	"testing"

	"highwater/test/lab"
)

// heartbeats counts those that the receiver has got from its source.
func (h *labHost) heartbeats() (n int) {
	h.t.Helper()
	text := h.channel().row["Slave_received_heartbeats"]
	if !h.Config().Flavor.IsMariaDB() {
		text = h.get("SELECT COUNT_RECEIVED_HEARTBEATS FROM performance_schema.replication_connection_status WHERE CHANNEL_NAME = ''")
	}
	return mustInt(h.t, text)
}

// A replica that comes back and holds all that waits already acknowledges none of
// it. On MySQL a barrier's commit is new, and with it come all before it. On
// MariaDB, once two groups wait, nothing new gets into the log, so they would wait
// for ever: but a replica that asks for the log by file and offset acknowledges
// what is before that at once.
func TestReturnedReplicaAcknowledgesNothingOld(t *testing.T) {
	both(t, func(t *testing.T, flavor lab.Flavor) {
		ctx := testContext(t)
		hosts := newLossless(t, flavor, 2)
		a, b := hosts[0], hosts[1]
		barrier := NewBarrier(a.control, heartbeatTable)
		src := a.source(1)
		var clients []*pending
		for i := range 4 {
			clients = append(clients, a.write(fmt.Sprintf("waiting %d", i)))
			a.stalls(clients[i])
		}
		b.caught(a) // silently
		// What the source has is not asked again: that would hang on MariaDB.
		src.Executed, src.Refresh = b.position().Executed, nil
		if _, err := b.control.FollowAcknowledging(ctx, src); err != nil {
			t.Fatal(err)
		}
		a.clients(1)
		begin := b.heartbeats()
		await(t, "the source has had the time", func() bool { return b.heartbeats() >= begin+2 })
		for i, p := range clients {
			a.still(p, fmt.Sprintf("the replica is back, and of client %d", i))
		}
		fresh := a.pass(barrier).Fresh
		if fresh == flavor.IsMariaDB() {
			t.Errorf("the barrier's commit is in the log: %t", fresh)
		}
		if flavor.IsMariaDB() {
			a.still(clients[0], "behind a barrier")
			if err := b.control.AcknowledgeReceived(ctx, src); err != nil {
				t.Fatal(err)
			}
		}
		for _, p := range clients {
			a.acknowledged(p)
		}
		a.acknowledged(a.write("afterwards"))
		b.caughtUp(a)
		if ch := b.channel(); !ch.autoPosition {
			t.Errorf("the replica asks by offset: %+v", ch.row)
		}
	})
}

// That a client goes away does not end the wait of its commit.
func TestClientGoneLetsNothingThrough(t *testing.T) {
	both(t, func(t *testing.T, flavor lab.Flavor) {
		a := newLossless(t, flavor, 1)[0]
		c := conn(t, a.DB())
		var id uint64
		if err := c.QueryRowContext(testContext(t), "SELECT CONNECTION_ID()").Scan(&id); err != nil {
			t.Fatal(err)
		}
		ctx, leave := context.WithCancel(testContext(t))
		done := make(chan error, 1)
		go func() { done <- execErr(ctx, c, "INSERT INTO d.t (s) VALUES ('nobody waits for it')") }()
		await(t, "the commit waits", func() bool {
			stalled, err := a.control.Stalled(testContext(t), id)
			return err == nil && stalled
		})
		leave()
		if err := <-done; err == nil {
			t.Error("the client was told OK")
		}
		// A commit after it has every chance to push it through.
		a.stalls(a.write("after it"))
		if stalled, err := a.control.Stalled(testContext(t), id); err != nil || !stalled {
			t.Errorf("stalled %t, %v", stalled, err)
		}
		if n := a.get("SELECT COUNT(*) FROM d.t WHERE s LIKE 'nobody%'"); n != "0" {
			t.Error("the commit went through")
		}
	})
}
