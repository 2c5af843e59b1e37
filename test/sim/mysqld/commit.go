// SPDX-License-Identifier: Apache-2.0

package mysqld

import "fmt"

// State is what the client of a commit knows.
type State uint8

const (
	// Waiting is a commit in the binary log that waits for acknowledgements.
	Waiting State = iota
	// Blocked is one that is not in the binary log yet: it waits behind read-only that is being switched on, and on
	// MariaDB behind two groups that wait.
	Blocked
	// Acknowledged is one whose client was told OK, whoever acknowledged it.
	Acknowledged
	// Lost is one whose connection ended: the client knows nothing.
	Lost
	// Refused is one that ended with an error before it was written: the server is read-only or not there.
	Refused
)

// String is the state's name.
func (s State) String() string {
	switch s {
	case Waiting:
		return "waits"
	case Blocked:
		return "blocked"
	case Acknowledged:
		return "acknowledged"
	case Lost:
		return "lost"
	case Refused:
		return "refused"
	}
	return fmt.Sprintf("State(%d)", uint8(s))
}

// Commit is a client's transaction.
type Commit struct {
	// Origin and Number name it, once it is in the binary log; until then Number is 0.
	Origin int
	Number uint64
	state  State
}

// State is what its client knows.
func (c *Commit) State() State { return c.state }

// Leave closes the client's connection. That ends the wait of nobody: the server notices nothing while a commit waits.
func (c *Commit) Leave() {
	if c.state == Waiting || c.state == Blocked {
		c.state = Lost
	}
}

// wait is a transaction in the binary log that is not committed yet.
type wait struct {
	at     uint64 // the position after it
	origin int
	number uint64
	commit *Commit // nil if an applier's
	group  uint64  // those that were written at once
}

// slab is how many commits are allocated at once.
const slab = 64

// Commit begins a client's transaction. Its state says what came of it, now and later.
func (s *Server) Commit() *Commit {
	if len(s.slab) == 0 {
		s.slab = make([]Commit, slab)
	}
	c := &s.slab[0]
	s.slab = s.slab[1:]
	c.Origin = s.origin
	if !s.up {
		c.state = Refused
		return c
	}
	s.submit(c)
	return c
}

// submit has a commit written, or not.
func (s *Server) submit(c *Commit) {
	switch {
	case s.readOnly:
		if c.state != Lost {
			c.state = Refused
		}
	case s.pending:
		c.state = Blocked
		s.blocked = append(s.blocked, c)
	case s.full():
		c.state = Blocked
		s.queue = append(s.queue, c)
	default:
		s.group++
		s.write(c)
	}
}

// full reports whether nothing gets into the log any more: on MariaDB a group that waits for its acknowledgement lets
// one more be written, and no third.
func (s *Server) full() bool {
	if s.flavor != MariaDB || len(s.waits) == 0 || s.wrong == noFull {
		return false
	}
	return s.waits[0].group != s.waits[len(s.waits)-1].group
}

// write writes a commit into the binary log. A client that has left has its transaction written all the same.
func (s *Server) write(c *Commit) {
	c.Origin, c.Number = s.origin, s.logged[s.origin]+1
	s.append(c.Origin, c.Number)
	if !s.enabled {
		s.executed[c.Origin] = c.Number
		if c.state != Lost {
			c.state = Acknowledged
		}
		return
	}
	if c.state != Lost {
		c.state = Waiting
	}
	s.waits = append(s.waits, wait{at: s.log.end, origin: c.Origin, number: c.Number, commit: c, group: s.group})
}

// append writes one transaction into the binary log.
func (s *Server) append(origin int, number uint64) {
	s.log.add(origin, number, 1)
	s.logged[origin] = number
	s.received[origin] = max(s.received[origin], number)
}

// release commits those that wait up to a position, and tells their clients.
func (s *Server) release(upTo uint64, to State) {
	n := 0
	for n < len(s.waits) && s.waits[n].at <= upTo {
		w := &s.waits[n]
		s.executed[w.origin] = w.number
		if w.commit != nil && w.commit.state == Waiting {
			w.commit.state = to
		}
		n++
	}
	if s.enabled && to == Acknowledged {
		s.acknowledged += uint64(n)
	}
	if n > 0 {
		rest := copy(s.waits, s.waits[n:])
		clear(s.waits[rest:])
		s.waits = s.waits[:rest]
	}
	s.proceed()
}

// proceed does what could not be done while more commits waited.
func (s *Server) proceed() {
	if len(s.queue) > 0 && !s.full() {
		s.group++ // all that queue are one group
		for _, c := range s.queue {
			s.write(c)
		}
		s.queue = forget(s.queue)
	}
	if !s.pending || len(s.waits) > 0 || len(s.queue) > 0 {
		return
	}
	s.pending, s.readOnly = false, true
	for _, c := range s.blocked {
		s.submit(c)
	}
	s.blocked = forget(s.blocked)
}

// forget empties a list and keeps its memory.
func forget(list []*Commit) []*Commit {
	clear(list)
	return list[:0]
}

// lose ends the connections of all clients: those of commits in the log become waiting.
func (s *Server) lose(waiting State) {
	for _, w := range s.waits {
		if w.commit != nil && w.commit.state == Waiting {
			w.commit.state = waiting
		}
	}
	for _, c := range s.queue {
		c.state = Lost
	}
	for _, c := range s.blocked {
		c.state = Lost
	}
	s.blocked = forget(s.blocked)
}
