// SPDX-License-Identifier: Apache-2.0

package sim

// judgeTold takes in that a client was told of a transaction. With lossless durability whoever was opened last must hold
// it by then (P2 of docs/design.md §1).
func (w *World) judgeTold(h *host, origin int, number uint64) {
	w.told[origin] = max(w.told[origin], number)
	if !w.cfg.Lossless || w.opened.Node == "" || w.opened.Node == h.name {
		return
	}
	if p := w.host(w.opened.Node); !p.server.db.Logged().Has(origin, number) {
		w.fail("a client of %s was told of its transaction %d although writes have opened on %s in term %d, without it",
			h.name, number, p.name, w.opened.Term)
	}
}

// judgeComplete holds that a server whose writes open has all that clients were told of.
func (s *supervisor) judgeComplete(term uint64) {
	w := s.w
	if !w.cfg.Lossless {
		return
	}
	if held := s.host.server.db.Logged(); !held.Contains(w.told) {
		w.fail("%s opens in term %d with %v; clients were told of %v", s.host.name, term, held, w.told)
	}
	w.opened = Claim{At: w.now.sub(epoch), Node: s.host.name, Term: term}
}

// judgeUntold holds that no client was told of what is about to be thrown away.
func (w *World) judgeUntold(h *host, errant gap) {
	for origin, from := range errant.from {
		if to := errant.to[origin]; to > from && w.told[origin] > from {
			w.fail("%s is rebuilt without transactions %d to %d of origin %d; a client was told of %d", h.name, from+1, to, origin, w.told[origin])
		}
	}
}
