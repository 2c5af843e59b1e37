// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"highwater/configs"
	"highwater/supervisor"
	"highwater/supervisor/control"
	"highwater/supervisor/voter"
)

const recoverUsage = `--force-new-cluster [--yes-the-others-are-lost] [--config FILE]

For when the majority of the voters is lost for good, and only then. Highwater is stopped on this host. From what
this host knows a new cluster begins, with this host as its only voter. It tells first what may be lost, and asks.

The other hosts must not come back as they were: those that hear each other and not this host would still be the old
cluster. On each of them, before Highwater starts again: move raft/ in its state_dir away. It then joins by itself.
Those that never come back: highwater member remove NODE.`

func cmdRecover(_ context.Context, e *env, args []string) error {
	f, path := flags(e, "recover", recoverUsage)
	force := f.Bool("force-new-cluster", false, "begin a new cluster with this host alone")
	yes := f.Bool("yes-the-others-are-lost", false, "do not ask: for scripts whose author has")
	if err := parse(f, args); err != nil {
		return err
	}
	if !*force {
		return failf(exitUsage, "say what: `highwater recover --force-new-cluster`")
	}
	c, self, err := load(*path)
	if err != nil {
		return err
	}
	if c.Authority() != configs.AuthorityQuorum {
		return failf(exitRefused, "recover refused: %s: with authority vrrp there is no quorum to lose", voter.ReasonNeedsQuorum)
	}
	lock, err := control.Lock(c.StateDir)
	if errors.Is(err, control.ErrLocked) {
		return failf(exitRefused, "recover refused: %s: %v", voter.ReasonStillRunning, err)
	}
	if err != nil {
		return err
	}
	defer lock.Close()
	r, err := voter.Examine(c.StateDir, supervisor.QuorumConfig(c, self))
	if err != nil {
		return failf(exitRefused, "recover refused: %v", err)
	}
	defer r.Close()
	for _, line := range r.Tell(c.Durability.Mode == configs.Lossless) {
		fmt.Fprintln(e.stdout, line)
	}
	if !*yes {
		if err := confirm(e, "the others are lost"); err != nil {
			return err
		}
	}
	old, err := r.Begin(time.Now())
	if err != nil {
		return err
	}
	fmt.Fprintf(e.stdout, "The new cluster is %s alone, at term %d of the record. The old log is in %s.\n", self.Name, r.Next.Term, old)
	if r.Next.Paused != nil {
		fmt.Fprintln(e.stdout, "Failovers are paused: `highwater resume` once it runs.")
	}
	_, err = fmt.Fprintln(e.stdout, "Start Highwater here. On every other host move raft/ in its state_dir away before it starts, or `highwater member remove` it.")
	return err
}
