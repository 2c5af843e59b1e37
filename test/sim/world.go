// SPDX-License-Identifier: Apache-2.0

package sim

import (
	"fmt"
	"math/rand/v2"
	"time"

	"highwater/election"
	"highwater/mysqlcheck/gtid"
	"highwater/test/sim/mysqld"
)

// Config describes a cluster. The zero value of a field is its default.
type Config struct {
	Seed       uint64
	Hosts      int           // with a server each: 1 to 5; 3
	Interval   time.Duration // of adverts and statuses; 100 ms
	Check      time.Duration // between two looks at the server; 100 ms
	KillServer bool          // fencing.kill_server
	Quorum     bool          // election.authority: quorum
	Lossless   bool          // durability.mode: lossless; with a quorum
	MariaDB    bool          // instead of MySQL
	GoAlone    bool          // durability.when_alone: continue
	Trace      bool
	Mutation   Mutation // the rule that is switched off, to test the test
}

func (c Config) withDefaults() Config {
	if c.Hosts == 0 {
		c.Hosts = 3
	}
	if c.Interval == 0 {
		c.Interval = 100 * time.Millisecond
	}
	if c.Check == 0 {
		c.Check = 100 * time.Millisecond
	}
	return c
}

// What all clusters have in common.
const (
	lease          = 3 * time.Second
	linger         = time.Second
	gatherTimeout  = time.Second
	promoteTimeout = 10 * time.Second
	fenceTimeout   = 3 * time.Second
	checkTimeout   = 300 * time.Millisecond
	kernelLate     = 1350 * time.Millisecond // the most by which an address outlives its lease
	maxDrift       = 0.01
	dataTick       = 20 * time.Millisecond // about, of clients and replication
)

// World is a cluster and all that surrounds it.
type World struct {
	cfg    Config
	rng    *rand.Rand
	now    instant
	seq    uint64
	agenda agenda
	hosts  []*host

	loss      float64                        // of adverts
	delay     time.Duration                  // the most that a message takes
	cut       [maxHosts][maxHosts]bool       // from, to
	members   []election.Member              //
	history   []Claim                        // every term in which a host got the VIP
	stood     []Claim                        // every time that a host stood
	faults    int                            // injected so far
	healed    bool                           // nothing goes wrong any more
	stunned   instant                        // when a host last came back whose clock had stood still
	resting   bool                           // everything is as it is to stay
	unplugged bool                           // a host was without a link: it may not know of a term
	witnessed bool                           // all that is parted is pairs which a third host hears
	parted    bool                           // a partition is, or was, part of this run
	lanes     [maxHosts][maxHosts][2]instant // when the quorum's newest message arrives: from, to, urgent
	datagrams bool                           // the quorum's messages pass where their acknowledgements do not
	ledger    ledger                         // of the quorum
	forging   instant                        // until then somebody forges adverts
	forger    bool                           // is at it
	adverts   [maxHosts]uint8                // priority of each host's last advert: to replay it
	broken    error                          // the first invariant that did not hold
	trace     []string                       //
	told      position                       // what some client was told of
	heardFor  map[seat]position              // what the hosts heard for a term hold together
	sets      map[position]gtid.Set          // as they were said before
	running   *routine                       // that runs now, if one does
	opened    Claim                          // the last term in which writes were opened
	origins   int                            // that were given to servers
}

// Claim is one host's getting the VIP in a term for the first time.
type Claim struct {
	At   time.Duration // since the world began
	Node string
	Term uint64
}

const maxHosts = 5

// epoch is the true time at which worlds begin.
const epoch = instant(time.Hour)

// New returns a cluster that has never run: the first host's server is writable and the
// others replicate from it.
func New(cfg Config) *World {
	cfg = cfg.withDefaults()
	w := &World{
		cfg: cfg, rng: rand.New(rand.NewPCG(cfg.Seed, 0x9e3779b97f4a7c15)), now: epoch, //nolint:gosec // a simulation repeats itself
		delay: 2 * time.Millisecond, heardFor: map[seat]position{}, ledger: newLedger(), sets: map[position]gtid.Set{}, origins: cfg.Hosts,
	}
	w.datagrams = cfg.Quorum && w.chance(0.5)
	for i := range cfg.Hosts {
		w.members = append(w.members, election.Member{Name: fmt.Sprintf("db%d", i+1), Priority: uint8(120 - 10*i)})
	}
	for i := range cfg.Hosts {
		w.hosts = append(w.hosts, newHost(w, i))
	}
	for i, h := range w.hosts {
		h.server.db.SetReadOnly(i != 0)
		if i != 0 {
			h.server.db.Follow(w.hosts[0].server.db)
		}
		w.after(w.between(0, dataTick), h.server.serve)
		w.after(w.between(0, dataTick), h.server.replicate)
		if cfg.Quorum && w.chance(0.5) { // people start one after the other
			h.after(w.between(0, 3*time.Second), h.startSupervisor)
		} else {
			h.startSupervisor()
		}
	}
	return w
}

// Seed returns the number that decides everything.
func (w *World) Seed() uint64 { return w.cfg.Seed }

// Err returns the first invariant that did not hold.
func (w *World) Err() error { return w.broken }

// History returns every claim of a new term.
func (w *World) History() []Claim { return w.history }

// Trace returns the end of what happened, if Config.Trace is set.
func (w *World) Trace() []string { return w.trace }

// traceLines is how much of the end is kept.
const traceLines = 4000

func (w *World) tracef(h *host, format string, args ...any) {
	if !w.cfg.Trace {
		return
	}
	if len(w.trace) >= 2*traceLines {
		w.trace = append(w.trace[:0], w.trace[traceLines:]...)
	}
	who := "-"
	if h != nil {
		who = h.name
	}
	w.trace = append(w.trace, fmt.Sprintf("%9.4f %s %s", w.now.sub(epoch).Seconds(), who, fmt.Sprintf(format, args...)))
}

// fail keeps the first broken invariant.
func (w *World) fail(format string, args ...any) {
	if w.broken == nil {
		w.broken = fmt.Errorf("at %v, seed %d: %s", w.now.sub(epoch), w.cfg.Seed, fmt.Sprintf(format, args...))
		w.tracef(nil, "BROKEN %v", w.broken)
	}
}

// host returns the host of that name.
func (w *World) host(name string) *host {
	for _, h := range w.hosts {
		if h.name == name {
			return h
		}
	}
	return nil
}

// Primary returns the host whose supervisor runs and is primary, "" if none or several are.
func (w *World) Primary() string {
	name := ""
	for _, h := range w.hosts {
		if h.supervisor != nil && h.powered && !h.supervisor.stopped() && h.supervisor.machine.Status().Role == election.RolePrimary {
			if name != "" {
				return ""
			}
			name = h.name
		}
	}
	return name
}

// seat is a host's candidacy in a term.
type seat struct {
	host int
	term uint64
}

// drift returns by how much a host's clock is off. With a quorum it is often the most that
// anybody has to bear with.
func (w *World) drift() float64 {
	d := 2*w.rng.Float64() - 1
	if !w.cfg.Quorum {
		return maxDrift * d
	}
	return maxQuorumDrift * max(-1, min(1, 2*d))
}

// flavor is that of all servers.
func (w *World) flavor() mysqld.Flavor {
	if w.cfg.MariaDB {
		return mysqld.MariaDB
	}
	return mysqld.MySQL
}

// authority returns what answers door 3 on a host.
func (w *World) authority() election.Authority {
	if w.cfg.Quorum {
		return election.NewQuorum()
	}
	return election.NewVRRP()
}
