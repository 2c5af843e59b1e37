// SPDX-License-Identifier: Apache-2.0

package promote

import (
	"cmp"
	"slices"
	"time"

	"highwater/mysqlcheck/gtid"
)

// Report is one host's answer to a gather, or its silence.
type Report struct {
	Node       string
	Priority   uint8
	NoFailover bool

	// Heard: the host has answered and is sealed. What follows counts only then,
	// but for HearsPrimary.
	Heard bool
	// Eligible and Reasons are the host's own verdict on its server (door 2).
	Eligible bool
	Reasons  []string
	// Executed, Received and Purged are gtid_executed, that and what the
	// receiver has stored, and gtid_purged; for MariaDB the like.
	Executed, Received, Purged gtid.Set
	// DrainETA is the estimated time to apply what is received and not
	// executed; 0 if there is nothing.
	DrainETA time.Duration
	// HearsPrimary: the host still hears the old primary, its supervisor or
	// replication events. Set it only where that must prevent a failover.
	HearsPrimary bool
	// Errant are transactions on this host that no primary has committed.
	Errant gtid.Set
}

// Choice is who is to be promoted, or why nobody is.
type Choice struct {
	Winner string // empty: nobody, for Reason
	// MostAdvanced are the hosts that hold all that any heard host holds; if
	// they have diverged, those that nobody is ahead of.
	MostAdvanced []string
	// FetchFrom is the host from which the winner has to fetch Missing before
	// it is promoted; empty if it misses nothing.
	FetchFrom string
	Missing   gtid.Set
	Reason    Reason // of a choice without a winner
	// Refused says of every host but the winner why not, in reason codes: the
	// reasons of its verdict, or those below.
	Refused map[string][]string
	// ServesAll: the winner still has in its binary logs all that any heard
	// host has not received.
	ServesAll bool
}

// drainMargin is by how much longer a host may drain than the one that is ready
// first and still stand before it for its priority. A preference is not worth
// seconds without a primary, and below a second the estimate says nothing: where
// no rate is known it is the server's lag, which counts whole seconds.
const drainMargin = time.Second

// Reasons of a choice without a winner.
const (
	// ReasonHearsPrimary: a host still hears the old primary.
	ReasonHearsPrimary Reason = "hears_primary"
	// ReasonNobodyHeard: no host has answered and sealed its server.
	ReasonNobodyHeard Reason = "nobody_heard"
	// ReasonDiverged: no host holds all that the others hold. Two of them hold
	// transactions that the other lacks, so each choice would lose some.
	ReasonDiverged Reason = "diverged"
	// ReasonNoSuccessor: no heard host is eligible.
	ReasonNoSuccessor Reason = "no_successor"
	// ReasonErrant: only hosts with errant transactions hold all that is
	// needed. Whoever fetched from them would get the errant ones too.
	ReasonErrant Reason = "errant_transactions"
	// ReasonPurged: those who hold all that is needed have purged some of it
	// from their binary logs, and no eligible host has it.
	ReasonPurged Reason = "purged"
)

// Why a host is not the winner, beside the reasons above and those of its
// verdict.
const (
	reasonNotHeard    Reason = "not_heard"
	reasonIneligible  Reason = "ineligible" // and its verdict says no more
	reasonNoFailover  Reason = "nofailover"
	reasonBehind      Reason = "behind"           // the winner has received more
	reasonDrainLimit  Reason = "drain_over_limit" // the winner's drain fits
	reasonServesFewer Reason = "cannot_serve_all" // it has purged what another host needs
	reasonPriority    Reason = "lower_priority"
	reasonLongerDrain Reason = "longer_drain"
	reasonLaterName   Reason = "later_name" // equal in all that counts
)

// standing is a heard host in the comparison.
type standing struct {
	Report
	received  gtid.Set // and executed
	held      gtid.Set // received, without errant transactions
	fits      bool     // its drain fits the limit
	servesAll bool
	fetchFrom string
	missing   gtid.Set
}

// Choose decides who succeeds the primary. The order of the reports does not
// matter, nor which host computes it: given the same reports, of which each host
// has one, all come to the same choice. Self is the host that computes; unless it
// has no report (a witness, a dry run) it must itself be sealed.
//
// Hosts are ranked by set inclusion, never by counting. The winner holds all that
// any heard host holds, or can fetch it. Among those that are equally far:
// whose drain fits the limit (promote.timeout; 0 for none), who can serve all
// others, who is ready within drainMargin of the first, the highest priority, the
// shortest drain, the first name. If nobody's drain fits, the shortest drain
// decides first.
func Choose(self string, reports []Report, limit time.Duration) Choice {
	reports = slices.SortedFunc(slices.Values(reports), func(a, b Report) int { return cmp.Compare(a.Node, b.Node) })
	choice := Choice{Refused: make(map[string][]string)}
	heard := admit(reports, limit, choice.refuse)
	top, diverged := mostAdvanced(heard)
	for _, s := range top {
		choice.MostAdvanced = append(choice.MostAdvanced, s.Node)
	}
	if reason := obstacle(self, reports, diverged); reason != "" {
		return choice.without(reason, reports)
	}
	candidates := slices.DeleteFunc(heard, func(s standing) bool { return !s.mayStand() })
	if len(candidates) == 0 {
		return choice.without(ReasonNoSuccessor, reports)
	}
	complete, reason := completable(candidates, top)
	if len(complete) == 0 {
		return choice.without(reason, reports)
	}
	furthest := undominated(complete)
	ranking := ranking(furthest)
	winner := slices.MinFunc(furthest, ranking.compare)
	for _, s := range candidates {
		is := func(t standing) bool { return t.Node == s.Node }
		switch {
		case is(winner):
		case !slices.ContainsFunc(complete, is):
			choice.refuse(s.Node, reason)
		case !slices.ContainsFunc(furthest, is):
			choice.refuse(s.Node, reasonBehind)
		default:
			choice.refuse(s.Node, ranking.decidedBy(winner, s))
		}
	}
	choice.Winner, choice.ServesAll = winner.Node, winner.servesAll
	choice.FetchFrom, choice.Missing = winner.fetchFrom, winner.missing
	return choice
}

// obstacle returns why these reports allow no choice at all, if so.
func obstacle(self string, reports []Report, diverged bool) Reason {
	switch {
	case slices.ContainsFunc(reports, func(r Report) bool { return r.HearsPrimary }):
		return ReasonHearsPrimary
	case !slices.ContainsFunc(reports, func(r Report) bool { return r.Heard }):
		return ReasonNobodyHeard
	case slices.ContainsFunc(reports, func(r Report) bool { return r.Node == self && !r.Heard }):
		return ReasonNotSealed
	case diverged:
		return ReasonDiverged
	default:
		return ""
	}
}

// without ends the choice with nobody, for reason. It is why no host wins that
// has no reason of its own.
func (c *Choice) without(reason Reason, reports []Report) Choice {
	c.Reason = reason
	for _, r := range reports {
		if len(c.Refused[r.Node]) == 0 || reason == ReasonHearsPrimary && r.HearsPrimary ||
			reason == ReasonDiverged && slices.Contains(c.MostAdvanced, r.Node) {
			c.refuse(r.Node, reason)
		}
	}
	return *c
}

func (c *Choice) refuse(node string, reason Reason) {
	if !slices.Contains(c.Refused[node], string(reason)) {
		c.Refused[node] = append(c.Refused[node], string(reason))
	}
}

// admit returns the heard hosts, and says of each host that may not stand why.
func admit(reports []Report, limit time.Duration, refuse func(string, Reason)) []standing {
	var heard []standing
	for _, r := range reports {
		if !r.Heard {
			refuse(r.Node, reasonNotHeard)
			continue
		}
		received := r.Received.Union(r.Executed)
		heard = append(heard, standing{
			Report:   r,
			received: received,
			held:     received.Subtract(r.Errant),
			fits:     limit <= 0 || r.DrainETA <= limit,
		})
		if !r.Eligible && len(r.Reasons) == 0 {
			refuse(r.Node, reasonIneligible)
		}
		if !r.Eligible {
			for _, reason := range r.Reasons {
				refuse(r.Node, Reason(reason))
			}
		}
		if r.NoFailover {
			refuse(r.Node, reasonNoFailover)
		}
		if !r.Errant.IsEmpty() {
			refuse(r.Node, ReasonErrant)
		}
	}
	for i := range heard {
		heard[i].servesAll = !slices.ContainsFunc(heard, func(s standing) bool {
			return !s.received.Contains(heard[i].Purged)
		})
	}
	return heard
}

// mayStand reports whether the host may be promoted, if it is complete.
func (s standing) mayStand() bool { return s.Eligible && !s.NoFailover && s.Errant.IsEmpty() }

// mostAdvanced returns the hosts that hold all that any of heard holds. Holes do
// not matter as long as there is one. If there is none, hosts have diverged, and
// it returns those that nobody is ahead of.
func mostAdvanced(heard []standing) (top []standing, diverged bool) {
	for _, s := range heard {
		if !slices.ContainsFunc(heard, func(t standing) bool { return !s.held.Contains(t.held) }) {
			top = append(top, s)
		}
	}
	if len(top) > 0 || len(heard) == 0 {
		return top, false
	}
	return undominated(heard), true
}

// undominated returns the hosts that none of the others is ahead of.
func undominated(of []standing) []standing {
	var out []standing
	for _, s := range of {
		if !slices.ContainsFunc(of, func(t standing) bool { return t.held.Compare(s.held) == gtid.Ahead }) {
			out = append(out, s)
		}
	}
	if len(out) == 0 {
		// MariaDB's positions are not transitive beside binary log states: each
		// may have one that is ahead.
		return of
	}
	return out
}

// completable returns the candidates that hold what the top holds, or can fetch
// it from there, and how they would; and why the others cannot.
func completable(candidates, top []standing) (complete []standing, others Reason) {
	// A host serves what it has executed: those that are done come first.
	sources := slices.SortedFunc(slices.Values(top), func(a, b standing) int {
		return cmp.Or(cmp.Compare(a.DrainETA, b.DrainETA), cmp.Compare(a.Node, b.Node))
	})
	sources = slices.DeleteFunc(sources, func(s standing) bool { return !s.Errant.IsEmpty() })
	others = ReasonPurged
	if len(sources) == 0 {
		others = ReasonErrant
	}
	for _, c := range candidates {
		c.missing = top[0].held.Subtract(c.held)
		if !c.missing.IsEmpty() {
			i := slices.IndexFunc(sources, func(s standing) bool { return c.held.Contains(s.Purged) })
			if i < 0 {
				continue
			}
			c.fetchFrom = sources[i].Node
		}
		complete = append(complete, c)
	}
	return complete, others
}

// criterion orders two hosts, the better one first.
type criterion struct {
	loses   Reason
	compare func(a, b standing) int
}

type criteria []criterion

// ranking returns the criteria among hosts that are equally far, in order.
func ranking(among []standing) criteria {
	first := func(a, b bool) int {
		switch {
		case a == b:
			return 0
		case a:
			return -1
		default:
			return 1
		}
	}
	drain := criterion{reasonLongerDrain, func(a, b standing) int { return cmp.Compare(a.DrainETA, b.DrainETA) }}
	ranking := criteria{
		{reasonDrainLimit, func(a, b standing) int { return first(a.fits, b.fits) }},
		{reasonServesFewer, func(a, b standing) int { return first(a.servesAll, b.servesAll) }},
	}
	// Two classes, measured from one host: "about as long as" between any two
	// would not be transitive, and the winner would depend on the order.
	soonest := slices.MinFunc(among, append(slices.Clone(ranking), drain).compare).DrainETA
	soon := func(s standing) bool { return s.DrainETA-soonest <= drainMargin }
	ranking = append(ranking, criteria{
		{reasonLongerDrain, func(a, b standing) int { return first(soon(a), soon(b)) }},
		{reasonPriority, func(a, b standing) int { return cmp.Compare(b.Priority, a.Priority) }},
		drain,
		{reasonLaterName, func(a, b standing) int { return cmp.Compare(a.Node, b.Node) }},
	}...)
	if !slices.ContainsFunc(among, func(s standing) bool { return s.fits }) {
		ranking = slices.Insert(ranking, 0, drain)
	}
	return ranking
}

func (cs criteria) compare(a, b standing) int {
	for _, c := range cs {
		if order := c.compare(a, b); order != 0 {
			return order
		}
	}
	return 0
}

// decidedBy returns why loser lost against winner. The last criterion tells any
// two hosts apart.
func (cs criteria) decidedBy(winner, loser standing) Reason {
	i := slices.IndexFunc(cs, func(c criterion) bool { return c.compare(winner, loser) != 0 })
	return cs[i].loses
}
