// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// row is what came of one scenario.
type row struct {
	scenario
	rounds []round
}

func (w row) wrong() []string {
	var all []string
	for _, r := range w.rounds {
		all = append(all, r.wrong...)
	}
	return all
}

// sum adds up what the rounds have.
func (w row) sum(of func(round) int) int {
	n := 0
	for _, r := range w.rounds {
		n += of(r)
	}
	return n
}

// worst is the longest that any round has.
func (w row) worst(of func(round) time.Duration) time.Duration {
	var longest time.Duration
	for _, r := range w.rounds {
		longest = max(longest, of(r))
	}
	return longest
}

// who says who is primary.
func (w row) who() string {
	moved := w.sum(func(r round) int { return min(r.moves, 1) })
	switch r := w.rounds[0]; {
	case len(w.rounds) > 1:
		return fmt.Sprintf("moved %d of %d times", moved, len(w.rounds))
	case !r.well:
		return "?"
	case r.from != r.to:
		return r.from + " → " + r.to
	case r.moves > 0:
		return r.from + ", after " + count(r.moves, "move")
	default:
		return r.from + " stays"
	}
}

// back says how servers came back that could not by themselves.
func (w row) back() string {
	var words []string
	if n := w.sum(func(r round) int { return r.cloned }); n > 0 {
		words = append(words, fmt.Sprintf("rebuilt by itself: %d", n))
	}
	held := map[string]int{}
	for _, r := range w.rounds {
		for _, why := range r.heldFor {
			held[why]++
		}
	}
	var codes []string
	for code, n := range held {
		codes = append(codes, fmt.Sprintf("held `%s`: %d", code, n))
	}
	slices.Sort(codes)
	words = append(words, codes...)
	for _, r := range w.rounds {
		if r.crashLoop {
			words = append(words, "taken in after a crash loop")
		}
	}
	if len(words) == 0 {
		return "–"
	}
	return strings.Join(words, ", ")
}

// verdict is one word, or what is wrong.
func (w row) verdict() string {
	if wrong := w.wrong(); len(wrong) > 0 {
		return "**" + strings.ReplaceAll(strings.Join(wrong, "; "), "|", "\\|") + "**"
	}
	if slices.ContainsFunc(w.rounds, func(r round) bool { return r.rebuilt > 0 || r.crashLoop }) {
		return "ok, by hand"
	}
	return "ok"
}

// matrixTable is the matrix of one cluster as Markdown.
func matrixTable(of setup, version string, rows []row, took time.Duration) string {
	var text strings.Builder
	rounds, acks, lost, overlapping, wrong := 0, 0, 0, 0, 0
	for _, w := range rows {
		rounds += len(w.rounds)
		acks += w.sum(func(r round) int { return r.acks })
		lost += w.sum(func(r round) int { return r.lost })
		overlapping += w.sum(func(r round) int { return r.overlapping })
		if len(w.wrong()) > 0 {
			wrong++
		}
	}
	fmt.Fprintf(&text, "### %s (%s)\n\n", of, version)
	fmt.Fprintf(&text, "%s in %s: %d rows acknowledged, %d lost, %d by two servers at once; %d of %d faults went wrong.\n\n",
		count(rounds, "round"), took.Round(time.Second), acks, lost, overlapping, wrong, len(rows))
	text.WriteString("| fault | outage | lost | overlapping | VIP twice | primary | healed in | came back | verdict |\n")
	text.WriteString("| --- | --- | --- | --- | --- | --- | --- | --- | --- |\n")
	for _, w := range rows {
		fmt.Fprintf(&text, "| %s | %s | %d | %d | %s | %s | %s | %s | %s |\n", w.name,
			seconds(w.worst(func(r round) time.Duration { return r.outage })), w.sum(func(r round) int { return r.lost }),
			w.sum(func(r round) int { return r.overlapping }), seconds(w.worst(func(r round) time.Duration { return r.twice })),
			w.who(), seconds(w.worst(func(r round) time.Duration { return r.recovery })), w.back(), w.verdict())
	}
	return text.String()
}
