// SPDX-License-Identifier: Apache-2.0

package mysqld

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// A script is a text of one action or expectation per line, for three servers a, b and c that are up, read-only and
// empty. It begins with a comment: the fact that it shows, and where that was measured.
//
//	a: commit w1          an action
//	expect b: received w1 an expectation
//	mariadb: a: kill      either, on one flavor only
//	only mysql            the script is not for the other flavor
//	settle                real servers are given the time in which a receiver tries again
//
// actions and facts are all that there is to say.
type script struct {
	name    string
	flavors [2]bool // by Flavor
	steps   []step
}

// step is one line.
type step struct {
	line    int
	text    string
	flavors [2]bool
	expect  bool
	server  int    // 0 is a
	op      string // a line of actions or facts, or "settle"
	not     bool
	label   string // of a commit
	other   int    // another server
	n       int
}

// Words in capitals stand for something: NEW and LABEL for a commit, SERVER for another server, N for a number.
var actions = []string{
	"open", "read-only",
	"commit NEW", "leave LABEL", "kill sessions",
	"boot", "kill", "terminate", "freeze", "thaw",
	"source N", "source off", "acks N",
	"lock SERVER", "unlock SERVER", "kill dump SERVER",
	"follow SERVER", "reset replica", "start receiver", "stop receiver", "start applier", "stop applier",
	"acknowledge on", "acknowledge off", "acknowledge received",
}

// facts that begin with a verb of their own may follow "not". Those of a commit that come first name the server where
// it was begun.
var facts = []string{
	"LABEL waits", "LABEL blocked", "LABEL acknowledged", "LABEL lost", "LABEL refused",
	"logged LABEL", "executed LABEL", "committed LABEL", "received LABEL", "lacks LABEL",
	"clients N", "somebody waits", "nobody waits", "source off", "source on",
	"dumps none", "dumps SERVER", "dumps SERVER SERVER",
	"receiver running", "receiver connecting", "receiver stopped", "receiver gave up",
	"acknowledges", "silent",
	"writable", "read-only", "pending", "shows read-only", "shows writable",
}

// stable are the facts that must hold for a while, not only once; so must all that follow "not".
var stable = []string{
	"LABEL waits", "LABEL blocked", "lacks LABEL", "somebody waits", "dumps none", "pending",
	"receiver stopped", "receiver gave up", "receiver connecting", "silent",
}

var servers = []string{"a", "b", "c"}

// parseScript reads a script. Errors say where, what, and what instead.
func parseScript(name, text string) (*script, error) {
	s := &script{name: name, flavors: [2]bool{true, true}}
	labels := map[string]int{}
	lines := strings.Split(text, "\n")
	if !strings.HasPrefix(lines[0], "# ") {
		return nil, fmt.Errorf("%s:1: the first line must be a comment that says what the script shows", name)
	}
	for i, line := range lines {
		if j := strings.IndexByte(line, '#'); j >= 0 {
			line = line[:j]
		}
		words := strings.Fields(line)
		if len(words) == 0 {
			continue
		}
		if words[0] == "only" {
			if len(words) != 2 || words[1] != "mysql" && words[1] != "mariadb" {
				return nil, fmt.Errorf("%s:%d: %q: want only mysql or only mariadb", name, i+1, strings.Join(words, " "))
			}
			s.flavors = [2]bool{words[1] == "mysql", words[1] == "mariadb"}
			continue
		}
		st, err := parseStep(words, labels)
		if err != nil {
			return nil, fmt.Errorf("%s:%d: %w", name, i+1, err)
		}
		st.line, st.text = i+1, strings.Join(words, " ")
		s.steps = append(s.steps, st)
	}
	if !slices.ContainsFunc(s.steps, func(st step) bool { return st.expect }) {
		return nil, fmt.Errorf("%s: it expects nothing: add a line such as expect a: writable", name)
	}
	return s, nil
}

func parseStep(words []string, labels map[string]int) (step, error) {
	st := step{flavors: [2]bool{true, true}}
	if words[0] == "mysql:" || words[0] == "mariadb:" {
		st.flavors = [2]bool{words[0] == "mysql:", words[0] == "mariadb:"}
		words = words[1:]
	}
	if len(words) == 1 && words[0] == "settle" {
		st.op = "settle"
		return st, nil
	}
	if len(words) > 0 && words[0] == "expect" {
		st.expect = true
		words = words[1:]
	}
	if len(words) == 0 {
		return st, fmt.Errorf("nothing after the prefix: want a server, such as a: open")
	}
	name, ok := strings.CutSuffix(words[0], ":")
	if st.server = slices.Index(servers, name); !ok || st.server < 0 {
		return st, fmt.Errorf("%q: want a server with a colon, one of a: b: c:", words[0])
	}
	words = words[1:]
	table := actions
	if st.expect {
		table = facts
		if len(words) > 0 && words[0] == "not" {
			st.not = true
			words = words[1:]
		}
	}
	for _, pattern := range table {
		matched, err := st.match(pattern, words, labels)
		if err != nil {
			return st, err
		}
		if matched {
			st.op = pattern
			return st, nil
		}
	}
	return st, fmt.Errorf("%q is unknown: want one of %s", strings.Join(words, " "), strings.Join(table, ", "))
}

// match reports whether the words are what the pattern says, and takes over what they name.
func (st *step) match(pattern string, words []string, labels map[string]int) (bool, error) {
	want := strings.Fields(pattern)
	if len(want) != len(words) {
		return false, nil
	}
	st.other = 0
	for i, w := range want {
		if strings.ToLower(w) == w && w != words[i] {
			return false, nil
		}
	}
	for i, w := range want {
		word := words[i]
		switch w {
		case "N":
			n, err := strconv.Atoi(word)
			if err != nil || n < 0 || n > 9 {
				if w := want[0]; w == "source" {
					return false, nil
				}
				return false, fmt.Errorf("%q: want a number from 0 to 9", word)
			}
			st.n = n
		case "SERVER":
			j := slices.Index(servers, word)
			if j < 0 {
				if word == "none" {
					return false, nil
				}
				return false, fmt.Errorf("%q: want a server, one of a, b, c", word)
			}
			if j == st.server {
				return false, fmt.Errorf("%q: want another server", word)
			}
			st.other |= 1 << j
		case "NEW":
			if _, there := labels[word]; there {
				return false, fmt.Errorf("%q: there is such a commit already; want a new name", word)
			}
			if strings.Trim(word, "abcdefghijklmnopqrstuvwxyz0123456789") != "" {
				return false, fmt.Errorf("%q: want a name of lower-case letters and digits", word)
			}
			labels[word], st.label = st.server, word
		case "LABEL":
			at, there := labels[word]
			if !there {
				if i == 0 { // it may be another fact
					return false, nil
				}
				return false, fmt.Errorf("%q: no such commit; want one that was begun before", word)
			}
			if i == 0 && at != st.server {
				return false, fmt.Errorf("%q was begun on %s: say expect %s: %s", word, servers[at], servers[at], strings.Join(words, " "))
			}
			st.label = word
		}
	}
	if st.not && (want[0] == "LABEL" || slices.Contains(stable, pattern)) {
		return false, fmt.Errorf("%q: want what is so, not what is not", "not "+strings.Join(words, " "))
	}
	return true, nil
}

// others are the servers that a step names.
func (st step) others() (list []int) {
	for i := range servers {
		if st.other&(1<<i) != 0 {
			list = append(list, i)
		}
	}
	return list
}

// holds reports whether it must hold for a while.
func (st step) holds() bool { return st.not || slices.Contains(stable, st.op) }

// A wrong line is named, and what would be right.
func TestParseScriptErrors(t *testing.T) {
	for _, tt := range []struct{ text, want string }{
		{"a: open", "x.txt:1: the first line must be a comment"},
		{"# x\na: open", "x.txt: it expects nothing"},
		{"# x\na: opens", `x.txt:2: "opens" is unknown: want one of open,`},
		{"# x\n\nd: open", `x.txt:3: "d:": want a server with a colon, one of a: b: c:`},
		{"# x\na open", `x.txt:2: "a": want a server`},
		{"# x\nmysql:", `x.txt:2: nothing after the prefix`},
		{"# x\nonly postgres", `x.txt:2: "only postgres": want only mysql or only mariadb`},
		{"# x\na: commit w1\na: commit w1", `x.txt:3: "w1": there is such a commit already`},
		{"# x\na: commit W", `x.txt:2: "W": want a name of lower-case letters`},
		{"# x\nexpect a: logged w1", `x.txt:2: "w1": no such commit`},
		{"# x\na: commit w1\nexpect b: w1 waits", `x.txt:3: "w1" was begun on a: say expect a: w1 waits`},
		{"# x\na: lock d", `x.txt:2: "d": want a server, one of a, b, c`},
		{"# x\na: lock a", `x.txt:2: "a": want another server`},
		{"# x\na: acks many", `x.txt:2: "many": want a number from 0 to 9`},
		{"# x\nexpect a: not pending", `x.txt:2: "not pending": want what is so`},
		{"# x\nexpect a: happy", `x.txt:2: "happy" is unknown: want one of LABEL waits,`},
	} {
		_, err := parseScript("x.txt", tt.text)
		if err == nil || !strings.HasPrefix(err.Error(), tt.want) {
			t.Errorf("%q: %v, want %s", tt.text, err, tt.want)
		}
	}
}

// A line is read as what it says.
func TestParseScript(t *testing.T) {
	s, err := parseScript("x.txt", "# x\nonly mariadb\na: commit w1  # one\nmysql: settle\nexpect a: dumps b c\nmariadb: expect b: not received w1\na: source 2\na: source off\n")
	if err != nil {
		t.Fatal(err)
	}
	every := [2]bool{true, true}
	want := []step{
		{line: 3, text: "a: commit w1", flavors: every, op: "commit NEW", label: "w1"},
		{line: 4, text: "mysql: settle", flavors: [2]bool{true, false}, op: "settle"},
		{line: 5, text: "expect a: dumps b c", flavors: every, expect: true, op: "dumps SERVER SERVER", other: 6},
		{line: 6, text: "mariadb: expect b: not received w1", flavors: [2]bool{false, true}, expect: true, server: 1, op: "received LABEL", not: true, label: "w1"},
		{line: 7, text: "a: source 2", flavors: every, op: "source N", n: 2},
		{line: 8, text: "a: source off", flavors: every, op: "source off"},
	}
	if s.flavors != [2]bool{false, true} || !slices.Equal(s.steps, want) {
		t.Errorf("%+v, want %+v", s, want)
	}
}

// Whatever is read has steps that name what there is, and reads the same again.
func FuzzParseScript(f *testing.F) {
	f.Add("# x\na: open\na: commit w1\nexpect a: w1 acknowledged\nmysql: expect a: dumps b c\nonly mysql\nsettle\n")
	f.Add("# x\nexpect b: not received w1\nb: source 3\nb: lock c\n")
	f.Fuzz(func(t *testing.T, text string) {
		s, err := parseScript("x.txt", text)
		if err != nil {
			if !strings.HasPrefix(err.Error(), "x.txt:") {
				t.Errorf("the error does not say where: %v", err)
			}
			return
		}
		again := "# x\n"
		for _, st := range s.steps {
			if st.op != "settle" && !slices.Contains(actions, st.op) && !slices.Contains(facts, st.op) {
				t.Errorf("%q is %q", st.text, st.op)
			}
			again += st.text + "\n"
		}
		second, err := parseScript("x.txt", again)
		if err != nil || len(second.steps) != len(s.steps) {
			t.Errorf("%q reads as %q, and that: %v", text, again, err)
		}
	})
}
