// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"highwater/test/lab"
)

// list writes the configuration of hosts with these witnesses and no others.
func (r *rig) list(hosts []*lab.Host, witnesses ...string) {
	r.t.Helper()
	for _, h := range hosts {
		text, err := os.ReadFile(r.ConfigFile(h))
		r.must(err)
		var kept []string
		for line := range strings.Lines(string(text)) {
			if !strings.Contains(line, "witness: true") {
				kept = append(kept, line)
			}
			if strings.Contains(line, "name: db3,") {
				for _, w := range witnesses {
					kept = append(kept, fmt.Sprintf("    - {name: %s, address: %s, witness: true}\n", w, r.Witnesses()[0].Address()))
				}
			}
		}
		r.must(os.WriteFile(r.ConfigFile(h), []byte(strings.Join(kept, "")), 0o600))
	}
}

// refuses gives an order on a host that must be refused with text.
func (r *rig) refuses(h *lab.Host, text string, args ...string) {
	r.t.Helper()
	if out, err := r.Command(r.ctx, h, args...); err == nil || !strings.Contains(out+err.Error(), text) {
		r.t.Fatalf("%v on %s: %v: %q, want a refusal with %q", args, h, err, out, text)
	}
}

// voting waits until a host says that these have a vote, and no others.
func (r *rig) voting(h *lab.Host, names ...string) {
	r.t.Helper()
	r.eventually(moveTime, func() string {
		s, err := r.Status(r.ctx, h)
		if err != nil {
			return err.Error()
		}
		var got []string
		for _, m := range s.Members {
			if !m.Votes {
				return fmt.Sprintf("%s says that %s does not vote: %s", h, m.Name, s.Summary)
			}
			got = append(got, m.Name)
		}
		if strings.Join(got, " ") != strings.Join(names, " ") {
			return fmt.Sprintf("%s says that %v vote, want %v", h, got, names)
		}
		return ""
	})
}

// A witness joins a cluster of three, which it must not begin anew; a server's host is taken out, and then the primary's host
// fails: the vote of the one who came decides, and who was taken out has none, also after a restart.
func TestMembers(t *testing.T) {
	c := majority()
	c.Lab.Witnesses = 1
	r := prepare(t, c)
	w1 := r.Witnesses()[0]
	r.list(r.Hosts())
	for _, h := range r.Hosts() {
		r.must(r.StartSupervisor(h))
	}
	_, err := r.WaitPrimary(r.ctx, "db1")
	r.must(err)
	w := r.write()

	r.must(r.StartSupervisor(w1)) // it lists all four, who are all there: and three of them are a cluster
	r.refuses(r.db(3), "not_configured: w1", "member", "add", "w1")
	r.list(r.Hosts(), "w1")
	for _, h := range r.Hosts() {
		_, err := r.Command(r.ctx, h, "upgrade")
		r.must(err)
	}
	r.logged(w1, "reason=awaits_add", moveTime)
	r.order(r.db(3), "w1 votes", "member", "add", "w1")
	for _, h := range append([]*lab.Host{w1}, r.Hosts()...) {
		r.voting(h, "db1", "db2", "db3", "w1")
	}
	r.refuses(r.db(2), "already_member: w1", "member", "add", "w1")
	r.refuses(r.db(2), "no_member: db9", "member", "remove", "db9")
	r.refuses(r.db(2), "primary_stays: db1", "member", "remove", "db1")

	r.order(r.db(2), "db3 votes no more", "member", "remove", "db3")
	r.logged(r.db(3), "msg=quorum.left node=db3 reason=removed", moveTime)
	r.voting(r.db(1), "db1", "db2", "w1")
	r.refuses(r.db(3), "removed", "member", "list")
	r.Supervisor(r.db(3)).Kill()
	<-r.Supervisor(r.db(3)).Done()
	r.must(r.StartSupervisor(r.db(3)))
	r.eventually(moveTime, func() string {
		s, err := r.Status(r.ctx, r.db(1))
		if err != nil || !strings.Contains(strings.Join(s.Host("db3").Reasons, " "), "removed") || !strings.Contains(s.Summary, "db3 is only configured") {
			return fmt.Sprintf("db1 does not say that db3 was removed: %v, %s %+v", err, s.Summary, s.Host("db3"))
		}
		return ""
	})
	r.refuses(r.db(1), "not_empty: db3", "member", "add", "db3")
	r.stays(1e9)

	r.powerOff(r.db(1))
	if primary := r.moved(r.db(1)); primary != r.db(2) {
		t.Fatalf("%s is primary, who has no vote", primary)
	}
	r.end(w, r.db(2), 1)
}

// Two of three hosts are lost. The one that is left has no right, says what may be lost, and begins anew when it is told to. A host that
// comes back as it was takes no part, and joins once its log is moved away; the one that does not come back is removed.
func TestRecover(t *testing.T) {
	c := majority()
	c.Lab.SemiSync = false // with both others lost nobody is left to acknowledge
	r := start(t, c)
	w := r.write()
	r.must(r.WaitReplicas(r.ctx, r.db(1), r.Hosts()[1:]...))
	w.Stop()
	r.must(r.WaitReplicas(r.ctx, r.db(1), r.Hosts()[1:]...))
	r.powerOff(r.db(3))
	r.powerOff(r.db(1))
	left := r.db(2)
	r.refuses(left, "still_running", "recover", "--force-new-cluster", "--yes-the-others-are-lost")
	r.must(r.Supervisor(left).Signal(syscall.SIGTERM))
	<-r.Supervisor(left).Done()
	r.refuses(left, "say what", "recover")
	r.refuses(left, "not confirmed", "recover", "--force-new-cluster") // it reads no answer
	out, err := r.Command(r.ctx, left, "recover", "--force-new-cluster", "--yes-the-others-are-lost")
	r.must(err)
	for _, want := range []string{"primary db1", "Possible loss", "db1, db3", "db2 alone", "raft.before-"} {
		if !strings.Contains(out, want) {
			t.Errorf("recover does not say %q: %s", want, out)
		}
	}
	r.must(r.StartSupervisor(left))
	r.eventually(moveTime, func() string { // it has the right, and orders are taken
		out, err := r.Command(r.ctx, left, "failover", "--yes")
		if err != nil {
			return err.Error() + out
		}
		return ""
	})
	if primary := r.moved(r.db(1)); primary != left {
		t.Fatalf("%s is primary", primary)
	}
	r.powerOn(r.db(3))
	r.logged(r.db(3), "msg=quorum.left node=db3 reason=superseded", moveTime)
	r.refuses(r.db(3), "superseded", "member", "list")
	r.Supervisor(r.db(3)).Kill()
	<-r.Supervisor(r.db(3)).Done()
	raft := filepath.Join(r.StateDir(r.db(3)), "raft")
	r.must(os.Rename(raft, raft+".old"))
	r.must(r.StartSupervisor(r.db(3)))
	r.order(left, "db1 votes no more", "member", "remove", "db1")
	r.voting(left, "db2", "db3")
	r.end(r.write(), left, 0)
}
