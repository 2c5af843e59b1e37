// SPDX-License-Identifier: Apache-2.0

package web

import (
	"fmt"
	"strings"

	"highwater/election"
)

// The roles and refusals that the sentences below tell apart; their words are election's.
var (
	rolePrimary   = election.RolePrimary.String()
	roleReplica   = election.RoleReplica.String()
	roleLingering = election.RoleLingering.String()
	roleDemoting  = election.RoleDemoting.String()
)

const (
	healthAlive = "alive"
	healthDead  = "dead"
)

// Judge puts the facts into Level, Summary and NextStep.
func (s *Status) Judge() {
	level, summary, next := s.judgePrimary()
	if s.Running != nil {
		summary, next = s.runningSentence(), "Wait: it ends by itself. `highwater status --watch` follows it."
	}
	level, summary, next = s.judgeMembers(level, summary, next)
	if s.Paused {
		level = worse(level, LevelWarning)
		summary += " " + s.Pause.sentence()
		if next == "" {
			next = "`highwater resume` when the work is done."
		}
	}
	s.Level, s.Summary, s.NextStep = level, summary, next
}

// judgeMembers adds what keeps this node from voting, or else that configuration and record differ.
func (s *Status) judgeMembers(level Level, summary, next string) (Level, string, string) {
	text, todo := "", ""
	switch {
	case len(s.NotVoting) > 0:
		text = s.Node + " does not vote" + because(s.NotVoting) + "."
		todo = "See docs/reasons.md, `" + s.NotVoting[0] + "`."
	case len(s.Unmatched) > 0:
		text = "Configuration and cluster record name different members: " + strings.Join(s.Unmatched, ", ") + "."
		todo = "The record decides: `highwater member add` or `remove`, or mend cluster.nodes."
	default:
		return level, summary, next
	}
	if next == "" {
		next = todo
	}
	return worse(level, LevelWarning), summary + " " + text, next
}

func worse(a, b Level) Level {
	if a == LevelCritical || b == LevelOK {
		return a
	}
	return b
}

func (s *Status) runningSentence() string {
	f := s.Running
	what := "Failover"
	switch f.Kind {
	case "switchover":
		what = "Switchover"
	case "first_start":
		what = "First start"
	}
	text := what
	if f.From != "" {
		text += " from " + f.From
	}
	if f.To != "" {
		text += " to " + f.To
	}
	text += fmt.Sprintf(" is running for %s", seconds(f.TookSeconds))
	if f.Door != "" {
		text += ", at the door of " + f.Door
	}
	if f.Cause != "" {
		text += " (" + f.Cause + ")"
	}
	return text + "."
}

// judgePrimary looks for the one primary, and then at its reserves.
func (s *Status) judgePrimary() (Level, string, string) {
	var primaries []*Host
	for i := range s.Hosts {
		if h := &s.Hosts[i]; h.Up && h.Role == rolePrimary {
			primaries = append(primaries, h)
		}
	}
	switch len(primaries) {
	case 0:
		return s.judgeNoPrimary()
	case 1:
	default:
		var names []string
		for _, h := range primaries {
			names = append(names, fmt.Sprintf("%s (term %d)", h.Name, h.Term))
		}
		all := "all"
		if len(names) == 2 {
			all = "both"
		}
		return LevelCritical, fmt.Sprintf("%s %s say that they are primary.", join(names), all),
			"The highest term is right, and the others release within their lease. If that does not happen, `highwater stop` on the others."
	}
	p := primaries[0]
	switch {
	case p.Health == healthDead:
		return LevelCritical, fmt.Sprintf("The server of primary %s is dead%s.", p.Name, because(p.Reasons)),
			"Wait for the successor; if there is none, start the server."
	case !p.VIPHeld:
		return LevelCritical, fmt.Sprintf("%s is primary and does not hold the VIP%s.", p.Name, because(p.Reasons)),
			fmt.Sprintf("Look at the log of highwater on %s.", p.Name)
	case p.Health != healthAlive:
		return LevelCritical, fmt.Sprintf("The server of primary %s does not answer%s.", p.Name, because(p.Reasons)),
			fmt.Sprintf("`highwater check` on %s.", p.Name)
	case !p.Writable:
		return LevelCritical, fmt.Sprintf("%s is primary and its server accepts no writes%s.", p.Name, because(p.Reasons)),
			fmt.Sprintf("`highwater check` on %s.", p.Name)
	}
	if l := s.Lossless; l != nil && len(l.Synced) == 0 && !l.Alone {
		return LevelCritical, fmt.Sprintf("%s is primary, and commits wait: no replica may acknowledge.", p.Name),
			"Wait until a replica follows it; `highwater check` on a replica says what it lacks."
	}
	if p.Stalled {
		return s.judgeStall(p)
	}
	return s.judgeReserves(p)
}

// judgeStall says whose acknowledgement is missing.
func (s *Status) judgeStall(p *Host) (Level, string, string) {
	summary, next := fmt.Sprintf("%s is primary, and commits wait: no acknowledgement comes.", p.Name), ""
	for i := range s.Hosts {
		h := &s.Hosts[i]
		if h == p || !h.Synced {
			continue
		}
		if problem, step := h.problem(); problem != "" {
			summary += " " + problem
			if next == "" {
				next = step
			}
		}
	}
	if next == "" {
		next = "`highwater check` on a replica says what it lacks."
	}
	return LevelCritical, summary, next
}

func (s *Status) judgeReserves(p *Host) (Level, string, string) {
	var ready, problems []string
	next := ""
	for i := range s.Hosts {
		h := &s.Hosts[i]
		if h == p {
			continue
		}
		problem, step := h.problem()
		switch {
		case problem != "":
			problems = append(problems, problem)
			if next == "" {
				next = step
			}
		case h.Candidate():
			ready = append(ready, h.Name)
		}
	}
	holds := fmt.Sprintf("%s is primary and holds %s", p.Name, strings.Join(s.VIP, " and "))
	reserve := ""
	switch {
	case len(ready) > 0:
		reserve = "; " + join(ready) + " can take over."
	case len(s.Hosts) == 1:
		reserve = "; there is no other host."
	default:
		reserve = ", and nobody can take over."
	}
	switch {
	case len(problems) > 0:
		return LevelWarning, holds + reserve + " " + strings.Join(problems, " "), next
	case len(ready) == 0:
		return LevelWarning, holds + reserve, "Add a host that may take over."
	case s.Lossless != nil && s.Lossless.Alone:
		return LevelWarning, holds + reserve + " It commits alone: what it acknowledges now, nobody else surely holds.",
			"Wait until a replica has caught up."
	case len(p.Reasons) > 0 || len(p.Warnings) > 0:
		return LevelWarning, holds + reserve + fmt.Sprintf(" On %s: %s.", p.Name, strings.Join(append(p.Reasons, p.Warnings...), ", ")),
			fmt.Sprintf("`highwater check` on %s.", p.Name)
	}
	return LevelOK, "Healthy: " + holds + reserve, ""
}

// problem says in a sentence what is wrong with a host that is not primary, and what to do about it.
func (h *Host) problem() (text, next string) {
	switch {
	case !h.Up && h.HeardSeconds == nil:
		return h.Name + " was never heard.", fmt.Sprintf("Start highwater on %s, or look at the network and the secret.", h.Name)
	case !h.Up:
		return fmt.Sprintf("%s was last heard %s ago.", h.Name, seconds(*h.HeardSeconds)),
			fmt.Sprintf("See whether %s and its highwater run.", h.Name)
	case h.Witness:
		return "", ""
	case h.Held:
		what := "transactions"
		if h.ErrantCount == 1 {
			what = "a transaction"
		} else if h.ErrantCount > 1 {
			what = fmt.Sprintf("%d transactions", h.ErrantCount)
		}
		if why, _, _ := strings.Cut(h.HeldWhy, ":"); why == string(election.CodeRebuilding) {
			return fmt.Sprintf("%s is being rebuilt: it has %s that the primary has not, and nobody was told of.", h.Name, what), "Wait until the copy is complete."
		}
		return fmt.Sprintf("%s is held: it has %s that the primary has not.", h.Name, what),
			fmt.Sprintf("Save them if anybody needs them, then `highwater rejoin --rebuild` on %s.", h.Name)
	case h.Role == roleDemoting:
		return fmt.Sprintf("%s was deposed, and its server is not read-only yet%s.", h.Name, because(h.Reasons)),
			fmt.Sprintf("If it stays so, end the server of %s with SIGKILL; SIGTERM would let commits through that nobody acknowledged.", h.Name)
	case h.Health == healthDead:
		return fmt.Sprintf("The server of %s is dead.", h.Name), fmt.Sprintf("Start the server of %s.", h.Name)
	case h.NoFailover:
		return "", ""
	case !h.Eligible:
		return fmt.Sprintf("%s is not eligible%s.", h.Name, because(h.Reasons)), fmt.Sprintf("`highwater check` on %s.", h.Name)
	}
	return "", ""
}

func (s *Status) judgeNoPrimary() (Level, string, string) {
	if h := s.host(func(h *Host) bool { return h.Up && h.Role == roleLingering }); h != nil {
		return LevelCritical, fmt.Sprintf("The server of primary %s is dead; %s keeps the VIP until a successor speaks.", h.Name, h.Name),
			"Wait for the successor; if there is none, start the server."
	}
	if h := s.Host(s.Primary); h != nil && !h.Up {
		text := fmt.Sprintf("Primary %s was never heard.", h.Name)
		if h.HeardSeconds != nil {
			text = fmt.Sprintf("Primary %s was last heard %s ago.", h.Name, seconds(*h.HeardSeconds))
		}
		return LevelCritical, text + s.refusals(), "Failover begins by itself once VRRP is silent too. " + s.refusalStep()
	}
	return LevelCritical, "There is no primary." + s.refusals(), s.refusalStep()
}

// refusals says why nobody stands.
func (s *Status) refusals() string {
	var all []string
	for i := range s.Hosts {
		h := &s.Hosts[i]
		switch {
		case !h.Up || h.Witness:
		case h.Refusal != "":
			reason := h.Refusal
			if h.RefusedFor != "" {
				reason += ": " + h.RefusedFor
			}
			all = append(all, h.Name+" does not stand"+because(append([]string{reason}, h.Reasons...)))
		case h.Role != roleReplica && h.Role != "":
			all = append(all, h.Name+" is "+h.Role)
		}
	}
	if len(all) == 0 {
		return ""
	}
	return " " + strings.Join(all, "; ") + "."
}

// refusalSteps is what to do when nobody stands, by reason. The first that applies to any host is given.
var refusalSteps = []struct {
	code election.Code
	step string
}{
	{election.CodePaused, "`highwater resume` lets a failover happen; `highwater failover` on a host makes it stand."},
	{election.CodeSeveralWritable, "Find out which server holds the data, and set super_read_only=ON on all others."},
	{election.CodeNoWritable, "On the host whose server holds the data: `highwater failover`."},
	{election.CodeNoReplicas, "Make the other servers replicate from it."},
	{election.CodeWaitingForHosts, "Start the hosts that are missing; one of them may hold the newest transactions."},
	{election.CodeIncomplete, "Start the hosts and servers named; one of them may hold what clients were told of. If they are gone for good: `highwater failover --accept-loss`, which says first what may be lost."},
	{election.CodeHeldErrant, "Save the errant transactions if anybody needs them, then `highwater rejoin --rebuild` on the host named."},
	{election.CodeNoFailover, "Bring back a host that may be primary, or take nofailover out of one's configuration and restart highwater there."},
	{election.CodeIneligible, "`highwater check` on the hosts named."},
}

func (s *Status) refusalStep() string {
	for _, r := range refusalSteps {
		if s.host(func(h *Host) bool { return h.Up && h.Refusal == string(r.code) }) != nil {
			return r.step
		}
	}
	return "If it stays so: `highwater check` on each host, and `highwater failover` on one when you know that the missing ones are down."
}

// because puts reasons into parentheses.
func because(reasons []string) string {
	if len(reasons) == 0 {
		return ""
	}
	return " (" + strings.Join(reasons, ", ") + ")"
}

// join reads as in a sentence: a, b and c.
func join(names []string) string {
	if len(names) < 2 {
		return strings.Join(names, "")
	}
	return strings.Join(names[:len(names)-1], ", ") + " and " + names[len(names)-1]
}
