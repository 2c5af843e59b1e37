// SPDX-License-Identifier: Apache-2.0

package sim

import (
	"bytes"
	"time"

	"highwater/election"
	"highwater/election/quorum"
)

// ledger is what the world knows of the quorum, and no host does.
type ledger struct {
	leaders  map[uint64]string // of each raft term
	records  map[uint64][]byte // each version
	primary  map[uint64]string // of each term, by the record
	since    []instant         // when version i+1 was first applied anywhere
	newest   election.ClusterRecord
	decoded  map[string]election.ClusterRecord
	released int // addresses that a supervisor took off
	passed   int // how often somebody passed the right on
}

func newLedger() ledger {
	return ledger{leaders: map[uint64]string{}, records: map[uint64][]byte{}, primary: map[uint64]string{}, decoded: map[string]election.ClusterRecord{}}
}

// decode reads a record, each once: nobody changes what is in one.
func (w *World) decode(data []byte) (election.ClusterRecord, error) {
	if r, ok := w.ledger.decoded[string(data)]; ok {
		return r, nil
	}
	r, err := election.DecodeClusterRecord(data)
	if err == nil {
		w.ledger.decoded[string(data)] = r
	}
	return r, err
}

// holds reports whether a host's core says now that it has the right.
func (h *host) holds() bool {
	return h.supervisor != nil && h.supervisor.voter != nil && h.supervisor.voter.core.Right(h.clock()).Held
}

// judgeRights holds that one host at a time has the right, and that a record which is said to
// be the newest is.
func (w *World) judgeRights() {
	if w.wasStunned() {
		return
	}
	var holder *host
	for _, h := range w.hosts {
		if !h.holds() {
			continue
		}
		if holder != nil {
			w.fail("%s and %s both have the right", holder.name, h.name)
		}
		holder = h
		core := h.supervisor.voter.core
		if _, doubt := core.Doubt(); doubt || !core.RecordCurrent(h.clock()) {
			continue
		}
		if version, _ := core.Record(); version < uint64(len(w.ledger.since)) {
			w.fail("%s says that version %d of the record is the newest of %d", h.name, version, len(w.ledger.since))
		}
	}
}

// wasStunned reports whether a host may be about that does not know how late it is: it takes a right to be its own that
// has ended, until it asks. What it acknowledges is judged all the same.
func (w *World) wasStunned() bool { return w.stunned != 0 && w.now.sub(w.stunned) < 2*leaseEnds() }

// judgeRenewal holds that the VIP is claimed and renewed under a right that is held, and that
// nobody else holds.
func (s *supervisor) judgeRenewal(a election.Action) {
	switch a.(type) {
	case election.Claim, election.Renew:
	default:
		return
	}
	if s.voter == nil || s.w.wasStunned() {
		return
	}
	if !s.authority.Right(s.host.clock(), election.Active).Held {
		s.w.fail("%s: %T without the right", s.host.name, a)
	}
	for _, h := range s.w.hosts {
		if h != s.host && h.holds() {
			s.w.fail("%s: %T while %s has the right", s.host.name, a, h.name)
		}
	}
}

// judgeLeader holds that a raft term has one leader.
func (w *World) judgeLeader(h *host, term uint64) {
	if other := w.ledger.leaders[term]; other != "" && other != h.name {
		w.fail("%s and %s both lead raft term %d", other, h.name, term)
	}
	w.ledger.leaders[term] = h.name
}

// judgeApplied holds that all hosts see the same record change in the same way, and that a
// term has one primary.
func (w *World) judgeApplied(h *host, a quorum.Applied, record election.ClusterRecord) {
	l := &w.ledger
	if known, ok := l.records[a.Version]; ok {
		if !bytes.Equal(known, a.Data) {
			w.fail("%s applies another version %d of the record", h.name, a.Version)
		}
		return
	}
	for uint64(len(l.since)) < a.Version {
		l.since = append(l.since, w.now)
	}
	l.records[a.Version] = a.Data
	l.newest = record
	w.tracef(h, "RECORD version %d: term %d of %s", a.Version, record.Term, record.Primary)
	if other := l.primary[record.Term]; other != "" && other != record.Primary {
		w.fail("the record gives term %d to %s and to %s", record.Term, other, record.Primary)
	}
	l.primary[record.Term] = record.Primary
}

// judgeRead holds that a record read through the quorum has everything that was committed
// before it was asked for.
func (w *World) judgeRead(h *host, asOf election.Instant) {
	if w.wasStunned() {
		return
	}
	v := h.supervisor.voter
	if asOf < v.asked {
		w.fail("%s: a read of %d is answered as of %d", h.name, v.asked, asOf)
	}
	at := w.now.add(h.until(asOf))
	version, _ := v.core.Record()
	committed := 0
	for _, since := range w.ledger.since {
		if since < at.add(-time.Microsecond) {
			committed++
		}
	}
	if version < uint64(committed) { //nolint:gosec // a length
		w.fail("%s reads version %d of the record, %d were committed", h.name, version, committed)
	}
}

// judgeHandOver holds that whoever passes the right on has nothing any more that the right is for.
func (s *supervisor) judgeHandOver(to string) {
	if s.w.carries(s.host) {
		s.w.fail("%s hands over to %s and has the VIP", s.host.name, to)
	}
}

// judgeEstablished holds that a server is opened only in the newest term of the record.
func (s *supervisor) judgeEstablished(term uint64) {
	if s.voter == nil {
		return
	}
	if n := s.w.ledger.newest; n.Term != term || n.Primary != s.host.name {
		s.w.fail("%s opens in term %d; the record says term %d of %s", s.host.name, term, n.Term, n.Primary)
	}
}
