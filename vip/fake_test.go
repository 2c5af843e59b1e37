// SPDX-License-Identifier: Apache-2.0

package vip

import (
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"
)

// A fakeKernel is a kernel in memory. Its clock only moves when a test moves it,
// and addresses expire by it.
type fakeKernel struct {
	// before is called before each operation, if set, without the lock: it may
	// block, change things or return an error, which the operation then returns.
	// n counts the calls of that operation from 1.
	before func(op string, n int) error

	mu     sync.Mutex
	clock  time.Duration
	stamp  uint32
	links  map[string]link
	router bool
	addrs  []fakeAddress
	socks  []socket
	frames []fakeFrame
	calls  map[string]int
	subs   []*fakeSubscription
	// fences has the session fences by name, of which newFakeManager has none.
	fences map[string]*fakeFence
	// ops are the names of the calls in their order.
	ops []string
	// resets counts destroyed sockets whose address was still there.
	resets int
}

type fakeAddress struct {
	address
	expires time.Duration // 0: never
}

type fakeFrame struct {
	at   time.Time
	dst  net.HardwareAddr
	data []byte
}

func newFakeKernel() *fakeKernel {
	return &fakeKernel{
		clock: time.Hour,
		links: map[string]link{
			"eth0": {index: 2, name: "eth0", mac: testMAC, up: true},
			"eth1": {index: 3, name: "eth1", mac: testMAC, up: true},
		},
		calls: make(map[string]int),
	}
}

func (k *fakeKernel) now() time.Duration {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.clock
}

func (k *fakeKernel) advance(d time.Duration) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.clock += d
}

// enter counts the call and takes the lock unless it returns an error.
func (k *fakeKernel) enter(op string) error {
	k.mu.Lock()
	k.calls[op]++
	k.ops = append(k.ops, op)
	n, before := k.calls[op], k.before
	if before != nil {
		k.mu.Unlock()
		if err := before(op, n); err != nil {
			return fmt.Errorf("%s: %w", op, err)
		}
		k.mu.Lock()
	}
	k.addrs = slices.DeleteFunc(k.addrs, func(a fakeAddress) bool { return a.expires != 0 && a.expires <= k.clock })
	return nil
}

func (k *fakeKernel) link(name string) (link, error) {
	if err := k.enter(opLink); err != nil {
		return link{}, err
	}
	defer k.mu.Unlock()
	l, ok := k.links[name]
	if !ok {
		return link{}, fmt.Errorf("%s %s: %w", opLink, name, errNoLink)
	}
	return l, nil
}

func (k *fakeKernel) linkName(index int) (string, error) {
	if err := k.enter(opLinkName); err != nil {
		return "", err
	}
	defer k.mu.Unlock()
	for name, l := range k.links {
		if l.index == index {
			return name, nil
		}
	}
	return "", fmt.Errorf("%s %d: %w", opLinkName, index, errNoLink)
}

func (k *fakeKernel) forwards(string) (bool, error) {
	if err := k.enter(opForwards); err != nil {
		return false, err
	}
	defer k.mu.Unlock()
	return k.router, nil
}

func (k *fakeKernel) addresses() ([]address, error) {
	if err := k.enter(opAddresses); err != nil {
		return nil, err
	}
	defer k.mu.Unlock()
	var list []address
	for _, a := range k.addrs {
		if a.expires != 0 {
			a.valid = uint32((a.expires - k.clock + time.Second - 1) / time.Second)
		}
		list = append(list, a.address)
	}
	return list, nil
}

func (k *fakeKernel) put(a address) error {
	if err := k.enter(opPut); err != nil {
		return err
	}
	defer k.mu.Unlock()
	f := fakeAddress{address: a}
	if a.valid != forever {
		f.expires = k.clock + time.Duration(a.valid)*time.Second
	}
	for i, old := range k.addrs {
		if old.index == a.index && old.prefix == a.prefix {
			f.label, f.created = old.label, old.created
			k.addrs[i] = f
			return nil
		}
	}
	k.stamp++
	f.created = k.stamp
	k.addrs = append(k.addrs, f)
	return nil
}

func (k *fakeKernel) remove(a address) error {
	if err := k.enter(opRemove); err != nil {
		return err
	}
	defer k.mu.Unlock()
	k.addrs = slices.DeleteFunc(k.addrs, func(f fakeAddress) bool { return f.index == a.index && f.prefix == a.prefix })
	return nil
}

// vanish removes the address as somebody else would.
func (k *fakeKernel) vanish(ip string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.addrs = slices.DeleteFunc(k.addrs, func(f fakeAddress) bool { return f.prefix.Addr() == netip.MustParseAddr(ip) })
}

func (k *fakeKernel) sockets(port uint16) ([]socket, error) {
	if err := k.enter(opSockets); err != nil {
		return nil, err
	}
	defer k.mu.Unlock()
	var list []socket
	for _, s := range k.socks {
		if port == 0 || s.local.Port() == port {
			list = append(list, s)
		}
	}
	return list, nil
}

func (k *fakeKernel) destroy(s socket) error {
	if err := k.enter(opDestroy); err != nil {
		return err
	}
	defer k.mu.Unlock()
	if slices.ContainsFunc(k.addrs, func(f fakeAddress) bool { return f.prefix.Addr() == s.local.Addr() }) {
		k.resets++
	}
	k.socks = slices.DeleteFunc(k.socks, func(o socket) bool { return o == s })
	return nil
}

// connect adds a session with the local address and port.
func (k *fakeKernel) connect(local string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.stamp++
	s := socket{local: netip.MustParseAddrPort(local)}
	copy(s.id[:], strconv.Itoa(int(k.stamp)))
	k.socks = append(k.socks, s)
}

func (k *fakeKernel) send(_ int, dst net.HardwareAddr, frame []byte) error {
	if err := k.enter(opSend); err != nil {
		return err
	}
	defer k.mu.Unlock()
	k.frames = append(k.frames, fakeFrame{time.Now(), dst, slices.Clone(frame)})
	return nil
}

// sent returns the frames so far.
func (k *fakeKernel) sent() []fakeFrame {
	k.mu.Lock()
	defer k.mu.Unlock()
	return slices.Clone(k.frames)
}

// has returns the virtual addresses that are there, sorted.
func (k *fakeKernel) has() []string {
	if err := k.enter("has"); err != nil {
		panic(err)
	}
	defer k.mu.Unlock()
	list := []string{}
	for _, a := range k.addrs {
		list = append(list, a.prefix.String())
	}
	slices.Sort(list)
	return list
}

// called returns how often the operation was called.
func (k *fakeKernel) called(op string) int {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.calls[op]
}

func (k *fakeKernel) close() error { return nil }

func (k *fakeKernel) subscribe() (subscription, error) {
	if err := k.enter(opSubscribe); err != nil {
		return nil, err
	}
	defer k.mu.Unlock()
	s := &fakeSubscription{batches: make(chan batch), closed: make(chan struct{})}
	k.subs = append(k.subs, s)
	return s, nil
}

// subscription returns the latest subscription.
func (k *fakeKernel) subscription() *fakeSubscription {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.subs[len(k.subs)-1]
}

// A fakeFence is a session fence in memory. It is there while rules is not 0.
type fakeFence struct {
	k    *fakeKernel
	name string
	// rules and ours are the number of the replace that wrote them and of the last one.
	rules, ours int
	ends        [2]time.Duration
	closed      bool
	// stall is by how much the clock moves before the next writes take effect.
	stall []time.Duration
}

func (k *fakeKernel) fenceTable(name string, _ []netip.Addr) fenceTable {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.fences == nil {
		k.fences = make(map[string]*fakeFence)
	}
	if k.fences[name] == nil {
		k.fences[name] = &fakeFence{name: name}
	}
	f := k.fences[name]
	f.k = k
	return f
}

func (f *fakeFence) replace(slot int, timeout time.Duration) error {
	if err := f.k.enter(opFence + " replace"); err != nil {
		return err
	}
	defer f.k.mu.Unlock()
	f.ours++
	f.rules = f.ours
	f.ends = [2]time.Duration{}
	f.write(slot, timeout)
	return nil
}

// write opens the slot. k.mu is held.
func (f *fakeFence) write(slot int, timeout time.Duration) {
	if len(f.stall) > 0 {
		f.k.clock += f.stall[0]
		f.stall = f.stall[1:]
	}
	f.ends[slot] = f.k.clock + timeout
}

func (f *fakeFence) open(slot int, timeout time.Duration, alone bool) error {
	if err := f.k.enter(opFence + " open"); err != nil {
		return err
	}
	defer f.k.mu.Unlock()
	if f.rules == 0 {
		return errNoFence
	}
	if alone {
		f.ends[1-slot] = 0
	}
	f.write(slot, timeout)
	return nil
}

func (f *fakeFence) left(slot int) (time.Duration, error) {
	if err := f.k.enter(opFence + " left"); err != nil {
		return 0, err
	}
	defer f.k.mu.Unlock()
	return max(0, f.ends[slot]-f.k.clock), nil
}

func (f *fakeFence) whole() (bool, error) {
	if err := f.k.enter(opFence + " whole"); err != nil {
		return false, err
	}
	defer f.k.mu.Unlock()
	return f.rules != 0 && f.rules == f.ours, nil
}

func (f *fakeFence) cut() error {
	if err := f.k.enter(opFence + " cut"); err != nil {
		return err
	}
	defer f.k.mu.Unlock()
	f.ends = [2]time.Duration{}
	return nil
}

func (f *fakeFence) remove() error {
	if err := f.k.enter(opFence + " remove"); err != nil {
		return err
	}
	defer f.k.mu.Unlock()
	f.rules, f.ends = 0, [2]time.Duration{}
	return nil
}

func (f *fakeFence) close() error {
	f.k.mu.Lock()
	defer f.k.mu.Unlock()
	f.closed = true
	return nil
}

// end returns when the fence closes, or 0 if it is not there or closed.
func (f *fakeFence) end() time.Duration {
	f.k.mu.Lock()
	defer f.k.mu.Unlock()
	if end := max(f.ends[0], f.ends[1]); f.rules != 0 && end > f.k.clock {
		return end
	}
	return 0
}

type fakeSubscription struct {
	batches chan batch
	once    sync.Once
	closed  chan struct{}
}

func (s *fakeSubscription) receive() ([]notice, error) {
	select {
	case b := <-s.batches:
		return b.notices, b.err
	case <-s.closed:
		return nil, net.ErrClosed
	}
}

func (s *fakeSubscription) close() { s.once.Do(func() { close(s.closed) }) }

const (
	vip4 = "10.77.0.100/32"
	vip6 = "fd77::100/128"
)

// newFakeManager returns a Manager of both families on a kernel in memory. It
// announces only once, so that it does nothing by itself.
func newFakeManager(t testing.TB) (*Manager, *fakeKernel) {
	t.Helper()
	return newAnnouncingManager(t, AnnounceConfig{Burst: 1, SecondBurst: -1, Refresh: -1})
}

func newAnnouncingManager(t testing.TB, announce AnnounceConfig) (*Manager, *fakeKernel) {
	t.Helper()
	k := newFakeKernel()
	cfg, err := Config{
		Interface: "eth0",
		Addresses: []netip.Prefix{netip.MustParsePrefix(vip4), netip.MustParsePrefix(vip6)},
		Announce:  announce,
		Now:       k.now,
	}.withDefaults()
	if err != nil {
		t.Fatal(err)
	}
	m := newManager(cfg, k)
	t.Cleanup(func() {
		if err := m.Close(); err != nil {
			t.Error(err)
		}
	})
	return m, k
}
