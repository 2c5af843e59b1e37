// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"highwater/test/lab"
)

// hookScript notes how it was called and vetoes where the file veto-HOST is.
const hookScript = `#!/bin/sh
set -e
host=$(uname -n)
cat > "$1/$host-$HIGHWATER_HOOK.json"
env > "$1/$host-$HIGHWATER_HOOK.env"
if [ "$HIGHWATER_HOOK" = before ] && [ -e "$1/veto-$host" ]; then
	echo "not on $host today"
	exit 3
fi
`

// A hook vetoes the first candidate and the next one is promoted, with its hooks called.
// Events run there and no longer on the old primary.
func TestHooksAndEvents(t *testing.T) {
	dir := t.TempDir()
	script := filepath.Join(dir, "hook")
	if err := os.WriteFile(script, []byte(hookScript), 0o755); err != nil {
		t.Fatal(err)
	}
	c := semiSync()
	c.HooksBefore = [][]string{{script, dir}}
	c.HooksAfter = [][]string{{script, dir}}
	c.Lab.ServerOptions = []string{"event_scheduler=ON"}
	r := start(t, c)
	old, vetoed, next := r.db(1), r.db(2), r.db(3)
	r.must(old.Server.Exec(r.ctx,
		"CREATE TABLE lab.beats (host VARCHAR(60), at TIMESTAMP(6) DEFAULT CURRENT_TIMESTAMP(6))",
		"CREATE EVENT lab.beat ON SCHEDULE EVERY 1 SECOND DO INSERT INTO lab.beats (host) VALUES (@@hostname)"))
	r.must(os.WriteFile(filepath.Join(dir, "veto-db2"), nil, 0o600))
	// Nobody is behind, so that the first candidate is the one with the higher priority.
	r.must(r.WaitReplicas(r.ctx, old, vetoed, next))
	old.Server.Kill()
	primary := r.moved(old)
	w := r.write()
	if primary != next {
		t.Fatalf("%s is primary, want db3: a hook vetoed %s", primary, vetoed)
	}
	r.logged(vetoed, "not on db2 today", moveTime)
	r.must(old.Server.Start(r.ctx))
	r.settled(primary)

	var seen struct {
		Hook    string                      `json:"hook"`
		Kind    string                      `json:"kind"`
		Reason  string                      `json:"reason"`
		Cluster string                      `json:"cluster"`
		Term    uint64                      `json:"term"`
		VIPs    []string                    `json:"vips"`
		Old     struct{ Node, Host string } `json:"old_primary"`
		New     struct{ Node, Host string } `json:"new_primary"`
	}
	for _, stage := range []string{"before", "after"} {
		text, err := os.ReadFile(filepath.Join(dir, "db3-"+stage+".json"))
		r.must(err)
		r.must(json.Unmarshal(text, &seen))
		if seen.Hook != stage || seen.Kind != "failover" || seen.Cluster != "lab" || seen.Term < 2 || seen.Reason == "" ||
			len(seen.VIPs) != 1 || seen.VIPs[0] != lab.VIP.String() || seen.Old.Node != "db1" || seen.New.Node != "db3" ||
			seen.New.Host != next.Address().String() {
			t.Errorf("stdin of the %s hook: %s", stage, text)
		}
		env, err := os.ReadFile(filepath.Join(dir, "db3-"+stage+".env"))
		r.must(err)
		for _, want := range []string{"HIGHWATER_HOOK=" + stage + "\n", "ORC_", fmt.Sprintf("HIGHWATER_TERM=%d\n", seen.Term)} {
			if !strings.Contains(string(env), want) {
				t.Errorf("the environment of the %s hook has no %q:\n%s", stage, want, env)
			}
		}
	}

	r.eventually(moveTime, func() string { return r.eventState(next, "ENABLED") })
	r.eventually(moveTime, func() string {
		host, err := next.Server.QueryString(r.ctx, "SELECT host FROM lab.beats ORDER BY at DESC LIMIT 1")
		r.must(err)
		if host != "db3" {
			return "the event ran last on " + host
		}
		return ""
	})
	// A host that is held stays as it is; what runs there fails. The others learn of it by replication.
	s, err := r.Status(r.ctx, primary)
	r.must(err)
	for _, h := range []*lab.Host{old, vetoed} {
		if s.Host(h.Name()).Held {
			continue
		}
		r.eventually(moveTime, func() string {
			if r.eventState(h, "ENABLED") == "" {
				return "the event is enabled on " + h.Name()
			}
			return ""
		})
	}
	r.end(w, primary, 0)
}

// eventState names what differs from the wanted state of the event.
func (r *rig) eventState(h *lab.Host, want string) string {
	r.t.Helper()
	state, err := h.Server.QueryString(r.ctx, "SELECT STATUS FROM information_schema.EVENTS WHERE EVENT_NAME='beat'")
	r.must(err)
	if state != want {
		return fmt.Sprintf("the event is %s on %s", state, h)
	}
	return ""
}
