// SPDX-License-Identifier: Apache-2.0

package mysqld

// Flavor is a kind of server.
type Flavor uint8

// The flavors.
const (
	MySQL   Flavor = iota // 9.7
	MariaDB               // 10.11
)

// String is the flavor's name.
func (f Flavor) String() string {
	if f == MariaDB {
		return "mariadb"
	}
	return "mysql"
}

// A Server is one modelled database server: its data and, while it is up, its process. Its methods must not be called
// from several goroutines at once, nor those of servers that replicate from each other.
type Server struct {
	name   string
	flavor Flavor
	origin int
	wrong  wrong

	up      bool
	process int
	atBoot  AtBoot

	// The data.
	log      journal // the binary log
	logged   Set     // all of it, and what was there before it
	purged   Set     // what was there before it
	rebuilds int     // a reader of an earlier log is told nothing of this one
	executed Set     // committed: visible to others

	// Clients.
	readOnly bool
	pending  bool // read-only is being switched on
	waits    []wait
	group    uint64    // the last that was written into the log
	queue    []*Commit // behind two groups that wait (MariaDB)
	blocked  []*Commit // behind read-only that is being switched on
	slab     []Commit

	// The source.
	enabled      bool
	acks         int
	acknowledged uint64
	peers        []*peer

	// The replica.
	source      *Server
	receiving   bool
	gaveUp      bool
	stopped     bool // the applier
	acknowledge bool // rpl_semi_sync_replica_enabled
	acking      bool // the receiver was started or has connected as one that acknowledges
	relay       journal
	received    Set // executed or in the relay log
	link        link
}

// AtBoot is what a server's configuration has it do at every boot. The zero value is what Highwater asks for.
type AtBoot struct {
	Writable    bool // no super_read_only
	Acks        int  // semi-sync is on, and waits for so many; 0 is off
	Receive     bool // no skip_replica_start
	Acknowledge bool // rpl_semi_sync_replica_enabled
}

// NewServer returns a server that has no data and is not running. origin, 0 to [Origins]-1, is what its own
// transactions are counted by.
func NewServer(name string, flavor Flavor, origin int) *Server {
	return &Server{name: name, flavor: flavor, origin: origin, acks: 1}
}

// Name is the server's name, Flavor its kind.
func (s *Server) Name() string { return s.name }

// Flavor is the server's kind.
func (s *Server) Flavor() Flavor { return s.flavor }

// SetAtBoot changes the configuration; it holds from the next boot on.
func (s *Server) SetAtBoot(b AtBoot) { s.atBoot = b }

// Boot starts the process, unless it runs: read-only, with semi-sync off and no receiver, as configured. What is in the
// binary log is committed, also what nobody had acknowledged; what was received and not applied is gone, on MySQL by
// relay_log_recovery, and on MariaDB always.
func (s *Server) Boot() {
	if s.up {
		return
	}
	s.up = true
	s.process++
	s.executed = s.logged
	s.readOnly, s.pending = !s.atBoot.Writable, false
	s.enabled, s.acks = s.atBoot.Acks > 0, max(s.atBoot.Acks, 1)
	s.acknowledged = 0
	s.dropRelay()
	s.acknowledge, s.stopped, s.gaveUp = s.atBoot.Acknowledge, false, false
	s.receiving = s.atBoot.Receive && s.source != nil
	s.acking = s.receiving && s.acknowledge
}

// Kill ends the process with SIGKILL, or a crash. Clients whose commits wait know nothing. What the sockets' buffers
// hold still reaches the other end.
func (s *Server) Kill() {
	if s.wrong == killTells {
		s.end(Acknowledged)
		return
	}
	s.end(Lost)
}

// Terminate ends the process in good order (SIGTERM, SHUTDOWN). On MySQL that tells clients whose commits wait OK,
// though nobody has acknowledged them; MariaDB leaves them without an answer.
func (s *Server) Terminate() {
	if s.flavor == MariaDB || s.wrong == silentTerminate {
		s.end(Lost)
		return
	}
	s.end(Acknowledged)
}

// PowerOff ends the process with its host. With durable settings the binary log survives.
func (s *Server) PowerOff() { s.end(Lost) }

// end ends the process, and tells clients that wait.
func (s *Server) end(waiting State) {
	if !s.up {
		return
	}
	s.lose(waiting)
	s.forgetWaits()
	s.up = false
	for _, p := range s.peers {
		s.endDump(p)
	}
	s.hangUp()
	s.receiving = false
}

// forgetWaits forgets who waits, in the log and before it.
func (s *Server) forgetWaits() {
	if s.wrong == killLosesTail && len(s.waits) > 0 {
		s.logged[s.waits[0].origin] = s.waits[0].number - 1
	}
	clear(s.waits)
	s.waits, s.queue, s.blocked = s.waits[:0], forget(s.queue), forget(s.blocked)
}

// Up reports whether the process runs.
func (s *Server) Up() bool { return s.up }

// Process counts the boots: it names the present process, or the last one.
func (s *Server) Process() int { return s.process }

// ReadOnly reports whether clients' commits are refused.
func (s *Server) ReadOnly() bool { return s.readOnly }

// ReadOnlyPending reports whether read-only is being switched on, behind commits that wait.
func (s *Server) ReadOnlyPending() bool { return s.pending }

// ShowsReadOnly is super_read_only as the server shows it, on MariaDB read_only. MySQL shows it on already while it is
// being switched on; read_only is off until then.
func (s *Server) ShowsReadOnly() bool {
	return s.readOnly || s.pending && s.flavor == MySQL && s.wrong != showsWhatIs
}

// SetReadOnly switches read-only on or off. Switching it on blocks behind commits that wait, and takes effect when none
// does any more; later ones wait for that. Switching it off meanwhile ends the attempt, as killing its statement does.
func (s *Server) SetReadOnly(on bool) (blocked bool) {
	switch {
	case !s.up || on == s.readOnly && !s.pending:
		return false
	case on && s.wrong == readOnlyAtOnce:
		s.readOnly = true
		return false
	case on:
		s.pending = true
		s.proceed()
		return s.pending
	}
	s.readOnly, s.pending = false, false
	list := s.blocked
	s.blocked = nil
	for _, c := range list {
		s.submit(c)
	}
	s.blocked = forget(list)
	return false
}

// KillSessions kills the connections of all clients. On MySQL that only leaves them without an answer, and their commits
// wait on. On MariaDB it ends the wait: they are committed, unacknowledged.
func (s *Server) KillSessions() {
	if !s.up {
		return
	}
	s.lose(Lost)
	if s.flavor == MariaDB && s.wrong != killKeepsWaiting || s.wrong == killCommits {
		for len(s.waits) > 0 {
			s.release(s.log.end, Lost)
		}
	}
}

// Origin is what the server's own transactions are counted by.
func (s *Server) Origin() int { return s.origin }

// SetOrigin gives the server a new identity, as a rebuilt one has (server_uuid). It belongs before its next commit.
func (s *Server) SetOrigin(origin int) { s.origin = origin }

// Restore replaces the data by a copy that has exactly what from says (CLONE, a backup), with an empty binary log and no
// replication. Locks of accounts stay as they are here; see [Server.CopyLocks].
func (s *Server) Restore(from Set) {
	s.lose(Lost)
	s.forgetWaits()
	for _, p := range s.peers {
		s.endDump(p)
	}
	s.Follow(nil)
	s.log.clear()
	s.rebuilds++
	s.logged, s.purged, s.executed, s.received = from, from, from, from
}
