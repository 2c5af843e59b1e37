// SPDX-License-Identifier: Apache-2.0

package peer

import (
	"context"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// relay stands between client and server and fails like a network does.
type relay struct {
	listener net.Listener
	to       string

	mu     sync.Mutex
	thaw   *sync.Cond
	frozen bool
	dials  int
	conns  []net.Conn
	moved  atomic.Int64 // bytes, in both directions
	pace   atomic.Int64 // pause before each read, in ns
}

func startRelay(t *testing.T, to string) *relay {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r := &relay{listener: l, to: to}
	r.thaw = sync.NewCond(&r.mu)
	go r.run()
	t.Cleanup(func() {
		l.Close()
		r.freeze(false)
		r.cut()
	})
	return r
}

func (r *relay) run() {
	for {
		from, err := r.listener.Accept()
		if err != nil {
			return
		}
		if err := from.(*net.TCPConn).SetReadBuffer(64 << 10); err != nil { // small, so that the sender notices a slow reader
			from.Close()
			continue
		}
		to, err := net.Dial("tcp", r.to)
		if err != nil {
			from.Close()
			continue
		}
		r.mu.Lock()
		r.dials++
		r.conns = append(r.conns, from, to)
		r.mu.Unlock()
		go r.pipe(from, to)
		go r.pipe(to, from)
	}
}

func (r *relay) pipe(dst, src net.Conn) {
	defer dst.Close()
	buf := make([]byte, 32<<10)
	for {
		size := len(buf)
		if pace := time.Duration(r.pace.Load()); pace > 0 {
			time.Sleep(pace)
			size = 4 << 10
		}
		n, err := src.Read(buf[:size])
		r.moved.Add(int64(n))
		r.mu.Lock()
		for r.frozen {
			r.thaw.Wait()
		}
		r.mu.Unlock()
		if _, werr := dst.Write(buf[:n]); err != nil || werr != nil {
			return
		}
	}
}

// cut closes all connections, as a restarted peer does.
func (r *relay) cut() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, c := range r.conns {
		c.Close()
	}
	r.conns = nil
}

// freeze lets no more bytes through on present and new connections, as an unplugged peer does.
func (r *relay) freeze(frozen bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.frozen = frozen
	r.thaw.Broadcast()
}

func (r *relay) dialled() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.dials
}

func TestConnectionsPersist(t *testing.T) {
	s := startServer(t, &fakeHandler{})
	r := startRelay(t, s.Addr().String())
	cfg := clientConfig(t, s)
	cfg.Address = r.listener.Addr().String()
	c, _ := startClient(t, cfg)
	eventually(t, "warm", func() bool { return s.Stats().Messages[kindPing] > 0 })
	for i := range uint64(20) {
		c.Push(NodeStatus{Stamp: Stamp{Seq: i + 1}})
		eventually(t, "status sent", func() bool { return s.Stats().Messages[kindStatus] == i+1 })
	}
	// A ping may borrow the warm connection for a moment, so a second one is possible; a third is not.
	for range 20 {
		if _, err := c.Seal(t.Context(), SealRequest{Candidate: "db2"}); err != nil {
			t.Fatal(err)
		}
	}
	if n := r.dialled(); n > 3 {
		t.Errorf("%d connections for 20 statuses and 20 seals", n)
	}
}

// A connection that the peer closed long ago costs an urgent message nothing but a handshake.
func TestStaleConnectionIsReplaced(t *testing.T) {
	h := &fakeHandler{}
	s := startServer(t, h)
	r := startRelay(t, s.Addr().String())
	cfg := clientConfig(t, s)
	cfg.Address = r.listener.Addr().String()
	c, err := NewClient(cfg) // not run: nothing may repair the connection in passing
	if err != nil {
		t.Fatal(err)
	}
	defer c.urgent.close()
	for _, send := range []func() error{
		func() error { _, err := c.Seal(t.Context(), SealRequest{Candidate: "db2"}); return err },
		func() error { _, err := c.Command(t.Context(), Command{Name: "pause"}); return err },
		func() error { _, err := c.Farewell(t.Context(), FarewellRequest{From: "db2"}); return err },
	} {
		if err := send(); err != nil {
			t.Fatal(err)
		}
		r.cut()
		if err := send(); err != nil {
			t.Errorf("after a cut: %v", err)
		}
		r.cut()
	}
	if st := c.Stats(); st.Errors[ReasonClosed] < 3 || !st.Up {
		t.Errorf("stats = %+v", st)
	}
	if len(h.commands) != 2 {
		t.Errorf("2 commands arrived %d times", len(h.commands))
	}
}

// A connection that went silent is given up after ackTimeout, and the message goes over a fresh one; a command does not.
func TestSilentConnectionIsReplaced(t *testing.T) {
	h := &fakeHandler{}
	s := startServer(t, h)
	silent := startRelay(t, s.Addr().String())
	cfg := clientConfig(t, s)
	cfg.Address = silent.listener.Addr().String()
	c, err := NewClient(cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer c.urgent.close()
	seal := func() error { _, err := c.Seal(t.Context(), SealRequest{Candidate: "db2"}); return err }
	if err := seal(); err != nil {
		t.Fatal(err)
	}
	silent.freeze(true)
	c.cfg.Address = s.Addr().String() // the fresh connection takes another way
	if err := seal(); err != nil {
		t.Errorf("after silence: %v", err)
	}
	if n := c.Stats().Errors[ReasonTimeout]; n != 1 {
		t.Errorf("%d time-outs", n)
	}

	other := startRelay(t, s.Addr().String())
	c.cfg.Address = other.listener.Addr().String()
	c.urgent.take().close()
	if err := seal(); err != nil {
		t.Fatal(err)
	}
	other.freeze(true)
	c.cfg.Address = s.Addr().String()
	if _, err := c.Command(t.Context(), Command{Name: "failover"}); ReasonOf(err) != ReasonTimeout {
		t.Errorf("command after silence: %v", err)
	}
	if len(h.commands) != 0 {
		t.Error("command was sent again")
	}
}

func TestClientHeals(t *testing.T) {
	h := &fakeHandler{}
	s := startServer(t, h)
	r := startRelay(t, s.Addr().String())
	cfg := clientConfig(t, s)
	cfg.Address = r.listener.Addr().String()
	c, _ := startClient(t, cfg)
	c.Push(NodeStatus{Stamp: Stamp{Seq: 1}})
	eventually(t, "up", func() bool { return c.Stats().Up && s.Stats().Messages[kindStatus] == 1 })
	r.freeze(true)
	c.Push(NodeStatus{Stamp: Stamp{Seq: 2}})
	eventually(t, "down", func() bool { return !c.Stats().Up })
	r.freeze(false)
	// Nobody pushes again: what could not be said is still said.
	eventually(t, "up again", func() bool { return c.Stats().Up && s.Stats().Messages[kindStatus] >= 2 })
	h.mu.Lock()
	defer h.mu.Unlock()
	if last := h.statuses[len(h.statuses)-1]; last.Seq != 2 {
		t.Errorf("last status is %d", last.Seq)
	}
}

func TestServerRestart(t *testing.T) {
	id := mustIdentity(t, testCluster, "db1", testSecret)
	first, err := Listen(ServerConfig{
		Cluster: testCluster, Incarnation: "run-1", Address: "127.0.0.1:0", Identity: id, Peers: map[string]string{"db2": "127.0.0.1"},
	}, &fakeHandler{})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() { ended <- first.Run(ctx) }()
	c, _ := startClient(t, clientConfig(t, first))
	eventually(t, "up", func() bool { return c.Stats().Up })
	cancel()
	if err := <-ended; err != nil {
		t.Errorf("server ended: %v", err)
	}
	first.Close()
	eventually(t, "down", func() bool { return !c.Stats().Up })
	startServerOf(t, &fakeHandler{}, id, first.Addr().String())
	eventually(t, "up again", func() bool { return c.Stats().Up })
	if _, err := c.Seal(t.Context(), SealRequest{Candidate: "db2"}); err != nil {
		t.Error(err)
	}
}

// A seal that is being carried out when the process ends is still answered.
func TestServerEndsGently(t *testing.T) {
	began, finish := make(chan struct{}), make(chan struct{})
	h := &fakeHandler{seal: func(context.Context, string, SealRequest) SealReply {
		close(began)
		<-finish
		return SealReply{Accepted: true}
	}}
	s, err := Listen(ServerConfig{
		Cluster: testCluster, Incarnation: "run-1", Address: "127.0.0.1:0", Identity: mustIdentity(t, testCluster, "db1", testSecret),
		Peers: map[string]string{"db2": "127.0.0.1"},
	}, h)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() { ended <- s.Run(ctx) }()
	c, err := NewClient(clientConfig(t, s))
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		<-began
		cancel()
		time.Sleep(shutdownGrace / 10) // let the shutdown begin
		close(finish)
	}()
	if reply, err := c.Seal(t.Context(), SealRequest{Candidate: "db2"}); err != nil || !reply.Accepted {
		t.Errorf("seal = %+v, %v", reply, err)
	}
	if err := <-ended; err != nil {
		t.Errorf("server ended: %v", err)
	}
	if err := s.Close(); err != nil {
		t.Errorf("close: %v", err)
	}
}

func TestServerLosesNoDescriptors(t *testing.T) {
	s := startServer(t, &fakeHandler{})
	for range 20 {
		c, err := net.Dial("tcp", s.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.WriteString(c, "nonsense")
		c.Close()
		client, stop := startClient(t, clientConfig(t, s))
		if _, err := client.Seal(t.Context(), SealRequest{Candidate: "db2"}); err != nil {
			t.Fatal(err)
		}
		stop()
	}
	eventually(t, "all places given back", func() bool {
		s.listener.mu.Lock()
		defer s.listener.mu.Unlock()
		return len(s.listener.remotes) == 0 && s.listener.strangers == 0
	})
}

func BenchmarkPush(b *testing.B) {
	arrived := make(chan struct{})
	h := &fakeHandler{status: func(string, NodeStatus) NodeStatus { arrived <- struct{}{}; return NodeStatus{} }}
	s := startServer(b, h)
	c, _ := startClient(b, clientConfig(b, s))
	status := fullStatus(b)
	c.Push(status)
	<-arrived
	b.ResetTimer()
	for b.Loop() {
		status.Seq++
		c.Push(status)
		<-arrived
	}
}

func BenchmarkSeal(b *testing.B) {
	h := &fakeHandler{}
	s := startServer(b, h)
	c, _ := startClient(b, clientConfig(b, s))
	for b.Loop() {
		if _, err := c.Seal(b.Context(), SealRequest{Term: 1, Candidate: "db2"}); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkSealFresh is the cost of not being warm: connect, handshake, exchange.
func BenchmarkSealFresh(b *testing.B) {
	s := startServer(b, &fakeHandler{})
	c, err := NewClient(clientConfig(b, s))
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if _, err := c.Seal(b.Context(), SealRequest{Term: 1, Candidate: "db2"}); err != nil {
			b.Fatal(err)
		}
		c.urgent.take().close()
	}
}

// The wall clock of the machine plays no part: the derived certificates hold at any time that a host may boot with.
func TestWallClockDoesNotMatter(t *testing.T) {
	id := mustIdentity(t, testCluster, "db1", testSecret)
	certificate, _ := id.material()
	if at := id.judgedAt(); !at.Equal(derivedJudgedAt) || at.Before(certificate.Leaf.NotBefore) || at.After(certificate.Leaf.NotAfter) {
		t.Errorf("judged at %v", at)
	}
	if d := time.Until(certificate.Leaf.NotAfter); d < 290*365*24*time.Hour {
		t.Errorf("valid for %v more", d)
	}
}
