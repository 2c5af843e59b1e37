// SPDX-License-Identifier: Apache-2.0

package peer

import (
	"context"
	"encoding/binary"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// raftSink is a raft handler that remembers what it got.
type raftSink struct {
	hold func(ctx context.Context, messages [][]byte) // called before the messages count as received

	mu      sync.Mutex
	got     []string
	from    string
	calls   int
	running int
	most    int // calls at the same time
}

func (s *raftSink) handle(ctx context.Context, from string, messages [][]byte) {
	s.mu.Lock()
	s.from = from
	s.calls++
	s.running++
	s.most = max(s.most, s.running)
	s.mu.Unlock()
	if s.hold != nil {
		s.hold(ctx, messages)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.running--
	for _, m := range messages {
		s.got = append(s.got, string(m))
	}
}

func (s *raftSink) received() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.got)
}

// tally returns how often the sink was called, how many calls ran at the same
// time at most, and the last sender.
func (s *raftSink) tally() (calls, most int, from string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.calls, s.most, s.from
}

func (s *raftSink) has(message string) bool { return slices.Contains(s.received(), message) }

// listenRaft runs a server of db1 that takes raft messages, until the test ends or stop is called.
func listenRaft(t testing.TB, address string, h Handler, sink *raftSink) (s *Server, stop func()) {
	t.Helper()
	cfg := ServerConfig{
		Cluster: testCluster, Incarnation: "run-1", Address: address, Identity: mustIdentity(t, testCluster, "db1", testSecret),
		Peers: map[string]string{"db2": "127.0.0.1", "db3": "127.0.0.3"},
	}
	if sink != nil {
		cfg.Raft = sink.handle
	}
	s, err := Listen(cfg, h)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("server ended: %v", err)
		}
		s.Close()
	})
	t.Cleanup(stop)
	return s, stop
}

func text(messages ...string) (list [][]byte) {
	for _, m := range messages {
		list = append(list, []byte(m))
	}
	return list
}

func TestRaftMessagesArriveInOrder(t *testing.T) {
	sink := &raftSink{}
	s, _ := listenRaft(t, "127.0.0.1:0", &fakeHandler{}, sink)
	c, _ := startClient(t, clientConfig(t, s))
	var want []string
	for len(want) < 5000 {
		var batch []string
		for range 1 + len(want)%7 {
			batch = append(batch, strconv.Itoa(len(want)))
			want = append(want, batch[len(batch)-1])
		}
		c.SendRaft(text(batch...), len(want)%3 == 0)
		if len(want)%500 < 7 {
			eventually(t, "the queue is drained", func() bool { return c.Stats().Raft.Queued == 0 })
		}
	}
	eventually(t, "all arrived", func() bool { return len(sink.received()) == len(want) })
	if _, most, from := sink.tally(); !slices.Equal(sink.received(), want) || from != "db2" || most != 1 {
		t.Errorf("out of order, or from %q, or %d at a time", from, most)
	}
	st := c.Stats().Raft
	if !st.Up || st.Streams != 1 || st.Sent != uint64(len(want)) || st.Queued != 0 {
		t.Errorf("client counted %+v", st)
	}
	eventually(t, "counted", func() bool { return s.Stats().Messages[kindRaft] == uint64(len(want)) })
	if got := s.Stats(); got.RaftReceived["db2"] != uint64(len(want)) || got.RaftReceived["db3"] != 0 || got.RaftStreams["db2"] != 1 {
		t.Errorf("server counted %+v", got)
	}
}

func TestNoRaftNoConnection(t *testing.T) {
	s, _ := listenRaft(t, "127.0.0.1:0", &fakeHandler{}, &raftSink{})
	r := startRelay(t, s.Addr().String())
	cfg := clientConfig(t, s)
	cfg.Address = r.listener.Addr().String()
	c, _ := startClient(t, cfg)
	c.Push(NodeStatus{})
	c.SendRaft(nil, true)
	eventually(t, "status and ping sent", func() bool {
		m := s.Stats().Messages
		return m[kindStatus] > 0 && m[kindPing] > 0
	})
	if n := r.dialled(); n != 2 {
		t.Errorf("%d connections", n)
	}
}

// What comes while a frame is under way travels together.
func TestRaftMessagesTravelTogether(t *testing.T) {
	release := make(chan struct{})
	sink := &raftSink{hold: func(context.Context, [][]byte) { <-release }}
	s, _ := listenRaft(t, "127.0.0.1:0", &fakeHandler{}, sink)
	cfg := clientConfig(t, s)
	c, err := NewClient(cfg)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 2 * maxRaftBatch {
		c.SendRaft(text(strconv.Itoa(i)), false)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() { defer close(ended); _ = c.Run(ctx) }()
	close(release)
	eventually(t, "all arrived", func() bool { return len(sink.received()) == 2*maxRaftBatch })
	if calls, _, _ := sink.tally(); calls != 2 {
		t.Errorf("%d frames", calls)
	}
	cancel()
	<-ended
}

// A status that hangs in the peer holds nothing up.
func TestRaftDoesNotQueueBehindStatus(t *testing.T) {
	hold, pushing := make(chan struct{}), make(chan struct{})
	h := &fakeHandler{status: func(string, NodeStatus) NodeStatus { close(pushing); <-hold; return NodeStatus{} }}
	sink := &raftSink{}
	s, _ := listenRaft(t, "127.0.0.1:0", h, sink)
	c, _ := startClient(t, clientConfig(t, s))
	c.Push(NodeStatus{})
	<-pushing
	c.SendRaft(text("vote"), true)
	eventually(t, "vote arrived", func() bool { return sink.has("vote") })
	close(hold)
}

func TestRaftQueueIsBounded(t *testing.T) {
	q := newRaftMessages()
	for i := range raftQueue + 100 {
		q.add(text(strconv.Itoa(i)), false)
	}
	if n := q.dropped.read()[ReasonQueueFull]; n != 100 || q.length() != raftQueue {
		t.Errorf("dropped %d, %d wait", n, q.length())
	}
	if first := q.take(); len(first) != maxRaftBatch || string(first[0]) != "100" {
		t.Errorf("oldest of %d is %q", len(first), first[0])
	}
	long := make([]byte, MaxRaftMessage)
	for range 6 {
		q.add([][]byte{long}, false)
	}
	if q.length() != raftQueueBytes/MaxRaftMessage || q.bytes != raftQueueBytes {
		t.Errorf("%d wait with %d bytes", q.length(), q.bytes)
	}
	for range 4 { // the longest messages travel alone
		if m := q.take(); len(m) != 1 {
			t.Errorf("%d at once", len(m))
		}
	}
	q.add([][]byte{make([]byte, MaxRaftMessage+1), {}, []byte("x")}, false)
	if m := q.take(); len(m) != 1 || string(m[0]) != "x" || q.bytes != 0 || q.take() != nil {
		t.Errorf("took %q, %d bytes left", m, q.bytes)
	}
	if d := q.dropped.read(); d[ReasonTooLarge] != 1 || d[ReasonBadMessage] != 1 {
		t.Errorf("dropped %v", d)
	}
}

// A hand-over that waited for a peer to come back is not delivered any more.
func TestLateRaftMessagesAreDropped(t *testing.T) {
	q := newRaftMessages()
	q.add(text("old", "young"), true)
	q.waiting[0].at -= raftMaxAge + time.Millisecond
	if m := q.take(); len(m) != 1 || string(m[0]) != "young" || q.dropped.read()[ReasonLate] != 1 || q.bytes != 0 {
		t.Errorf("took %q", m)
	}
}

// A peer that takes the connection and reads nothing more: the sender is never held up, gives the connection up, and the peer gets what is
// new as soon as it reads again.
func TestBlockedRaftPeer(t *testing.T) {
	t.Parallel()
	release := make(chan struct{})
	free := sync.OnceFunc(func() { close(release) })
	sink := &raftSink{hold: func(context.Context, [][]byte) { <-release }}
	s, _ := listenRaft(t, "127.0.0.1:0", &fakeHandler{}, sink)
	t.Cleanup(free)
	c, _ := startClient(t, clientConfig(t, s))
	snapshot := strings.Repeat("s", MaxRaftMessage)
	slowest := time.Duration(0)
	eventually(t, "given up", func() bool {
		message := text(snapshot)
		start := time.Now()
		c.SendRaft(message, true)
		slowest = max(slowest, time.Since(start))
		return c.Stats().Raft.Errors[ReasonTimeout] > 0
	})
	if slowest >= raftUserTimeout { // a sender that waits for the peer waits at least as long
		t.Errorf("sending took %v", slowest)
	}
	// The other connections live on.
	if _, err := c.Seal(t.Context(), SealRequest{Candidate: "db2"}); err != nil {
		t.Errorf("seal beside it: %v", err)
	}
	eventually(t, "the oldest dropped", func() bool {
		c.SendRaft(text(snapshot), false)
		return c.Stats().Raft.Dropped[ReasonQueueFull] > 0
	})
	if st := c.Stats().Raft; st.Queued > raftQueueBytes/MaxRaftMessage || st.Dropped[ReasonTimeout]+st.Dropped[ReasonClosed] == 0 {
		t.Errorf("client counted %+v", st)
	}
	free()
	eventually(t, "news arrive", func() bool {
		c.SendRaft(text("news"), false)
		return sink.has("news")
	})
	if _, most, _ := sink.tally(); most != 1 {
		t.Errorf("%d handlers of one sender at a time", most)
	}
}

// A peer that reads a little all the time keeps TCP content. Its stream is given up all the same.
func TestTricklingRaftPeer(t *testing.T) {
	t.Parallel()
	s, _ := listenRaft(t, "127.0.0.1:0", &fakeHandler{}, &raftSink{})
	r := startRelay(t, s.Addr().String())
	cfg := clientConfig(t, s)
	cfg.Address = r.listener.Addr().String()
	c, _ := startClient(t, cfg)
	c.SendRaft(text("x"), false)
	eventually(t, "up", func() bool { return c.Stats().Raft.Sent == 1 })
	r.pace.Store(int64(10 * time.Millisecond)) // for 4 KiB: a megabyte takes more than two seconds
	snapshot := strings.Repeat("s", MaxRaftMessage)
	start := time.Now()
	eventually(t, "given up", func() bool {
		c.SendRaft(text(snapshot), false)
		st := c.Stats().Raft // whether the deadline or the kernel was first makes the reason
		return st.Errors[ReasonTimeout]+st.Errors[ReasonClosed] > 0 && st.Dropped[ReasonTimeout]+st.Dropped[ReasonClosed] > 0
	})
	if took := time.Since(start); took > 4*raftWriteTimeout { // the kernel alone takes 6 s and more
		t.Errorf("given up after %v", took)
	}
}

// A handler that is slow slows its peer down and loses nothing.
func TestSlowRaftReader(t *testing.T) {
	sink := &raftSink{hold: func(context.Context, [][]byte) { time.Sleep(20 * time.Millisecond) }}
	s, _ := listenRaft(t, "127.0.0.1:0", &fakeHandler{}, sink)
	c, _ := startClient(t, clientConfig(t, s))
	var want []string
	for i := range 20 {
		want = append(want, strconv.Itoa(i)+strings.Repeat(" ", MaxRaftMessage*2/3)) // each travels alone
		eventually(t, "room in the queue", func() bool { return c.Stats().Raft.Queued < 4 })
		c.SendRaft(text(want[i]), false)
	}
	eventually(t, "all arrived", func() bool { return len(sink.received()) == len(want) })
	if calls, _, _ := sink.tally(); !slices.Equal(sink.received(), want) || calls != len(want) {
		t.Errorf("out of order, or together: %d frames", calls)
	}
}

func TestRaftPeerRestarts(t *testing.T) {
	first, sink := &raftSink{}, &raftSink{}
	s, stop := listenRaft(t, "127.0.0.1:0", &fakeHandler{}, first)
	c, _ := startClient(t, clientConfig(t, s))
	c.SendRaft(text("before"), false)
	eventually(t, "arrived before", func() bool { return first.has("before") })
	stop()
	eventually(t, "noticed", func() bool { return !c.Stats().Raft.Up })
	s, _ = listenRaft(t, s.Addr().String(), &fakeHandler{}, sink)
	// The stream is up again before anybody has something to say.
	eventually(t, "connected again", func() bool { return c.Stats().Raft.Up })
	c.SendRaft(text("after"), false)
	eventually(t, "arrived after", func() bool { return sink.has("after") })
	if st := c.Stats().Raft; st.Streams != 2 || st.Errors[ReasonClosed]+st.Errors[ReasonRefusedDial] == 0 {
		t.Errorf("client counted %+v", st)
	}
	if s.Stats().RaftStreams["db2"] != 1 {
		t.Errorf("server counted %+v", s.Stats())
	}
}

// An urgent message does not wait for the next try, which may be a second away.
func TestUrgentRaftMessageConnectsAtOnce(t *testing.T) {
	s, stop := listenRaft(t, "127.0.0.1:0", &fakeHandler{}, &raftSink{})
	c, _ := startClient(t, clientConfig(t, s))
	c.SendRaft(text("before"), false)
	eventually(t, "up", func() bool { return c.Stats().Raft.Up })
	stop()
	tries := func() uint64 { return c.Stats().Raft.Errors[ReasonRefusedDial] }
	eventually(t, "tries are rare", func() bool { return tries() >= 6 })
	sink := &raftSink{}
	listenRaft(t, s.Addr().String(), &fakeHandler{}, sink)
	start := time.Now()
	c.SendRaft(text("vote"), true)
	eventually(t, "arrived", func() bool { return sink.has("vote") })
	if took := time.Since(start); took > raftBusyPause {
		t.Errorf("took %v", took)
	}
}

// Urgent messages for a peer that is down cost one try each, and no storm.
func TestUrgentRaftMessagesMakeNoStorm(t *testing.T) {
	s, stop := listenRaft(t, "127.0.0.1:0", &fakeHandler{}, &raftSink{})
	c, _ := startClient(t, clientConfig(t, s))
	stop()
	start := time.Now()
	for time.Since(start) < 300*time.Millisecond {
		c.SendRaft(text("vote"), true)
	}
	tries := uint64(0)
	for _, n := range c.Stats().Raft.Errors {
		tries += n
	}
	if most := uint64(time.Since(start)/raftUrgentPause) + 1; tries == 0 || tries > most {
		t.Errorf("%d tries, at most %d expected", tries, most)
	}
}

// Two streams of one sender: the later one counts, and waits until the earlier one's last message was handled.
func TestNewRaftStreamReplacesTheOld(t *testing.T) {
	began, release := make(chan struct{}, 2), make(chan struct{})
	sink := &raftSink{hold: func(context.Context, [][]byte) { began <- struct{}{}; <-release }}
	s, _ := listenRaft(t, "127.0.0.1:0", &fakeHandler{}, sink)
	one, _ := startClient(t, clientConfig(t, s))
	one.SendRaft(text("one"), false)
	<-began
	two, _ := startClient(t, clientConfig(t, s))
	two.SendRaft(text("two"), false)
	eventually(t, "the old stream is cut", func() bool { return one.Stats().Raft.Errors[ReasonClosed] > 0 })
	select {
	case <-began:
		t.Error("the new stream did not wait")
	case <-time.After(200 * time.Millisecond):
	}
	close(release)
	eventually(t, "arrived", func() bool { return sink.has("two") })
	got := sink.received()
	if _, most, _ := sink.tally(); got[0] != "one" || most != 1 {
		t.Errorf("got %q, %d at a time", got, most)
	}
}

func TestServerEndsRaftStreams(t *testing.T) {
	began, ended := make(chan struct{}), make(chan struct{})
	sink := &raftSink{hold: func(ctx context.Context, _ [][]byte) {
		close(began)
		<-ctx.Done()
		close(ended)
	}}
	s, stop := listenRaft(t, "127.0.0.1:0", &fakeHandler{}, sink)
	c, _ := startClient(t, clientConfig(t, s))
	c.SendRaft(text("x"), false)
	<-began
	stop()
	select {
	case <-ended:
	default:
		t.Error("the server ended before its handler")
	}
	eventually(t, "all places given back", func() bool {
		s.listener.mu.Lock()
		defer s.listener.mu.Unlock()
		return len(s.listener.remotes) == 0
	})
}

func TestServerWithoutRaft(t *testing.T) {
	s := startServer(t, &fakeHandler{})
	c, _ := startClient(t, clientConfig(t, s))
	c.SendRaft(text("x"), false)
	eventually(t, "refused", func() bool { return c.Stats().Raft.Errors[ReasonNotFound] > 0 && s.Stats().Refused[ReasonNotFound] > 0 })
	if _, err := c.Seal(t.Context(), SealRequest{Candidate: "db2"}); err != nil {
		t.Errorf("seal beside it: %v", err)
	}
}

func TestRaftStrangers(t *testing.T) {
	sink := &raftSink{}
	s, _ := listenRaft(t, "127.0.0.1:0", &fakeHandler{}, sink)
	for name, c := range map[string]struct {
		identity       *Identity
		client, server Reason
	}{
		"other secret":  {mustIdentity(t, testCluster, "db2", strings.Repeat("x", 32)), ReasonWrongCertificate, ReasonRefusedByPeer},
		"other cluster": {mustIdentity(t, "billing", "db2", testSecret), ReasonWrongCertificate, ReasonRefusedByPeer},
		"unknown node":  {mustIdentity(t, testCluster, "db9", testSecret), ReasonRefusedByPeer, ReasonUnknownNode},
	} {
		cfg := clientConfig(t, s)
		cfg.Identity = c.identity
		before := s.Stats().Refused[c.server]
		client, stop := startClient(t, cfg)
		client.SendRaft(text(name), true)
		eventually(t, name+" refused", func() bool {
			return client.Stats().Raft.Errors[c.client] > 0 && s.Stats().Refused[c.server] > before
		})
		stop()
	}
	// A member that speaks for another one, of another cluster, or asks for no stream.
	for name, c := range map[string]struct {
		header, value string
		reason        Reason
	}{
		"another node":    {headerNode, "db3", ReasonWrongNode},
		"another cluster": {headerCluster, "billing", ReasonWrongCluster},
		"no upgrade":      {"Upgrade", "", ReasonBadMessage},
		"no protocol":     {headerProtocol, "", ReasonBadMessage},
	} {
		client, err := NewClient(clientConfig(t, s))
		if err != nil {
			t.Fatal(err)
		}
		stream, err := dial(t.Context(), &client.dialer, client.cfg.Address, client.tls)
		if err != nil {
			t.Fatal(err)
		}
		header := client.header(t.Context())
		header.Set("Connection", "Upgrade")
		header.Set("Upgrade", raftProtocol)
		header.Set(c.header, c.value)
		r, err := stream.exchange(t.Context(), "/v1/raft", header, []byte(`{"incarnation":"i","seq":1}`), 0)
		if err != nil || r.status == http.StatusSwitchingProtocols || ReasonOf(decodeReply(r, &struct{}{})) != c.reason {
			t.Errorf("%s: status %d, %s, %v", name, r.status, r.body, err)
		}
		stream.close()
	}
	if got := sink.received(); len(got) > 0 {
		t.Errorf("handled %q", got)
	}
}

// A late stream of a process that another one has replaced is refused.
func TestRaftStreamOfAFormerProcess(t *testing.T) {
	sink := &raftSink{}
	s, _ := listenRaft(t, "127.0.0.1:0", &fakeHandler{}, sink)
	cfg := clientConfig(t, s)
	_, stop := startClient(t, cfg)
	stop()
	former, stop := startClient(t, cfg)
	former.SendRaft(text("former"), false)
	eventually(t, "arrived", func() bool { return sink.has("former") })
	stop()
	cfg.Incarnation = "run-3"
	next, _ := startClient(t, cfg)
	next.SendRaft(text("next"), false)
	eventually(t, "arrived", func() bool { return sink.has("next") })
	cfg.Incarnation = "run-2"
	late, _ := startClient(t, cfg)
	late.SendRaft(text("late"), false)
	eventually(t, "refused", func() bool { return late.Stats().Raft.Errors[ReasonStale] > 0 })
	if sink.has("late") {
		t.Error("handled")
	}
}

// What a member of the cluster may not say ends its stream, and nothing of it is handled.
func TestBadRaftFramesEndTheStream(t *testing.T) {
	sink := &raftSink{}
	s, _ := listenRaft(t, "127.0.0.1:0", &fakeHandler{}, sink)
	for name, c := range map[string]struct {
		frame  []byte
		reason Reason
	}{
		"oversized":     {binary.BigEndian.AppendUint32([]byte{raftVersion}, maxRaftFrame+1), ReasonTooLarge},
		"other version": {appendRaftFrame([]byte{}, text("x"))[1:], ReasonBadMessage},
		"empty":         {appendRaftFrame(nil, nil), ReasonBadMessage},
	} {
		before := s.Stats().Refused[c.reason]
		client, err := NewClient(clientConfig(t, s))
		if err != nil {
			t.Fatal(err)
		}
		stream, err := client.openRaft(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := stream.tls.Write(c.frame); err != nil {
			t.Fatal(err)
		}
		_ = stream.tls.SetReadDeadline(time.Now().Add(10 * time.Second))
		if _, err := io.ReadAll(stream.read); ReasonOf(err) == ReasonTimeout {
			t.Errorf("%s: stream lives", name)
		}
		stream.close()
		if n := s.Stats().Refused[c.reason]; n != before+1 {
			t.Errorf("%s: counted %d times", name, n-before)
		}
	}
	if got := sink.received(); len(got) > 0 {
		t.Errorf("handled %q", got)
	}
}

// A stream at rest moves no byte.
func TestIdleRaftStreamIsSilent(t *testing.T) {
	t.Parallel()
	sink := &raftSink{}
	s, _ := listenRaft(t, "127.0.0.1:0", &fakeHandler{}, sink)
	r := startRelay(t, s.Addr().String())
	cfg := clientConfig(t, s)
	cfg.Address = r.listener.Addr().String()
	c, err := NewClient(cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() { defer close(ended); c.runRaft(ctx) }() // without the ping of the other connection
	c.SendRaft(text("x"), false)
	eventually(t, "arrived", func() bool { return sink.has("x") })
	before := r.moved.Load()
	time.Sleep(1500 * time.Millisecond)
	if n := r.moved.Load() - before; n != 0 {
		t.Errorf("%d bytes", n)
	}
	if !c.Stats().Raft.Up {
		t.Error("stream is down")
	}
	cancel()
	<-ended
}

func benchmarkRaft(b *testing.B, h Handler, prepare func(c *Client)) {
	arrived := make(chan struct{})
	s, _ := listenRaft(b, "127.0.0.1:0", h, &raftSink{hold: func(context.Context, [][]byte) { arrived <- struct{}{} }})
	c, _ := startClient(b, clientConfig(b, s))
	prepare(c)
	message := [][]byte{make([]byte, 60)} // a heartbeat
	c.SendRaft(message, true)
	<-arrived
	for b.Loop() {
		c.SendRaft(message, true)
		<-arrived
	}
}

// BenchmarkRaft is one message from SendRaft to the peer's handler.
func BenchmarkRaft(b *testing.B) { benchmarkRaft(b, &fakeHandler{}, func(*Client) {}) }

// BenchmarkRaftBesideStalledStatus is the same while a status hangs in the peer.
func BenchmarkRaftBesideStalledStatus(b *testing.B) {
	pushing, hold := make(chan struct{}), make(chan struct{})
	defer close(hold)
	var once sync.Once
	h := &fakeHandler{status: func(string, NodeStatus) NodeStatus {
		once.Do(func() { close(pushing) })
		<-hold
		return NodeStatus{}
	}}
	benchmarkRaft(b, h, func(c *Client) {
		c.Push(NodeStatus{})
		<-pushing
	})
}
