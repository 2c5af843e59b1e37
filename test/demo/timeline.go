// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"strings"
	"time"

	"highwater/election"
	"highwater/mysqlcheck"
	"highwater/supervisor/journal"
	"highwater/test/cluster"
	"highwater/test/lab"
)

// mark is one line of the timeline.
type mark struct {
	at   time.Duration // CLOCK_BOOTTIME
	host string
	door string
	text string
	sgr  string
}

// Doors as the timeline shows them.
const (
	doorSilence      = "1 silence"
	doorHealth       = "2 health"
	doorAuthority    = "3 authority"
	doorCompleteness = "4 completeness"
	doorPromotion    = "5 promotion"
	doorClaim        = "claim"
)

// journalMarks reads what the supervisors of some hosts wrote down at and after from.
func journalMarks(c *cluster.Cluster, from time.Duration, hosts ...*lab.Host) ([]mark, error) {
	var all []mark
	for _, h := range hosts {
		for r, err := range journal.ReadDir(c.StateDir(h)) {
			var damage *journal.DamageError
			switch {
			case errors.As(err, &damage): // the end of a host that lost its power
				continue
			case err != nil:
				return nil, err
			}
			told, err := tell(h.Name(), r)
			if err != nil {
				return nil, fmt.Errorf("read the journal of %s: %w", h, err)
			}
			all = append(all, told...)
		}
		steps, err := logMarks(c.LogFile(h), h.Name())
		if err != nil {
			return nil, err
		}
		all = append(all, steps...)
	}
	return slices.DeleteFunc(all, func(m mark) bool { return m.at < from }), nil
}

// tell turns one record of the journal of a host into sentences.
func tell(host string, r journal.Record) ([]mark, error) {
	var marks []mark
	add := func(door, sgr, format string, args ...any) {
		marks = append(marks, mark{at: r.At, host: host, door: door, sgr: sgr, text: fmt.Sprintf(format, args...)})
	}
	var gap journal.Gap
	if json.Unmarshal(r.Event, &gap) == nil && gap.Type == journal.GapType {
		add("", sgrDim, "%d records of the journal are missing here", gap.Dropped)
		return marks, nil
	}
	event, err := election.UnmarshalEvent(r.Event)
	if err != nil {
		return nil, err
	}
	if e, ok := event.(election.ReleaseEnded); ok && e.Err == "" {
		add("", "", "the VIP is off, and its sockets are gone")
	}
	for _, raw := range r.Actions {
		var action struct {
			Type string          `json:"type"`
			Body json.RawMessage `json:"body"`
		}
		if err := json.Unmarshal(raw, &action); err != nil {
			return nil, fmt.Errorf("decode action: %w", err)
		}
		if action.Type != "Record" {
			continue
		}
		var rec election.Record
		if err := json.Unmarshal(action.Body, &rec); err != nil {
			return nil, fmt.Errorf("decode record: %w", err)
		}
		tellRecord(rec, add)
	}
	return marks, nil
}

// silence says what opened door 1.
func silence(cause string) string {
	switch cause {
	case "silence":
		return "nothing was heard of the primary"
	case string(election.CodeHandedOver):
		return "the right is handed over"
	default:
		return cause
	}
}

// tellRecord tells one record of the Machine. What only repeats another line is left out.
func tellRecord(r election.Record, add func(door, sgr, format string, args ...any)) {
	switch r.Code {
	case election.CodeFarewell:
		add(doorSilence, "", "%s says farewell (%s)", r.Node, r.Detail)
	case election.CodeStood:
		if r.Detail != string(election.CodeFarewell) { // which has a line of its own
			add(doorSilence, sgrBold, "%s", silence(r.Detail))
		}
		add(doorHealth, sgrBold, "its own verdict is fresh, and good")
		add(doorAuthority, sgrBold, "stands for term %d", r.Term)
	case election.CodeGathered:
		_, why, _ := strings.Cut(r.Detail, ", ") // what comes first is that this host is the winner
		add(doorCompleteness, sgrBold, "chosen: %s", why)
	case election.CodePromoted:
		add(doorPromotion, sgrBold, "its server accepts writes")
	case election.CodeClaimed:
		add(doorClaim, sgrGreen, "carries the VIP and announces it")
	case election.CodeSealed:
		if r.Detail == "" {
			add("", "", "is sealed for term %d: its receiver is stopped", r.Term)
		} else {
			add("", sgrYellow, "%s", r.Detail)
		}
	case election.CodeServerExited:
		add("", "", "the server process is gone; the VIP stays to refuse connections at once")
	case election.CodeReleased:
		add("", "", "gives up the right (%s)", r.Detail)
	case election.CodeDemoted:
		add("", "", "its server is read-only, its clients are gone (%s)", r.Detail)
	case election.CodeFollowing:
		add("", "", "follows %s", r.Node)
	case election.CodeNewPrimary:
		// Told by the claim of that host.
	case election.CodeHeldErrant:
		add("", sgrYellow, "is held: it has %s, which %s has not", r.Detail, r.Node)
	case election.CodeStarted:
		add("", "", "highwater starts")
	case election.CodeResumed:
		add("", sgrGreen, "is the primary still: nothing moved")
	case election.CodeStopping:
		add("", "", "highwater stops (%s)", cmp.Or(r.Detail, "hands over first"))
	default:
		sgr, text := "", string(r.Code)
		if r.Door > 0 {
			sgr, text = sgrDim, "shut: "+text
		}
		if r.Node != "" {
			text += " " + r.Node
		}
		if r.Detail != "" {
			text += " (" + r.Detail + ")"
		}
		add(doorName(r.Door), sgr, "%s", text)
	}
}

func doorName(n int) string {
	return [...]string{"", doorSilence, doorHealth, doorAuthority, doorCompleteness, doorPromotion, doorClaim}[n]
}

// logMarks reads the steps of promotions from a supervisor's log: the journal has door 5 as one.
func logMarks(path, host string) ([]mark, error) {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close() //nolint:errcheck // only read
	return stepMarks(f, host, time.Now().Add(-mysqlcheck.Boottime()))
}

// stepMarks reads the steps of promotions from a log whose clock read boot at CLOCK_BOOTTIME 0.
func stepMarks(r io.Reader, host string, boot time.Time) ([]mark, error) {
	var marks []mark
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		line := lines.Text()
		if !strings.Contains(line, " msg=promote.step ") {
			continue
		}
		at, err := time.Parse(time.RFC3339Nano, field(line, "time"))
		if err != nil {
			return nil, fmt.Errorf("read the log of %s: %w", host, err)
		}
		took, err := time.ParseDuration(field(line, "took"))
		if err != nil {
			return nil, fmt.Errorf("read the log of %s: %w", host, err)
		}
		text := stepText(field(line, "step"))
		if took >= time.Millisecond {
			text += ": " + short(took)
		}
		marks = append(marks, mark{at: at.Sub(boot), host: host, sgr: sgrDim, text: "  " + text})
	}
	return marks, lines.Err()
}

// stepText says a step of package promote in words.
func stepText(step string) string {
	switch step {
	case "sealed":
		return "receiver stopped"
	case "drain":
		return "everything received is applied"
	case "wait_for_lease":
		return "waited until the old primary's lease has surely ended"
	case "semi_sync":
		return "semi-sync is on"
	case "open_writes":
		return "writes are opened"
	case "read_back":
		return "writability is read back"
	default:
		return strings.ReplaceAll(step, "_", " ")
	}
}

// field returns the value of an unquoted attribute of a line of slog's text.
func field(line, key string) string {
	_, rest, found := strings.Cut(" "+line, " "+key+"=")
	if !found {
		return ""
	}
	value, _, _ := strings.Cut(rest, " ")
	return value
}

// show prints marks in their order, in milliseconds since an instant.
func show(p *printer, head string, marks []mark, since time.Duration) {
	slices.SortStableFunc(marks, func(a, b mark) int { return cmp.Compare(a.at, b.at) })
	hosts, doors := len("host"), len("door")
	for _, m := range marks {
		hosts, doors = max(hosts, len(m.host)), max(doors, len(m.door))
	}
	p.line(head, "%s", p.paint(sgrDim, fmt.Sprintf("%9s  %-*s  %-*s", "ms", hosts, "host", doors, "door")))
	for _, m := range marks {
		p.line("", "%9s  %-*s  %-*s  %s", millis(m.at-since), hosts, m.host, doors, m.door, p.paint(m.sgr, m.text))
	}
}
