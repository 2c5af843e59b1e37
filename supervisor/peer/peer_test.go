// SPDX-License-Identifier: Apache-2.0

package peer

import (
	"context"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"highwater/mysqlcheck/gtid"
)

const (
	testCluster = "orders"
	testSecret  = "MFk4xq7GZyS2qv1Z0dWc9mQ8aJ3rT5uE"
)

// fakeHandler answers with canned replies and remembers what it got.
type fakeHandler struct {
	status   func(from string, s NodeStatus) NodeStatus
	seal     func(ctx context.Context, from string, r SealRequest) SealReply
	command  func(ctx context.Context, c Command) CommandReply
	mu       sync.Mutex
	statuses []NodeStatus
	seals    []SealRequest
	stands   []StandRequest
	byes     []FarewellRequest
	commands []Command
}

func (h *fakeHandler) HandleStatus(_ context.Context, from string, s NodeStatus) NodeStatus {
	h.mu.Lock()
	h.statuses = append(h.statuses, s)
	h.mu.Unlock()
	if h.status != nil {
		return h.status(from, s)
	}
	return NodeStatus{Role: "replica", Stamp: Stamp{Seq: 77}}
}

func (h *fakeHandler) HandleSeal(ctx context.Context, from string, r SealRequest) SealReply {
	h.mu.Lock()
	h.seals = append(h.seals, r)
	h.mu.Unlock()
	if h.seal != nil {
		return h.seal(ctx, from, r)
	}
	return SealReply{Accepted: true, Promised: r.Term}
}

func (h *fakeHandler) HandleHold(_ context.Context, _ string, r HoldRequest) HoldReply {
	return HoldReply{Holds: !r.Point.IsEmpty(), Start: "run-1"}
}

func (h *fakeHandler) HandleStand(_ context.Context, _ string, r StandRequest) StandReply {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.stands = append(h.stands, r)
	return StandReply{Accepted: false, Reason: "nofailover"}
}

func (h *fakeHandler) HandleFarewell(_ context.Context, _ string, r FarewellRequest) FarewellReply {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.byes = append(h.byes, r)
	return FarewellReply{Accepted: true}
}

func (h *fakeHandler) HandleCommand(ctx context.Context, _ string, c Command) CommandReply {
	h.mu.Lock()
	h.commands = append(h.commands, c)
	h.mu.Unlock()
	if h.command != nil {
		return h.command(ctx, c)
	}
	return CommandReply{Code: 3, Text: "refused"}
}

func mustIdentity(t testing.TB, cluster, node, secret string) *Identity {
	t.Helper()
	id, err := DeriveIdentity(cluster, node, []byte(secret))
	if err != nil {
		t.Fatal(err)
	}
	return id
}

// startServer runs the server of node db1, whose peers are db2 and db3, until the test ends.
func startServer(t testing.TB, h Handler) *Server {
	t.Helper()
	return startServerOf(t, h, mustIdentity(t, testCluster, "db1", testSecret), "127.0.0.1:0")
}

func startServerOf(t testing.TB, h Handler, id *Identity, address string) *Server {
	t.Helper()
	s, err := Listen(ServerConfig{
		Cluster: testCluster, Incarnation: "run-1", Address: address, Identity: id,
		Peers: map[string]string{"db2": "127.0.0.1", "db3": "127.0.0.3:7475"},
	}, h)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("server ended: %v", err)
		}
		s.Close()
	})
	return s
}

func clientConfig(t testing.TB, s *Server) ClientConfig {
	t.Helper()
	return ClientConfig{
		Cluster: testCluster, Incarnation: "run-2", Identity: mustIdentity(t, testCluster, "db2", testSecret),
		Peer: "db1", Address: s.Addr().String(), LocalAddress: netip.MustParseAddr("127.0.0.1"),
	}
}

// startClient makes a client of node db2; it runs until the test ends or stop is called.
func startClient(t testing.TB, cfg ClientConfig) (c *Client, stop func()) {
	t.Helper()
	c, err := NewClient(cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		if err := c.Run(ctx); err != nil {
			t.Errorf("client ended: %v", err)
		}
	}()
	stop = func() {
		cancel()
		<-ended
	}
	t.Cleanup(stop)
	return c, stop
}

// eventually waits for a condition that another goroutine brings about.
func eventually(t testing.TB, what string, cond func() bool) {
	t.Helper()
	deadline := time.Now().Add(20 * time.Second)
	for !cond() {
		if time.Now().After(deadline) {
			t.Fatalf("never happened: %s", what)
		}
		time.Sleep(2 * time.Millisecond)
	}
}

func mustSet(t testing.TB, s string) gtid.Set {
	t.Helper()
	set, err := gtid.Parse(s)
	if err != nil {
		t.Fatal(err)
	}
	return set
}

func TestStatusIsExchanged(t *testing.T) {
	executed := mustSet(t, "3e11fa47-71ca-11e1-9e33-c80aa9429562:1-5:7")
	h := &fakeHandler{status: func(_ string, s NodeStatus) NodeStatus {
		return NodeStatus{Role: "primary", Executed: s.Executed, Stamp: Stamp{Seq: 9}, Lag: 3 * time.Second}
	}}
	s := startServer(t, h)
	cfg := clientConfig(t, s)
	replies := make(chan NodeStatus, 1)
	cfg.OnStatus = func(from string, s NodeStatus, took time.Duration) {
		if from != "db1" || took <= 0 {
			t.Errorf("reply from %q took %v", from, took)
		}
		replies <- s
	}
	c, _ := startClient(t, cfg)
	c.Push(NodeStatus{Role: "replica", Stamp: Stamp{Seq: 4}, Executed: executed})
	reply := <-replies
	if reply.Node != "db1" || reply.Cluster != testCluster || reply.Incarnation != "run-1" || reply.Seq != 9 || reply.Lag != 3*time.Second {
		t.Errorf("reply = %+v", reply)
	}
	if !reply.Executed.Equal(executed) {
		t.Errorf("executed came back as %v", reply.Executed)
	}
	h.mu.Lock()
	got := h.statuses[0]
	h.mu.Unlock()
	if got.Node != "db2" || got.Cluster != testCluster || got.Incarnation != "run-2" || got.Role != "replica" {
		t.Errorf("server got %+v", got)
	}
	eventually(t, "both connections used", func() bool { return s.Stats().Messages[kindPing] > 0 })
	st := c.Stats()
	if !st.Up || st.LastExchange <= 0 || st.RTT <= 0 || st.Pushes != 1 || st.LastError != "" || st.Peer != "db1" {
		t.Errorf("stats = %+v", st)
	}
	if n := s.Stats().Messages[kindStatus]; n != 1 {
		t.Errorf("server counted %d statuses", n)
	}
}

func TestPushSendsOnlyTheLatest(t *testing.T) {
	release := make(chan struct{})
	arrived := make(chan struct{}, 10)
	h := &fakeHandler{status: func(_ string, s NodeStatus) NodeStatus {
		arrived <- struct{}{}
		if s.Seq == 1 {
			<-release
		}
		return NodeStatus{}
	}}
	s := startServer(t, h)
	c, _ := startClient(t, clientConfig(t, s))
	c.Push(NodeStatus{Stamp: Stamp{Seq: 1}})
	<-arrived
	for i := uint64(2); i <= 1000; i++ {
		c.Push(NodeStatus{Stamp: Stamp{Seq: i}}) // would hang here if it blocked
	}
	close(release)
	<-arrived
	h.mu.Lock()
	defer h.mu.Unlock()
	if n := len(h.statuses); n != 2 || h.statuses[1].Seq != 1000 {
		t.Errorf("got %d statuses, last %d", n, h.statuses[n-1].Seq)
	}
}

func TestUrgentMessages(t *testing.T) {
	h := &fakeHandler{}
	s := startServer(t, h)
	c, _ := startClient(t, clientConfig(t, s))
	c.Push(NodeStatus{Stamp: Stamp{Seq: 5}})
	ctx := t.Context()
	seal, err := c.Seal(ctx, SealRequest{Term: 7, Candidate: "db2", OldPrimary: "db1"})
	if err != nil || !seal.Accepted || seal.Promised != 7 || seal.Status.Node != "db1" {
		t.Errorf("seal = %+v, %v", seal, err)
	}
	stand, err := c.Stand(ctx, StandRequest{Term: 8, From: "db2"})
	if err != nil || stand.Accepted || stand.Reason != "nofailover" {
		t.Errorf("stand = %+v, %v", stand, err)
	}
	hold, err := c.Hold(ctx, HoldRequest{Point: mustSet(t, "0-1-100")})
	if err != nil || !hold.Holds || hold.Start != "run-1" {
		t.Errorf("hold = %+v, %v", hold, err)
	}
	bye, err := c.Farewell(ctx, FarewellRequest{Term: 8, From: "db2", Successor: "db1"})
	if err != nil || !bye.Accepted {
		t.Errorf("farewell = %+v, %v", bye, err)
	}
	res, err := c.Command(ctx, Command{Name: "switchover", Args: map[string]string{"to": "db1"}})
	if err != nil || res.Code != 3 || res.Text != "refused" {
		t.Errorf("command = %+v, %v", res, err)
	}
	if r := h.seals[0]; r.Term != 7 || r.Incarnation != "run-2" || r.Seq != 5 {
		t.Errorf("seal arrived as %+v", r)
	}
	if h.commands[0].Args["to"] != "db1" || h.byes[0].Successor != "db1" || h.stands[0].Term != 8 {
		t.Errorf("arrived: %+v %+v %+v", h.commands, h.byes, h.stands)
	}
}

// A seal that takes long must neither wait for a status in flight nor hold up a farewell.
func TestUrgentMessagesDoNotQueue(t *testing.T) {
	hold := make(chan struct{})
	sealing := make(chan struct{})
	pushing := make(chan struct{})
	h := &fakeHandler{
		status: func(string, NodeStatus) NodeStatus { close(pushing); <-hold; return NodeStatus{} },
		seal: func(context.Context, string, SealRequest) SealReply {
			close(sealing)
			<-hold
			return SealReply{Accepted: true}
		},
	}
	s := startServer(t, h)
	c, _ := startClient(t, clientConfig(t, s))
	c.Push(NodeStatus{Stamp: Stamp{Seq: 1}})
	<-pushing
	sealed := make(chan error)
	go func() {
		_, err := c.Seal(t.Context(), SealRequest{Term: 1, Candidate: "db2"})
		sealed <- err
	}()
	<-sealing
	if _, err := c.Farewell(t.Context(), FarewellRequest{Term: 1, From: "db2"}); err != nil {
		t.Errorf("farewell beside a seal: %v", err)
	}
	close(hold)
	if err := <-sealed; err != nil {
		t.Errorf("seal: %v", err)
	}
}

func TestHandlerSeesTheSendersDeadline(t *testing.T) {
	got := make(chan time.Duration, 1)
	h := &fakeHandler{seal: func(ctx context.Context, _ string, _ SealRequest) SealReply {
		deadline, _ := ctx.Deadline()
		got <- time.Until(deadline)
		<-ctx.Done()
		return SealReply{}
	}}
	s := startServer(t, h)
	c, _ := startClient(t, clientConfig(t, s))
	ctx, cancel := context.WithTimeout(t.Context(), 400*time.Millisecond)
	defer cancel()
	_, err := c.Seal(ctx, SealRequest{Term: 1, Candidate: "db2"})
	if ReasonOf(err) != ReasonTimeout {
		t.Errorf("error = %v", err)
	}
	if d := <-got; d > 400*time.Millisecond {
		t.Errorf("handler may run %v", d)
	}
	if n := len(h.seals); n != 1 {
		t.Errorf("seal arrived %d times: one that has arrived is not sent again", n)
	}
}

func TestCancelledCallReturns(t *testing.T) {
	started := make(chan struct{})
	released := make(chan struct{})
	h := &fakeHandler{seal: func(ctx context.Context, _ string, _ SealRequest) SealReply {
		close(started)
		<-ctx.Done() // ends when the sender hangs up, long before its deadline
		close(released)
		return SealReply{}
	}}
	s := startServer(t, h)
	c, _ := startClient(t, clientConfig(t, s))
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		<-started
		cancel()
	}()
	_, err := c.Seal(ctx, SealRequest{Term: 1, Candidate: "db2"})
	if ReasonOf(err) != ReasonCanceled {
		t.Errorf("error = %v", err)
	}
	<-released
	if c.Stats().Errors[ReasonCanceled] != 1 {
		t.Errorf("stats = %+v", c.Stats())
	}
}

func TestConfigurationIsChecked(t *testing.T) {
	id := mustIdentity(t, testCluster, "db1", testSecret)
	if _, err := Listen(ServerConfig{Cluster: "c", Incarnation: "i", Address: "127.0.0.1:0"}, nil); err == nil {
		t.Error("server without identity")
	}
	if _, err := Listen(ServerConfig{Identity: id, Address: "127.0.0.1:0"}, nil); err == nil {
		t.Error("server without cluster")
	}
	if _, err := NewClient(ClientConfig{Cluster: "c", Incarnation: "i", Identity: id, Peer: "db1"}); err == nil {
		t.Error("client of itself")
	}
	c, err := NewClient(ClientConfig{Cluster: "c", Incarnation: "i", Identity: id, Peer: "db2", Address: "fd00::2"})
	if err != nil || c.cfg.Address != "[fd00::2]:7475" {
		t.Errorf("address = %q, %v", c.cfg.Address, err)
	}
}

func TestNothingListens(t *testing.T) {
	s := startServer(t, &fakeHandler{})
	cfg := clientConfig(t, s)
	cfg.Address = "127.0.0.1:1"
	c, _ := startClient(t, cfg)
	if _, err := c.Seal(t.Context(), SealRequest{}); ReasonOf(err) != ReasonRefusedDial || !strings.Contains(err.Error(), "seal to db1") {
		t.Errorf("error = %v", err)
	}
	cfg.Address = s.Addr().String()
	cfg.LocalAddress = netip.MustParseAddr("192.0.2.1")
	c, _ = startClient(t, cfg)
	if _, err := c.Seal(t.Context(), SealRequest{}); ReasonOf(err) != ReasonLocalAddress {
		t.Errorf("error = %v", err)
	}
	if st := c.Stats(); st.Up || st.Errors[ReasonLocalAddress] == 0 || st.LastError == "" {
		t.Errorf("stats = %+v", st)
	}
}
