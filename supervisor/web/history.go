// SPDX-License-Identifier: Apache-2.0

package web

import (
	"bytes"
	"fmt"
	"io"
	"slices"
	"text/tabwriter"
	"time"
)

// Pause says who stopped failovers that nobody orders, and for how long. Times are the clock's of the host that led then.
type Pause struct {
	By    string     `json:"by"` // user@node
	Since time.Time  `json:"since"`
	Until *time.Time `json:"until,omitempty"` // null: until somebody resumes
	Why   string     `json:"why,omitempty"`
}

// Move is a change of the primary as the cluster record tells it.
type Move struct {
	At     time.Time `json:"at"` // by the new primary's clock
	Term   uint64    `json:"term"`
	From   string    `json:"from"`
	To     string    `json:"to"`
	Kind   string    `json:"kind"`             // failover or switchover
	Reason string    `json:"reason,omitempty"` // reason code
	Loss   bool      `json:"loss,omitempty"`   // an operator accepted the loss of acknowledged transactions
}

// Member is a supervisor that votes, or will when it has caught up.
type Member struct {
	Name    string `json:"name"`
	ID      uint64 `json:"id"` // raft's
	Witness bool   `json:"witness,omitempty"`
	Votes   bool   `json:"votes"`
}

func (p *Pause) sentence() string {
	if p == nil {
		return "Paused: nothing moves by itself."
	}
	text := "Paused by " + p.By + " since " + stamp(p.Since)
	if p.Until != nil {
		text += " until " + stamp(*p.Until)
	}
	return text + because(nonEmpty(p.Why)) + ": nothing moves by itself."
}

func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339) }

// recentMoves is how many lines of history the status shows.
const recentMoves = 3

// recent tells the last moves, the newest first.
func (s Status) recent() []string {
	var lines []string
	for i := len(s.History) - 1; i >= 0 && len(lines) < recentMoves; i-- {
		m := s.History[i]
		text := fmt.Sprintf("History: %s, term %d, %s from %s to %s", stamp(m.At), m.Term, m.Kind, m.From, m.To) + because(nonEmpty(m.Reason))
		if m.Loss {
			text += ", loss accepted"
		}
		lines = append(lines, text)
	}
	return lines
}

// HistoryTable prints the moves that the cluster record remembers, the newest first.
func (s Status) HistoryTable(w io.Writer) error {
	rows := [][]string{{"TIME", "TERM", "FROM", "TO", "KIND", "REASON", "LOSS"}}
	for i := len(s.History) - 1; i >= 0; i-- {
		m := s.History[i]
		loss := "-"
		if m.Loss {
			loss = "accepted"
		}
		rows = append(rows, []string{stamp(m.At), fmt.Sprint(m.Term), m.From, m.To, m.Kind, dash(m.Reason), loss})
	}
	return table(w, rows)
}

// MemberTable prints the members that the cluster record has.
func (s Status) MemberTable(w io.Writer) error {
	rows := [][]string{{"NAME", "ID", "KIND", "VOTES"}}
	for _, m := range s.Members {
		kind, votes := "server", "yes"
		if m.Witness {
			kind = "witness"
		}
		if !m.Votes {
			votes = "not yet"
		}
		rows = append(rows, []string{m.Name, fmt.Sprint(m.ID), kind, votes})
	}
	return table(w, rows)
}

// table prints rows below one another, without what moves the cursor.
func table(w io.Writer, rows [][]string) error {
	var b bytes.Buffer
	tabs := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	for _, row := range rows {
		for i, cell := range row {
			if i > 0 {
				fmt.Fprint(tabs, "\t")
			}
			fmt.Fprint(tabs, printable(cell))
		}
		fmt.Fprintln(tabs)
	}
	if err := tabs.Flush(); err != nil {
		return err
	}
	_, err := w.Write(b.Bytes())
	return err
}

// Unmatched names the nodes that only one of the configuration and the cluster record has.
func Unmatched(listed []string, members []Member) []string {
	var names []string
	for _, name := range listed {
		if !slices.ContainsFunc(members, func(m Member) bool { return m.Name == name }) {
			names = append(names, name+" is only configured")
		}
	}
	for _, m := range members {
		if !slices.Contains(listed, m.Name) {
			names = append(names, m.Name+" is only in the record")
		}
	}
	return names
}
