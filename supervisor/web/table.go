// SPDX-License-Identifier: Apache-2.0

package web

import (
	"bytes"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"
	"unicode"
)

// SGR sequences (ECMA-48 §8.3.117).
const (
	sgrReset  = "\x1b[0m"
	sgrBold   = "\x1b[1m"
	sgrRed    = "\x1b[31m"
	sgrGreen  = "\x1b[32m"
	sgrYellow = "\x1b[33m"
)

// Table prints the status for people. With color, lines that need attention are colored by SGR sequences.
func (s Status) Table(w io.Writer, color bool) error {
	var b bytes.Buffer
	line := func(sgr, text string) {
		text = printable(text)
		if color && sgr != "" {
			text = sgr + text + sgrReset
		}
		b.WriteString(text + "\n")
	}
	line(s.Level.sgr(), s.Summary)
	if s.NextStep != "" {
		line(sgrBold, "Next: "+s.NextStep)
	}
	line("", "")
	line("", fmt.Sprintf("Cluster %s, term %d, authority %s, durability %s, seen from %s at %s",
		s.Cluster, s.Term, s.Authority, s.Durability, s.Node, s.At.UTC().Format(time.RFC3339)))
	if s.Lossless != nil {
		line("", s.Lossless.sentence())
	}
	line("", "")
	for i, row := range s.rows() {
		sgr := sgrBold
		if i > 0 {
			sgr = s.Hosts[i-1].sgr()
		}
		line(sgr, row)
	}
	for _, f := range []struct {
		name string
		f    *Failover
	}{{"Running", s.Running}, {"Last", s.LastFailover}} {
		if f.f != nil {
			line("", "")
			line("", f.name+" "+f.f.sentence())
		}
	}
	if len(s.History) > 0 {
		line("", "")
	}
	for _, text := range s.recent() {
		line("", text)
	}
	if len(s.Notices) > 0 {
		line("", "")
	}
	for _, n := range s.Notices {
		line("", "Note: "+n)
	}
	_, err := w.Write(b.Bytes())
	return err
}

// rows are the aligned lines of the table of hosts, the header first. They are colored afterwards: text/tabwriter would count the
// sequences as text.
func (s Status) rows() []string {
	var b bytes.Buffer
	t := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, strings.Join(columns, "\t"))
	for i := range s.Hosts {
		cells := s.Hosts[i].cells()
		for j := range cells {
			cells[j] = printable(cells[j])
		}
		fmt.Fprintln(t, strings.Join(cells, "\t"))
	}
	_ = t.Flush() // to memory
	rows := strings.Split(strings.TrimRight(b.String(), "\n"), "\n")
	for i := range rows {
		rows[i] = strings.TrimRight(rows[i], " ")
	}
	return rows
}

var columns = []string{"HOST", "ROLE", "VIP", "VRRP", "PRIO", "SERVER", "HEALTH", "LAG", "QUEUE", "BEHIND", "HEARD", "NOTES"}

func (h *Host) cells() []string {
	name := h.Name
	if h.Self {
		name += "*"
	}
	heard := "never"
	if h.HeardSeconds != nil {
		heard = seconds(*h.HeardSeconds)
	}
	if h.Self {
		heard = "-"
	}
	if !h.Up { // what it was is no news; what it is nobody here knows
		return []string{name, h.Role + "?", "?", "?", fmt.Sprint(h.Priority), dash(h.ServerVersion), "?", "?", "?", "?", heard, h.notes()}
	}
	vip, lag, behind, queue := "-", "-", "-", "-"
	if h.VIPHeld {
		vip = "held " + seconds(h.LeaseSeconds)
	}
	if h.Role != rolePrimary && !h.Witness {
		lag, behind, queue = "?", "?", fmt.Sprint(h.Queue)
		if h.LagSeconds != nil {
			lag = seconds(*h.LagSeconds)
		}
		if h.Behind != nil {
			behind = fmt.Sprint(*h.Behind)
		}
	}
	role := h.Role
	if h.Witness {
		role = "witness"
	}
	return []string{
		name, role, vip, dash(h.VRRPState), fmt.Sprint(h.Priority), dash(h.ServerVersion), dash(h.Health), lag, queue, behind, heard, h.notes(),
	}
}

func dash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

func (h *Host) notes() string {
	var notes []string
	if !h.Up {
		notes = append(notes, "not heard")
	}
	if h.Synced {
		notes = append(notes, "synced")
	}
	if h.NoFailover {
		notes = append(notes, "nofailover")
	}
	if h.Held {
		notes = append(notes, "held")
		if h.HeldWhy != "" {
			notes = append(notes, shorten(h.HeldWhy, 80))
		}
	}
	if h.Refusal != "" {
		notes = append(notes, h.Refusal)
	}
	notes = append(notes, h.Reasons...)
	notes = append(notes, h.Warnings...)
	if h.Errant != "" {
		notes = append(notes, "errant "+shorten(h.Errant, 80))
	}
	return strings.Join(notes, ", ")
}

// sentence says what a commit waits for.
func (l *Lossless) sentence() string {
	text := ""
	switch {
	case l.Alone:
		text = "The primary commits alone: nobody else surely holds what it acknowledges"
	case len(l.Synced) == 0:
		text = "Commits wait: no replica may acknowledge yet"
	default:
		text = fmt.Sprintf("Each commit waits for %d of %s", l.Acks, join(l.Synced))
	}
	if l.Change != "" {
		text += " (change under way: " + l.Change + ")"
	}
	return text
}

// sentence tells a failover in one line.
func (f *Failover) sentence() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s, term %d", strings.ReplaceAll(f.Kind, "_", " "), f.ID, f.Term)
	if f.From != "" {
		b.WriteString(", from " + f.From)
	}
	if f.To != "" {
		b.WriteString(", to " + f.To)
	}
	fmt.Fprintf(&b, " (%s), at %s, %s", f.Cause, f.Started.UTC().Format(time.RFC3339), seconds(f.TookSeconds))
	switch f.Result {
	case "":
		b.WriteString(" so far")
	case "done":
	default:
		b.WriteString(", " + f.Result + " at " + f.Door + because(nonEmpty(f.Reason)))
	}
	for i, d := range f.Doors {
		sep := ", "
		if i == 0 {
			sep = ": "
		}
		b.WriteString(sep + d.Door + " " + seconds(d.TookSeconds))
	}
	return b.String()
}

func nonEmpty(s string) []string {
	if s == "" {
		return nil
	}
	return []string{s}
}

func (l Level) sgr() string {
	switch l {
	case LevelOK:
		return sgrGreen
	case LevelWarning:
		return sgrYellow
	}
	return sgrRed
}

func (h *Host) sgr() string {
	switch {
	case !h.Up, h.Health == healthDead:
		return sgrRed
	case h.Held, !h.Eligible && !h.Witness && !h.NoFailover && h.Role != rolePrimary:
		return sgrYellow
	case h.Role == rolePrimary:
		return sgrGreen
	}
	return ""
}

// seconds reads well from milliseconds to hours.
func seconds(s float64) string {
	switch {
	case s < 10:
		return fmt.Sprintf("%.2fs", s)
	case s < 100:
		return fmt.Sprintf("%.0fs", s)
	}
	return time.Duration(s * float64(time.Second)).Round(time.Second).String()
}

func shorten(s string, n int) string {
	if len(s) <= n {
		return s
	}
	return s[:n] + "..."
}

// printable keeps what other hosts and servers say from moving the cursor.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return '?'
	}, s)
}
