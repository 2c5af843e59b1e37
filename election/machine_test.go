// SPDX-License-Identifier: Apache-2.0

package election

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/datadriven"
)

// TestMachine runs the transcripts of one node's Machine: one per row of the lifecycle
// table of docs/design.md §6 and per flow. They are recorded anew with -rewrite.
//
// What is said again and again is left out: pushes of the status, saves, renewals that went
// well, and adverts like the one before.
func TestMachine(t *testing.T) {
	datadriven.Walk(t, "testdata/machine", func(t *testing.T, path string) {
		s := &machineScript{t: t}
		datadriven.RunTest(t, path, s.run)
	})
}

// machineScript drives one Machine by commands.
type machineScript struct {
	t       *testing.T
	m       *Machine
	now     Instant
	out     strings.Builder
	health  Health
	healthy bool                 // the last verdict is repeated while time passes
	peers   map[string]PeerState // so are these statuses
	right   bool                 // so is the quorum's word that this node has the right
	order   []string
	sent    uint8 // priority of the last advert
	sought  bool  // the right, in this command
	tokens  map[string]Token
	asked   Token // of requests
}

const (
	scriptInterval = 100 * time.Millisecond
	requestToken   = Token(1) << 63
)

func testConfig(node string, n int) Config {
	c := Config{
		Node:   node,
		Router: RouterConfig{Version: 3, AdvertInterval: scriptInterval},
		Lease:  3 * time.Second, Linger: time.Second, WaitForLease: true, PushInterval: scriptInterval,
		GatherTimeout: time.Second, PromoteTimeout: 10 * time.Second, FenceTimeout: 3 * time.Second,
		VerdictMaxAge: 1200 * time.Millisecond,
	}
	for i := range n {
		m := Member{Name: fmt.Sprintf("db%d", i+1), Priority: uint8(120 - 10*i)}
		c.Members = append(c.Members, m)
		if m.Name == node {
			c.Router.Priority = m.Priority
			c.Router.Address = netip.AddrFrom4([4]byte{10, 0, 0, byte(11 + i)})
		}
	}
	return c
}

func (s *machineScript) run(t *testing.T, d *datadriven.TestData) string {
	s.t = t
	s.out.Reset()
	a := scriptArgs{t: t, d: d}
	if d.Cmd == "node" {
		s.begin(a)
		return s.out.String()
	}
	before := s.m.role
	s.sought = false
	switch d.Cmd {
	case "advance":
		s.advance(a.duration(0))
	case "repeat": // the last verdict and these peers' statuses, while time passes
		s.healthy, s.order, s.right = true, nil, a.has("right")
		for _, arg := range d.CmdArgs {
			if arg.Key != "right" {
				s.order = append(s.order, arg.Key)
			}
		}
	case "silence": // nothing is repeated any more
		s.healthy, s.order, s.right = false, nil, false
	case "status":
		st := s.m.Status()
		fmt.Fprintf(&s.out, "%s, router %s, term %d of %s, promised %d%s\n", st.Role, st.Router, st.Term, orNobody(st.Primary), st.Promised,
			map[bool]string{true: ", seeks the right"}[st.Seeks])
	default:
		s.step(s.event(a))
	}
	if s.m.role != before {
		fmt.Fprintf(&s.out, "%s => %s\n", before, s.m.role)
	}
	return s.out.String()
}

func orNobody(s string) string {
	if s == "" {
		return "nobody"
	}
	return s
}

func (s *machineScript) begin(a scriptArgs) {
	cfg := testConfig(a.d.CmdArgs[0].Key, a.number("of", 3))
	cfg.WaitForLease = !a.has("no-wait")
	for i := range cfg.Members {
		cfg.Members[i].NoFailover = cfg.Members[i].Name == a.text("nofailover")
	}
	authority := NewVRRP()
	if a.has("quorum") {
		authority = NewQuorum()
	}
	m, err := New(cfg, authority)
	if err != nil {
		a.d.Fatalf(a.t, "%v", err)
	}
	*s = machineScript{t: s.t, m: m, now: Instant(time.Hour), peers: map[string]PeerState{}, tokens: map[string]Token{}}
}

// event translates a command.
func (s *machineScript) event(a scriptArgs) Event {
	switch a.d.Cmd {
	case "start":
		return Start{
			Saved: Saved{
				Term: uint64(a.number("term", 0)), Primary: a.text("primary"), Promised: uint64(a.number("promised", 0)),
				Claimed: a.has("claimed"), ServerID: a.text("server"),
			},
			VIPPresent: a.has("vip"), LinkUp: !a.has("link-down"), ClaimDated: a.has("claim-age"), ClaimAge: a.span("claim-age", 0),
		}
	case "health":
		s.health = s.verdict(a)
		return HealthChanged{Health: s.health}
	case "peer":
		p := s.status(a)
		s.peers[p.Node] = p
		return PeerHeard{Peer: p}
	case "advert":
		node := a.d.CmdArgs[0].Key
		e := AdvertReceived{Advert: Advert{Priority: uint8(a.number("prio", 0)), Interval: scriptInterval, Source: netip.MustParseAddr("10.0.0.99")}}
		if d := a.text("interval"); d != "" {
			interval, err := time.ParseDuration(d)
			if err != nil {
				s.t.Fatal(err)
			}
			e.Interval = interval
		}
		if p := s.m.peer(node); p != nil {
			e.Node = node
			e.Source = netip.AddrFrom4([4]byte{10, 0, 0, 10 + node[len(node)-1] - '0'})
		}
		return e
	case "farewell":
		return FarewellReceived{From: a.d.CmdArgs[0].Key, Term: uint64(a.number("term", 0)), Reason: Code(a.text("reason")), Successor: a.text("successor")}
	case "seal-request":
		s.asked++
		return SealRequested{Token: s.asked | requestToken, From: a.d.CmdArgs[0].Key, Term: uint64(a.number("term", 0)), OldPrimary: s.m.primary}
	case "stand-request":
		s.asked++
		return StandRequested{
			Token: s.asked | requestToken, From: a.d.CmdArgs[0].Key, Term: uint64(a.number("term", 0)), Ordered: a.has("ordered"),
		}
	case "order":
		s.asked++
		return Command{Token: s.asked | requestToken, Name: CommandName(a.d.CmdArgs[0].Key)}
	case "stalled":
		s.now = s.now.Add(a.duration(0))
		return Stalled{Gap: a.duration(0)}
	case "server":
		if a.has("exited") {
			return ServerExited{}
		}
		return ServerStarted{}
	case "right":
		e := s.rightHeld(!a.has("lost"), a.has("silent"))
		if e.Before = a.text("before"); e.Before != "" {
			e.Heard = s.now.Add(-a.span("heard", 0))
		}
		if a.has("unused") {
			e.Unused = s.now.Add(-a.span("unused", 0))
		}
		return e
	case "record":
		e := RecordChanged{Term: uint64(a.number("term", 0)), Primary: a.text("primary"), Paused: a.has("paused")}
		if e.HoldOff = a.span("hold-off", 0); e.HoldOff != 0 {
			e.HoldOffTerm, e.HoldOffFrom = uint64(a.number("since", int(e.Term))), a.text("from")
		}
		return e
	case "link":
		return LinkChanged{Up: a.has("up")}
	case "address-lost":
		return AddressLost{}
	default:
		return s.answer(a)
	}
}

// answer ends the effect that is under way.
func (s *machineScript) answer(a scriptArgs) Event {
	err := a.text("err")
	switch a.d.Cmd {
	case "established":
		return EstablishEnded{Token: s.tokens["establish"], Err: err}
	case "sealed":
		return SealEnded{Token: s.tokens["seal"], Err: err}
	case "gathered":
		return GatherEnded{
			Token: s.tokens["gather"], Winner: a.text("winner"), FetchFrom: a.text("fetch"), Code: Code(a.text("code")), Err: err,
			HearsPrimary: a.list("hears"), Promised: uint64(a.number("promised", 0)), OldReleased: a.has("released"),
		}
	case "promoted":
		return PromoteEnded{Token: s.tokens["promote"], Code: Code(a.text("code")), Err: err}
	case "claimed":
		return ClaimEnded{Token: s.tokens["claim"], Err: err}
	case "renewed":
		return RenewEnded{Token: s.tokens["renew"], Lost: a.has("lost"), Err: err}
	case "released":
		return ReleaseEnded{Token: s.tokens["release"], Err: err}
	case "demoted":
		return DemoteEnded{Token: s.tokens["demote"], Killed: a.has("killed"), Err: err}
	case "followed":
		return FollowEnded{Token: s.tokens["follow"], Errant: a.text("errant"), Err: err}
	case "finished":
		return FinishEnded{Token: s.tokens["finish"], Err: err}
	default:
		a.d.Fatalf(a.t, "unknown command %q", a.d.Cmd)
		return nil
	}
}

// rightHeld is the quorum's word, good for seven intervals when the right is held.
func (s *machineScript) rightHeld(held, silent bool) RightChanged {
	if !held {
		return RightChanged{Silent: silent}
	}
	return RightChanged{Held: true, Until: s.now.Add(7 * scriptInterval), Leader: s.m.cfg.Node}
}

func (s *machineScript) verdict(a scriptArgs) Health {
	h := Health{
		At: s.now.Add(-a.span("began", 0)), State: HealthAlive, Eligible: !a.has("ineligible") && !a.has("dead") && !a.has("unknown"), CaughtUp: true,
		Writable: a.has("writable"), Hung: a.has("hung"), Failing: a.has("failing"), Reasons: a.list("ineligible"),
		ServerID: "s1", Source: a.text("source"), Receiving: a.has("source") && !a.has("stopped"), Replicas: a.number("replicas", 0),
	}
	switch {
	case a.has("dead"):
		h.State, h.ServerID = HealthDead, ""
	case a.has("unknown"), a.has("hung"):
		h.State, h.Eligible = HealthUnknown, false
	}
	if v := a.text("server"); v != "" {
		h.ServerID = v
	}
	if a.has("event") {
		h.SourceEvent = s.now.Add(-a.span("event", 0))
	}
	return h
}

func (s *machineScript) status(a scriptArgs) PeerState {
	p := PeerState{
		Node: a.d.CmdArgs[0].Key, Role: RoleReplica, Term: uint64(a.number("term", int(s.m.term))), Primary: s.m.primary,
		Promised: uint64(a.number("promised", 0)), Eligible: !a.has("ineligible"), CaughtUp: !a.has("lagging"), Writable: a.has("writable"),
		Alive: !a.has("server-down"), Replicas: a.number("replicas", 0), Source: a.text("source"), Restarting: a.has("restarting"), Seeks: a.has("seeks"),
		SourceEvent: a.span("event", -1), PrimaryHeard: a.span("heard", -1), LeaseReleased: true,
	}
	if v := a.text("role"); v != "" {
		if err := p.Role.UnmarshalText([]byte(v)); err != nil {
			a.d.Fatalf(a.t, "%v", err)
		}
	}
	if a.has("primary") {
		p.Primary = a.text("primary")
	}
	p.Fenced = a.has("fenced")
	p.LeaseReleased, p.Drained = p.Role != RolePrimary, a.has("drained")
	return p
}

// advance lets time pass, deadline by deadline, repeating what was asked for.
func (s *machineScript) advance(by time.Duration) {
	from, end := s.now, s.now.Add(by)
	repeat := s.now.Add(scriptInterval)
	for {
		next := end
		if d, ok := s.m.Deadline(); ok {
			next = min(next, max(d, s.now))
		}
		if s.healthy || len(s.order) > 0 {
			next = min(next, repeat)
		}
		if next >= end {
			break
		}
		s.now = next
		start := s.out.Len()
		role := s.m.role
		if next == repeat {
			repeat = repeat.Add(scriptInterval)
			s.repeat()
		}
		if d, ok := s.m.Deadline(); ok && d <= s.now {
			s.step(Tick{})
			if d, ok := s.m.Deadline(); ok && d <= s.now {
				s.t.Fatalf("the deadline stays in the past")
			}
		}
		if said := s.out.String()[start:]; said != "" || s.m.role != role {
			text := s.out.String()[:start] + fmt.Sprintf("after %v:\n", round(s.now.Sub(from))) + said
			s.out.Reset()
			s.out.WriteString(text)
		}
	}
	s.now = end
}

func (s *machineScript) repeat() {
	if s.healthy {
		h := s.health
		h.At = s.now
		if h.SourceEvent != 0 {
			h.SourceEvent = s.now
		}
		s.step(HealthChanged{Health: h})
	}
	if s.right {
		s.step(s.rightHeld(true, false))
	}
	for _, node := range s.order {
		p := s.peers[node]
		if p.Role != RolePrimary && p.PrimaryHeard >= 0 && !slices.Contains(s.order, p.Primary) {
			p.PrimaryHeard += scriptInterval // it hears no more of it than we do
		}
		s.peers[node] = p
		s.step(PeerHeard{Peer: p})
	}
}

func (s *machineScript) step(ev Event) {
	for _, a := range s.m.Step(s.now, ev) {
		s.say(a)
	}
}

func (s *machineScript) say(a Action) {
	p := func(format string, args ...any) { fmt.Fprintf(&s.out, format+"\n", args...) }
	switch a := a.(type) {
	case Publish, Save:
	case SendAdvert:
		if a.Priority != s.sent {
			p("send priority=%d", a.Priority)
		}
		s.sent = a.Priority
	case Record:
		text := fmt.Sprintf("  %s", a.Code)
		if a.Door != 0 {
			text += fmt.Sprintf(" door=%d", a.Door)
		}
		text += fmt.Sprintf(" term=%d", a.Term)
		if a.Node != "" {
			text += " " + a.Node
		}
		if a.Detail != "" {
			text += ": " + a.Detail
		}
		p("%s", text)
	case Claim:
		s.tokens["claim"] = a.Token
		p("claim the VIP, term=%d", a.Term)
	case Renew:
		s.tokens["renew"] = a.Token
		s.step(RenewEnded{Token: a.Token})
	case Release:
		s.tokens["release"] = a.Token
		p("release the VIP: %s", a.Reason)
	case Seal:
		s.tokens["seal"] = a.Token
		p("seal this server, term=%d", a.Term)
	case Refuse:
		p("answer no: %s", a.Code)
	case Accept:
		p("answer yes")
	case Gather:
		s.tokens["gather"] = a.Token
		p("gather term=%d from %s and from %v", a.Term, orNobody(a.OldPrimary), a.Expect)
	case Promote:
		s.tokens["promote"] = a.Token
		text := fmt.Sprintf("promote term=%d: %s", a.Term, a.Cause)
		if a.FetchFrom != "" {
			text += ", fetch from " + a.FetchFrom
		}
		if a.WaitUntil != 0 {
			text += fmt.Sprintf(", no writes for %v", round(a.WaitUntil.Sub(s.now)))
		}
		p("%s", text)
	case Cancel:
		p("cancel")
	case Finish:
		s.tokens["finish"] = a.Token
		p("finish the promotion")
	case Demote:
		s.tokens["demote"] = a.Token
		p("demote this server: %s", a.Reason)
	case Follow:
		s.tokens["follow"] = a.Token
		p("follow %s, term=%d", a.Node, a.Term)
	case Farewell:
		p("farewell to all, term=%d: %s, successor %s", a.Term, a.Reason, orNobody(a.Successor))
	case AskToStand:
		text := "ask " + a.Node + " to stand"
		if a.Ordered {
			text += ", as ordered"
		}
		p("%s", text)
	case Announce:
		p("announce the VIP again")
	case Seek:
		if !s.sought {
			p("seek the right")
		}
		s.sought = true
	case HandOver:
		text := "hand the right over to " + a.To
		if a.Unused != 0 {
			text += fmt.Sprintf(", unused for %v", round(s.now.Sub(a.Unused)))
		}
		p("%s", text)
	case Establish:
		s.tokens["establish"] = a.Token
		p("establish term=%d: %s, %s", a.Term, a.Kind, a.Cause)
	case Stopped:
		p("end")
	default:
		s.t.Fatalf("unknown action %T", a)
	}
}

// scriptArgs reads the parameters of a command.
type scriptArgs struct {
	t *testing.T
	d *datadriven.TestData
}

func (a scriptArgs) find(key string) (datadriven.CmdArg, bool) {
	i := slices.IndexFunc(a.d.CmdArgs, func(arg datadriven.CmdArg) bool { return arg.Key == key })
	if i < 0 {
		return datadriven.CmdArg{}, false
	}
	return a.d.CmdArgs[i], true
}

func (a scriptArgs) has(key string) bool { _, ok := a.find(key); return ok }

func (a scriptArgs) list(key string) []string {
	arg, _ := a.find(key)
	return arg.Vals
}

func (a scriptArgs) text(key string) string { return strings.Join(a.list(key), ",") }

func (a scriptArgs) number(key string, otherwise int) int {
	v := a.text(key)
	if v == "" {
		return otherwise
	}
	n, err := strconv.Atoi(v)
	if err != nil {
		a.d.Fatalf(a.t, "%s: %v", key, err)
	}
	return n
}

func (a scriptArgs) span(key string, otherwise time.Duration) time.Duration {
	v := a.text(key)
	if v == "" {
		return otherwise
	}
	d, err := time.ParseDuration(v)
	if err != nil {
		a.d.Fatalf(a.t, "%s: %v", key, err)
	}
	return d
}

func (a scriptArgs) duration(i int) time.Duration {
	d, err := time.ParseDuration(a.d.CmdArgs[i].Key)
	if err != nil {
		a.d.Fatalf(a.t, "%v", err)
	}
	return d
}
