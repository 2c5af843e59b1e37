// SPDX-License-Identifier: Apache-2.0

package promote

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"highwater/mysqlcheck/gtid"
)

// claims writes a term: the primary, S with start ids and k; k = 0 without S, "alone" for alone.
func claims(primary, s string, k int, with ...func(*Claims)) Claims {
	c := Claims{Primary: primary, Acks: k}
	for _, f := range strings.Fields(s) {
		node, start, _ := strings.Cut(f, "@")
		c.Synced = append(c.Synced, Synced{Node: node, Start: start})
	}
	for _, f := range with {
		f(&c)
	}
	return c
}

func alone(c *Claims) { c.Alone = true }

// marked says that the record knows errant transactions of a member of S.
func marked(node, set string) func(*Claims) {
	return func(c *Claims) {
		for i := range c.Synced {
			if c.Synced[i].Node == node {
				c.Synced[i].Errant = gtids(set)
			}
		}
	}
}

// heardHost is a durable host in the server process that the record knows: "a" for db1 and so on.
func heardHost(node, received string, with ...func(*Testimony)) Testimony {
	t := Testimony{
		Node: node, Start: string('a' + rune(node[len(node)-1]-'1')), Durable: true,
		Received: gtids(received), Executed: gtids(received),
	}
	for _, f := range with {
		f(&t)
	}
	return t
}

func restarted(t *Testimony) { t.Start += "'" }

func volatile(t *Testimony) { t.Durable = false }

func knowsErrant(s string) func(*Testimony) {
	return func(t *Testimony) { t.Errant, t.Local = gtids(s), gtids(s) }
}

func takesForErrant(s string) func(*Testimony) { return func(t *Testimony) { t.Errant = gtids(s) } }

func appliedOnly(s string) func(*Testimony) { return func(t *Testimony) { t.Executed = gtids(s) } }

// answer writes a Completeness: the way, or the shortfall with who is missing, how many are
// wanted, and what is to be fetched.
func answer(c Completeness) string {
	if c.Allowed {
		return string(c.Way)
	}
	text := string(c.Short)
	for _, m := range c.Missing {
		text += fmt.Sprintf(" %s:%s", m.Node, m.Why)
	}
	if c.Wanted > 0 {
		text += fmt.Sprintf(" want %d", c.Wanted)
	}
	for _, l := range c.Lacks {
		text += fmt.Sprintf(" fetch %s from %s", shortGTIDs(l.Set), l.Node)
	}
	if c.LossKnown {
		text += fmt.Sprintf(" lose %d", c.AtLeast)
	}
	return text
}

func TestComplete(t *testing.T) {
	pair := claims("db1", "db2@b db3@c", 1)
	wide := claims("db1", "db2@b db3@c db4@d db5@e", 2)
	kept := claims("db1", "db2@b", 1)
	began := claims("db2", "", 0)
	for _, tt := range []struct {
		name string
		in   CompletenessInput
		want string
	}{
		// The formula.
		{"all of S heard", CompletenessInput{Term: pair, Heard: []Testimony{heardHost("db2", "A:1-9"), heardHost("db3", "A:1-8")}}, "enough_heard"},
		{
			"one of two, k = 1: it may be the other that has it",
			CompletenessInput{Term: pair, Heard: []Testimony{heardHost("db2", "A:1-9")}},
			"too_few_heard db1:silent db3:silent want 1",
		},
		{
			"three of four, k = 2",
			CompletenessInput{Term: wide, Heard: []Testimony{heardHost("db2", "A:1-9"), heardHost("db3", "A:1-9"), heardHost("db4", "A:1-5")}},
			"enough_heard",
		},
		{
			"two of four, k = 2",
			CompletenessInput{Term: wide, Heard: []Testimony{heardHost("db2", "A:1-9"), heardHost("db3", "A:1-9")}},
			"too_few_heard db1:silent db4:silent db5:silent want 1",
		},
		{
			"a member has received more",
			CompletenessInput{Term: pair, Heard: []Testimony{heardHost("db2", "A:1-8"), heardHost("db3", "A:1-9")}},
			"behind db1:silent fetch A:9 from db3",
		},
		{
			"what is received counts, applied or not",
			CompletenessInput{Term: pair, Heard: []Testimony{heardHost("db2", "A:1-9", appliedOnly("A:1-2")), heardHost("db3", "A:1-9")}},
			"enough_heard",
		},
		{
			"a host outside S holds less, or more: it proves nothing",
			CompletenessInput{Term: kept, Heard: []Testimony{heardHost("db2", "A:1-8"), heardHost("db3", "A:1-9")}},
			"enough_heard",
		},
		{
			"a candidate outside S that has fetched",
			CompletenessInput{Candidate: "db3", Term: kept, Heard: []Testimony{heardHost("db2", "A:1-9"), heardHost("db3", "A:1-9")}},
			"enough_heard",
		},
		{
			"a candidate outside S that has not",
			CompletenessInput{Candidate: "db3", Term: kept, Heard: []Testimony{heardHost("db2", "A:1-9"), heardHost("db3", "A:1-7")}},
			"behind db1:silent fetch A:8-9 from db2",
		},
		{
			"a candidate that is not sealed",
			CompletenessInput{Candidate: "db4", Term: pair, Heard: []Testimony{heardHost("db2", "A:1-9"), heardHost("db3", "A:1-9")}},
			"candidate_not_sealed db4:silent",
		},

		// C3, C4: a ghost that is in S, whose supervisor nobody reaches, is not heard.
		{"a ghost in S", CompletenessInput{Term: pair, Heard: []Testimony{heardHost("db2", "A:1-9")}}, "too_few_heard db1:silent db3:silent want 1"},
		// C6: a restarted replica may have lost relay log.
		{
			"the power came back, and the primary did not",
			CompletenessInput{Term: pair, Heard: []Testimony{heardHost("db2", "A:1-8", restarted), heardHost("db3", "A:1-8", restarted)}},
			"too_few_heard db1:silent db2:restarted db3:restarted want 2",
		},
		{
			"one of S had restarted before the primary died",
			CompletenessInput{Term: pair, Heard: []Testimony{heardHost("db2", "A:1-8", restarted), heardHost("db3", "A:1-8")}},
			"too_few_heard db1:silent db2:restarted want 1",
		},
		{
			"one of S had restarted, and k = 2 covers it",
			CompletenessInput{Candidate: "db3", Term: claims("db1", "db2@b db3@c", 2), Heard: []Testimony{heardHost("db2", "A:1-8", restarted), heardHost("db3", "A:1-9")}},
			"enough_heard",
		},
		{
			"the power came back, and so did the primary",
			CompletenessInput{Candidate: "db1", Term: pair, Heard: []Testimony{heardHost("db1", "A:1-9"), heardHost("db2", "A:1-8", restarted), heardHost("db3", "A:1-8", restarted)}},
			"primary_of_record",
		},
		{
			"a replica that holds all that the fenced primary holds",
			CompletenessInput{Term: pair, Heard: []Testimony{heardHost("db1", "A:1-9"), heardHost("db2", "A:1-9", restarted)}},
			"contains_primary",
		},
		{
			"the primary is back without 1/1",
			CompletenessInput{Candidate: "db1", Term: pair, Heard: []Testimony{heardHost("db1", "A:1-8", volatile), heardHost("db2", "A:1-8", restarted), heardHost("db3", "A:1-8", restarted)}},
			"too_few_heard db1:not_durable db2:restarted db3:restarted want 2",
		},
		{
			"the primary is back without 1/1, and its members have not restarted",
			CompletenessInput{Candidate: "db1", Term: pair, Heard: []Testimony{heardHost("db1", "A:1-8", volatile), heardHost("db2", "A:1-9"), heardHost("db3", "A:1-8")}},
			"behind db1:not_durable fetch A:9 from db2",
		},
		{
			"the fenced primary has what nobody acknowledged, and S is heard",
			CompletenessInput{Term: pair, Heard: []Testimony{heardHost("db1", "A:1-10"), heardHost("db2", "A:1-9"), heardHost("db3", "A:1-9")}},
			"enough_heard",
		},
		{
			"the fenced primary has more, and S is not heard",
			CompletenessInput{Term: pair, Heard: []Testimony{heardHost("db1", "A:1-10"), heardHost("db2", "A:1-9")}},
			"behind db3:silent want 1 fetch A:10 from db1",
		},

		// H1: S = ∅ must not be a door without a handle.
		{
			"the new primary died before anything; the old one is back",
			CompletenessInput{Candidate: "db1", Term: began, Kept: &kept, Heard: []Testimony{heardHost("db1", "A:1-9")}},
			"contains_kept_primary",
		},
		{
			"the new primary died before anything; a third holds what the old S holds",
			CompletenessInput{Candidate: "db3", Term: claims("db2", "", 0), Kept: &pair, Heard: []Testimony{heardHost("db3", "A:1-9")}},
			"too_few_heard db1:silent db2:silent want 1",
		},
		{
			"its own restart",
			CompletenessInput{Term: began, Kept: &kept, Heard: []Testimony{heardHost("db2", "A:1-9", restarted)}},
			"primary_of_record",
		},
		{
			"its own restart, without 1/1",
			CompletenessInput{Term: began, Kept: &kept, Heard: []Testimony{heardHost("db2", "A:1-8", restarted, volatile)}},
			"too_few_heard db1:silent db2:not_durable want 1",
		},
		{
			"by the S of the last term that counted",
			CompletenessInput{Candidate: "db4", Term: claims("db2", "", 0), Kept: &wide, Heard: []Testimony{heardHost("db3", "A:1-9"), heardHost("db4", "A:1-9"), heardHost("db5", "A:1-9")}},
			"enough_heard_of_kept",
		},
		{
			"by the new primary, fenced",
			CompletenessInput{Candidate: "db3", Term: began, Kept: &kept, Heard: []Testimony{heardHost("db2", "A:1-9", restarted), heardHost("db3", "A:1-9")}},
			"contains_primary",
		},
		{
			"S has left ∅: what is kept by mistake does not count",
			CompletenessInput{Candidate: "db1", Term: claims("db2", "db3@c", 1), Kept: &kept, Heard: []Testimony{heardHost("db1", "A:1-9")}},
			"too_few_heard db2:silent db3:silent want 1",
		},
		{
			"S = ∅ and nothing kept",
			CompletenessInput{Candidate: "db1", Term: began, Heard: []Testimony{heardHost("db1", "A:1-9"), heardHost("db3", "A:1-9")}},
			"nothing_kept db2:silent",
		},
		{"no term has begun", CompletenessInput{Candidate: "db1", Heard: []Testimony{heardHost("db1", "A:1-9")}}, "nothing_kept"},

		// when_alone: continue.
		{
			"the primary was alone",
			CompletenessInput{Term: claims("db1", "", 0, alone), Heard: []Testimony{heardHost("db2", "A:1-9"), heardHost("db3", "A:1-9")}, LastSeen: gtids("A:1-12")},
			"primary_was_alone db1:silent lose 3",
		},
		{
			"the primary was alone, whatever is kept by mistake",
			CompletenessInput{Term: claims("db1", "", 0, alone), Kept: &kept, Heard: []Testimony{heardHost("db2", "A:1-9")}},
			"primary_was_alone db1:silent",
		},
		{
			"the primary was alone, and is heard",
			CompletenessInput{Term: claims("db1", "", 0, alone), Heard: []Testimony{heardHost("db1", "A:1-12"), heardHost("db2", "A:1-9")}},
			"behind fetch A:10-12 from db1",
		},
		{
			"the lone primary's successor died at once",
			CompletenessInput{Candidate: "db1", Term: began, Kept: &Claims{Primary: "db1", Alone: true}, Heard: []Testimony{heardHost("db1", "A:1-9")}},
			"contains_kept_primary",
		},
		{
			"the lone primary's successor died at once, and who is left is neither",
			CompletenessInput{Candidate: "db3", Term: began, Kept: &Claims{Primary: "db1", Alone: true}, Heard: []Testimony{heardHost("db3", "A:1-9")}},
			"primary_was_alone db1:silent db2:silent",
		},

		// H7: errant transactions.
		{
			"a FLUSH TABLES on a member, known to the record",
			CompletenessInput{Term: claims("db1", "db2@b db3@c", 1, marked("db3", "B:1")), Heard: []Testimony{heardHost("db2", "A:1-9"), heardHost("db3", "A:1-9,B:1")}},
			"enough_heard",
		},
		{
			"a FLUSH TABLES on a member, known to its supervisor",
			CompletenessInput{Term: pair, Heard: []Testimony{heardHost("db2", "A:1-9"), heardHost("db3", "A:1-9,B:1", knowsErrant("B:1"))}},
			"enough_heard",
		},
		{
			"what the primary had not reported, and did not begin",
			CompletenessInput{Term: pair, Heard: []Testimony{heardHost("db2", "A:1-9"), heardHost("db3", "A:1-9,B:1", takesForErrant("B:1"))}},
			"behind db1:silent fetch B:1 from db3",
		},
		{
			"the same, and an operator gives it up",
			CompletenessInput{Term: pair, Accepted: &Acceptance{}, Heard: []Testimony{heardHost("db2", "A:1-9"), heardHost("db3", "A:1-9,B:1", takesForErrant("B:1"))}},
			"accepted_loss",
		},
		{
			"a FLUSH TABLES on a member that nobody knows to be one",
			CompletenessInput{Term: pair, Heard: []Testimony{heardHost("db2", "A:1-9"), heardHost("db3", "A:1-9,B:1")}},
			"behind db1:silent fetch B:1 from db3",
		},
		{
			"what is errant hides nothing else",
			CompletenessInput{Term: claims("db1", "db2@b db3@c", 1, marked("db3", "B:1")), Heard: []Testimony{heardHost("db2", "A:1-8"), heardHost("db3", "A:1-9,B:1")}},
			"behind db1:silent fetch A:9 from db3",
		},

		// M7: MariaDB waits for one acknowledgement, whatever the record says.
		{
			"MariaDB, and a record that claims k = 2",
			CompletenessInput{Term: claims("db1", "db2@b db3@c", 2), MaxAcks: 1, Heard: []Testimony{heardHost("db2", "0-1-9")}},
			"too_few_heard db1:silent db3:silent want 1",
		},
		{
			"MariaDB, all of S heard",
			CompletenessInput{Term: pair, MaxAcks: 1, Heard: []Testimony{heardHost("db2", "0-1-9"), heardHost("db3", "0-1-8")}},
			"enough_heard",
		},
		{
			"MariaDB, a member has more",
			CompletenessInput{Term: pair, MaxAcks: 1, Heard: []Testimony{heardHost("db2", "0-1-8"), heardHost("db3", "0-1-9")}},
			"behind db1:silent fetch 0-1-9..9 from db3",
		},

		// An operator decides.
		{
			"loss accepted",
			CompletenessInput{Term: pair, Accepted: &Acceptance{}, Heard: []Testimony{heardHost("db2", "A:1-9")}},
			"accepted_loss",
		},
		{
			"loss of what nobody holds accepted; a host outside S holds more",
			CompletenessInput{Term: pair, Accepted: &Acceptance{}, Heard: []Testimony{heardHost("db2", "A:1-8"), heardHost("db4", "A:1-9")}},
			"too_few_heard db1:silent db3:silent want 1 fetch A:9 from db4",
		},
		{
			"loss accepted for this candidate, whatever it lacks",
			CompletenessInput{Term: pair, Accepted: &Acceptance{To: "db2"}, Heard: []Testimony{heardHost("db2", "A:1-8"), heardHost("db4", "A:1-9")}},
			"accepted_loss_named_node",
		},
		{
			"loss accepted for another candidate",
			CompletenessInput{Term: pair, Accepted: &Acceptance{To: "db3"}, Heard: []Testimony{heardHost("db2", "A:1-9")}},
			"too_few_heard db1:silent db3:silent want 1",
		},
		{
			"loss accepted, and none is needed",
			CompletenessInput{Term: pair, Accepted: &Acceptance{To: "db2"}, Heard: []Testimony{heardHost("db2", "A:1-9"), heardHost("db3", "A:1-9")}},
			"enough_heard",
		},
		{
			"loss accepted for who is not sealed",
			CompletenessInput{Candidate: "db4", Term: pair, Accepted: &Acceptance{To: "db4"}, Heard: []Testimony{heardHost("db2", "A:1-9")}},
			"candidate_not_sealed db4:silent",
		},
		{
			"what may be lost is counted without what anybody holds",
			CompletenessInput{Term: pair, LastSeen: gtids("A:1-12"), Heard: []Testimony{heardHost("db2", "A:1-9"), heardHost("db4", "A:1-10")}},
			"too_few_heard db1:silent db3:silent want 1 lose 2",
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if tt.in.Candidate == "" {
				tt.in.Candidate = "db2"
			}
			got := Complete(tt.in)
			if answer(got) != tt.want {
				t.Errorf("got %s\nwant %s\nin words: %s", answer(got), tt.want, got)
			}
			slices.Reverse(tt.in.Heard)
			if again := Complete(tt.in); answer(again) != tt.want {
				t.Errorf("in another order: %s", answer(again))
			}
		})
	}
}

func TestCompletenessInWords(t *testing.T) {
	pair := claims("db1", "db2@b db3@c", 1)
	for _, tt := range []struct {
		in   CompletenessInput
		want string
	}{
		{
			CompletenessInput{Candidate: "db2", Term: pair, LastSeen: gtids("A:1-12"), Heard: []Testimony{heardHost("db2", "A:1-9")}},
			"too_few_heard: db1 is silent, db3 is silent; 1 more of S or the primary must be heard, or an operator decides (failover --accept-loss: at least 3 transactions may be lost)",
		},
		{
			CompletenessInput{Candidate: "db2", Term: claims("db1", "", 0, alone), Heard: []Testimony{heardHost("db2", "A:1-9")}},
			"primary_was_alone: db1 is silent; the primary must be heard, or an operator decides (failover --accept-loss)",
		},
		{
			CompletenessInput{Candidate: "db2", Term: pair, Heard: []Testimony{heardHost("db2", "A:1-8"), heardHost("db3", "A:1-9")}},
			"behind: db3 holds A:9: to be fetched first",
		},
		{CompletenessInput{Candidate: "db2", Term: pair}, "candidate_not_sealed: db2 is silent"},
		{CompletenessInput{Candidate: "db2", Term: pair, Heard: []Testimony{heardHost("db2", ""), heardHost("db3", "")}}, "enough_heard"},
	} {
		if got := strings.ReplaceAll(Complete(tt.in).String(), sourceA, "A"); got != tt.want {
			t.Errorf("got  %s\nwant %s", got, tt.want)
		}
	}
}

// world is a term as it really was: who holds what, and what clients were told.
type world struct {
	in   CompletenessInput
	told gtid.Set
}

// drawWorld makes a term in which each transaction that was told is on the primary and on k members
// of S. Members may have restarted and lost the end of their log; hosts may be silent.
func drawWorld(t *rapid.T) world {
	size := rapid.IntRange(1, 4).Draw(t, "|S|")
	k := rapid.IntRange(1, size).Draw(t, "k")
	term := Claims{Primary: "db1", Acks: k, Alone: rapid.IntRange(0, 5).Draw(t, "alone") == 0}
	logs := make([]int, 6) // how many of the primary's transactions each host has received
	written := rapid.IntRange(0, 6).Draw(t, "written")
	logs[0] = written
	for i := 1; i < len(logs); i++ {
		logs[i] = rapid.IntRange(0, written).Draw(t, "received")
	}
	told := written
	if !term.Alone {
		for i := 1; i <= size; i++ {
			term.Synced = append(term.Synced, Synced{Node: fmt.Sprintf("db%d", i+1), Start: "p"})
		}
		members := slices.Sorted(slices.Values(logs[1 : size+1]))
		told = members[size-k] // on at least k of them
	} else {
		term.Acks = 0
	}
	in := CompletenessInput{Term: term, Candidate: fmt.Sprintf("db%d", rapid.IntRange(1, len(logs)).Draw(t, "candidate"))}
	set := func(n int) gtid.Set {
		if n == 0 {
			return gtid.Set{}
		}
		return gtids(fmt.Sprintf("A:1-%d", n))
	}
	for i, n := range logs {
		if rapid.IntRange(0, 3).Draw(t, "silent") == 0 {
			continue
		}
		h := Testimony{Node: fmt.Sprintf("db%d", i+1), Start: "p", Durable: true}
		if rapid.IntRange(0, 3).Draw(t, "restarted") == 0 {
			h.Start = "q"
			if i == 0 {
				h.Durable = rapid.Bool().Draw(t, "durable")
			}
			if i > 0 || !h.Durable {
				n = rapid.IntRange(0, n).Draw(t, "left")
			}
		}
		h.Received = set(n)
		h.Executed = set(rapid.IntRange(0, n).Draw(t, "executed"))
		in.Heard = append(in.Heard, h)
	}
	w := world{in, set(told)}
	// The term may be over, and one begun in which nothing was acknowledged.
	if rapid.Bool().Draw(t, "kept") {
		kept := w.in.Term
		w.in.Kept = &kept
		primary := rapid.IntRange(1, 6).Draw(t, "new primary")
		w.in.Term = Claims{Primary: fmt.Sprintf("db%d", primary)}
		for i, h := range w.in.Heard {
			if h.Node == w.in.Term.Primary && primary != 1 {
				// It was complete when it began, and has kept that if it is durable.
				if h.Durable = h.Start == "p" || rapid.Bool().Draw(t, "new primary durable"); h.Durable {
					w.in.Heard[i].Received = h.Received.Union(w.told)
				}
				w.in.Heard[i].Durable = h.Durable
			}
		}
	}
	return w
}

func (w world) candidateHolds() gtid.Set {
	for _, h := range w.in.Heard {
		if h.Node == w.in.Candidate {
			return h.held()
		}
	}
	return gtid.Set{}
}

// TestCompleteLosesNothing: whoever may promote holds all that anybody was told.
func TestCompleteLosesNothing(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := drawWorld(t)
		if c := Complete(w.in); c.Allowed && !w.candidateHolds().Contains(w.told) {
			t.Fatalf("%s may promote (%s) and lacks %s", w.in.Candidate, c, w.told.Subtract(w.candidateHolds()))
		}
	})
}

// TestCompleteLaws: the order of the hosts does not matter; what a shortfall asks for helps; a host
// more that is heard never makes a complete candidate incomplete for want of hearing.
func TestCompleteLaws(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := drawWorld(t)
		c := Complete(w.in)
		other := w.in
		other.Heard = rapid.Permutation(w.in.Heard).Draw(t, "order")
		if again := Complete(other); answer(again) != answer(c) {
			t.Fatalf("%s, and in another order %s", answer(c), answer(again))
		}
		if c.Allowed != (c.Way != "") || c.Allowed == (c.Short != "") {
			t.Fatalf("not one of way and shortfall: %+v", c)
		}
		if c.Short == ShortBehind {
			for i := range other.Heard {
				if other.Heard[i].Node == other.Candidate {
					for _, l := range c.Lacks {
						other.Heard[i].Received = other.Heard[i].Received.Union(l.Set)
					}
				}
			}
			if again := Complete(other); !again.Allowed {
				t.Fatalf("%s, and after the fetch %s", answer(c), answer(again))
			}
		}
		if c.Short == ShortUnheard && c.Wanted > 0 {
			// Were the missing members back as the record knows them, only a fetch could be missing.
			for _, m := range c.Missing {
				other.Heard = slices.DeleteFunc(other.Heard, func(h Testimony) bool { return h.Node == m.Node })
				h := Testimony{Node: m.Node, Start: "p"}
				if m.Node == other.Candidate {
					h.Received = w.candidateHolds()
				}
				other.Heard = append(other.Heard, h)
			}
			if again := Complete(other); !again.Allowed && again.Short != ShortBehind {
				t.Fatalf("%s, and when they are back %s", answer(c), answer(again))
			}
		}
		w.in.Accepted = &Acceptance{To: w.in.Candidate}
		if again := Complete(w.in); !again.Allowed && again.Short != ShortNotSealed {
			t.Fatalf("an operator has decided for %s, and %s", w.in.Candidate, answer(again))
		}
	})
}
