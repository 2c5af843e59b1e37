// SPDX-License-Identifier: Apache-2.0

package election

import "time"

// replica is another host. What its supervisor last said is not always what is true.
type replica struct {
	name           string
	up, answers    bool    // its server, its supervisor
	away           bool    // its host is cut off
	slow           float64 // chance that it receives nothing in a moment
	barred         bool
	start          int
	executed, held int
	acked          int  // its last acknowledgement
	semisync       bool // is what its receiver will begin with
	receiver       bool
	link           link
	locked         bool // its account, on db1
	knows          int  // revision of the record
	saw            int  // revision on which db1 acts, -1: not heard
	word           Word
	said           status
	lostSince      time.Duration // 0: it is of use
}

// link is how a replica's receiver is connected.
type link int

const (
	linkNone link = iota
	linkAsync
	linkAcknowledging
)

// status is what a replica's supervisor last said.
type status struct {
	start   string
	word    Word
	follows bool
	held    int
	at      time.Duration
}

// mayAcknowledge is what a replica's supervisor holds of itself.
func (m *cluster) mayAcknowledge(q *replica) bool {
	return m.history[q.knows].IsSynced(q.name) && q.saw >= 0 && q.saw <= q.knows
}

// act is a turn of a replica's supervisor.
func (m *cluster) act(q *replica) {
	if !q.answers || !q.up {
		return
	}
	r := m.history[q.knows]
	switch {
	case m.mayAcknowledge(q):
		q.word = Word{}
		if !q.semisync {
			q.semisync, q.receiver, q.link = true, true, linkNone
		}
	case r.IsSynced(q.name) && !m.chance(0.1): // for a while it goes on
	default:
		if q.semisync {
			q.semisync, q.link = false, linkNone
		}
		q.word = Word{}
		if !r.IsSynced(q.name) {
			q.word = Word{Given: true, Term: r.Term, Revision: r.Revision}
		}
	}
	q.receiver = true
}

// connect is a try of a replica's receiver.
func (m *cluster) connect(q *replica) {
	if q.up && q.receiver && !q.away && !q.locked && q.link == linkNone {
		q.link = linkAsync
		if q.semisync {
			q.link = linkAcknowledging
		}
	}
}

// receive takes some of the log over, and acknowledges it.
func (m *cluster) receive(q *replica, n int) {
	if q.link == linkNone || q.held == m.log {
		return
	}
	q.held = min(m.log, q.held+n)
	if q.link == linkAcknowledging {
		q.acked = max(q.acked, q.held)
		m.tell()
	}
}

// publish tells db1.
func (m *cluster) publish(q *replica) {
	if !q.answers || q.away {
		return
	}
	q.said = status{word: q.word, at: m.clock}
	if q.up {
		q.said.start, q.said.follows, q.said.held = processName(q.start), q.link != linkNone, q.held
	}
}

// crash ends a replica's server: what it has not executed it may lose.
func (m *cluster) crash(q *replica) {
	m.note("%s crashes", q.name)
	q.up, q.receiver, q.semisync, q.link = false, false, false, linkNone
	q.held = q.executed + m.rng.IntN(q.held-q.executed+1)
	q.start++
}
