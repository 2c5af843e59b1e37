// SPDX-License-Identifier: Apache-2.0

package sim

import (
	"time"

	"highwater/election"
	"highwater/supervisor/keeper"
	"highwater/supervisor/peer"
)

// supervisor is one process: the loop with its Machine, the executor and what runs beside.
type supervisor struct {
	host    *host
	w       *World
	machine *election.Machine
	voter   *voter         // nil without a quorum
	keeper  *keeper.Keeper // nil with durability best-effort
	keeping *keeperHost
	number  int // of this process on its host: its incarnation
	frozen  bool
	ended   bool

	authority election.Authority

	deadline election.Instant
	alarm    uint64 // the newest timer
	inbox    []election.Event
	backlog  []func()
	spins    int // ticks without progress

	queue []election.Action // that the executor has not begun
	busy  bool

	statusSeq  uint64
	status     status
	heard      map[string]heard
	leaseEnd   election.Instant
	restarting bool

	looking    bool
	verdict    verdict
	requests   map[election.Token]func(answer)
	requested  election.Token
	cancelled  map[election.Token]bool
	promoting  *promotion
	following  int // numbers the attempts: a newer effect interrupts
	routines   []*routine
	interrupts int // seals, promotions and demotions, to which other operations on the server give way
	rebuilding bool
	// Of the last gather: the record's revision, the server process and what it has to fetch if it wins.
	gathered    uint64
	sealedStart string
	missing     position
	spares      uint64 // term for whose gather this host has won and need not fetch
	forgone     uint64 // term for which it has tried to in vain

	claims    map[uint64]bool // terms whose promotion ended well here, or adopted or resumed
	primaryOf uint64          // term of the last claim of this process
	onStopped func()
}

// heard is a peer's newest status.
type heard struct {
	status
	at election.Instant
}

// shellToken marks the tokens of requests.
const shellToken election.Token = 1 << 63

func (h *host) startSupervisor() {
	if h.supervisor != nil || !h.powered {
		return
	}
	s := &supervisor{
		host: h, w: h.w, number: int(h.w.seq) + 1, //nolint:gosec // a counter
		heard: map[string]heard{}, requests: map[election.Token]func(answer){},
		cancelled: map[election.Token]bool{}, claims: map[uint64]bool{},
	}
	s.authority = h.w.authority()
	machine, err := election.New(election.Config{
		Node: h.name, Members: h.w.members,
		Router: election.RouterConfig{
			Version: 3, Priority: h.w.members[h.index].Priority, AdvertInterval: h.w.cfg.Interval, Address: h.addr,
		},
		Lease: lease, Linger: linger, WaitForLease: h.w.cfg.Mutation != NoLeaseWait && !h.w.cfg.Lossless,
		Lossless:     h.w.cfg.Lossless,
		PushInterval: min(max(h.w.cfg.Interval, 100*time.Millisecond), time.Second), GatherTimeout: gatherTimeout,
		PromoteTimeout: promoteTimeout, FenceTimeout: fenceTimeout,
		VerdictMaxAge: 3 * (h.w.cfg.Check + checkTimeout),
	}, s.mutated(s.authority))
	if err != nil {
		h.w.fail("new machine: %v", err)
		return
	}
	s.machine = machine
	h.supervisor = s
	h.w.tracef(h, "supervisor started")
	saved := h.saved
	if h.w.cfg.Mutation != ForgottenPromise {
		saved.Promised = max(saved.Promised, h.promised)
	}
	s.refreshStatus()
	s.post(election.Start{
		Saved: saved, VIPPresent: h.vip, LinkUp: h.link,
		ClaimAge: h.clock().Sub(h.claimAt), ClaimDated: h.claimBoot == h.boot && h.claimAt != 0,
	})
	if h.w.cfg.Quorum {
		s.startVoter()
	}
	s.startKeeper()
	s.refreshStatus()
	s.after(h.w.between(0, 20*time.Millisecond), s.lookAgain)
	s.after(h.w.between(0, 10*time.Millisecond), s.pushAgain)
}

// crashSupervisor ends the process without a word.
func (h *host) crashSupervisor() {
	if s := h.supervisor; s != nil {
		h.w.tracef(h, "supervisor ended")
		s.ended = true
		h.supervisor = nil
		s.endRoutines()
		if s.voter != nil {
			s.voter.crash()
		}
		if s.promoting != nil {
			s.promoting.over = true
		}
	}
}

// freezeSupervisor stops the process, and nothing else of the host, for d.
func (h *host) freezeSupervisor(d time.Duration) {
	s := h.supervisor
	if s == nil || s.frozen {
		return
	}
	if s.busy || len(s.queue) > 0 { // see the package's documentation
		h.after(time.Millisecond, func() { h.freezeSupervisor(d) })
		return
	}
	h.w.tracef(h, "supervisor frozen for %v", d)
	s.frozen = true
	h.after(d, func() {
		if s.frozen && !s.ended {
			h.w.tracef(h, "supervisor thawed")
			s.frozen = false
			s.wake()
		}
	})
}

// stopped reports whether the process does not run now.
func (s *supervisor) stopped() bool { return s.frozen || s.host.frozen }

// after runs f in d within the process: not before it is thawed, never after it ended.
func (s *supervisor) after(d time.Duration, f func()) {
	s.host.after(d, func() {
		switch {
		case s.ended:
		case s.frozen:
			s.backlog = append(s.backlog, f)
		default:
			f()
		}
	})
}

// wake is what happens first after a freeze: the loop sees how late it is, then the news.
func (s *supervisor) wake() {
	if s.ended || s.stopped() {
		return
	}
	inbox, backlog := s.inbox, s.backlog
	s.inbox, s.backlog = nil, nil
	first := s.voter != nil && s.w.chance(0.5) // one of two goroutines
	if first {
		s.voter.wake()
	}
	s.stall()
	for _, ev := range inbox {
		s.post(ev)
	}
	for _, f := range backlog {
		if !s.ended {
			f()
		}
	}
	s.setAlarm()
	if s.voter != nil && !first && !s.ended {
		s.voter.wake()
	}
}

// post hands an event to the loop.
func (s *supervisor) post(ev election.Event) {
	switch {
	case s.ended:
	case s.stopped():
		s.inbox = append(s.inbox, ev)
	default:
		s.stall()
		s.step(ev)
	}
}

// stall reports a wake-up that comes too late.
func (s *supervisor) stall() {
	late := s.host.clock().Sub(s.deadline)
	if s.deadline != 0 && late > s.w.cfg.Interval && s.w.cfg.Mutation != NoStall && !s.ended {
		s.step(election.Stalled{Gap: late})
	}
}

// step is one turn of the loop.
func (s *supervisor) step(ev election.Event) {
	if s.ended {
		return
	}
	now := s.host.clock()
	if h, ok := ev.(election.HealthChanged); ok {
		ev = s.mutateHealth(h, now)
	}
	actions := s.machine.Step(now, ev)
	s.traceStep(ev, actions)
	for _, a := range actions {
		s.judgeRenewal(a)
	}
	s.queue = append(s.queue, actions...)
	s.setAlarm()
	s.pump()
	s.w.check()
}

func (s *supervisor) mutateHealth(h election.HealthChanged, now election.Instant) election.Event {
	switch s.w.cfg.Mutation {
	case StaleVerdicts:
		h.Health.At = now
	case NoHealthDoor:
		h.Health.Eligible = true
	default:
	}
	return h
}

func (s *supervisor) traceStep(ev election.Event, actions []election.Action) {
	if !s.w.cfg.Trace {
		return
	}
	dull := true
	switch ev.(type) {
	case election.Tick, election.PeerHeard, election.HealthChanged, election.AdvertReceived, election.RenewEnded, election.RightChanged:
	default:
		dull = false
	}
	for _, a := range actions {
		switch a.(type) {
		case election.SendAdvert, election.Publish, election.Renew, election.Save, election.Seek:
		default:
			dull = false
		}
	}
	if dull {
		return
	}
	s.w.tracef(s.host, "<- %T%+v (%s)", ev, ev, s.machine.Status().Role)
	for _, a := range actions {
		s.w.tracef(s.host, "   -> %T%+v", a, a)
	}
}

// setAlarm sets the loop's one timer. A deadline that is past again and again without an
// action in between is a loop that spins.
func (s *supervisor) setAlarm() {
	d, ok := s.machine.Deadline()
	if !ok {
		s.deadline = 0
		return
	}
	if d == s.deadline && s.alarm != 0 && d > s.host.clock() {
		return
	}
	s.deadline = d
	s.alarm = s.w.seq + 1
	alarm := s.alarm
	wait := max(0, s.host.until(d)) + s.w.between(0, 500*time.Microsecond)
	s.w.after(wait, func() {
		if s.ended || s.alarm != alarm || s.stopped() {
			return
		}
		s.tick()
	})
}

// maxSpins is how many ticks in a row may change nothing.
const maxSpins = 3

func (s *supervisor) tick() {
	s.alarm = 0
	if s.host.clock() < s.deadline {
		s.setAlarm()
		return
	}
	before := s.deadline
	s.post(election.Tick{})
	if d, ok := s.machine.Deadline(); ok && d <= before {
		if s.spins++; s.spins > maxSpins {
			s.w.fail("%s: the deadline stays in the past: role %s", s.host.name, s.machine.Status().Role)
		}
		return
	}
	s.spins = 0
}

// pump is the executor: one action after the other, in order.
func (s *supervisor) pump() {
	for !s.busy && len(s.queue) > 0 && !s.ended && !s.stopped() {
		a := s.queue[0]
		s.queue = s.queue[1:]
		s.execute(a)
	}
}

// kernel changes the VIP: the executor waits for it.
func (s *supervisor) kernel(change func() election.Event) {
	s.busy = true
	d := s.w.between(50*time.Microsecond, time.Millisecond)
	if s.w.chance(0.02) {
		d = s.w.between(time.Millisecond, 30*time.Millisecond)
	}
	s.after(d, func() {
		s.busy = false
		ev := change()
		s.w.check()
		s.post(ev)
		s.pump()
	})
}

// pushAgain sends the status to every peer at each interval.
func (s *supervisor) pushAgain() {
	s.push()
	s.after(max(s.w.cfg.Interval, 100*time.Millisecond), s.pushAgain)
}

func (s *supervisor) push() {
	st := s.refreshStatus()
	from := s.host
	for _, to := range s.w.hosts {
		if to == from {
			continue
		}
		s.w.deliver(from, to, func(peer *supervisor) {
			if peer.stopped() { // it reads what waits in its sockets once it runs, too late for an answer
				peer.backlog = append(peer.backlog, func() { peer.hear(st) })
				return
			}
			peer.hear(st)
			reply := peer.status
			s.w.deliver(to, from, func(back *supervisor) {
				if back == s {
					s.hear(reply)
				}
			})
		})
	}
}

// hear takes in a status unless a newer one of the same process came first.
func (s *supervisor) hear(st status) {
	if old, ok := s.heard[st.Node]; ok && old.number == st.number && st.seq < old.seq {
		return
	}
	s.heard[st.Node] = heard{status: st, at: s.host.clock()}
	if s.keeper != nil && st.node != nil {
		s.keeper.Heard(st.node)
		s.keeping.news()
	}
	s.post(election.PeerHeard{Peer: st.PeerState})
}

// status is what a supervisor says of itself.
type status struct {
	election.PeerState
	number   int // of the process
	seq      uint64
	vipHeld  bool
	executed position
	received position
	eligible bool
	errant   gap
	node     *peer.NodeStatus // with durability lossless
}

// refreshStatus builds the newest status; sets and verdict are those of the last look.
func (s *supervisor) refreshStatus() status {
	s.statusSeq++
	now := s.host.clock()
	view := s.machine.Status()
	v := &s.verdict
	st := status{
		PeerState: election.PeerState{
			Node: s.host.name, Role: view.Role, Term: view.Term, Primary: view.Primary, Promised: view.Promised,
			Eligible: v.eligible, CaughtUp: v.alive, Writable: v.writable, Alive: v.alive, Replicas: v.replicas,
			Source: v.source, Restarting: s.restarting, Seeks: view.Seeks, SourceEvent: -1, PrimaryHeard: s.machine.PrimaryHeard(now),
			ServerID: v.serverID, Drained: v.alive && v.executed.Contains(v.received),
		},
		number: s.number, seq: s.statusSeq, executed: v.executed, received: v.received,
		vipHeld: s.leaseEnd > now, errant: v.errant,
	}
	if v.event != 0 {
		st.SourceEvent = now.Sub(v.event)
	}
	if view.Role == election.RoleStopping || view.Role == election.RoleStopped || view.StandBack > now {
		st.Eligible = false
	}
	st.eligible = st.Eligible
	st.LeaseReleased = !st.vipHeld
	if s.keeper != nil {
		st.node = s.nodeStatus(&st)
	}
	s.status = st
	return st
}

// leaseEnds is how long after its last renewal a lease has surely ended.
func leaseEnds() time.Duration {
	c := election.Config{Lease: lease}
	return c.LeaseEnds()
}

// nodeStatus is what a keeper tells of itself, and hears of others.
func (s *supervisor) nodeStatus(st *status) *peer.NodeStatus {
	v := &s.verdict
	n := &peer.NodeStatus{
		Node: st.Node, Role: st.Role.String(), Term: st.Term, Primary: st.Primary, PromisedTerm: st.Promised,
		Eligible: st.eligible, ServerUUID: uuidOf(s.host.server.db.Origin()), ServerStartID: v.serverID, Writable: v.writable,
		Executed: s.w.set(v.executed), Received: s.w.set(v.received), Errant: v.errant.set(), Receiver: v.receiver,
	}
	if held := s.machine.Status().Held; held != "" {
		n.Held = []string{held}
	}
	n.JoinedTerm, n.JoinedPrimary = s.host.joined, s.host.joinedTo
	n.Reasons = v.reasons
	s.keeper.Fill(n)
	return n
}
