// SPDX-License-Identifier: Apache-2.0

package supervisor

import (
	"context"
	"errors"
	"fmt"

	"highwater/election"
	"highwater/promote"
	"highwater/supervisor/control"
)

// errRebuilding is why a server is not heard while its data are being replaced.
var errRebuilding = errors.New("the server's data are being replaced")

// orderRebuild replaces the local server's data by a copy of the primary's. What the server
// has and the primary has not is saved first; the operator asked for the rest to go.
func (n *Node) orderRebuild(ctx context.Context, progress func(string)) (code int, text string) {
	view := n.loop.view.Load()
	if view.Role != election.RoleHeld && view.Role != election.RoleReplica {
		return control.CodeRefused, fmt.Sprintf("rebuild refused: this node is %s", view.Role)
	}
	if view.Primary == "" || view.Primary == n.self.Name {
		return control.CodeRefused, "rebuild refused: there is no other primary to copy"
	}
	donor, err := n.source(view.Primary, view.Term)
	if err != nil {
		return control.CodeRefused, fmt.Sprintf("rebuild refused: %v", err)
	}
	if n.keeper != nil {
		if refused := mayCopy(n.self.Name, n.voter.Record()); refused != "" {
			return control.CodeRefused, "rebuild refused: " + refused
		}
	}
	if !n.rebuilding.CompareAndSwap(false, true) {
		return control.CodeRefused, "rebuild refused: one is under way"
	}
	rebuilt := false
	defer func() { n.endRebuild(ctx, rebuilt) }()
	n.health.rebuild(true)
	defer n.rejoin.clear()
	result, err := n.server.Rebuild(ctx, donor, func(p promote.CloneProgress) {
		progress(fmt.Sprintf("%s: %s", p.Stage, p.State))
	})
	rebuilt = err == nil && !result.NeedsStart
	switch {
	case err != nil:
		n.health.rebuild(false)
		return control.CodeFailed, fmt.Sprintf("rebuild: %v", err)
	case result.NeedsStart:
		return control.CodeDone, fmt.Sprintf("copied %s; start the server now: nothing supervises it here", view.Primary)
	default:
		return control.CodeDone, fmt.Sprintf("copied %s; the server follows it once it is up", view.Primary)
	}
}

// mayCopy says why this node cannot copy the primary now: its commits would wait for this one, and the copy for them.
func mayCopy(node string, r election.ClusterRecord) string {
	switch {
	case (evidence{Node: node, Record: r}).acknowledged():
		return ""
	case r.IsSynced(node):
		return fmt.Sprintf("nobody but this node acknowledges the commits of %s: bring another replica back first", r.Primary)
	default:
		return fmt.Sprintf("nobody acknowledges the commits of %s, and a copy waits for them: bring another replica back first, "+
			"or let it go alone (durability.when_alone: continue)", r.Primary)
	}
}

// endRebuild lets the server follow again. One that is rebuilt and runs does so at the next look: what was tried
// meanwhile found it busy, and would be tried again seconds later.
func (n *Node) endRebuild(ctx context.Context, rebuilt bool) {
	n.rebuilding.Store(false)
	if rebuilt {
		n.post(ctx, election.ServerStarted{})
	}
	n.health.again()
}
