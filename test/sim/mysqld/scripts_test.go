// SPDX-License-Identifier: Apache-2.0

package mysqld

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// target is three servers, modelled or real.
type target interface {
	do(st step) error
	// check says whether a fact holds, and in any case what is so.
	check(st step) (ok bool, is string, err error)
	// await calls check until it holds, and for a while longer if the step asks for that.
	await(st step, check func() (bool, string, error)) (ok bool, is string, err error)
}

// errStopped says that a script asks something of a process that stands still.
var errStopped = errors.New("it is stopped: thaw it first")

// run runs a script and returns the first thing that is not as it says.
func (s *script) run(flavor Flavor, t target) error {
	for _, st := range s.steps {
		if !st.flavors[flavor] {
			continue
		}
		if !st.expect {
			if err := t.do(st); err != nil {
				return fmt.Errorf("%s:%d: %s: %w", s.name, st.line, st.text, err)
			}
			continue
		}
		ok, is, err := t.await(st, func() (bool, string, error) {
			ok, is, err := t.check(st)
			return ok != st.not, is, err
		})
		if err != nil {
			return fmt.Errorf("%s:%d: %s: %w", s.name, st.line, st.text, err)
		}
		if !ok {
			return fmt.Errorf("%s:%d: %s: it is not so: %s", s.name, st.line, st.text, is)
		}
	}
	return nil
}

// readScripts reads all scripts.
func readScripts(t testing.TB) []*script {
	t.Helper()
	files, err := filepath.Glob("testdata/scripts/*.txt")
	if err != nil {
		t.Fatal(err)
	}
	if len(files) < 40 {
		t.Fatalf("%d scripts, want at least 40", len(files))
	}
	var list []*script
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		s, err := parseScript(file, string(text))
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, s)
	}
	return list
}

// Nothing in the language is there for nothing.
func TestScriptsSayEverything(t *testing.T) {
	said := map[string]bool{}
	for _, s := range readScripts(t) {
		for _, st := range s.steps {
			said[st.op] = true
		}
	}
	for _, op := range append(slices.Clone(actions), facts...) {
		if !said[op] {
			t.Errorf("no script says %q", op)
		}
	}
}

// modelled is three modelled servers. After each action their steps run until nothing changes.
type modelled struct {
	servers [3]*Server
	frozen  [3]bool
	commits map[string]*Commit
}

func newModelled(flavor Flavor, w wrong) *modelled {
	m := &modelled{commits: map[string]*Commit{}}
	for i, name := range servers {
		m.servers[i] = NewServer(name, flavor, i)
		m.servers[i].wrong = w
		m.servers[i].Boot()
	}
	return m
}

// settle runs micro-steps until nothing changes. A process that is stopped takes none.
func (m *modelled) settle() {
	for again := true; again; {
		again = false
		for i, s := range m.servers {
			if m.frozen[i] {
				continue
			}
			stuck := s.Source() != nil && m.frozen[m.index(s.Source())]
			again = s.Receive(100) || !stuck && (s.SendAck() || s.Connect()) || s.ApplyAll() || s.EndDumps() || again
		}
	}
}

func (m *modelled) index(s *Server) int { return strings.Index("abc", s.name) }

func (m *modelled) do(st step) error {
	s := m.servers[st.server]
	var other *Server
	for _, i := range st.others() {
		other = m.servers[i]
	}
	if st.op == "settle" {
		return nil
	}
	if m.frozen[st.server] && st.op != "thaw" && st.op != "kill" {
		return errStopped
	}
	switch st.op {
	case "open":
		s.SetReadOnly(false)
	case "read-only":
		s.SetReadOnly(true)
	case "commit NEW":
		m.commits[st.label] = s.Commit()
	case "leave LABEL":
		m.commits[st.label].Leave()
	case "kill sessions":
		s.KillSessions()
	case "boot":
		s.Boot()
	case "kill":
		s.Kill()
		m.frozen[st.server] = false
	case "terminate":
		s.Terminate()
	case "freeze":
		m.frozen[st.server] = true
	case "thaw":
		m.frozen[st.server] = false
	case "source N":
		s.EnableSource(st.n)
	case "source off":
		s.DisableSource()
	case "acks N":
		s.SetAcks(st.n)
	case "lock SERVER":
		s.Lock(other.name)
	case "unlock SERVER":
		s.Unlock(other.name)
	case "kill dump SERVER":
		s.KillDump(other.name)
	case "follow SERVER":
		s.Follow(other)
	case "reset replica":
		s.Follow(nil)
	case "start receiver":
		s.StartReceiver()
	case "stop receiver":
		s.StopReceiver()
	case "start applier":
		s.StartApplier()
	case "stop applier":
		s.StopApplier()
	case "acknowledge on", "acknowledge off":
		s.SetAcknowledge(st.op == "acknowledge on")
	case "acknowledge received":
		if !s.AcknowledgeReceived() {
			return errors.New("there is nothing to acknowledge")
		}
	default:
		return errors.New("the model has no such action")
	}
	m.settle()
	return nil
}

func (m *modelled) await(_ step, check func() (bool, string, error)) (bool, string, error) {
	return check()
}

func (m *modelled) check(st step) (ok bool, is string, err error) {
	s := m.servers[st.server]
	if m.frozen[st.server] && !strings.HasPrefix(st.op, "LABEL") {
		return false, "", errStopped
	}
	c := m.commits[st.label]
	has := func(set Set) bool { return set.Has(c.Origin, c.Number) }
	if c != nil {
		is = fmt.Sprintf("%v, logged %v, executed %v, received %v", c.State(), s.Logged(), s.Executed(), s.Received())
	} else {
		is = fmt.Sprintf("%+v, read-only %t, pending %t, dumps %q, receiver %s, acknowledges %t", s.SourceState(), s.ReadOnly(), s.ReadOnlyPending(), s.Dumps(), receiver(s), s.Acknowledges())
	}
	switch st.op {
	case "LABEL waits":
		ok = c.State() == Waiting
	case "LABEL blocked":
		ok = c.State() == Blocked
	case "LABEL acknowledged":
		ok = c.State() == Acknowledged
	case "LABEL lost":
		ok = c.State() == Lost
	case "LABEL refused":
		ok = c.State() == Refused
	case "logged LABEL":
		ok = has(s.Logged())
	case "executed LABEL":
		ok = has(s.Executed())
	case "committed LABEL":
		ok = has(s.Committed())
	case "received LABEL":
		ok = has(s.Received())
	case "lacks LABEL":
		ok = !has(s.Received()) && !has(s.Logged())
	case "clients N":
		ok = s.SourceState().Clients == st.n
	case "somebody waits", "nobody waits":
		ok = s.SourceState().Waiting > 0 == (st.op == "somebody waits")
	case "source off", "source on":
		ok = s.SourceState().Enabled == (st.op == "source on")
	case "dumps none", "dumps SERVER", "dumps SERVER SERVER":
		dumping := 0
		for i, name := range servers {
			if s.Dumping(name) {
				dumping |= 1 << i
			}
		}
		ok = dumping == st.other
	case "receiver running", "receiver connecting", "receiver stopped", "receiver gave up":
		ok = st.op == "receiver "+receiver(s)
	case "acknowledges", "silent":
		ok = s.Acknowledges() == (st.op == "acknowledges")
	case "writable":
		ok = !s.ReadOnly() && !s.ReadOnlyPending()
	case "read-only":
		ok = s.ReadOnly()
	case "shows read-only", "shows writable":
		ok = s.ShowsReadOnly() == (st.op == "shows read-only")
	case "pending":
		ok = s.ReadOnlyPending()
	default:
		err = errors.New("the model has no such fact")
	}
	return ok, is, err
}

// receiver is the state of a receiver in the words of the scripts.
func receiver(s *Server) string {
	switch {
	case s.GaveUp():
		return "gave up"
	case s.Connected():
		return "running"
	case s.Receiving():
		return "connecting"
	}
	return "stopped"
}

// The model is as the scripts say.
func TestScriptsOnModel(t *testing.T) {
	for _, s := range readScripts(t) {
		for _, flavor := range []Flavor{MySQL, MariaDB} {
			if !s.flavors[flavor] {
				continue
			}
			if err := s.run(flavor, newModelled(flavor, right)); err != nil {
				t.Errorf("%v: %v", flavor, err)
			}
		}
	}
}

// A model that differs from real servers in any of these ways is caught by a script: that is the test of the scripts.
func TestScriptsCatchWrongModels(t *testing.T) {
	list := readScripts(t)
	for w := right + 1; w < wrongs; w++ {
		var caught []string
		for _, s := range list {
			for _, flavor := range []Flavor{MySQL, MariaDB} {
				if s.flavors[flavor] && s.run(flavor, newModelled(flavor, w)) != nil {
					caught = append(caught, fmt.Sprintf("%s (%v)", strings.TrimSuffix(filepath.Base(s.name), ".txt"), flavor))
				}
			}
		}
		if len(caught) == 0 {
			t.Errorf("wrong model %d passes all scripts", w)
		}
		t.Logf("wrong model %d: caught by %s", w, strings.Join(caught, ", "))
	}
}
