// SPDX-License-Identifier: Apache-2.0

package supervisor

import (
	"context"
	"fmt"
	"maps"
	"os"
	"syscall"
	"time"

	"highwater/election"
	"highwater/supervisor/control"
)

// Order carries out an operator's order on this host and returns an exit code and a sentence.
func (n *Node) Order(ctx context.Context, c control.Command, progress func(string)) (code int, text string) {
	var command election.CommandName
	name := c.Name
	if name == "stop" || name == "restart" {
		n.ending.Store(true)
	}
	switch name {
	case "stop":
		command = election.CommandStop
	case "failover":
		command = election.CommandFailover
	case "assess-loss":
		return n.lossAssessment()
	case "failover-accept-loss":
		if n.keeper == nil {
			return n.lossAssessment()
		}
		if err := n.acceptLoss(ctx, progress); err != nil {
			return control.CodeRefused, fmt.Sprintf("failover refused: %v", err)
		}
		command = election.CommandFailover
	case "restart":
		command = election.CommandRestart
		n.restarting.Store(true)
	case "upgrade":
		if err := n.beginUpgrade(ctx, progress); err != nil {
			return control.CodeRefused, fmt.Sprintf("upgrade refused, nothing has changed: %v", err)
		}
		command = election.CommandRestart
		n.restarting.Store(true)
	case "rebuild":
		return n.orderRebuild(ctx, progress)
	case orderPause, orderResume:
		return n.orderOnRecord(ctx, c)
	case orderAddMember, orderRemoveMember:
		return n.orderMember(ctx, c, progress)
	default:
		return control.CodeUsage, fmt.Sprintf("unknown order %q", name)
	}
	a, err := n.command(ctx, command)
	switch {
	case err != nil:
		return control.CodeFailed, fmt.Sprintf("%s: %v", name, err)
	case !a.accepted:
		return control.CodeRefused, fmt.Sprintf("%s refused: %s", name, a.code)
	case command == election.CommandFailover:
		return control.CodeDone, "standing; `highwater status` shows how it goes"
	case name == "upgrade":
		return control.CodeDone, "upgrade begun"
	default:
		return control.CodeDone, name + " done"
	}
}

// command puts an order to the Machine. A failover is not refused because this host is standing by
// itself at that moment: how that ends decides.
func (n *Node) command(ctx context.Context, name election.CommandName) (answer, error) {
	primary := n.loop.view.Load().Role == election.RolePrimary
	for deadline := now().Add(standTimeout); ; {
		a, err := n.ask(ctx, func(t election.Token) election.Event {
			return election.Command{Token: t, Name: name}
		})
		if name != election.CommandFailover || primary || err != nil || a.code != election.CodeNotTakingIn || now() >= deadline {
			return a, err
		}
		switch n.loop.view.Load().Role {
		case election.RoleCandidate, election.RolePromoting, election.RoleClaiming:
		case election.RoleReplica: // it has just given up
		case election.RolePrimary:
			return answer{accepted: true}, nil
		default:
			return a, nil
		}
		sleep(ctx, seekPause)
	}
}

// standTimeout bounds the wait for a candidacy that was under way when a failover was ordered.
const standTimeout = 15 * time.Second

// local answers the control socket.
type local struct{ *Node }

// Status returns the status document.
func (l local) Status() any { return l.Node.Status() }

// Command carries out an order of the command line. An order that has begun is not undone
// because its caller went away.
func (l local) Command(ctx context.Context, from control.Caller, c control.Command, progress func(control.Event)) control.Result {
	l.log.Info("order", "order", c.Name, "uid", from.UID, "pid", from.PID)
	args := maps.Clone(c.Args)
	if args == nil {
		args = map[string]string{}
	}
	args[argBy] = l.givenBy(from.UID)
	order := control.Command{Name: c.Name, Args: args}
	code, text := l.Order(context.WithoutCancel(ctx), order, func(text string) { progress(control.Event{Text: text}) })
	l.log.Info("order.ended", "order", c.Name, "code", code, "text", text)
	return control.Result{Code: code, Text: text}
}

// obeySignals translates signals: SIGTERM is a restart, SIGUSR2 an upgrade, SIGINT an operator's
// stop (docs/design.md §6).
func (n *Node) obeySignals(ctx context.Context, signals <-chan os.Signal) {
	for {
		select {
		case <-ctx.Done():
			return
		case s := <-signals:
			order := "stop"
			switch s {
			case syscall.SIGTERM:
				order = "restart"
			case syscall.SIGUSR2:
				order = "upgrade"
			}
			n.log.Info("signal", "signal", s.String(), "order", order)
			go n.Order(ctx, control.Command{Name: order}, func(string) {}) // ends with the loop
		}
	}
}
