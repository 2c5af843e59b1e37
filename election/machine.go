// SPDX-License-Identifier: Apache-2.0

package election

import (
	"fmt"
)

// Machine is the whole of a node's decisions. It is not safe for concurrent use.
type Machine struct {
	cfg       Config
	self      Member
	router    Router
	authority Authority

	role     Role
	term     uint64 // highest term in which somebody is, or was, primary
	primary  string // of term
	promised uint64 // highest term this node gave its word for

	primarySeen  bool    // the primary of term was heard as such in this process's life
	primaryHeard Instant // its supervisor's last sign of life, heard by this node itself
	farewell     uint64  // term whose primary said that it gave up
	gaveUpFor    Code    // why it did
	speechless   bool    // it gave up because its server does not answer: it has nothing to say
	named        string  // whom it asked to stand
	namedAt      Instant // when it did
	deaf         Instant // until then this node could hear nobody: it slept, was cut off or not there
	blind        bool    // since deaf nobody has said who is primary

	peers    []peer // every other node, in the order of the configuration
	health   Health
	healthAt Instant
	linkUp   bool
	refusal  Code   // why this node last did not stand: recorded once for each change
	detail   string // of refusal

	contest contest
	lease   lease
	fence   fence
	follow  follow
	resume  resume

	raising raising
	holdOff holdOff
	paused  bool // by the record

	wanting  bool    // door 3 was all that was missing: stand as soon as the right is there
	adopting Token   // awaited Establish of a first start
	passedAt Instant // when this node last passed the right on
	gained   Instant // since then it has the right, 0 if it has not
	unused   Instant // since then nobody has used the right that this node has, 0 if it has none or has used it

	forcedUntil Instant // the operator's failover overrides door 1 until then
	askedUntil  Instant // so does a candidate that passes its right on to this node
	standBack   Instant // no standing before, after a failed try
	failed      Code    // how that try ended
	failedFor   string  // and why
	deferTo     Instant // nor before this, to a primary that others hear
	stop        stop

	tokens Token
	out    []Action
}

// contest is the way through doors 4 and 5.
type contest struct {
	term       uint64
	cause      Code
	oldPrimary string
	released   bool // the old primary surely holds no address
	unheard    bool // and another one may
	fetchFrom  string
	waits      bool  // door 5 waits for the old lease
	gather     Token // awaited, 0 none
	establish  Token
	wait       Instant // of door 5, once the term is established
	promote    Token
	claim      Token
	tries      int
	abandoned  []Token // promotions that were cancelled; one that succeeded all the same is undone
}

// lease is the primary's hold on the VIP.
type lease struct {
	renew      Token   // awaited
	renewAt    Instant // next renewal
	renewAsked Instant // when the awaited one was asked for
	heldUntil  Instant // the kernel has the address until then
	lingerTo   Instant
	serverID   string  // server process that was opened
	since      Instant // when it was
	finish     Token
	unfinished bool // Finish has not ended
}

// fence is the way back.
type fence struct {
	since     Instant
	release   Token
	released  bool // surely
	demote    Token
	demoted   Instant // when it ended well
	retryAt   Instant
	reason    Code
	announced bool // the farewell of this fence went out, or must not
	early     bool // farewell after the release, not after the demotion
}

type follow struct {
	attaching bool   // the awaited Follow is of a candidate
	attached  uint64 // term for whose candidate it was tried
	token     Token
	retryAt   Instant
	node      string
	failed    string
}

type resume struct {
	since     Instant
	at        Instant // silence that lasts so long is consent
	until     Instant // no longer than this
	contested Instant // last advert of another node
	young     bool    // the claim was younger than the lease: nobody else can have been primary since
}

type stop struct {
	token    Token
	deadline Instant
}

// New returns a machine that waits for [Start].
func New(cfg Config, authority Authority) (*Machine, error) {
	if cfg.Router.DownTimerAdverts == 0 {
		cfg.Router.DownTimerAdverts = 3
	}
	if err := cfg.validate(); err != nil {
		return nil, fmt.Errorf("configure election: %w", err)
	}
	m := &Machine{
		cfg: cfg, self: cfg.self(), authority: authority,
		router: NewRouter(cfg.Router),
	}
	for _, member := range cfg.Members {
		if member.Name != cfg.Node {
			m.peers = append(m.peers, peer{Member: member})
		}
	}
	return m, nil
}

// Step takes in one event and returns what must be done, in order.
func (m *Machine) Step(now Instant, ev Event) []Action {
	m.out = nil
	for _, a := range m.authority.Step(now, ev) {
		m.do(a)
	}
	switch e := ev.(type) {
	case Start:
		m.start(now, e)
	case Tick:
		m.tick(now)
	case Stalled:
		m.stalled(now, e)
	case AdvertReceived:
		m.advert(now, e)
	case HealthChanged:
		m.healthChanged(now, e.Health)
	case ServerExited:
		m.serverExited(now)
	case ServerStarted:
		m.serverStarted(now)
	case LinkChanged:
		m.linkChanged(now, e.Up)
	case AddressLost:
		m.addressLost(now)
	case PeerHeard:
		m.peerHeard(now, e.Peer)
	case FarewellReceived:
		m.farewellReceived(now, e)
	case SealRequested:
		m.sealRequested(now, e)
	case StandRequested:
		m.standRequested(now, e)
	case SealEnded:
		m.sealEnded(e)
	case GatherEnded:
		m.gatherEnded(now, e)
	case PromoteEnded:
		m.promoteEnded(now, e)
	case ClaimEnded:
		m.claimEnded(now, e)
	case RenewEnded:
		m.renewEnded(now, e)
	case ReleaseEnded:
		m.releaseEnded(now, e)
	case DemoteEnded:
		m.demoteEnded(now, e)
	case FollowEnded:
		m.followEnded(now, e)
	case FinishEnded:
		m.finishEnded(e)
	case RightChanged:
		m.rightChanged(now, e)
	case RecordChanged:
		m.recordChanged(now, e)
	case EstablishEnded:
		m.establishEnded(now, e)
	case Command:
		m.command(now, e)
	default:
		panic(fmt.Sprintf("unknown event %T", ev))
	}
	return m.out
}

// Deadline returns the next instant at which a [Tick] may change something.
func (m *Machine) Deadline() (Instant, bool) {
	d := Earliest(m.router.Deadline(), m.authority.Deadline())
	switch m.role {
	case RolePrimary:
		d = Earliest(d, m.lease.renewAt)
		d = Earliest(d, m.healthAt.Add(m.cfg.VerdictMaxAge))
	case RoleLingering:
		d = Earliest(d, m.lease.lingerTo)
	case RoleResuming:
		d = Earliest(d, Earliest(m.resume.at, m.resume.until))
	case RoleStopping:
		d = Earliest(d, m.stop.deadline)
	}
	d = Earliest(d, m.fence.retryAt)
	d = Earliest(d, m.follow.retryAt)
	return d, d != 0
}

func (m *Machine) tick(now Instant) {
	gate := false
	if m.router.State() == Backup && m.router.downTimer != 0 && now >= m.router.downTimer {
		gate = m.gate(now)
	}
	out := m.router.Timer(now, gate)
	if out.Changed() {
		m.stand(now, out, m.silenceCause(now))
	} else {
		m.route(out)
	}
	switch m.role {
	case RolePrimary:
		m.tickPrimary(now)
	case RoleLingering:
		if now >= m.lease.lingerTo {
			m.endLinger(now, CodeServerExited)
		}
	case RoleResuming:
		m.tryResume(now)
	case RoleStopping:
		m.tryStop(now)
	}
	if m.fence.retryAt != 0 && now >= m.fence.retryAt {
		m.fence.retryAt = 0
		m.retryFence()
	}
	if m.follow.retryAt != 0 && now >= m.follow.retryAt {
		m.follow.retryAt = 0
		m.tryFollow(now)
	}
}

// do appends an action.
func (m *Machine) do(a Action) { m.out = append(m.out, a) }

// awaited reports whether an answer's token is the one that is awaited, 0 for none.
func awaited(got, want Token) bool { return got != 0 && got == want }

// next returns a fresh token.
func (m *Machine) next() Token {
	m.tokens++
	return m.tokens
}

// route carries out what the virtual router asks for.
func (m *Machine) route(o Output) {
	if o.Send {
		m.do(SendAdvert{Priority: o.Priority})
	}
}

// setRole changes the role and tells the peers at once.
func (m *Machine) setRole(r Role) {
	if m.role != r {
		m.role = r
		m.do(Publish{})
	}
}

func (m *Machine) record(r Record) {
	if r.Term == 0 {
		r.Term = m.term
	}
	m.do(r)
}

// refuse records why this node does not stand, once for each change of the reason.
func (m *Machine) refuse(c Code, detail string) {
	m.detail = detail
	if m.refusal != c {
		m.refusal = c
		m.record(Record{Code: c, Door: refusalDoor(c), Detail: detail})
	}
}

// refusalDoor returns the door that a refusal belongs to.
func refusalDoor(c Code) int {
	switch c {
	case CodeNoVerdict, CodeIneligible, CodeNoFailover, CodeHeldErrant, CodeStandingBack:
		return 2
	case CodeNoRight:
		return 3
	default:
		return 1
	}
}

func (m *Machine) save() {
	m.do(Save{Saved: m.saved()})
}

func (m *Machine) saved() Saved {
	claimed := m.primary == m.cfg.Node && (m.role == RolePrimary || m.role == RoleClaiming || m.role == RoleResuming)
	return Saved{
		Term: m.term, Primary: m.primary, Promised: m.promised,
		Claimed: claimed, ServerID: m.lease.serverID,
	}
}

// bumpPromise raises the promise; it never sinks.
func (m *Machine) bumpPromise(term uint64) { m.promised = max(m.promised, term) }

// healthy reports whether the newest verdict is fresh and says that the server answers.
func (m *Machine) healthy(now Instant) bool {
	return m.healthAt.within(m.cfg.VerdictMaxAge, now) && m.health.State == HealthAlive
}
