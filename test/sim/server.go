// SPDX-License-Identifier: Apache-2.0

package sim

import (
	"fmt"
	"strings"

	"highwater/election"
	"highwater/mysqlcheck/gtid"
)

// position says how many transactions of each origin a server has. A server replicates an
// origin's transactions in their order, so that a count says which they are.
type position [maxHosts]uint64

func (p position) union(q position) position {
	for i := range p {
		p[i] = max(p[i], q[i])
	}
	return p
}

func (p position) contains(q position) bool { return p.union(q) == p }

// set returns the position as the GTID set of a server.
func (p position) set() gtid.Set {
	var parts []string
	for i, n := range p {
		if n > 0 {
			parts = append(parts, fmt.Sprintf("%s:1-%d", uuidOf(i), n))
		}
	}
	s, err := gtid.ParseMySQL(strings.Join(parts, ","))
	if err != nil {
		panic(err) // we wrote it ourselves
	}
	return s
}

func uuidOf(i int) string { return fmt.Sprintf("00000000-0000-0000-0000-00000000000%d", i+1) }

// server is a modelled MySQL server. It boots read-only and starts no receiver by itself.
type server struct {
	host      *host
	up        bool
	hung      bool // answers nothing, commits nothing
	failing   bool // its disk is full: commits nothing, answers
	blocked   bool // commits wait for a lock
	broken    bool // an applier error: never eligible
	brokenAt  instant
	readOnly  bool
	process   int // counts up
	executed  position
	received  position // and executed
	source    *host
	receiving bool
	lastEvent instant
	beat      instant // last heartbeat from the source
}

// id names the server process.
func (s *server) id() string { return fmt.Sprintf("%s/%d", s.host.name, s.process) }

// answers reports whether SQL gets an answer now.
func (s *server) answers() bool { return s.up && !s.hung && s.host.powered && !s.host.frozen }

// commits reports whether a client's commit would be acknowledged now.
func (s *server) commits() bool { return s.answers() && !s.readOnly && !s.failing && !s.blocked }

// kill ends the process. What was received and not applied is lost.
func (s *server) kill() {
	if !s.up {
		return
	}
	s.host.w.tracef(s.host, "server killed")
	s.up, s.hung, s.readOnly, s.blocked = false, false, true, false
	s.received, s.receiving = s.executed, false
	if p := s.host.supervisor; p != nil {
		s.host.after(s.host.w.between(0, 1e6), func() {
			if s.host.supervisor == p && !s.up {
				p.post(election.ServerExited{})
			}
		})
	}
}

// start boots the server.
func (s *server) start() {
	if s.up || !s.host.powered {
		return
	}
	s.host.w.tracef(s.host, "server started")
	s.up, s.readOnly = true, true
	s.process++
	if p := s.host.supervisor; p != nil {
		s.host.after(s.host.w.between(0, 5e6), func() {
			if s.host.supervisor == p && s.up {
				p.post(election.ServerStarted{})
				p.lookSoon()
			}
		})
	}
}

// data is one tick of clients that write through the VIP, and of replication.
func (w *World) data() {
	for _, h := range w.hosts {
		if h.vip && h.link && h.server.commits() {
			s := &h.server
			s.executed[h.index]++
			s.received = s.received.union(s.executed)
			w.told[h.index] = s.executed[h.index]
		}
	}
	for _, h := range w.hosts {
		h.server.replicate()
	}
	w.check()
	w.after(dataTick, w.data)
}

// heartbeat is how often an idle source shows that it lives.
const heartbeat = 500e6

func (s *server) replicate() {
	if !s.answers() {
		return
	}
	s.executed = s.received // what an earlier tick brought is applied
	if !s.receiving || s.source == nil {
		return
	}
	w, src := s.host.w, s.source
	if !src.server.answers() || !w.reaches(src, s.host) || !w.reaches(s.host, src) {
		return
	}
	if !s.received.contains(src.server.executed) {
		s.received = s.received.union(src.server.executed)
		s.lastEvent = w.now
	}
	if w.now.sub(s.beat) >= heartbeat {
		s.beat, s.lastEvent = w.now, w.now
	}
}
