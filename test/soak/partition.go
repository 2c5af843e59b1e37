// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"

	"highwater/test/cluster"
	"highwater/test/lab"
)

// side is where the clients are while the hosts are split.
type side int

const (
	everywhere side = iota // they reach all hosts
	withFirst              // only those of the first group
	withSecond
)

// partitions are all ways to split three voters into groups, with the clients at each place that makes a difference,
// and all ways to cut two of them off from each other while the third one reaches both.
var partitions = []scenario{
	split("split-P/AB", "the primary is cut off from A and B", everywhere, "P", "AB"),
	split("split-P/AB-clients-P", "the same, and clients reach only the primary", withFirst, "P", "AB"),
	split("split-P/AB-clients-AB", "the same, and clients reach only A and B", withSecond, "P", "AB"),
	split("split-PB/A", "A, a replica, is cut off", everywhere, "PB", "A").remains(),
	split("split-PB/A-clients-A", "the same, and clients reach only A", withSecond, "PB", "A").remains(),
	split("split-PA/B", "B, a replica or the witness, is cut off", everywhere, "PA", "B").remains(),
	split("split-P/A/B", "nobody hears anybody", everywhere, "P", "A", "B"),
	split("cut-P-A", "the primary and A do not hear each other; B hears both", everywhere, "P", "A"),
	split("cut-P-B", "the primary and B do not hear each other; A hears both", everywhere, "P", "B"),
	split("cut-A-B", "A and B do not hear each other; the primary hears both", everywhere, "A", "B").remains(),
}

// split cuts groups of hosts off from one another; a host that is in none hears all.
func split(name, summary string, clients side, groups ...string) scenario {
	return at(name, summary, long, func(_ context.Context, c *cluster.Cluster, p *lab.Host) (mend, error) {
		voters := append([]*lab.Host{p}, rest(c, p)...)
		var sides [][]*lab.Host
		for _, group := range groups {
			var hosts []*lab.Host
			for _, letter := range group {
				hosts = append(hosts, voters[map[rune]int{'P': 0, 'A': 1, 'B': 2}[letter]])
			}
			sides = append(sides, hosts)
		}
		if clients != everywhere {
			sides[clients-withFirst] = append(sides[clients-withFirst], c.Client())
		}
		return heal(c.Partition(sides...))
	})
}
