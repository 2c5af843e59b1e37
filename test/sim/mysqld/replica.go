// SPDX-License-Identifier: Apache-2.0

package mysqld

// link is a replica's connection to its source. The zero value is none.
type link struct {
	src  *Server
	peer *peer // the replica, as src knows it
	// at is the position in the source's log up to which it was read; run is a hint for that.
	at  uint64
	run int
	// rebuilds is the source's when the connection began.
	rebuilds int
	// acks says that the connection acknowledges; due is the position that is to be acknowledged.
	acks bool
	due  uint64
	// cut says that the source has ended the connection. What it had sent by then, up to limit, may still arrive.
	cut   bool
	limit uint64
}

// Follow points the replica at a source and starts it: STOP REPLICA, CHANGE REPLICATION SOURCE, START REPLICA. What was
// received and not applied is deleted, on either flavor. With nil it is RESET REPLICA ALL.
func (s *Server) Follow(src *Server) {
	s.StopReceiver()
	s.source = src
	if s.wrong != followKeepsRelay {
		s.dropRelay()
	}
	s.gaveUp = false
	s.receiving, s.stopped = src != nil && s.up, src == nil
	s.acking = s.receiving && s.acknowledge
}

func (s *Server) dropRelay() {
	if s.wrong == relaySurvives {
		return
	}
	s.relay.clear()
	s.received = s.logged
}

// Source is where the receiver is pointed at, running or not.
func (s *Server) Source() *Server { return s.source }

// StartReceiver starts the receiver of a server that follows. On MariaDB that throws away what was received and not
// applied if the applier is stopped too.
func (s *Server) StartReceiver() {
	if !s.up || s.source == nil || s.receiving {
		return
	}
	if s.flavor == MariaDB && s.stopped {
		s.dropRelay()
	}
	s.receiving, s.gaveUp, s.acking = true, false, s.acknowledge
}

// StopReceiver stops the receiver. An acknowledgement that it has sent may still arrive.
func (s *Server) StopReceiver() {
	s.receiving = false
	s.hangUp()
}

// hangUp closes the connection to the source, which has yet to notice; see [Server.EndDumps].
func (s *Server) hangUp() {
	if p := s.link.peer; p != nil && !s.link.cut {
		p.closed = true
	}
	if !s.link.inFlight() {
		s.link = link{}
		return
	}
	s.link.limit, s.link.cut = s.link.at, true
}

// inFlight reports whether an acknowledgement may be on its way.
func (l *link) inFlight() bool {
	return l.peer != nil && l.peer.dump != nil && l.acks && l.due > l.peer.acked
}

// Receiving reports whether the receiver runs, connected or not.
func (s *Server) Receiving() bool { return s.receiving }

// GaveUp reports whether the receiver has stopped by itself: the source lacks what the replica has, or has no longer
// what it lacks; or see SetAcknowledge.
func (s *Server) GaveUp() bool { return s.gaveUp }

// StopApplier stops the applier; StartApplier starts it.
func (s *Server) StopApplier() { s.stopped = true }

// StartApplier starts the applier. On MariaDB that throws away what was received and not applied if the receiver is
// stopped too.
func (s *Server) StartApplier() {
	if !s.up || s.source == nil || !s.stopped {
		return
	}
	if s.flavor == MariaDB && !s.receiving {
		s.dropRelay()
	}
	s.stopped = false
}

// Applying reports whether the applier runs.
func (s *Server) Applying() bool { return s.up && !s.stopped }

// SetAcknowledge sets rpl_semi_sync_replica_enabled. It takes effect at the next connection. But one of MySQL's receivers
// that acknowledged, is switched off, and connects again without having been started again, gives up.
func (s *Server) SetAcknowledge(on bool) {
	s.acknowledge = on
	if s.wrong == acksAtOnce && s.Connected() {
		s.link.acks, s.link.peer.acks = on, on
	}
}

// WillAcknowledge reports what SetAcknowledge said.
func (s *Server) WillAcknowledge() bool { return s.acknowledge }

// Acknowledges reports whether the present connection acknowledges.
func (s *Server) Acknowledges() bool { return s.Connected() && s.link.acks }

// Connected reports whether the receiver is connected, as far as the replica knows.
func (s *Server) Connected() bool { return s.receiving && s.link.peer != nil && !s.link.cut }

// Connect has a receiver that runs and is not connected connect. It is refused if its account is locked, and it may give
// up; see GaveUp. It reports whether something happened.
func (s *Server) Connect() bool {
	src := s.source
	if !s.up || !s.receiving || s.Connected() || src == nil || !src.up {
		return false
	}
	p := src.peer(s.name)
	if p.locked {
		return false
	}
	// A MySQL receiver that did acknowledge, and does not now, misses the magic number of semi-sync in what it is sent.
	misses := s.flavor == MySQL && s.acking && !s.acknowledge && s.wrong != acksAtReconnect
	if misses || !src.serves(s) {
		s.giveUp()
		return true
	}
	src.endDump(p) // of an earlier connection
	p.dump, p.acks, s.acking = s, s.acknowledge, s.acknowledge
	s.link = link{src: src, peer: p, at: src.log.start, rebuilds: src.rebuilds, acks: s.acknowledge}
	return true
}

// giveUp ends the receiver for good.
func (s *Server) giveUp() {
	s.receiving, s.gaveUp = false, true
	s.link = link{}
}

// serves reports whether a replica's position is one from which the log can be sent.
func (s *Server) serves(replica *Server) bool {
	if !replica.received.Contains(s.purged) {
		return false
	}
	if s.flavor == MariaDB {
		return s.logged.Contains(replica.received)
	}
	return replica.received[s.origin] <= s.logged[s.origin]
}

// Receive takes up to max transactions from the source's binary log, also such as wait there, into the relay log. It
// reports whether it took one.
func (s *Server) Receive(max int) bool {
	l, src := &s.link, s.link.src
	if !s.up || !s.receiving || src == nil || l.rebuilds != src.rebuilds {
		return false
	}
	limit := src.log.end
	if l.cut {
		limit = l.limit
	}
	if src.wrong == hidesWaiting && len(src.waits) > 0 {
		limit = min(limit, src.waits[0].at-1)
	}
	took := false
	for left := uint64(max); left > 0 && l.at < limit; {
		r, ok := src.log.next(l.at, &l.run)
		if !ok {
			break
		}
		n := min(r.n, limit-l.at)
		has := s.received[r.origin]
		if has+1 > r.first { // it is asked for without these
			l.at += min(n, has+1-r.first)
			if l.acks && s.wrong == acksOld {
				l.due = l.at
			}
			continue
		}
		n = min(n, left)
		s.relay.add(r.origin, r.first, n)
		s.received[r.origin] = r.first + n - 1
		l.at += n
		left -= n
		took = true
		if l.acks && !l.cut && src.enabled {
			l.due = l.at
		}
	}
	return took
}

// SendAck has the acknowledgement of what this connection delivered reach the source, and reports whether there was one.
// It may have been on its way when the connection was closed from here; if the source has ended it, it is lost.
func (s *Server) SendAck() bool {
	l := &s.link
	if !l.inFlight() || l.peer.dump != s || !l.src.up {
		return false
	}
	l.peer.acked = l.due
	l.src.settle()
	return true
}

// AcknowledgeReceived acknowledges all that was received, once it is applied: on MariaDB a replica that asks for the log
// by file and offset has by that acknowledged what is before it. It reports whether it could.
func (s *Server) AcknowledgeReceived() bool {
	if s.flavor != MariaDB || !s.Acknowledges() || !s.relay.empty() {
		return false
	}
	l := &s.link
	at := l.at
	for {
		r, ok := l.src.log.next(at, &l.run)
		if !ok || s.received[r.origin] < r.first {
			break
		}
		at += min(r.n, s.received[r.origin]+1-r.first)
	}
	l.due = max(l.due, at)
	return s.SendAck()
}

// Apply executes one transaction of the relay log and reports whether it did. On a server whose commits wait for
// acknowledgements its own applier's do too.
func (s *Server) Apply() bool {
	if !s.up || s.stopped || s.relay.empty() || s.applierWaits() {
		return false
	}
	origin, number := s.relay.read()
	if s.logged.Has(origin, number) {
		return true
	}
	s.append(origin, number)
	if s.enabled && s.wrong != applierPasses {
		s.group++
		s.waits = append(s.waits, wait{at: s.log.end, origin: origin, number: number, group: s.group})
		return true
	}
	s.executed[origin] = number
	return true
}

// ApplyAll executes all of the relay log that it can, and reports whether it did anything.
func (s *Server) ApplyAll() bool {
	did := false
	for s.Apply() {
		did = true
	}
	return did
}

// applierWaits reports whether a transaction of the applier waits for acknowledgements.
func (s *Server) applierWaits() bool {
	for i := range s.waits {
		if s.waits[i].commit == nil {
			return true
		}
	}
	return false
}

// Disconnect is the network's cut: what was on its way is lost, and the source does not notice. Its dump thread is left,
// until it is killed or the replica connects again.
func (s *Server) Disconnect() {
	s.link = link{}
}

// Executed is what the server says it has executed. On MySQL (gtid_executed) a commit that waits is not in it; on
// MariaDB (gtid_binlog_state) it is.
func (s *Server) Executed() Set {
	if s.flavor == MariaDB || s.wrong == showsWaiting {
		return s.logged
	}
	return s.executed
}

// Committed is what its clients see.
func (s *Server) Committed() Set { return s.executed }

// Purged is what is not in its binary log any more, and nobody can get from it.
func (s *Server) Purged() Set { return s.purged }

// Logged is what its binary log has, with what waits.
func (s *Server) Logged() Set { return s.logged }

// Received is what it says it has executed, or has in its relay log.
func (s *Server) Received() Set {
	if len(s.waits) == 0 || s.flavor == MariaDB {
		return s.received
	}
	set := s.executed
	for i := range s.waits {
		if w := &s.waits[i]; w.commit == nil { // it came from the relay log
			set[w.origin] = max(set[w.origin], w.number)
		}
	}
	for _, r := range s.relay.runs {
		set[r.origin] = max(set[r.origin], r.first+r.n-1)
	}
	return set
}

// Unapplied reports whether there is something in the relay log.
func (s *Server) Unapplied() bool { return !s.relay.empty() }
