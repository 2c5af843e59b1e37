// SPDX-License-Identifier: Apache-2.0

package promote

import (
	"context"
	"errors"
	"fmt"
	"net"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"highwater/mysqlcheck/gtid"
	"highwater/test/lab"
)

func TestSeal(t *testing.T) {
	both(t, func(t *testing.T, flavor lab.Flavor) {
		hosts := newCluster(t, flavor, 2)
		a, b := hosts[0], hosts[1]
		ctx := testContext(t)
		before := b.position()
		if before.ReceiverState != ReceiverRunning || !before.Received.Equal(a.position().Executed) {
			t.Errorf("position of a replica: %+v", before)
		}
		p, err := b.control.Seal(ctx, 5)
		if err != nil {
			t.Fatal(err)
		}
		if p.ReceiverState != ReceiverStopped || p.StartID != before.StartID || !p.Received.Equal(before.Received) {
			t.Errorf("sealed at %+v, before %+v", p, before)
		}
		a.do("INSERT INTO d.t (s) VALUES ('not acknowledged')")
		again, err := b.control.Seal(ctx, 5)
		if err != nil || !again.Received.Equal(p.Received) {
			t.Errorf("sealed again at %+v, %v", again, err)
		}
		var promised ErrPromised
		if _, err := b.control.Seal(ctx, 4); !errors.As(err, &promised) {
			t.Errorf("lower term: %v", err)
		}
		if _, err := b.control.Follow(ctx, a.source(4)); !errors.As(err, &promised) || promised != (ErrPromised{5, 4}) {
			t.Errorf("follow a primary of a lower term: %v", err)
		}
		if _, err := b.control.Promote(ctx, PromoteInput{Term: 4}); !errors.As(err, &promised) {
			t.Errorf("promote in a lower term: %v", err)
		}
		if _, err := b.control.Rebuild(ctx, a.source(4), nil); !errors.As(err, &promised) {
			t.Errorf("rebuild from a primary of a lower term: %v", err)
		}
		restarted, err := NewServer(b.control.cfg)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := restarted.Follow(ctx, a.source(4)); !errors.As(err, &promised) {
			t.Errorf("follow a primary of a lower term after a restart: %v", err)
		}
		if got := b.position(); got.ReceiverState != ReceiverStopped {
			t.Errorf("receiver is %s", got.ReceiverState)
		}
		if _, err := b.control.Follow(ctx, a.source(5)); err != nil {
			t.Errorf("follow a primary of the sealed term: %v", err)
		}
		b.caughtUp(a)
	})
}

// A server without a channel, such as a primary, can be sealed like any other.
func TestSealWithoutChannel(t *testing.T) {
	both(t, func(t *testing.T, flavor lab.Flavor) {
		h := newHost(t, flavor, "db1")
		p, err := h.control.Seal(testContext(t), 1)
		if err != nil || p.ReceiverState != ReceiverStopped || !p.Executed.IsEmpty() {
			t.Errorf("position %+v, %v", p, err)
		}
		if p.Writable {
			t.Error("it is read-only, and its position says that it accepts writes")
		}
		h.do("SET GLOBAL read_only = OFF")
		if p, err := h.control.Seal(testContext(t), 1); err != nil || !p.Writable {
			t.Errorf("it accepts writes: position %+v, %v", p, err)
		}
	})
}

// A position is of one server process: what began in one does not go on in the
// next under the same StartID, or another.
func TestPositionOfOneProcess(t *testing.T) {
	lab.Require(t, "mariadb")
	t.Parallel()
	ctx := testContext(t)
	h := newHost(t, lab.MariaDB, "db1")
	c, err := h.control.connect(ctx)
	if err != nil {
		t.Fatal(err)
	}
	defer c.close()
	if p, _, err := c.position(ctx); err != nil || p.StartID == "" {
		t.Errorf("%+v, %v", p, err)
	}
	h.Kill()
	if err := h.Start(ctx); err != nil {
		t.Fatal(err)
	}
	if p, _, err := c.position(ctx); err == nil {
		t.Errorf("read across a restart: %+v", p)
	}
	if p, err := h.control.Seal(ctx, 1); err != nil || p.StartID == "" {
		t.Errorf("sealed afterwards: %+v, %v", p, err)
	}
}

// deadPort is a port of a host that answers nothing: the queue of the listener
// is full, so each SYN is dropped as if the host were gone.
func deadPort(t *testing.T) int {
	t.Helper()
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Close(fd) })
	if err := unix.Bind(fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		t.Fatal(err)
	}
	if err := unix.Listen(fd, 0); err != nil {
		t.Fatal(err)
	}
	name, err := unix.Getsockname(fd)
	if err != nil {
		t.Fatal(err)
	}
	port := name.(*unix.SockaddrInet4).Port
	for range 8 {
		conn, err := net.DialTimeout("tcp4", fmt.Sprintf("127.0.0.1:%d", port), 50*time.Millisecond)
		if err != nil {
			return port
		}
		t.Cleanup(func() { _ = conn.Close() })
	}
	t.Fatal("the listener's queue does not fill")
	return 0
}

// STOP REPLICA IO_THREAD takes 2 s while the receiver is in connect(2) toward a
// dead host. Sealing and promoting do not wait for that; Finish does.
func TestSealWhileConnectingToDeadHost(t *testing.T) {
	lab.Require(t, "mysql")
	hosts := newCluster(t, lab.MySQL, 2)
	a, b := hosts[0], hosts[1]
	a.Kill()
	ctx := testContext(t)
	b.do("STOP REPLICA", fmt.Sprintf("CHANGE REPLICATION SOURCE TO SOURCE_PORT = %d", deadPort(t)), "START REPLICA")
	await(t, "the receiver is connecting", func() bool { return b.position().ReceiverState == ReceiverConnecting })
	begin := time.Now()
	p, err := b.control.Seal(ctx, 2)
	if err != nil {
		t.Fatal(err)
	}
	stop := b.control.stopping
	select {
	case <-stop.done:
		t.Skipf("the server stopped its receiver within %v: nothing to see", time.Since(begin))
	default:
	}
	if _, err := b.control.Seal(ctx, 2); err != nil {
		t.Errorf("again, meanwhile: %v", err)
	}
	if _, err := b.control.Promote(ctx, PromoteInput{Term: 2, Received: p.Received}); err != nil {
		t.Fatal(err)
	}
	select {
	case <-stop.done:
		t.Errorf("sealing and promoting took %v, as long as stopping the receiver", time.Since(begin))
	default:
	}
	b.do("INSERT INTO d.t (s) VALUES ('open')")
	if _, err := b.control.Finish(ctx, FinishInput{Term: 2}); err != nil {
		t.Fatal(err)
	}
	if ch := b.channel(); ch != nil {
		t.Errorf("channel left: %+v", ch.row)
	}
}

// A receiver that is sealed while its source is frozen does not come back when
// the source does.
func TestSealWhileSourceIsFrozen(t *testing.T) {
	both(t, func(t *testing.T, flavor lab.Flavor) {
		hosts := newCluster(t, flavor, 2)
		a, b := hosts[0], hosts[1]
		a.freeze()
		p, err := b.control.Seal(testContext(t), 2)
		if err != nil {
			t.Fatal(err)
		}
		if err := a.Cont(); err != nil {
			t.Fatal(err)
		}
		a.do("INSERT INTO d.t (s) VALUES ('late')")
		if err := b.control.awaitStop(testContext(t)); err != nil {
			t.Fatal(err)
		}
		if got := b.position(); got.ReceiverState != ReceiverStopped || !got.Received.Equal(p.Received) {
			t.Errorf("sealed at %s, now %s and %s", p.Received, got.Received, got.ReceiverState)
		}
	})
}

// Sealing a server whose applier somebody stopped loses nothing of its relay log:
// on MariaDB the applier, started later, would throw it away.
func TestSealKeepsRelayLogOfStoppedApplier(t *testing.T) {
	both(t, func(t *testing.T, flavor lab.Flavor) {
		hosts := newCluster(t, flavor, 2)
		a, b := hosts[0], hosts[1]
		b.do(b.sql("STOP REPLICA SQL_THREAD"))
		a.do("INSERT INTO d.t (s) VALUES ('received')")
		want := a.position().Executed
		await(t, "it is received", func() bool { return b.position().Received.Contains(want) })
		a.Kill()
		p, err := b.control.Seal(testContext(t), 2)
		if err != nil || !p.Received.Equal(want) {
			t.Fatalf("sealed at %s, %v, want %s", p.Received, err, want)
		}
		if _, err := b.control.Promote(testContext(t), PromoteInput{Term: 2, Received: want}); err != nil {
			t.Fatal(err)
		}
		if got := b.get("SELECT COUNT(*) FROM d.t"); got != "2" {
			t.Errorf("%s rows, want 2", got)
		}
	})
}

// What comes first interrupts what only prepares a replica.
func TestSealInterruptsFollow(t *testing.T) {
	lab.Require(t, "mysql")
	t.Parallel()
	hosts := newCluster(t, lab.MySQL, 2)
	a, b := hosts[0], hosts[1]
	ctx := testContext(t)
	// Something errant makes Follow ask the source, which takes its time.
	b.do("SET GLOBAL super_read_only = OFF", "CREATE DATABASE errant", "SET GLOBAL super_read_only = ON")
	asked := make(chan struct{})
	src := a.source(1)
	src.Refresh = func(ctx context.Context) (executed, purged gtid.Set, err error) {
		close(asked)
		<-ctx.Done()
		return gtid.Set{}, gtid.Set{}, context.Cause(ctx)
	}
	first := make(chan error, 1)
	go func() {
		_, err := b.control.Follow(ctx, src)
		first <- err
	}()
	<-asked
	if _, err := b.control.Seal(ctx, 2); err != nil {
		t.Fatal(err)
	}
	if err := <-first; !errors.Is(err, errInterrupted) {
		t.Errorf("interrupted follow: %v", err)
	}
}
