// SPDX-License-Identifier: Apache-2.0

package sim

import (
	"fmt"
	"time"

	"highwater/election"
	"highwater/test/sim/mysqld"
)

// server is a host's modelled MySQL server with its clients. It boots read-only and starts no receiver by itself.
type server struct {
	host     *host
	db       *mysqld.Server
	hung     bool // answers nothing, commits nothing
	failing  bool // its disk is full: commits nothing, answers
	blocked  bool // commits wait for a lock
	broken   bool // an applier error: never eligible
	brokenAt instant

	clients   []*mysqld.Commit // whose fate is open
	lastEvent instant
	beat      instant // last heartbeat from the source
	retry     instant // no new connection to the source before
	led       map[int]uint64
	ended     map[int]bool // processes that ended in good order
	boots     map[int]int  // of the host, in which each process ran
	booted    instant
	deaf      bool          // what its source sends does not arrive
	slow      time.Duration // the most that a statement takes in addition
	torn      bool          // nobody can read what its binary log ends in
	rebuilt   bool          // or about to be, and has not followed anybody since
}

func newServer(h *host, flavor mysqld.Flavor) server {
	s := server{host: h, db: mysqld.NewServer(h.name, flavor, h.index), led: map[int]uint64{}, ended: map[int]bool{}, boots: map[int]int{1: h.boot}, booted: h.booted}
	s.db.Boot()
	return s
}

// id names the server process by the second in which it was started, as a real one does.
func (s *server) id() string { return fmt.Sprintf("%s/%d", s.host.name, s.booted.sub(0)/time.Second) }

// young reports whether an earlier process may have the same name.
func (s *server) young() bool { return s.host.w.now.sub(s.booted) < youngUptime }

func (s *server) up() bool { return s.db.Up() }

func (s *server) process() int { return s.db.Process() }

func (s *server) readOnly() bool { return s.db.ReadOnly() }

func (s *server) executed() position { return s.db.Executed() }

func (s *server) received() position { return s.db.Received() }

func (s *server) receiving() bool { return s.db.Receiving() }

// source is the host that it replicates from, or nil.
func (s *server) source() *host {
	if src := s.db.Source(); src != nil {
		return s.host.w.host(src.Name())
	}
	return nil
}

// answers reports whether SQL gets an answer now.
func (s *server) answers() bool { return s.up() && !s.hung && s.host.powered && !s.host.frozen }

// commits reports whether a client's commit would be written now.
func (s *server) commits() bool { return s.answers() && !s.readOnly() && !s.failing && !s.blocked }

// kill ends the process. What was received and not applied is lost.
func (s *server) kill() { s.end(s.db.Kill, "killed") }

// terminate ends the process in good order.
func (s *server) terminate() {
	s.ended[s.process()] = true
	s.end(s.db.Terminate, "terminated")
}

// enforce ends a server that does not become read-only. Its service manager starts it again.
func (s *server) enforce() {
	if s.host.w.cfg.Mutation == Sigterm {
		s.terminate()
	} else {
		s.kill()
	}
	s.host.after(s.host.w.between(50*time.Millisecond, 2*time.Second), s.start)
}

func (s *server) end(how func(), name string) {
	if !s.up() {
		return
	}
	s.host.w.tracef(s.host, "server %s", name)
	how()
	s.tell()
	s.clients = s.clients[:0]
	s.hung, s.blocked = false, false
	if p := s.host.supervisor; p != nil {
		s.host.after(s.host.w.between(0, time.Millisecond), func() {
			if s.host.supervisor == p && !s.up() {
				p.post(election.ServerExited{})
			}
		})
	}
}

// start boots the server.
func (s *server) start() {
	if s.up() || !s.host.powered {
		return
	}
	s.host.w.tracef(s.host, "server started")
	s.db.Boot()
	s.booted, s.boots[s.process()] = s.host.w.now, s.host.boot
	if p := s.host.supervisor; p != nil {
		s.host.after(s.host.w.between(0, 5*time.Millisecond), func() {
			if s.host.supervisor == p && s.up() {
				p.post(election.ServerStarted{})
				p.lookSoon()
			}
		})
	}
}

// manyClients is how many commits of a server's clients may wait at a time.
const manyClients = 4

// serve lets a client write through the VIP, from time to time.
func (s *server) serve() {
	w := s.host.w
	if s.host.vip && s.host.link && s.commits() && len(s.clients) < manyClients {
		s.clients = append(s.clients, s.db.Commit())
		s.tell()
		w.check()
	}
	if w.chance(0.2) {
		s.db.EndDumps()
	}
	w.after(w.between(dataTick/2, 3*dataTick/2), s.serve)
}

// tell takes in what the server's clients were told.
func (s *server) tell() {
	open := s.clients[:0]
	for _, c := range s.clients {
		switch c.State() {
		case mysqld.Waiting, mysqld.Blocked:
			open = append(open, c)
		case mysqld.Acknowledged:
			s.host.w.judgeTold(s.host, c.Origin, c.Number)
		default:
		}
	}
	s.clients = open
}

const (
	// heartbeat is how often an idle source shows that it lives.
	heartbeat = 500 * time.Millisecond
	// connectRetry is the pause after a connection that was refused.
	connectRetry = time.Second
	// batch is how many transactions a receiver takes at once.
	batch = 8
)

// replicate lets the receiver and the applier work, from time to time.
func (s *server) replicate() {
	w := s.host.w
	if s.answers() {
		s.db.ApplyAll()
		s.receive()
	}
	w.after(w.between(time.Millisecond, 2*dataTick), s.replicate)
}

func (s *server) receive() {
	w, src := s.host.w, s.source()
	if src == nil || s.deaf || !s.receiving() || !src.server.answers() || !w.reaches(src, s.host) || !w.reaches(s.host, src) {
		return
	}
	if !s.db.Connected() {
		if w.now < s.retry {
			return
		}
		if !s.db.Connect() {
			s.retry = w.now.add(connectRetry)
			return
		}
	}
	if s.db.Receive(batch) {
		s.lastEvent = w.now
		s.host.after(w.between(50*time.Microsecond, w.delay), s.sendAck)
	}
	if w.now.sub(s.beat) >= heartbeat {
		s.beat, s.lastEvent = w.now, w.now
	}
}

// sendAck lets an acknowledgement arrive, whatever has become of the receiver meanwhile.
func (s *server) sendAck() {
	src := s.source()
	if !s.up() || src == nil || !src.server.answers() || !s.host.w.reaches(s.host, src) {
		return
	}
	if s.db.SendAck() {
		src.server.tell()
	}
}

// fetch brings what another host's server has into this one, and acknowledges nothing of it. It reports whether that
// worked.
func (s *server) fetch(from *host) bool {
	if from.server.torn {
		return false
	}
	from.server.db.ApplyAll()
	s.db.SetAcknowledge(false)
	s.follow(from)
	for s.db.Connect() || s.db.Receive(batch) || s.db.Apply() {
	}
	s.db.Follow(nil)
	return s.db.Logged().Contains(from.server.executed())
}

// follow points the receiver at another host's server.
func (s *server) follow(source *host) {
	if s.source() != source {
		s.db.ApplyAll()
		s.db.Follow(source.server.db)
	} else {
		s.db.StartReceiver()
	}
	s.beat, s.retry = 0, 0
}
