// SPDX-License-Identifier: Apache-2.0

package election

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"reflect"
	"slices"
	"testing"
	"time"
)

// script turns bytes into events: each step reads what it needs, zeros at the end.
type script struct {
	data    []byte
	pending []Action // that were not answered, as far as the script knows
}

func (s *script) byte() byte {
	if len(s.data) == 0 {
		return 0
	}
	b := s.data[0]
	s.data = s.data[1:]
	return b
}

func (s *script) bool() bool { return s.byte()&1 == 1 }

func (s *script) node() string { return []string{"db1", "db2", "db3", "", "db9"}[s.byte()%5] }

func (s *script) term() uint64 { return uint64(s.byte() % 8) }

// age is -1, or up to 12.7 s.
func (s *script) age() time.Duration { return time.Duration(int8(s.byte())) * scriptInterval }

func (s *script) text() string { return []string{"", "", "x"}[s.byte()%3] }

// token is mostly one that is awaited.
func (s *script) token() Token {
	b := int(s.byte())
	if len(s.pending) == 0 || b == 255 {
		return Token(b)
	}
	return tokenOf(s.pending[len(s.pending)-1-b%len(s.pending)])
}

// answer ends the newest action the way it was meant to; nil if there is none.
func (s *script) answer() Event {
	for len(s.pending) > 0 {
		a := s.pending[len(s.pending)-1]
		s.pending = s.pending[:len(s.pending)-1]
		switch a := a.(type) {
		case Claim:
			return ClaimEnded{Token: a.Token}
		case Renew:
			return RenewEnded{Token: a.Token}
		case Release:
			return ReleaseEnded{Token: a.Token}
		case Gather:
			return GatherEnded{Token: a.Token, Winner: "db2"}
		case Promote:
			return PromoteEnded{Token: a.Token}
		case Demote:
			return DemoteEnded{Token: a.Token}
		case Follow:
			return FollowEnded{Token: a.Token}
		case Finish:
			return FinishEnded{Token: a.Token}
		}
	}
	return nil
}

// start begins as a node that ran before.
func (s *script) start() Event {
	return Start{
		Saved:      Saved{Term: s.term(), Primary: s.node(), Promised: s.term(), Claimed: s.bool(), ServerID: "s1"},
		VIPPresent: s.bool(), ClaimDated: s.bool(), ClaimAge: s.age(), LinkUp: !s.bool() || s.bool(),
	}
}

// healthyVerdict is what a server without any fault gets.
func (s *script) healthyVerdict(now Instant) Event {
	return HealthChanged{Health: Health{
		At: now, State: HealthAlive, Eligible: true, CaughtUp: true, Writable: s.bool(), ServerID: "s1", Source: s.node(), Receiving: true,
	}}
}

// command is rarely one that ends the script.
func (s *script) command() CommandName {
	switch s.byte() % 64 {
	case 1:
		return CommandStop
	case 2:
		return CommandRestart
	case 3:
		return "x"
	default:
		return CommandFailover
	}
}

func (s *script) event(now Instant) Event {
	kind := s.byte() % 40
	if kind >= 32 {
		if ev := s.answer(); ev != nil {
			return ev
		}
		kind = 0
	}
	switch kind {
	case 0, 24, 25, 26, 27, 28, 29, 30, 31:
		return s.healthyVerdict(now)
	case 1:
		return Stalled{Gap: s.age()}
	case 2:
		return AdvertReceived{Advert: Advert{Source: netip.AddrFrom4([4]byte{10, 0, 0, s.byte()}), Priority: s.byte(), Interval: scriptInterval}, Node: s.node()}
	case 3, 4, 5:
		return HealthChanged{Health: Health{
			At: now.Add(-time.Duration(s.byte()) * time.Millisecond), State: HealthState(s.byte() % 3), Eligible: s.bool(), CaughtUp: s.bool(),
			Writable: s.bool(), Hung: s.byte()%8 == 1, Failing: s.byte()%8 == 1, ServerID: []string{"s1", "s2", ""}[s.byte()%3], Source: s.node(), Receiving: s.bool(),
			Replicas: int(s.byte() % 3), SourceEvent: now.Add(-time.Duration(s.byte()) * scriptInterval),
		}}
	case 6:
		return ServerExited{}
	case 7:
		return ServerStarted{}
	case 8:
		return LinkChanged{Up: s.bool()}
	case 9:
		return AddressLost{}
	case 10, 11, 12:
		return PeerHeard{Peer: PeerState{
			Node: s.node(), Role: Role(s.byte() % byte(len(roleNames))), Term: s.term(), Primary: s.node(), Promised: s.term(), Eligible: s.bool(),
			CaughtUp: s.bool(), Writable: s.bool(), Alive: s.bool(), Replicas: int(s.byte() % 3), Source: s.node(), Restarting: s.byte()%8 == 1,
			SourceEvent: s.age(), PrimaryHeard: s.age(), LeaseReleased: s.bool(),
		}}
	case 13:
		return FarewellReceived{From: s.node(), Term: s.term(), Reason: CodeOperator, Successor: s.node()}
	case 14:
		return SealRequested{Token: Token(s.byte()) | requestToken, From: s.node(), Term: s.term()}
	case 15:
		return StandRequested{Token: Token(s.byte()) | requestToken, From: s.node(), Term: s.term()}
	case 16:
		return GatherEnded{Token: s.token(), Winner: s.node(), FetchFrom: s.node(), Promised: s.term(), OldReleased: s.bool(), Err: s.text()}
	case 17:
		return PromoteEnded{Token: s.token(), Err: s.text()}
	case 18:
		return ClaimEnded{Token: s.token(), Err: s.text()}
	case 19:
		return RenewEnded{Token: s.token(), Lost: s.bool(), Err: s.text()}
	case 20:
		return ReleaseEnded{Token: s.token(), Err: s.text()}
	case 21:
		return DemoteEnded{Token: s.token(), Err: s.text()}
	case 22:
		return FollowEnded{Token: s.token(), Errant: s.text(), Err: s.text()}
	default:
		return Command{Token: requestToken | 1, Name: s.command()}
	}
}

// watcher holds what must be true of the actions of one Machine.
type watcher struct {
	promotes  map[Token]bool
	allowed   bool // the VIP may be claimed: by promotion, adoption, resumption
	holds     bool // the VIP is, or is about to be, here
	abandoned map[Token]bool
}

func (w *watcher) before(ev Event) {
	if e, ok := ev.(PromoteEnded); ok && e.Err == "" && w.promotes[e.Token] && !w.abandoned[e.Token] {
		w.allowed = true
	}
}

func (w *watcher) after(m *Machine, actions []Action) error {
	for i, a := range actions {
		switch a := a.(type) {
		case Record:
			if a.Code == CodeAdopted || a.Code == CodeResumed {
				w.allowed = true
			}
		case Promote:
			w.promotes[a.Token] = true
		case Cancel:
			w.abandoned[a.Token] = true
		case Claim:
			if !w.allowed {
				return fmt.Errorf("claim without passing the doors")
			}
			w.holds = true
		case Renew:
			if !w.holds {
				return fmt.Errorf("renew without holding")
			}
			if m.role != RolePrimary {
				return fmt.Errorf("renew as %s", m.role)
			}
		case Release:
			w.allowed, w.holds = false, false
		case Demote:
			if w.holds {
				return fmt.Errorf("demote before release: %v", actions[:i+1])
			}
		}
	}
	return nil
}

// tokenOf returns the token of an action that must be answered, 0 for the others.
func tokenOf(a Action) Token {
	v := reflect.ValueOf(a).FieldByName("Token")
	if !v.IsValid() {
		return 0
	}
	if t := Token(v.Uint()); t&requestToken == 0 {
		return t
	}
	return 0
}

// play runs a script through a fresh Machine and returns the journal of it.
func play(data []byte) ([]Event, []Instant, [][]byte, error) {
	m, err := New(testConfig("db2", 3), NewVRRP())
	if err != nil {
		return nil, nil, nil, err
	}
	s := &script{data: data}
	w := &watcher{promotes: map[Token]bool{}, abandoned: map[Token]bool{}}
	now := Instant(time.Hour)
	var events []Event
	var times []Instant
	var journal [][]byte
	step := func(ev Event) error {
		events, times = append(events, ev), append(times, now)
		w.before(ev)
		actions := m.Step(now, ev)
		for _, a := range actions {
			if tokenOf(a) != 0 {
				s.pending = append(s.pending, a)
			}
		}
		if len(s.pending) > 8 {
			s.pending = slices.Delete(s.pending, 0, len(s.pending)-8)
		}
		if err := w.after(m, actions); err != nil {
			return fmt.Errorf("%T%+v: %w", ev, ev, err)
		}
		lines, err := MarshalActions(actions)
		if err != nil {
			return err
		}
		all, err := json.Marshal(lines)
		journal = append(journal, all)
		return err
	}
	if err := step(s.start()); err != nil {
		return nil, nil, nil, err
	}
	for len(s.data) > 0 && m.role != RoleStopped {
		if wait := time.Duration(s.byte()) * 3 * time.Millisecond; wait > 0 {
			until := now.Add(wait)
			for ticks := 0; ; ticks++ {
				d, ok := m.Deadline()
				if !ok || d > until || m.role == RoleStopped {
					break
				}
				if ticks > 1000 {
					return nil, nil, nil, fmt.Errorf("the loop spins as %s", m.role)
				}
				now = max(now, d)
				if err := step(Tick{}); err != nil {
					return nil, nil, nil, err
				}
				if next, ok := m.Deadline(); ok && next <= now && m.role != RoleStopped {
					return nil, nil, nil, fmt.Errorf("the deadline stays in the past as %s: now %d, %d; router %+v fence %+v stop %+v follow %+v", m.role, now, next, m.router, m.fence, m.stop, m.follow)
				}
			}
			now = until
		}
		if err := step(s.event(now)); err != nil {
			return nil, nil, nil, err
		}
	}
	return events, times, journal, nil
}

// FuzzStep holds for any events in any order: no panic; the VIP only behind the doors;
// renewals only as primary; release before demotion; no deadline in the past; and the same
// journal when the events, written and read back, go through a fresh Machine.
func FuzzStep(f *testing.F) {
	rng := rand.New(rand.NewPCG(1, 2))
	for range 20 {
		data := make([]byte, 400)
		for i := range data {
			data[i] = byte(rng.Uint32())
		}
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) { holdStep(t, data) })
}

func holdStep(t *testing.T, data []byte) {
	events, times, journal, err := play(data)
	if err != nil {
		t.Fatal(err)
	}
	again, err := New(testConfig("db2", 3), NewVRRP())
	if err != nil {
		t.Fatal(err)
	}
	for i, ev := range events {
		b, err := MarshalEvent(ev)
		if err != nil {
			t.Fatal(err)
		}
		read, err := UnmarshalEvent(b)
		if err != nil {
			t.Fatal(err)
		}
		lines, err := MarshalActions(again.Step(times[i], read))
		if err != nil {
			t.Fatal(err)
		}
		all, err := json.Marshal(lines)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(all, journal[i]) {
			t.Fatalf("event %d, %s: replayed as\n%s\nwas\n%s", i, b, all, journal[i])
		}
	}
}

// TestStepRandom is FuzzStep for some thousand long scripts.
func TestStepRandom(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	primaries := 0
	for range 60 {
		data := make([]byte, 1500)
		for i := range data {
			data[i] = byte(rng.Uint32())
		}
		holdStep(t, data)
		_, _, journal, _ := play(data)
		if bytes.Contains(bytes.Join(journal, nil), []byte(`"claimed"`)) {
			primaries++
		}
	}
	if primaries < 10 {
		t.Error("the scripts do not get far enough to mean anything")
	}
	t.Logf("%d scripts made this node primary", primaries)
}

// TestEventsRoundTrip writes and reads an event of every type with every field set.
func TestEventsRoundTrip(t *testing.T) {
	for name, typ := range eventTypes {
		v := reflect.New(typ).Elem()
		set(v, 1)
		ev := v.Interface().(Event)
		b, err := MarshalEvent(ev)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		got, err := UnmarshalEvent(b)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if !reflect.DeepEqual(got, ev) {
			t.Errorf("%s: got %+v, want %+v", name, got, ev)
		}
	}
}

// set gives every field a value that is not its zero.
func set(v reflect.Value, n int) {
	switch v.Interface().(type) {
	case netip.Addr:
		v.Set(reflect.ValueOf(netip.MustParseAddr("10.0.0.1")))
		return
	case Role:
		v.Set(reflect.ValueOf(RoleHeld))
		return
	}
	switch v.Kind() {
	case reflect.Struct:
		for i := range v.NumField() {
			set(v.Field(i), n+i)
		}
	case reflect.String:
		v.SetString(fmt.Sprint("s", n))
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Int, reflect.Int64:
		v.SetInt(int64(n))
	case reflect.Uint8, reflect.Uint64:
		v.SetUint(uint64(n))
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 2, 2))
		set(v.Index(0), n)
		set(v.Index(1), n+1)
	default:
		panic(fmt.Sprintf("a field of kind %s: teach the test about it", v.Kind()))
	}
}

func TestUnmarshalEventRefuses(t *testing.T) {
	for _, b := range []string{
		``, `{`, `{"type":"Nonsense"}`, `{"type":"Stalled","body":{"gap":1,"more":2}}`, `{"type":"Stalled","body":{"gap":"x"}}`,
		`{"type":"PeerHeard","body":{"peer":{"role":"king"}}}`,
	} {
		if ev, err := UnmarshalEvent([]byte(b)); err == nil {
			t.Errorf("%s: read as %+v", b, ev)
		}
	}
}

// TestEveryEventIsInTheJournal compares the list of types with what Step takes.
func TestEveryEventIsInTheJournal(t *testing.T) {
	m, err := New(testConfig("db1", 3), NewVRRP())
	if err != nil {
		t.Fatal(err)
	}
	for name, typ := range eventTypes {
		func() {
			defer func() {
				if r := recover(); r != nil {
					t.Errorf("%s: %v", name, r)
				}
			}()
			m.Step(Instant(time.Hour), reflect.Zero(typ).Interface().(Event))
		}()
	}
}

func TestConfigRefuses(t *testing.T) {
	tests := map[string]func(*Config){
		"no such member":  func(c *Config) { c.Node = "db9" },
		"short lease":     func(c *Config) { c.Lease = 999 * time.Millisecond },
		"no interval":     func(c *Config) { c.Router.AdvertInterval = 0 },
		"no push":         func(c *Config) { c.PushInterval = 0 },
		"no gather":       func(c *Config) { c.GatherTimeout = 0 },
		"no promotion":    func(c *Config) { c.PromoteTimeout = 0 },
		"no fence":        func(c *Config) { c.FenceTimeout = 0 },
		"no verdict ages": func(c *Config) { c.VerdictMaxAge = -1 },
	}
	for name, spoil := range tests {
		c := testConfig("db1", 3)
		spoil(&c)
		if _, err := New(c, NewVRRP()); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	if _, err := New(testConfig("db1", 3), NewVRRP()); err != nil {
		t.Error(err)
	}
}

// TestLeaseEnds holds the formula of docs/design.md §6.
func TestLeaseEnds(t *testing.T) {
	for lease, want := range map[time.Duration]time.Duration{
		time.Second:             2750 * time.Millisecond,
		2500 * time.Millisecond: 4950 * time.Millisecond, // the kernel counts in seconds
		3 * time.Second:         4950 * time.Millisecond,
	} {
		c := Config{Lease: lease}
		if got := c.LeaseEnds(); got != want {
			t.Errorf("lease %v ends after %v, want %v", lease, got, want)
		}
	}
}
