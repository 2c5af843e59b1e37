// SPDX-License-Identifier: Apache-2.0

package keeper

import (
	"slices"

	"highwater/election"
	"highwater/promote"
	"highwater/supervisor/peer"
)

// Fill writes what peers need into a status. It may be called on nil.
func (k *Keeper) Fill(s *peer.NodeStatus) {
	if k == nil {
		return
	}
	record := k.host.Record()
	s.Revision = record.Revision
	k.mu.Lock()
	defer k.mu.Unlock()
	s.Stalled = k.stalled
	s.WordGiven, s.WordTerm, s.WordRevision = k.word.Given, k.word.Term, k.word.Revision
	for name, admitted := range k.admits {
		if admitted {
			s.Admits = append(s.Admits, name)
		}
	}
	slices.Sort(s.Admits)
	s.Durable = k.known && !mayLack(k.relaxed, s.ServerStartID, record, k.config.Node)
	for _, w := range k.weak.Weaknesses {
		if w.Bars {
			s.Weak = append(s.Weak, string(w.Reason))
		}
		if w.Reason == promote.DurabilityRelaxed {
			s.Durable = false
		}
	}
}

// wordOf is what a peer has said of itself.
func wordOf(s *peer.NodeStatus) election.Word {
	return election.Word{Given: s.WordGiven, Term: s.WordTerm, Revision: s.WordRevision}
}

// wordOf is what the node has said of itself, as far as it was heard.
func (k *Keeper) wordOf(node string) election.Word {
	p, heard := k.host.Peer(node)
	if !heard {
		return election.Word{}
	}
	return wordOf(p.NodeStatus)
}

// sign is what of a peer's status may call for a turn.
type sign struct {
	word     election.Word
	role     string
	revision uint64
	start    string
}

// Heard takes a turn when a peer has said something new. It may be called on nil.
func (k *Keeper) Heard(s *peer.NodeStatus) {
	if k == nil {
		return
	}
	said := sign{word: wordOf(s), role: s.Role, revision: s.Revision, start: s.ServerStartID}
	k.mu.Lock()
	news := k.last[s.Node] != said
	k.last[s.Node] = said
	if s.ServerStartID != "" && k.runs[s.Node].start != s.ServerStartID {
		k.runs[s.Node] = run{s.ServerStartID, k.host.Now()}
	}
	k.mu.Unlock()
	if news {
		k.Nudge()
	}
}
