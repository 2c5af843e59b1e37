// SPDX-License-Identifier: Apache-2.0

package election

import (
	"fmt"
	"slices"
	"strings"
)

// searchedHost is a Machine with authority vrrp, what its actions have made of the world around
// it, and what must be remembered to judge them.
type searchedHost struct {
	m   Machine
	now Instant

	pending []searchedEffect
	address Instant // the VIP is here until then, 0 if it is not
	alive   bool    // the server process
	open    bool    // it is writable
	starts  int     // of the server
	link    bool    // is up
	stuck   bool    // the last release failed: who is sealed for waits until the lease has ended
	stopped bool

	mayClaim  uint64  // term whose promotion, adoption or resumption entitles to a claim
	holds     bool    // a Claim was asked for since the last Release
	claiming  bool    // and is not answered
	gathered  uint64  // term of the last Gather that this node has won
	owed      bool    // Finish is: this term began by a promotion
	listening Instant // since when this host could hear others without a break
	spoke     Instant // when its peer did
	old       Instant // last sign of life of a primary that is not this node, and said no farewell
	released  uint64  // term whose primary said farewell
	aside     Instant // until then it leaves the right to whom it asked to stand
}

// searchedEffect is an action that will be answered.
type searchedEffect struct {
	action Action
	token  Token
	claims bool // carried out in the order of their asking
}

func (h *searchedHost) clone() *searchedHost {
	c := *h
	c.m.peers, c.pending = slices.Clone(h.m.peers), slices.Clone(h.pending)
	authority := *h.m.authority.(*vrrp)
	c.m.authority = &authority
	return &c
}

// note takes down what an event means for the world, before the Machine hears of it.
func (h *searchedHost) note(ev Event) (before Status) {
	switch e := ev.(type) {
	case Start:
		h.holds, h.listening, h.link = e.VIPPresent, h.now, e.LinkUp
		if e.VIPPresent {
			h.address = h.now.Add(h.m.cfg.Lease - e.ClaimAge)
		}
	case Stalled:
		if e.Gap >= h.m.cfg.silence() {
			h.listening = h.now
		}
	case LinkChanged:
		h.listening, h.link = h.now, e.Up
	case ServerExited:
		h.alive, h.open = false, false
	case ServerStarted:
		h.alive, h.starts = true, h.starts+1
	case PeerHeard:
		h.spoke = h.now
		// Of two primaries of one term, as after a split, the one that loses goes by itself.
		if s := e.Peer; s.Role == RolePrimary && s.Term > h.released && (s.Term > h.m.term || h.m.primary != h.m.cfg.Node) {
			h.old = h.now
		}
	case AdvertReceived:
		if e.Node != "" && e.Node == h.m.primary && e.Priority != PriorityReleasing && h.m.term > h.released {
			h.old = h.now
		}
	case FarewellReceived:
		if e.From == h.m.primary || e.Term > h.m.term {
			h.old, h.released = 0, e.Term
		}
	case GatherEnded:
		if e.Winner == h.m.cfg.Node {
			h.gathered = h.m.contest.term
		}
		if e.OldReleased {
			h.old = 0
		}
	case PromoteEnded:
		if e.Err == "" {
			h.open = true
			if awaited(e.Token, h.m.contest.promote) {
				h.mayClaim = h.m.contest.term
			}
		}
	case DemoteEnded:
		if e.Err == "" {
			h.open = false
		}
	case ClaimEnded:
		h.claiming = false
		h.lease(e.Err)
	case RenewEnded:
		h.lease(e.Err)
	case ReleaseEnded:
		if h.stuck = e.Err != ""; !h.stuck {
			h.address = 0
		}
	case Command:
		if e.Name == CommandFailover {
			h.aside = 0
		}
	}
	return h.m.Status()
}

// lease is what the kernel made of a claim or a renewal.
func (h *searchedHost) lease(err string) {
	if err == "" {
		h.address = h.now.Add(h.m.cfg.Lease)
	}
}

// serves reports whether clients reach a server through the VIP here.
func (h *searchedHost) serves() bool { return h.alive && h.now < h.address }

// ask adds an effect that will be answered.
func (h *searchedHost) ask(a Action, token Token, claims bool) {
	h.pending = append(h.pending, searchedEffect{action: a, token: token, claims: claims})
}

// health is what a look at the server shows now.
func (h *searchedHost) health(good bool) Health {
	v := Health{At: h.now, State: HealthDead, ServerID: fmt.Sprint("s", h.starts)}
	if h.alive {
		v.State, v.Eligible, v.CaughtUp, v.Writable = HealthAlive, good, good, h.open
		if v.Writable {
			v.Replicas = 1
		}
	}
	return v
}

func (h *searchedHost) String() string {
	var pending []string
	for _, e := range h.pending {
		pending = append(pending, strings.TrimPrefix(fmt.Sprintf("%T", e.action), "election."))
	}
	return fmt.Sprintf("%s of term %d (%s), router %s, VIP here %v, server alive %v writable %v, awaited %v",
		h.m.role, h.m.term, h.m.primary, h.m.router.State(), h.now < h.address, h.alive, h.open, pending)
}
