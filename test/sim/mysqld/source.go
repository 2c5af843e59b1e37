// SPDX-License-Identifier: Apache-2.0

package mysqld

import "fmt"

// peer is a replica as its source knows it: by the account that it has there.
type peer struct {
	name   string
	locked bool
	// dump is the replica whose dump thread runs, or nil; acks says that it acknowledges.
	dump *Server
	acks bool
	// closed says that the replica has hung up, which the source has not noticed yet.
	closed bool
	// acked is the position up to which it has acknowledged. A real server forgets it when semi-sync is switched off;
	// nothing is waited for then that is before it.
	acked uint64
}

// peer finds a replica's account.
func (s *Server) peer(name string) *peer {
	for _, p := range s.peers {
		if p.name == name {
			return p
		}
	}
	p := &peer{name: name}
	s.peers = append(s.peers, p)
	return p
}

// SourceState is how a server waits for acknowledgements, on its own word.
type SourceState struct {
	Enabled bool
	Acks    int
	// Waiting counts the transactions that wait in the binary log; a real server counts groups of them. Clients are the
	// connected replicas that acknowledge.
	Waiting, Clients int
	// Acknowledged counts the transactions that were acknowledged since the boot; a real server counts groups.
	Acknowledged uint64
}

// SourceState says how the server waits for acknowledgements.
func (s *Server) SourceState() SourceState {
	st := SourceState{Enabled: s.enabled, Acks: s.acks, Waiting: len(s.waits), Acknowledged: s.acknowledged}
	for _, p := range s.peers {
		if p.dump != nil && p.acks {
			st.Clients++
		}
	}
	return st
}

// EnableSource makes every later commit wait for so many acknowledgements, at least 1; MariaDB knows only 1. It panics
// on any other number.
func (s *Server) EnableSource(acks int) {
	s.checkAcks(acks)
	s.enabled = true
	s.SetAcks(acks)
}

// SetAcks changes how many acknowledgements commits wait for. It holds at once, also for those that wait already: to
// lower it lets go those that have enough. It panics as EnableSource does.
func (s *Server) SetAcks(acks int) {
	s.checkAcks(acks)
	s.acks = acks
	if s.enabled && s.wrong != acksForNew {
		s.settle()
	}
}

func (s *Server) checkAcks(acks int) {
	if acks < 1 || acks > 1 && s.flavor == MariaDB {
		panic(fmt.Sprintf("mysqld: %s, a %s server, cannot wait for %d acknowledgements", s.name, s.flavor, acks))
	}
}

// DisableSource lets commits end without an acknowledgement. Those that wait are committed, and their clients told OK.
func (s *Server) DisableSource() {
	if !s.enabled {
		return
	}
	s.enabled = false
	if s.wrong == disableKeepsWaiting {
		return
	}
	s.release(s.log.end, Acknowledged)
}

// settle commits what has enough acknowledgements: up to the position that as many have reached as are waited for.
func (s *Server) settle() {
	if len(s.waits) == 0 {
		return
	}
	var upTo uint64
	for _, p := range s.peers {
		if p.acked <= upTo {
			continue
		}
		n := 0
		for _, q := range s.peers {
			if q.acked >= p.acked {
				n++
			}
		}
		if n >= s.acks || s.wrong == acksTwice {
			upTo = p.acked
		}
	}
	if upTo >= s.waits[0].at {
		s.release(upTo, Acknowledged)
	}
}

// Lock locks the account of a replica: new connections are refused. A dump thread that runs goes on. It outlasts a
// restart.
func (s *Server) Lock(replica string) {
	p := s.peer(replica)
	p.locked = s.wrong != noLock
	if s.wrong == lockKills {
		s.endDump(p)
	}
}

// Unlock lets the replica connect again.
func (s *Server) Unlock(replica string) { s.peer(replica).locked = false }

// Locked reports whether a replica's account is locked.
func (s *Server) Locked(replica string) bool { return s.peer(replica).locked }

// CopyLocks takes over the locks of another server, as CLONE and backups do: they are data.
func (s *Server) CopyLocks(donor *Server) {
	for _, p := range s.peers {
		p.locked = donor.peer(p.name).locked
	}
	for _, p := range donor.peers {
		s.peer(p.name).locked = p.locked
	}
}

// KillDump ends the dump thread of a replica. What it had sent may still arrive; an acknowledgement does not any more.
// The receiver comes back by itself, unless the account is locked.
func (s *Server) KillDump(replica string) {
	p := s.peer(replica)
	if r := p.dump; r != nil && s.wrong == noRetry {
		r.giveUp()
	}
	s.endDump(p)
}

// EndDumps ends the dump threads of replicas that have hung up, and reports whether there was one: the source notices
// that sooner or later.
func (s *Server) EndDumps() bool {
	some := false
	for _, p := range s.peers {
		if p.dump != nil && p.closed {
			s.endDump(p)
			some = true
		}
	}
	return some
}

// endDump ends a dump thread. The other end of its connection finds what is on its way.
func (s *Server) endDump(p *peer) {
	if r := p.dump; r != nil && !p.closed && r.link.peer == p {
		r.link.cut, r.link.limit = true, s.log.end
	}
	p.dump, p.acks, p.closed = nil, false, false
	if s.wrong == forgetsGone {
		p.acked = 0
	}
}

// Dumping reports whether a dump thread of the replica runs.
func (s *Server) Dumping(replica string) bool { return s.peer(replica).dump != nil }

// Dumps are the replicas whose dump threads run.
func (s *Server) Dumps() []string { return s.AppendDumps(nil) }

// AppendDumps is Dumps for a slice that is there already.
func (s *Server) AppendDumps(names []string) []string {
	for _, p := range s.peers {
		if p.dump != nil {
			names = append(names, p.name)
		}
	}
	return names
}
