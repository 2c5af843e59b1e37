// SPDX-License-Identifier: Apache-2.0

package supervisor

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"

	"highwater/election"
	"highwater/supervisor/control"
)

// roleMachine stays in one role and does not stop.
type roleMachine struct {
	recordingMachine
	role election.Role
}

func (m *roleMachine) Status() election.Status { return election.Status{Role: m.role} }

// An upgrade is refused, and changes nothing, while the role is on the move, the server's data are
// being replaced, or the program that would come next is no good.
func TestUpgradeRefused(t *testing.T) {
	good := func(context.Context) (string, error) { return "next", nil }
	for name, tt := range map[string]struct {
		role       election.Role
		rebuilding bool
		successor  func(context.Context) (string, error)
		want       string // "" when nothing speaks against it
	}{
		"replica":      {election.RoleReplica, false, good, ""},
		"primary":      {election.RolePrimary, false, good, ""},
		"held":         {election.RoleHeld, false, good, ""},
		"witness":      {election.RoleStarting, false, good, ""},
		"candidate":    {election.RoleCandidate, false, good, "this node is candidate"},
		"promoting":    {election.RolePromoting, false, good, "this node is promoting"},
		"claiming":     {election.RoleClaiming, false, good, "this node is claiming"},
		"resuming":     {election.RoleResuming, false, good, "this node is resuming"},
		"lingering":    {election.RoleLingering, false, good, "this node is lingering"},
		"demoting":     {election.RoleDemoting, false, good, "this node is demoting"},
		"stopping":     {election.RoleStopping, false, good, "this node is stopping"},
		"stopped":      {election.RoleStopped, false, good, "this node is stopped"},
		"rebuilding":   {election.RoleReplica, true, good, "being replaced"},
		"no successor": {election.RoleReplica, false, nil, "cannot be replaced"},
		"no good": {election.RoleReplica, false, func(context.Context) (string, error) {
			return "", errors.New("exec format error")
		}, "exec format error"},
	} {
		t.Run(name, func(t *testing.T) {
			log := slog.New(slog.DiscardHandler)
			n := &Node{log: log, successor: tt.successor, loop: newLoop(&roleMachine{role: tt.role}, log)}
			n.rebuilding.Store(tt.rebuilding)
			ctx, cancel := context.WithCancel(t.Context())
			cancel() // nobody answers what is asked of the loop
			code, text := n.Order(ctx, control.Command{Name: "upgrade"}, func(string) {})
			refused := code == control.CodeRefused
			if refused != (tt.want != "") || !strings.Contains(text, tt.want) {
				t.Errorf("code %d: %q; want %q", code, text, tt.want)
			}
			if n.Upgrading() == refused || n.restarting.Load() == refused {
				t.Errorf("refused %v, upgrading %v, restarting %v", refused, n.Upgrading(), n.restarting.Load())
			}
		})
	}
}

// An order to end wins over one to upgrade, whichever comes first.
func TestEndWinsOverUpgrade(t *testing.T) {
	for _, orders := range [][]string{{"upgrade", "restart"}, {"stop", "upgrade"}} {
		log := slog.New(slog.DiscardHandler)
		n := &Node{log: log, loop: newLoop(&roleMachine{role: election.RolePrimary}, log)}
		n.successor = func(context.Context) (string, error) { return "next", nil }
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		for _, order := range orders {
			n.Order(ctx, control.Command{Name: order}, func(string) {})
		}
		if n.Upgrading() {
			t.Errorf("%q: the process goes on", orders)
		}
	}
}
