// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"slices"
	"time"

	"highwater/test/lab"
)

// A fault is something that happens to the primary, and who watches.
type fault struct {
	name   string
	title  string
	client lab.WriterConfig
	strike func(bed testbed, primary *lab.Host) error
	// watch is how long the hosts are watched at least; the outage of every trial is awaited anyway.
	watch time.Duration
	// lease says that the primary cannot give its lease back: waiting for its end, or not, makes a difference.
	lease bool
}

var faults = []fault{
	{
		name: "kill-server", title: "server process killed",
		strike: killServer,
	},
	{
		name: "kill-server-patient", title: "the same, client with a 3 s connect timeout",
		client: lab.WriterConfig{ConnectTimeout: 3 * time.Second},
		strike: killServer,
	},
	{
		name: "unplug", title: "host unplugged",
		strike: func(_ testbed, primary *lab.Host) error { return primary.Unplug() },
		lease:  true,
	},
	{
		name: "hang-server", title: "server hung (SIGSTOP)",
		strike: func(_ testbed, primary *lab.Host) error { return primary.Server.Stop() },
	},
	{
		name: "freeze-supervisor", title: "supervisor frozen (SIGSTOP)",
		strike: func(bed testbed, primary *lab.Host) error { return bed.freeze(primary) },
		watch:  7 * time.Second,
		lease:  true,
	},
	{
		name: "kill-supervisor", title: "supervisor killed (SIGKILL), not restarted",
		strike: func(bed testbed, primary *lab.Host) error { return bed.kill(primary) },
		watch:  7 * time.Second,
	},
}

func killServer(_ testbed, primary *lab.Host) error {
	if !primary.Server.Alive() {
		return errors.New("the server is dead already")
	}
	primary.Server.Kill()
	return nil
}

// concerns reports whether a trial with the system would say something new.
func (f fault) concerns(s system) bool { return f.lease || !s.leaseOnly }

// faultNames are the words for the command line.
func faultNames() []string {
	var names []string
	for _, f := range faults {
		names = append(names, f.name)
	}
	return append(names, restName)
}

// faultsOf are the faults of which there are trials, in the order of the tables.
func faultsOf(trials []trial) []fault {
	return slices.DeleteFunc(slices.Clone(faults), func(f fault) bool {
		return !slices.ContainsFunc(trials, func(t trial) bool { return t.Fault == f.name })
	})
}
