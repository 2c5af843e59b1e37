// SPDX-License-Identifier: Apache-2.0

package voter

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"highwater/election"
	"highwater/election/quorum"
)

// clock is CLOCK_BOOTTIME, as in the program.
func clock() election.Instant {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts); err != nil {
		panic(err)
	}
	return election.Instant(ts.Nano())
}

// net is three voters, or what is left of them, and what carries their messages.
type net struct {
	t    *testing.T
	dirs map[string]string
	list map[string][]string // whom a node's configuration lists; nil: names

	mu     sync.Mutex
	voters map[string]*running
	cut    map[string]bool
	deaf   map[string]bool // raft's messages do not reach it
	more   chan struct{}   // closed and replaced with each event
}

// running is a voter and what it said.
type running struct {
	*Voter
	right  election.RightChanged
	record election.RecordChanged
	cancel context.CancelFunc
	ended  chan error
}

var names = []string{"db1", "db2", "db3"}

func newNet(t *testing.T) *net {
	n := &net{t: t, dirs: map[string]string{}, list: map[string][]string{}, voters: map[string]*running{}, cut: map[string]bool{}, more: make(chan struct{})}
	for _, name := range names {
		n.dirs[name] = t.TempDir()
		n.start(name)
	}
	t.Cleanup(func() {
		for name := range n.voters {
			n.stop(name)
		}
	})
	return n
}

func testQuorum(node string) quorum.Config {
	c := quorum.Config{Cluster: "test", Node: node, Tick: 50 * time.Millisecond, ElectionTicks: 10, DriftPercent: 10}
	for i, name := range names {
		c.Members = append(c.Members, quorum.Member{Name: name, Priority: uint8(120 - i)})
	}
	return c
}

// config is that of one node.
func (n *net) config(node string) quorum.Config {
	c := testQuorum(node)
	if list := n.list[node]; list != nil {
		c.Members = nil
		for i, name := range list {
			c.Members = append(c.Members, quorum.Member{Name: name, Priority: uint8(120 - i)})
		}
	}
	return c
}

// heard is what a node hears of the others.
func (n *net) heard(node string) map[string]Standing {
	n.mu.Lock()
	defer n.mu.Unlock()
	heard := map[string]Standing{}
	for name, r := range n.voters {
		if name != node && !n.cut[node] && !n.cut[name] {
			heard[name] = r.State().Standing
		}
	}
	return heard
}

func (n *net) open(name string) (*running, error) {
	r := &running{ended: make(chan error, 1)}
	v, err := Open(Config{
		Quorum: n.config(name), Dir: n.dirs[name], Now: clock, Log: slog.New(slog.DiscardHandler),
		Heard: func() map[string]Standing { return n.heard(name) },
		Post: func(_ context.Context, ev election.Event) {
			n.change(func() {
				switch ev := ev.(type) {
				case election.RightChanged:
					r.right = ev
				case election.RecordChanged:
					r.record = ev
				}
			})
		},
		Send: func(to string, data []byte, _ bool) { n.send(name, to, data) },
	})
	r.Voter = v
	return r, err
}

func (n *net) start(name string) {
	n.t.Helper()
	r, err := n.open(name)
	if err != nil {
		n.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	r.cancel = cancel
	n.change(func() { n.voters[name] = r })
	go func() { r.ended <- r.Run(ctx) }()
}

func (n *net) stop(name string) {
	n.t.Helper()
	r := n.voters[name]
	n.change(func() { delete(n.voters, name) })
	r.cancel()
	if err := errors.Join(<-r.ended, r.Close()); err != nil {
		n.t.Errorf("%s ended: %v", name, err)
	}
}

func (n *net) send(from, to string, data []byte) {
	n.mu.Lock()
	r := n.voters[to]
	lost := n.cut[from] || n.cut[to] || n.deaf[to]
	n.mu.Unlock()
	if r != nil && !lost {
		r.Receive(from, [][]byte{data})
	}
}

func (n *net) change(f func()) {
	n.mu.Lock()
	defer n.mu.Unlock()
	f()
	close(n.more)
	n.more = make(chan struct{})
}

// eventually waits until ok, which is asked after each event.
func (n *net) eventually(what string, ok func() bool) {
	n.t.Helper()
	deadline := time.After(20 * time.Second)
	for {
		n.mu.Lock()
		done, more := ok(), n.more
		n.mu.Unlock()
		if done {
			return
		}
		select {
		case <-more:
		case <-deadline:
			n.t.Fatalf("never: %s", what)
		}
	}
}

// holders are those who have the right now.
func (n *net) holders() (held []string) {
	for name, r := range n.voters {
		if r.right.Held && clock() < r.right.Until {
			held = append(held, name)
		}
	}
	return held
}

// establish makes a voter the primary of a term and returns how that ended.
func (n *net) establish(name string, term uint64) error {
	ended := make(chan error, 1)
	n.voters[name].Establish(context.Background(), term, election.Move{At: 1, Kind: election.MoveFailover},
		func(election.ClusterRecord) bool { return true }, func(_ context.Context, err error) { ended <- err })
	return <-ended
}

// keepSeeking repeats the wish for the right, as the doors do, until the test has ended or stop is called.
func (n *net) keepSeeking(name string) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	v := n.voters[name]
	done := make(chan struct{})
	go func() {
		defer close(done)
		for ctx.Err() == nil {
			v.Seek(ctx)
			select {
			case <-ctx.Done():
			case <-time.After(50 * time.Millisecond):
			}
		}
	}()
	return func() { cancel(); <-done }
}

// Whoever seeks the right gets it, makes a term known to all, hands the right over and is
// followed by a cluster that remembers after all have restarted.
func TestVoters(t *testing.T) {
	n := newNet(t)
	stop := n.keepSeeking("db2")
	n.eventually("db2 has the right", func() bool { return n.voters["db2"].right.Held })
	stop()
	if err := n.establish("db2", 1); err != nil {
		t.Fatal(err)
	}
	n.eventually("all know the primary", func() bool {
		for _, r := range n.voters {
			if r.record.Primary != "db2" || r.record.Term != 1 {
				return false
			}
		}
		return true
	})
	if err := n.establish("db2", 1); err != nil {
		t.Errorf("what is established already is refused: %v", err)
	}
	if err := n.establish("db3", 2); err == nil {
		t.Error("a voter without the right wrote the record")
	}

	stop = n.keepSeeking("db3")
	now := clock()
	n.voters["db2"].HandOver(t.Context(), "db3", now.Add(-time.Second))
	n.eventually("db3 has the right", func() bool { return n.voters["db3"].right.Held })
	stop()
	n.mu.Lock()
	if unused := n.voters["db3"].right.Unused; unused < now.Add(-time.Second) || unused > clock().Add(-time.Second/2) {
		t.Errorf("the right was unused for 1s, db3 has it unused since %v before the hand-over", now.Sub(unused))
	}
	n.mu.Unlock()
	if err := n.establish("db3", 2); err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		n.stop(name)
	}
	for _, name := range names {
		n.start(name)
	}
	n.eventually("all know the primary after a restart", func() bool {
		for _, r := range n.voters {
			if r.record.Primary != "db3" || r.record.Term != 2 {
				return false
			}
		}
		return true
	})
}

// A leader that is cut off loses the right before anybody else has it.
func TestCutOff(t *testing.T) {
	n := newNet(t)
	stop := n.keepSeeking("db1")
	n.eventually("db1 has the right", func() bool { return len(n.holders()) == 1 && n.voters["db1"].right.Held })
	stop()
	other := n.keepSeeking("db2")
	defer other()
	var cut election.Instant
	n.change(func() { n.cut["db1"], cut = true, clock() })
	n.eventually("db2 has the right", func() bool {
		held := n.holders()
		if len(held) > 1 {
			t.Fatalf("%v have the right at once", held)
		}
		return n.voters["db2"].right.Held
	})
	// The doors are told when db1 was heard last: a tick before the cut, and what a busy machine adds.
	n.mu.Lock()
	last := n.voters["db2"].right
	n.mu.Unlock()
	timing := testQuorum("db2")
	if last.Before != "db1" || last.Heard < cut.Add(-timing.Promise()) || last.Heard > cut.Add(100*time.Millisecond) {
		t.Errorf("before db2 %q had the right, heard %v after the cut", last.Before, last.Heard.Sub(cut))
	}
	if err := n.establish("db2", 5); err != nil {
		t.Fatal(err)
	}
	n.change(func() { n.cut["db1"] = false })
	n.eventually("db1 learns who is primary", func() bool { return n.voters["db1"].record.Primary == "db2" })
}

// A voter whose log vanished refuses to start: it may have voted.
func TestLostLog(t *testing.T) {
	n := newNet(t)
	stop := n.keepSeeking("db1")
	n.eventually("db1 has the right", func() bool { return n.voters["db1"].right.Held })
	stop()
	n.stop("db3")
	if err := os.Remove(filepath.Join(n.dirs["db3"], logDir, "raft.db")); err != nil {
		t.Fatal(err)
	}
	if _, err := n.open("db3"); err == nil {
		t.Fatal("a voter without its log started")
	} else {
		t.Log(err)
	}
}

// A wish that nobody repeats lapses.
func TestWishLapses(t *testing.T) {
	n := newNet(t)
	stop := n.keepSeeking("db1")
	n.eventually("db1 has the right", func() bool { return n.voters["db1"].right.Held })
	stop()
	n.voters["db2"].Seek(t.Context())
	time.Sleep(2 * n.voters["db2"].wishAge()) // nothing is to happen
	n.stop("db1")
	n.eventually("nobody leads", func() bool { return n.voters["db2"].right.Silent })
	if n.voters["db2"].State().Wants {
		t.Error("db2 still wants the right")
	}
}
