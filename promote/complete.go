// SPDX-License-Identifier: Apache-2.0

package promote

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"highwater/mysqlcheck/gtid"
)

// Claims is what the cluster record says of one term: who may hold what was acknowledged in it,
// and everything acknowledged before.
type Claims struct {
	Primary string
	Synced  []Synced // S: each acknowledged transaction is on the primary and on some Acks of these
	Acks    int      // k
	Alone   bool     // the primary acknowledged by itself: nobody else holds anything for certain
}

// Synced is a replica that may have acknowledged.
type Synced struct {
	Node string
	// Start identifies the server process that last passed a barrier as a member of S, or that
	// entered S. After a restart a replica may lack what it acknowledged.
	Start string
	// Errant are transactions that it has and the primary at its last barrier had not.
	Errant gtid.Set
}

// Testimony is what a host that has answered holds. It is sealed for the term that is to begin:
// its receiver is stopped, and if it was primary it is fenced. (The primary of record that asks for
// itself is no replica and needs no seal.) A host that has not answered, or whose server does
// not, has none.
type Testimony struct {
	Node  string
	Start string // its server process
	// Executed and Received are what it has executed, and what its receiver has stored.
	Executed, Received gtid.Set
	// Errant is what its own supervisor takes for errant, beside what the record says: its
	// primary did not report it. That may have been waiting for an acknowledgement, also with
	// a GTID that is not the primary's.
	Errant gtid.Set
	// Local is of these what it wrote itself, which nobody waited for.
	Local gtid.Set
	// Durable, of a primary: what it has written in its terms, and held when they began, is
	// still there. sync_binlog and innodb_flush_log_at_trx_commit were 1 all the time, or the
	// process that opened the term has never ended.
	Durable bool
}

func (t Testimony) held() gtid.Set { return t.Received.Union(t.Executed) }

// Acceptance is an operator's leave to lose what nobody who was heard holds.
type Acceptance struct {
	To string // only this candidate, whatever it lacks; empty: whoever holds all that was heard
}

// CompletenessInput is the question whether Candidate holds every acknowledged transaction. All of
// it is of one moment. While the fate of a proposed record is unknown the question is put twice, and
// both answers must be yes (docs/design.md §4, rule 5).
type CompletenessInput struct {
	Candidate string
	Term      Claims  // of the record's term
	Kept      *Claims // of the last term in which something could be acknowledged, if the record keeps one
	Accepted  *Acceptance
	Heard     []Testimony
	// MaxAcks is for how many acknowledgements the server can wait; MariaDB: 1. 0: any number.
	MaxAcks int
	// LastSeen is what the primary of record was last seen to hold, empty if that is not known.
	LastSeen gtid.Set
}

// Way is the reason for which a candidate may promote.
type Way string

// The ways, of which the first that applies is named.
const (
	WayPrimary   Way = "primary_of_record"        // it is the primary of record
	WayFormula   Way = "enough_heard"             // |S \ heard| < k, and it holds what they hold
	WayContains  Way = "contains_primary"         // the primary of record is heard, and it holds what that holds
	WayKept      Way = "enough_heard_of_kept"     // as WayFormula, of the last term that counted
	WayOld       Way = "contains_kept_primary"    // as WayContains, of the last term that counted
	WayAccepted  Way = "accepted_loss"            // an operator decided, and it holds what was heard
	WayAppointed Way = "accepted_loss_named_node" // an operator decided, and named it
)

// Shortfall says in one word why a candidate may not promote.
type Shortfall string

// The shortfalls.
const (
	// ShortNotSealed: the candidate is not sealed itself.
	ShortNotSealed Shortfall = "candidate_not_sealed"
	// ShortUnheard: too many of those who may have acknowledged are not heard.
	ShortUnheard Shortfall = "too_few_heard"
	// ShortAlone: the primary acknowledged alone, and it is not heard.
	ShortAlone Shortfall = "primary_was_alone"
	// ShortNothingKept: the record does not say who else could hold anything.
	ShortNothingKept Shortfall = "nothing_kept"
	// ShortBehind: enough are heard, and the candidate lacks something that one of them holds.
	ShortBehind Shortfall = "behind"
)

// Absence is why a host is not heard.
type Absence string

// The absences.
const (
	AbsentSilent    Absence = "silent"      // not sealed, or its server does not answer
	AbsentRestarted Absence = "restarted"   // since its last barrier; it may have lost relay log
	AbsentVolatile  Absence = "not_durable" // the old primary, whose log may have lost its end
)

// Missing is a host whose word would help.
type Missing struct {
	Node string
	Why  Absence
}

// Lack is what a heard host holds and the candidate does not. It can fetch it there.
type Lack struct {
	Node string
	Set  gtid.Set
}

// Completeness is the answer.
type Completeness struct {
	Allowed bool
	Way     Way       // if allowed
	Short   Shortfall // if not
	// Missing are the hosts that are not heard and whose word would help, by name. Wanted is how
	// many of those that are members of S are needed; the primary's word alone would do as well.
	Missing []Missing
	Wanted  int
	// Lacks are the heard hosts that hold what the candidate lacks, by name.
	Lacks []Lack
	// LossKnown: the primary of record was seen to hold AtLeast transactions that no heard host
	// holds. It may have acknowledged more since it was last seen.
	LossKnown bool
	AtLeast   uint64
}

// claim is one of the terms that may decide, looked at.
type claim struct {
	Claims
	formula, contains Way       // what to call passing by S, or by the primary
	missing           []Missing // of S
	wanted            int       // how many of them are needed
	lacks             []Lack    // what the candidate lacks of the heard members of S
	absent            *Missing  // the primary, if it is not heard
	primary           []Lack    // what the candidate lacks of it
}

// Complete decides whether the candidate holds every transaction that a client may have been
// told of (docs/design.md §5).
func Complete(in CompletenessInput) Completeness {
	heard := make(map[string]Testimony, len(in.Heard))
	for _, t := range in.Heard {
		heard[t.Node] = t
	}
	out := in.loss()
	candidate, sealed := heard[in.Candidate]
	if !sealed {
		out.Short, out.Missing = ShortNotSealed, []Missing{{in.Candidate, AbsentSilent}}
		return out
	}
	holds := candidate.held()

	claims := []claim{in.weigh(claim{Claims: in.Term, formula: WayFormula, contains: WayContains}, heard, holds)}
	if in.Candidate == in.Term.Primary {
		claims[0].contains = WayPrimary
	}
	if len(in.Term.Synced) == 0 && !in.Term.Alone && in.Kept != nil {
		// Nothing was acknowledged in this term yet.
		claims = append(claims, in.weigh(claim{Claims: *in.Kept, formula: WayKept, contains: WayOld}, heard, holds))
	}
	for _, c := range claims {
		if way := c.passes(); way != "" {
			out.Allowed, out.Way = true, way
			return out
		}
	}
	if a := in.Accepted; a != nil && a.To == in.Candidate {
		out.Allowed, out.Way = true, WayAppointed
		return out
	}
	if in.Accepted != nil && in.Accepted.To == "" {
		if out.Lacks = in.lacksOfAll(holds); len(out.Lacks) == 0 {
			out.Allowed, out.Way = true, WayAccepted
			return out
		}
	}
	for _, c := range claims {
		out.Lacks = append(out.Lacks, c.lacks...)
		out.Lacks = append(out.Lacks, c.primary...)
		out.Missing = append(out.Missing, c.missing...)
		if c.absent != nil {
			out.Missing = append(out.Missing, *c.absent)
		}
		out.Wanted = max(out.Wanted, c.wanted)
	}
	out.Lacks = tidy(out.Lacks, func(l Lack) string { return l.Node })
	out.Missing = tidy(out.Missing, func(m Missing) string { return m.Node })
	out.Short = shortfall(claims)
	return out
}

// weigh looks at one term's claims.
func (in CompletenessInput) weigh(c claim, heard map[string]Testimony, holds gtid.Set) claim {
	for _, s := range c.Synced {
		t, answered := heard[s.Node]
		switch {
		case !answered:
			c.missing = append(c.missing, Missing{s.Node, AbsentSilent})
		case t.Start != s.Start:
			c.missing = append(c.missing, Missing{s.Node, AbsentRestarted})
		default:
			c.lacks = append(c.lacks, lack(s.Node, t.held().Subtract(s.Errant.Union(t.Local)), holds)...)
		}
	}
	acks := c.Acks
	if in.MaxAcks > 0 {
		acks = min(acks, in.MaxAcks) // more the server cannot have waited for
	}
	if len(c.Synced) > 0 {
		c.wanted = max(0, len(c.missing)-acks+1)
	}
	switch t, answered := heard[c.Primary]; {
	case c.Primary == "":
	case !answered:
		c.absent = &Missing{c.Primary, AbsentSilent}
	case !t.Durable:
		c.absent = &Missing{c.Primary, AbsentVolatile}
	default:
		c.primary = lack(t.Node, t.held(), holds)
	}
	return c
}

// primaryHeard and enoughHeard report whether the candidate only has to hold what was heard.
func (c claim) primaryHeard() bool { return c.Primary != "" && c.absent == nil }

func (c claim) enoughHeard() bool { return len(c.Synced) > 0 && c.wanted == 0 }

// passes returns how the candidate passes by this claim, empty if it does not.
func (c claim) passes() Way {
	switch {
	case c.primaryHeard() && len(c.primary) == 0:
		return c.contains
	case c.enoughHeard() && len(c.lacks) == 0:
		return c.formula
	default:
		return ""
	}
}

// lacksOfAll is what anybody who was heard holds, member of S or not, and the candidate does not.
func (in CompletenessInput) lacksOfAll(holds gtid.Set) []Lack {
	errant := make(map[string]gtid.Set)
	for _, s := range in.Term.Synced {
		errant[s.Node] = s.Errant
	}
	if in.Kept != nil {
		for _, s := range in.Kept.Synced {
			errant[s.Node] = errant[s.Node].Union(s.Errant)
		}
	}
	var lacks []Lack
	for _, t := range in.Heard {
		lacks = append(lacks, lack(t.Node, t.held().Subtract(t.Errant.Union(errant[t.Node])), holds)...)
	}
	return tidy(lacks, func(l Lack) string { return l.Node })
}

// lack is what node has and holds has not, if there is any.
func lack(node string, has, holds gtid.Set) []Lack {
	if holds.Contains(has) {
		return nil
	}
	return []Lack{{node, has.Subtract(holds)}}
}

// shortfall names what stands in the way. If enough were heard for any claim, only a fetch does.
func shortfall(claims []claim) Shortfall {
	last := claims[len(claims)-1]
	switch {
	case slices.ContainsFunc(claims, func(c claim) bool { return c.primaryHeard() || c.enoughHeard() }):
		return ShortBehind
	case last.Alone:
		return ShortAlone
	case len(last.Synced) > 0:
		return ShortUnheard
	default:
		return ShortNothingKept
	}
}

// loss counts what the primary was seen to hold and nobody who was heard holds.
func (in CompletenessInput) loss() Completeness {
	if in.LastSeen.IsEmpty() {
		return Completeness{}
	}
	lost := in.LastSeen
	for _, t := range in.Heard {
		lost = lost.Subtract(t.held())
	}
	return Completeness{LossKnown: true, AtLeast: lost.Count()}
}

// tidy orders a list by name and keeps the first of each.
func tidy[T any](list []T, name func(T) string) []T {
	slices.SortStableFunc(list, func(a, b T) int { return cmp.Compare(name(a), name(b)) })
	return slices.CompactFunc(list, func(a, b T) bool { return name(a) == name(b) })
}

// String says what is the matter and what an operator may do.
func (c Completeness) String() string {
	if c.Allowed {
		return string(c.Way)
	}
	var parts []string
	if c.Short == ShortBehind {
		for _, l := range c.Lacks {
			parts = append(parts, fmt.Sprintf("%s holds %s", l.Node, l.Set))
		}
		return fmt.Sprintf("%s: %s: to be fetched first", c.Short, strings.Join(parts, ", "))
	}
	for _, m := range c.Missing {
		parts = append(parts, fmt.Sprintf("%s is %s", m.Node, m.Why))
	}
	text := fmt.Sprintf("%s: %s", c.Short, strings.Join(parts, ", "))
	switch {
	case c.Short == ShortNotSealed:
		return text
	case c.Wanted > 0:
		text += fmt.Sprintf("; %d more of S or the primary must be heard", c.Wanted)
	default:
		text += "; the primary must be heard"
	}
	text += ", or an operator decides (failover --accept-loss"
	if c.LossKnown {
		text += fmt.Sprintf(": at least %d transactions may be lost", c.AtLeast)
	}
	return text + ")"
}
